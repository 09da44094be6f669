"""A small photo library as people have them: sub-folders, sidecars of many programs, odd files.

Its photos are drawn as those of `write_colour_world`, so that a recognizer of that world knows the
landmarks "place 0" to "place 3".
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image as Pillow
from PIL import features

from tests.support import xmp_shapes
from tests.support.photos import picture
from whichlandmark.core.types import Image

PARIS = (48.8583, 2.2945)

_GPS, _XP_KEYWORDS = 0x8825, 0x9C9E


@dataclass(frozen=True)
class LibraryPhoto:
    """One photo of the library.

    Attributes:
        path: Below the library, "/" separated.
        landmark: What it shows; None = no landmark of the colour world.
        sidecar: Path of the sidecar that belongs to it, existing or to be made.
        exists: Does the sidecar exist?
        writable: Can the sidecar be written, and read as XMP?
        position: Of the photo itself or of its sidecar.
        keywords: In the photo file itself.
    """

    path: str
    landmark: str | None
    sidecar: str
    exists: bool = False
    writable: bool = True
    position: bool = False
    keywords: tuple[str, ...] = ()


def exif_of(*, position: tuple[float, float] | None = None, keywords: str = "") -> bytes:
    """EXIF data with a position and Windows' keywords."""
    exif = Pillow.Exif()
    exif[0x010F] = "Nikon"
    if keywords:
        exif[_XP_KEYWORDS] = keywords.encode("utf-16-le") + b"\0\0"
    if position:
        latitude, longitude = position
        exif[_GPS] = {
            1: "N" if latitude >= 0 else "S", 2: _parts(abs(latitude)),
            3: "E" if longitude >= 0 else "W", 4: _parts(abs(longitude)),
        }  # fmt: skip
    return exif.tobytes()


def _parts(degrees: float) -> tuple[float, float, float]:
    minutes = degrees % 1 * 60
    return float(int(degrees)), float(int(minutes)), round(minutes % 1 * 60, 3)


def iptc_block(*keywords: str, encoding: str = "utf-8") -> bytes:
    """Keywords as IPTC-IIM; with its coded character set where that is UTF-8."""
    found = b"\x1c\x01\x5a\x00\x03\x1b%G" if encoding == "utf-8" else b""
    for keyword in keywords:
        data = keyword.encode(encoding)
        found += b"\x1c\x02\x19" + len(data).to_bytes(2, "big") + data
    return found


def photoshop_segment(iptc: bytes) -> bytes:
    """A JPEG segment APP13 with IPTC-IIM among the resources of Photoshop."""
    resources = b"8BIM\x03\xed\0\0\0\0\0\x01\x48\0"  # the resolution, cut to an odd length
    resources += b"8BIM\x04\x04\0\0" + len(iptc).to_bytes(4, "big") + iptc + b"\0" * (len(iptc) % 2)
    data = b"Photoshop 3.0\0" + resources
    return b"\xff\xed" + (len(data) + 2).to_bytes(2, "big") + data


def xmp_segment(packet: bytes) -> bytes:
    """A JPEG segment APP1 with XMP."""
    data = b"http://ns.adobe.com/xap/1.0/\0" + packet
    return b"\xff\xe1" + (len(data) + 2).to_bytes(2, "big") + data


def extended_segments(packet: bytes, size: int = 60_000) -> bytes:
    """JPEG segments with extended XMP, in parts, the last one first."""
    found = b""
    for at in reversed(range(0, len(packet), size)):
        part = packet[at : at + size]
        data = b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 32
        data += len(packet).to_bytes(4, "big") + at.to_bytes(4, "big") + part
        found += b"\xff\xe1" + (len(data) + 2).to_bytes(2, "big") + data
    return found


def with_segments(jpeg: Path, *segments: bytes) -> None:
    """Put segments in front of the others of a JPEG."""
    data = jpeg.read_bytes()
    jpeg.write_bytes(data[:2] + b"".join(segments) + data[2:])


def write_photo_library(
    folder: Path, draw: Callable[[int, int], Image] = picture
) -> list[LibraryPhoto]:
    """Fill a folder and return its photos, sorted by path.

    Beside them is `2024/Paris/IMG_0004.CR2`, a raw photo that cannot be decoded.

    Args:
        draw: (landmark's number, seed) → picture; numbers above 200 show no landmark.
    """
    return _Writer(folder, draw).library()


class _Writer:
    def __init__(self, folder: Path, draw: Callable[[int, int], Image]) -> None:
        self.folder, self.draw = folder, draw
        self.photos: list[LibraryPhoto] = []

    def library(self) -> list[LibraryPhoto]:
        self.of_programs()
        self.of_formats()
        self.with_metadata()
        self.with_odd_names()
        self.with_odd_sidecars()
        self.no_photos()
        return sorted(self.photos, key=lambda photo: photo.path)

    def photo(
        self, path: str, code: int | None, *, sidecar: str = "", content: bytes | None = None,
        writable: bool = True, position: bool = False, keywords: tuple[str, ...] = (),
        **options: Any,
    ) -> Path:  # fmt: skip
        """Draw a photo of landmark `code`, with `content` as its sidecar."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        number = len(self.photos)
        image = self.draw(200 + number if code is None else code, 60 + number)
        Pillow.fromarray(image).save(target, quality=92, **options)
        beside = str(Path(path).parent / sidecar) if sidecar else f"{path}.xmp"
        if content is not None:
            (self.folder / beside).write_bytes(content)
        self.photos.append(LibraryPhoto(
            path, None if code is None else f"place {code}", beside, content is not None, writable,
            position, keywords,
        ))  # fmt: skip
        return target

    def of_programs(self) -> None:
        """Sidecars as darktable, digiKam, Lightroom, Camera Raw, exiftool and Immich write them."""
        shapes = xmp_shapes.SHAPES
        self.photo("2024/Paris/IMG_0001.jpg", 0)
        self.photo("2024/Paris/IMG_0002.jpg", 1, content=shapes["darktable"], position=True)
        (self.folder / "2024/Paris/IMG_0002_01.jpg.xmp").write_bytes(shapes["darktable"])
        self.photo("2024/Paris/IMG_0003.jpg", 2, content=shapes["digikam"])
        self.photo(
            "2024/Paris/IMG_0004.jpg", 3
        )  # beside a raw photo, whose sidecar is IMG_0004.xmp
        (self.folder / "2024/Paris/IMG_0004.CR2").write_bytes(b"II*\0\x10\0\0\0CR\2\0" + bytes(64))
        (self.folder / "2024/Paris/IMG_0004.xmp").write_bytes(shapes["camera raw"])
        self.photo(
            "2024/Paris/IMG_0005.jpg", 0, sidecar="IMG_0005.xmp", content=shapes["lightroom"]
        )
        self.photo("2024/Paris/IMG_0006.JPG", 1, sidecar="img_0006.jpg.XMP",
                   content=shapes["exiftool"])  # fmt: skip
        self.photo("2024/Paris/IMG_0007.jpg", 2, content=shapes["immich"], position=True)

    def of_formats(self) -> None:
        packet = xmp_shapes.SHAPES["exiftool"]
        known = ("Holiday", "Paris")
        self.photo("formats/a.webp", 0, keywords=known, xmp=packet)
        self.photo("formats/b.tif", 1, keywords=known, tiffinfo={700: packet})
        self.photo("formats/c.png", 2, position=True, exif=exif_of(position=PARIS))
        if features.check("avif"):
            self.photo("formats/d.avif", 3, keywords=known, xmp=packet)
        if find_spec("pillow_heif"):
            import pillow_heif

            path = self.photo("formats/e.jpg", 0, position=True)
            heif = pillow_heif.from_pillow(Pillow.open(path))
            heif.save(path.with_suffix(".heic"), exif=exif_of(position=PARIS), quality=90)
            path.unlink()
            last = self.photos.pop()
            self.photos.append(LibraryPhoto(
                "formats/e.heic", last.landmark, "formats/e.heic.xmp", position=True
            ))  # fmt: skip

    def with_metadata(self) -> None:
        self.photo("phone/gps.jpg", 1, position=True, exif=exif_of(position=PARIS))
        path = self.photo("phone/iptc.jpg", 2, keywords=("Été", "Paris"))
        with_segments(path, photoshop_segment(iptc_block("Été", "Paris")))
        self.photo("phone/windows.jpg", 3, keywords=("Nice", "View"),
                   exif=exif_of(keywords="Nice;View"))  # fmt: skip
        path = self.photo("phone/digikam.jpg", 0, keywords=("Holiday", "Paris"))
        with_segments(path, xmp_segment(xmp_shapes.SHAPES["digikam"]))
        self.photo("phone/nothing.jpg", None)
        self.photo("phone/nothing else.jpg", None)

    def with_odd_names(self) -> None:
        composed = unicodedata.normalize("NFC", "Été à Nîmes")
        self.photo(f"{composed}/Tour n° 1 & «2».jpg", 0)
        self.photo(f"{composed}/東京 🗼.jpg", 1)
        decomposed = unicodedata.normalize("NFD", "Château.jpg")
        self.photo(f"{composed}/{decomposed}", 2, content=xmp_shapes.SHAPES["UTF-16"],
                   sidecar="Château.jpg.xmp", position=True)  # fmt: skip

    def with_odd_sidecars(self) -> None:
        self.photo("odd/broken.jpg", 0, content=xmp_shapes.HOSTILE["cut short"][0], writable=False)
        self.photo("odd/read-only photo.jpg", 1).chmod(0o444)
        self.photo("odd/read-only sidecar.jpg", 2, content=xmp_shapes.SHAPES["exiftool"],
                   writable=False)  # fmt: skip
        (self.folder / "odd/read-only sidecar.jpg.xmp").chmod(0o444)
        self.photo("odd/windows.jpg", 3, content=xmp_shapes.SHAPES["line ends of Windows"])
        self.photo("odd/empty.jpg", 0, content=xmp_shapes.SHAPES["empty bag"])
        self.photo("read-only/in it.jpg", 1, writable=False)
        (self.folder / "read-only").chmod(0o555)

    def no_photos(self) -> None:
        thumbs = self.folder / "2024/Paris/@eaDir/IMG_0001.jpg"
        thumbs.mkdir(parents=True)
        Pillow.fromarray(self.draw(0, 1)).save(thumbs / "SYNOPHOTO_THUMB_M.jpg")
        (self.folder / "2024/Paris/.IMG_0009.HEIC.icloud").write_bytes(b"bplist00" + bytes(100))
        (self.folder / "2024/Paris/IMG_0010.jpg.xmp").write_bytes(xmp_shapes.SHAPES["exiftool"])
        (self.folder / "2024/Paris/._IMG_0001.jpg").write_bytes(b"\0\5\x16\7" + bytes(80))
        (self.folder / "2024/notes.txt").write_text("Paris\n")
        (self.folder / "2024/film.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(64))


def make_writable(folder: Path) -> None:
    """Give the owner back the rights on read-only files and folders, to delete or compare them."""
    for top, _, files in os.walk(folder):
        os.chmod(top, 0o755)
        for name in files:
            os.chmod(os.path.join(top, name), 0o644)
