"""Which sidecar belongs to a photo, and what the photo file itself says."""

from __future__ import annotations

import os
import unicodedata
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from tests.support.photo_library import (
    PARIS,
    LibraryPhoto,
    exif_of,
    extended_segments,
    iptc_block,
    photoshop_segment,
    with_segments,
    write_photo_library,
    xmp_segment,
)
from tests.support.photos import picture
from tests.support.xmp_shapes import EXIF, HOSTILE, SHAPES, keywords, packet
from whichlandmark.core.errors import DataError
from whichlandmark.core.files import valid_text
from whichlandmark.data.folders import find_photos
from whichlandmark.library.sidecars import embedded, sidecar_of
from whichlandmark.library.xmp import Additions, Metadata, add, read_xmp


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[LibraryPhoto]]:
    folder = tmp_path_factory.mktemp("photos")
    return folder, write_photo_library(folder)


def test_every_photo_of_a_library_has_its_own_sidecar(
    library: tuple[Path, list[LibraryPhoto]],
) -> None:
    folder, photos = library
    found = {os.path.relpath(path, folder) for path in find_photos(folder).photos}
    raw = {"2024/Paris/IMG_0004.CR2"}  # a photo only where the extra `raw` is installed
    assert found - raw == {photo.path for photo in photos}
    for photo in photos:
        path = str(folder / photo.path)
        sidecar, exists = sidecar_of(path, os.listdir(os.path.dirname(path)))
        assert (os.path.relpath(sidecar, folder), exists) == (photo.sidecar, photo.exists)
    assert len({photo.sidecar for photo in photos}) == len(photos)


def test_what_photos_of_a_library_say_is_read_without_decoding_them(
    library: tuple[Path, list[LibraryPhoto]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, photos = library

    def never(self: object) -> None:
        raise AssertionError("a photo was decoded")

    monkeypatch.setattr(Pillow.Image, "load", never)
    for photo in photos:
        said = embedded(str(folder / photo.path))
        assert said.keywords == photo.keywords, photo.path
        beside = folder / photo.sidecar
        positioned = said.has_position
        if photo.exists and photo.writable:
            positioned |= read_xmp(beside.read_bytes()).has_position
        assert positioned == photo.position, photo.path
    assert embedded(str(folder / "phone/gps.jpg")).position == pytest.approx(PARIS, abs=1e-6)
    assert embedded(str(folder / "formats/c.png")).position == pytest.approx(PARIS, abs=1e-6)


NAMES = {
    "new": ("a.jpg", ["a.jpg"], "a.jpg.xmp", False),
    "long name": ("a.jpg", ["a.jpg", "a.jpg.xmp", "a.xmp"], "a.jpg.xmp", True),
    "short name": ("a.jpg", ["a.jpg", "a.xmp"], "a.xmp", True),
    "short name in capitals": ("A.JPG", ["A.JPG", "a.XMP"], "a.XMP", True),
    "long name in capitals": ("a.jpg", ["a.jpg", "A.JPG.XMP"], "A.JPG.XMP", True),
    "exact name first": ("a.jpg", ["a.jpg", "A.jpg.xmp", "a.jpg.xmp"], "a.jpg.xmp", True),
    "of the raw photo": ("a.jpg", ["a.jpg", "a.cr2", "a.xmp"], "a.jpg.xmp", False),
    "of this raw photo": ("a.cr2", ["a.jpg", "a.cr2", "a.xmp"], "a.xmp", True),
    "of one of two raw photos": ("a.cr2", ["a.dng", "a.cr2", "a.xmp"], "a.cr2.xmp", False),
    "of one of two photos": ("a.jpg", ["a.jpg", "a.heic", "a.xmp"], "a.jpg.xmp", False),
    "a film beside it": ("a.heic", ["a.heic", "a.mov", "a.xmp", "a.txt"], "a.xmp", True),
    "letter case of two photos": ("a.jpg", ["A.JPG", "a.jpg", "A.JPG.xmp"], "a.jpg.xmp", False),
    "a second version": ("a.jpg", ["a.jpg", "a_01.jpg.xmp"], "a.jpg.xmp", False),
    "of another photo": ("a.jpg", ["a.jpg", "a.png", "a.png.xmp"], "a.jpg.xmp", False),
    "two endings": ("a.b.jpg", ["a.b.jpg", "a.xmp", "a.b.xmp"], "a.b.xmp", True),
    "no ending": ("a", ["a", "a.xmp"], "a.xmp", True),
    "signs": ("[a]*?.jpg", ["[a]*?.jpg", "a.jpg.xmp"], "[a]*?.jpg.xmp", False),
}


@pytest.mark.parametrize("case", NAMES)
def test_which_sidecar_belongs_to_a_photo(case: str) -> None:
    photo, siblings, sidecar, exists = NAMES[case]
    assert sidecar_of(f"/nowhere/{photo}", siblings) == (f"/nowhere/{sidecar}", exists)


def test_names_with_accents_are_the_same_in_both_forms() -> None:
    for form, other in (("NFC", "NFD"), ("NFD", "NFC")):
        photo, sidecar = (unicodedata.normalize(one, "Été.jpg") for one in (form, other))
        for beside in (f"{sidecar}.xmp", f"{sidecar[:-4]}.xmp"):
            assert sidecar_of(f"/x/{photo}", [photo, beside]) == (f"/x/{beside}", True)


def test_a_name_that_is_not_utf_8_is_found(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    path = valid_text(str(tmp_path / name))
    assert path.startswith("file:")
    assert sidecar_of(path, [name, f"{name}.xmp"]) == (str(tmp_path / f"{name}.xmp"), True)


@pytest.mark.parametrize(
    ("extension", "photo", "found"),
    [("CR2", "a.jpg", "a.jpg.xmp"), ("jpg", "a.jpg", "a.xmp"), ("JPG", "a.heic", "a.heic.xmp")],
)
def test_a_sidecar_says_itself_whose_it_is(
    tmp_path: Path, extension: str, photo: str, found: str
) -> None:
    """photoshop:SidecarForExtension, as Lightroom and osxphotos write it."""
    for line in (f' photoshop:SidecarForExtension="{extension}"', ""):
        element = f"<photoshop:SidecarForExtension>{extension}</photoshop:SidecarForExtension>"
        text = packet("" if line else element, f' xmlns:photoshop="urn:p"{line}')
        (tmp_path / "a.xmp").write_text(text)
        siblings = ["a.xmp", photo, "a.png"] if extension == "jpg" else ["a.xmp", photo]
        assert sidecar_of(str(tmp_path / photo), siblings)[0] == str(tmp_path / found)


def drawn(path: Path, **options: object) -> Path:
    Pillow.fromarray(picture(1, 2)).save(path, **options)  # type: ignore[arg-type]
    return path


def test_keywords_of_all_kinds_are_read_once_each(tmp_path: Path) -> None:
    photo = drawn(tmp_path / "a.jpg", exif=exif_of(keywords="paris; Windows ;"))
    with_segments(photo, xmp_segment(packet(keywords("Paris", "XMP")).encode()),
                  photoshop_segment(iptc_block("Été", "PARIS", encoding="cp1252")))  # fmt: skip
    assert embedded(str(photo)).keywords == ("Paris", "XMP", "Été", "Windows")


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_iptc_keywords_in_both_encodings(tmp_path: Path, encoding: str) -> None:
    photo = drawn(tmp_path / "a.jpg")
    long = "ä" * 20_000
    block = iptc_block("Straße", "", encoding=encoding)
    data = long.encode(encoding)
    block += b"\x1c\x02\x19\x80\x04" + len(data).to_bytes(4, "big") + data
    with_segments(photo, photoshop_segment(block))
    assert embedded(str(photo)).keywords == ("Straße", long)


def test_lists_of_programs_and_locations_are_read(tmp_path: Path) -> None:
    photo = drawn(tmp_path / "a.webp", xmp=SHAPES["digikam"])
    said = embedded(str(photo))
    assert said.digikam == said.microsoft == ("Holiday", "Travel/France/Paris")
    assert said.hierarchy == ("Holiday", "Travel|France|Paris")
    photo = drawn(tmp_path / "b.webp", xmp=SHAPES["locations"])
    assert embedded(str(photo)).places == read_xmp(SHAPES["locations"]).places


def test_extended_xmp_is_put_together(tmp_path: Path) -> None:
    photo = drawn(tmp_path / "a.jpg")
    items = [f"keyword {number}" for number in range(4000)]
    with_segments(photo, xmp_segment(packet(keywords("first")).encode()),
                  extended_segments(packet(keywords(*items)).encode()))  # fmt: skip
    assert embedded(str(photo)).keywords == ("first", *items)
    broken = drawn(tmp_path / "b.jpg")
    with_segments(broken, extended_segments(b"<half a packet"), xmp_segment(SHAPES["exiftool"]))
    assert embedded(str(broken)).keywords == ("Holiday", "Paris")


def test_png_texts_packed_or_not(tmp_path: Path) -> None:
    photo = drawn(tmp_path / "a.png").read_bytes()
    name, xmp = b"XML:com.adobe.xmp\0", packet(keywords("Été")).encode()
    frame = b"8BIM\x04\x04\0\0" + len(iptc_block("IM")).to_bytes(4, "big") + iptc_block("IM")
    profile = b"\niptc\n%8d\n" % len(frame) + frame.hex().encode() + b"\n"
    texts = [
        (b"iTXt", name + b"\0\0\0\0" + xmp, "Été"),
        (b"iTXt", name + b"\1\0en\0title\0" + zlib.compress(xmp), "Été"),
        (b"zTXt", b"Raw profile type iptc\0\0" + zlib.compress(profile), "IM"),
        (b"tEXt", b"Raw profile type iptc\0" + profile, "IM"),
    ]
    for number, (kind, content, keyword) in enumerate(texts):
        chunk = len(content).to_bytes(4, "big") + kind + content
        chunk += zlib.crc32(kind + content).to_bytes(4, "big")
        for place, at in (("before", 33), ("after", len(photo) - 12)):
            path = tmp_path / f"{number} {place}.png"
            path.write_bytes(photo[:at] + chunk + photo[at:])
            assert embedded(str(path)).keywords == (keyword,), path.name


def test_a_text_that_unpacks_to_much_is_not_unpacked(tmp_path: Path) -> None:
    photo = drawn(tmp_path / "a.png").read_bytes()
    content = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b" " * 50_000_000)
    chunk = len(content).to_bytes(4, "big") + b"iTXt" + content + bytes(4)
    path = tmp_path / "b.png"
    path.write_bytes(photo[:33] + chunk + photo[33:])
    assert embedded(str(path)) == Metadata()


def test_raw_photos_are_read_as_the_tiffs_that_they_are(tmp_path: Path) -> None:
    tiff = drawn(tmp_path / "a.tif", tiffinfo={700: packet(keywords("raw")).encode()})
    data = tiff.read_bytes()
    for start in (b"IIRO", b"IIU\0"):  # Olympus, Panasonic
        (tmp_path / "a.orf").write_bytes(start + data[4:])
        assert embedded(str(tmp_path / "a.orf")).keywords == ("raw",)
    jpeg = drawn(tmp_path / "a.jpg", exif=exif_of(position=PARIS)).read_bytes()
    head = b"FUJIFILMCCD-RAW ".ljust(84, b"0") + (200).to_bytes(4, "big")
    (tmp_path / "a.raf").write_bytes(head.ljust(200, b"\0") + jpeg)
    assert embedded(str(tmp_path / "a.raf")).position == pytest.approx(PARIS, abs=1e-6)


def box(kind: bytes, content: bytes) -> bytes:
    return (len(content) + 8).to_bytes(4, "big") + kind + content


def test_canons_raw_boxes_are_read(tmp_path: Path) -> None:
    values = 8 + 2 + 4 * 12 + 4
    entries = (
        b"\1\0\2\0\2\0\0\0N\0\0\0", b"\2\0\5\0\3\0\0\0" + values.to_bytes(4, "little"),
        b"\3\0\2\0\2\0\0\0E\0\0\0", b"\4\0\5\0\3\0\0\0" + (values + 24).to_bytes(4, "little"),
    )  # fmt: skip
    gps = b"II*\0\x08\0\0\0\4\0" + b"".join(entries) + bytes(4) + b"".join(
        number.to_bytes(4, "little") + b"\1\0\0\0" for number in (48, 51, 30, 2, 17, 40)
    )  # fmt: skip
    canon = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
    data = box(b"ftyp", b"crx \0\0\0\1crx isom")
    data += box(b"moov", box(b"uuid", canon + box(b"CNCV", b"x") + box(b"CMT4", gps)))
    data += box(b"uuid", bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + SHAPES["exiftool"])
    path = tmp_path / "a.cr3"
    path.write_bytes(data + box(b"mdat", bytes(1000)))
    said = embedded(str(path))
    assert said.keywords == ("Holiday", "Paris")
    assert said.position == pytest.approx((48.858333, 2.294444), abs=1e-6)


@pytest.mark.parametrize(
    ("gps", "position"),
    [
        ({1: "N", 2: (48.0, 51.0, 30.0)}, None),
        ({2: (0.0, 0.0, 0.0), 4: (0.0, 0.0, 0.0)}, None),
        ({1: "S", 2: (33.0, 51.0, 24.0), 3: "E", 4: (151.0, 12.0, 54.0)}, (-33.856667, 151.215)),
    ],
)
def test_half_or_damaged_positions_count_as_positions(
    tmp_path: Path, gps: dict[int, object], position: tuple[float, float] | None
) -> None:
    exif = Pillow.Exif()
    exif[0x8825] = gps
    said = embedded(str(drawn(tmp_path / "a.jpg", exif=exif.tobytes())))
    assert said.has_position
    assert said.position == (position and pytest.approx(position, abs=1e-6))


def test_a_directory_of_positions_without_one_is_none(tmp_path: Path) -> None:
    exif = Pillow.Exif()
    exif[0x8825] = {0: b"\2\3\0\0", 18: "WGS-84", 29: "2024:05:03"}
    assert embedded(str(drawn(tmp_path / "a.jpg", exif=exif.tobytes()))) == Metadata()


def test_a_position_in_xmp_counts_also_where_the_packet_is_damaged(tmp_path: Path) -> None:
    photo = drawn(tmp_path / "a.jpg")
    with_segments(photo, xmp_segment(SHAPES["immich"]))
    assert embedded(str(photo)).position == pytest.approx((48.858333, 2.351667), abs=1e-6)
    photo = drawn(tmp_path / "b.jpg")
    damaged = packet("<x>", f" {EXIF} exif:GPSLatitude='48,51.5N'").encode()
    with_segments(photo, xmp_segment(damaged))
    assert embedded(str(photo)) == Metadata(has_position=True)


def test_what_cannot_be_looked_into_may_have_a_position(tmp_path: Path) -> None:
    path = tmp_path / "a.x3f"
    path.write_bytes(b"FOVb" + bytes(500))
    assert embedded(str(path)) == Metadata(has_position=True)


def test_a_missing_photo_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        embedded(str(tmp_path / "a.jpg"))


def test_damaged_photos_say_what_can_be_read(tmp_path: Path) -> None:
    """Cut at any place and with any byte changed: no crash, and no long reading."""
    whole = tmp_path / "whole"
    whole.mkdir()
    options = {"xmp": SHAPES["exiftool"], "exif": exif_of(position=PARIS, keywords="a;b")}
    photos = [drawn(whole / f"a.{ending}", **options).read_bytes() for ending in ("webp", "avif")]
    jpeg = drawn(whole / "a.jpg", exif=options["exif"])
    with_segments(jpeg, xmp_segment(SHAPES["digikam"]), photoshop_segment(iptc_block("Paris")))
    photos += [jpeg.read_bytes(), drawn(whole / "a.png", exif=options["exif"]).read_bytes(),
               drawn(whole / "a.tif", tiffinfo={700: SHAPES["exiftool"]}).read_bytes()]  # fmt: skip
    rng = np.random.default_rng(3)
    path = tmp_path / "damaged"
    for data in photos:
        for _ in range(40):
            part = bytearray(data[: rng.integers(1, len(data))])
            for at in rng.integers(0, min(len(part), 6000), 3):
                part[at] = rng.integers(256)
            path.write_bytes(part)
            assert isinstance(embedded(str(path)), Metadata)
    for data, _ in HOSTILE.values():
        path.write_bytes(data[:100_000])
        assert embedded(str(path)).keywords == ()


def test_a_new_sidecar_can_repeat_all_that_a_photo_says(tmp_path: Path) -> None:
    photo = drawn(tmp_path / "a.webp", xmp=SHAPES["digikam"])
    said = embedded(str(photo))
    data, added = add(None, Additions(
        said.keywords, said.hierarchy, said.places, digikam=said.digikam, microsoft=said.microsoft
    ))  # fmt: skip
    assert replace(read_xmp(data), position=None) == said
    assert added.keywords == said.keywords
