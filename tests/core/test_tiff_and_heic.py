"""TIFF and HEIC: what is read, what is named, and what a hostile file cannot do."""

from __future__ import annotations

import io
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import TiffImagePlugin

from tests.support.heic_photo import HEIC
from whichlandmark.core.errors import ImageError, TooLargeError
from whichlandmark.core.file_kinds import (
    format_of,
    formats_in_words,
    kind_of,
    photo_format,
    photo_formats,
)
from whichlandmark.core.images import header_size, photo_size, read_image
from whichlandmark.core.photo_files import location_of, webp_size
from whichlandmark.recognition.faults import failed_object

needs_heic = pytest.mark.skipif("HEIC" not in photo_formats(), reason="the extra heic")


def encoded(picture: Pillow.Image, form: str = "TIFF", **options: object) -> bytes:
    data = io.BytesIO()
    picture.save(data, form, **options)
    return data.getvalue()


def noise(mode: str = "RGB", width: int = 64, height: int = 48) -> Pillow.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Pillow.fromarray(pixels).convert(mode)


def tiff(*entries: tuple[int, int, int, bytes], tail: bytes = b"") -> bytes:
    """A little-endian TIFF of one directory; each entry: tag, type, count, 4 bytes."""
    body = b"".join(
        struct.pack("<HHI", tag, form, count) + value for tag, form, count, value in entries
    )
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + body + b"\0\0\0\0" + tail


def number(tag: int, value: int, form: int = 4) -> tuple[int, int, int, bytes]:
    return tag, form, 1, struct.pack("<I", value)


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "LA", "CMYK", "I;16"])
@pytest.mark.parametrize(
    "compression", ["raw", "tiff_lzw", "packbits", "tiff_adobe_deflate"]
)  # fmt: skip
def test_a_tiff_gives_the_pixels_that_were_written(mode: str, compression: str) -> None:
    picture = noise("L" if mode == "I;16" else mode)
    if mode == "I;16":
        gray = np.asarray(picture)
        picture = Pillow.fromarray(gray.astype(np.uint16) * 257)
        expected = np.repeat(gray[:, :, None], 3, axis=2)
    elif "A" in mode:
        white = Pillow.new("RGBA", picture.size, "white")
        expected = np.asarray(Pillow.alpha_composite(white, picture.convert("RGBA")).convert("RGB"))
    else:
        expected = np.asarray(picture.convert("RGB"))
    data = encoded(picture, compression=compression)
    assert np.array_equal(read_image(data), expected)


def test_a_tiff_of_16_bits_a_color_and_one_with_jpeg_inside() -> None:
    cv2 = pytest.importorskip("cv2")
    deep = np.asarray(noise()).astype(np.uint16) * 257
    data = cv2.imencode(".tiff", deep[:, :, ::-1])[1].tobytes()
    assert np.array_equal(read_image(data), np.asarray(noise()))
    smooth = noise(width=8, height=6).resize((64, 48))
    far = read_image(encoded(smooth, compression="jpeg")).astype(int) - np.asarray(smooth)
    assert np.abs(far).mean() < 4


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_a_tiff(orientation: int, compression: str, tmp_path: Path) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    png = encoded(noise(), "PNG", exif=exif)
    data = encoded(noise(), exif=exif, compression=compression)
    (tmp_path / "a.tif").write_bytes(data)
    assert np.array_equal(read_image(data), read_image(png))
    assert header_size(data) == photo_size(tmp_path / "a.tif") == header_size(png)


def test_the_position_of_a_tiff() -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[0x8825] = {1: "N", 2: (48.0, 51.0, 30.0), 3: "E", 4: (2.0, 17.0, 40.0)}
    assert location_of(encoded(noise(), tiffinfo=tags)) == pytest.approx((48.858333, 2.294444))
    assert location_of(encoded(noise())) is None


@pytest.mark.parametrize("big", [False, True])
def test_the_first_page_is_read_and_no_other(big: bool) -> None:
    pages = [noise("L"), *(Pillow.new("L", (9, 9), value) for value in range(40))]
    data = encoded(pages[0], save_all=True, append_images=pages[1:], big_tiff=big)
    assert data[2] == (43 if big else 42)
    assert read_image(data).shape == (48, 64, 3)
    assert np.array_equal(read_image(data)[:, :, 0], np.asarray(pages[0]))


def test_half_a_million_pages_take_no_time() -> None:
    """Pillow follows the pointers through all pages, and compares each with all before it."""
    first = bytearray(encoded(noise("L")))
    start = struct.unpack_from("<I", first, 4)[0]
    pointer = start + 2 + 12 * struct.unpack_from("<H", first, start)[0]
    struct.pack_into("<I", first, pointer, len(first))
    pages = b"".join(struct.pack("<HI", 0, len(first) + 6 * (at + 1)) for at in range(500_000))
    began = time.process_time()  # also where others keep the cores busy
    assert read_image(bytes(first) + pages).shape == (48, 64, 3)
    assert time.process_time() - began < 2


RAW = {
    "DNG": [(50706, 1, 4, b"\1\4\0\0")],
    "Nikon": [number(254, 1), (271, 2, 18, struct.pack("<I", 200)), number(330, 300)],
    "Sony": [(271, 2, 5, struct.pack("<I", 218)), number(259, 32767, 3)],
    "camera": [number(262, 32803, 3)],
}


@pytest.mark.parametrize("maker", RAW)
@pytest.mark.usefixtures("without_raw")
def test_raw_files_of_cameras_are_no_tiffs(maker: str) -> None:
    """Their first directory holds a preview of 160 × 120 px, which is not the photo."""
    data = tiff(*RAW[maker], number(256, 160), number(257, 120))
    data = data.ljust(200, b"\0") + b"NIKON CORPORATION\0SONY\0" + bytes(200)
    assert photo_format(data) == "TIFF"  # by its first bytes
    for read in (read_image, header_size):
        with pytest.raises(ImageError, match=f"its content: {maker} RAW, which cannot be decoded"):
            read(data)
    assert kind_of(b"II*\0\x10\0\0\0CR\2\0") == kind_of(b"II*\0" + bytes(90), ".cr2")


def test_kinds_of_tiff_that_are_not_read_are_named() -> None:
    cases = {
        "TIFF (of the rare kind F)": encoded(noise("F")),
        "TIFF (of the rare kind group4)": encoded(noise("1"), compression="group4"),
        "TIFF (of the rare kind lzma)": encoded(noise(), compression="lzma"),
        "TIFF (unknown pixel mode)": tiff(
            number(256, 9), number(257, 9), number(258, 3, 3), number(262, 2, 3)
        ),
    }
    for what, data in cases.items():
        with pytest.raises(ImageError) as caught:
            read_image(data, name="a.tif")
        told = str(caught.value)
        assert told == f"a.tif: its content: {what}, which cannot be decoded: convert it to JPEG"
        fault = failed_object("a.tif", told)["error"]
        assert (fault["code"], fault["format"]) == ("unsupported_format", "TIFF")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"II*\0", "damaged directory"),
        (b"II*\0\xff\xff\xff\xff", "damaged directory"),
        (tiff(number(256, 9))[:15], "damaged directory"),
        # 60 tags of the same 100 kB, which would be read 60 times
        (tiff(*((700 + i, 7, 100_000, struct.pack("<I", 50)) for i in range(60)),
              tail=bytes(100_000)), "larger than the file"),
        # the same in the EXIF data, which begin behind the first directory
        (tiff(number(34665, 26), tail=tiff(
            *((700 + i, 7, 60_000, struct.pack("<I", 8)) for i in range(2)))[8:] + bytes(70_000)),
         "larger than the file"),
        # as many strips as fill the memory with Python's numbers
        (tiff((273, 4, 20_000_000, struct.pack("<I", 8))), "a tag of 20000000 values"),
    ],
)  # fmt: skip
def test_a_damaged_or_hostile_directory_is_not_read(data: bytes, reason: str) -> None:
    for read in (read_image, header_size):
        with pytest.raises(ImageError, match=f"damaged: a TIFF, but .*{reason}"):
            read(data)
    assert location_of(data) is None


def test_a_tile_larger_than_the_photo_counts() -> None:
    data = tiff(
        number(256, 9), number(257, 9), number(258, 8, 3), number(259, 8, 3), number(262, 1, 3),
        number(277, 1, 3), number(322, 65_520), number(323, 65_520), number(324, 8), number(325, 9),
    )  # fmt: skip
    with pytest.raises(TooLargeError, match="9 × 9 px of a TIFF take the memory of"):
        read_image(data)


def test_damaged_tiffs_give_pixels_or_an_image_error() -> None:
    rng = np.random.default_rng(3)
    originals = [encoded(noise(), compression=name) for name in ("raw", "tiff_lzw", "jpeg")]
    outcomes = {"pixels": 0, "error": 0}
    for turn in range(300):
        data = bytearray(originals[turn % 3])
        for _ in range(int(rng.integers(1, 12))):
            data[int(rng.integers(4, len(data)))] = int(rng.integers(0, 256))
        try:
            outcomes["pixels" if read_image(bytes(data)).size else "none"] += 1
        except ImageError:
            outcomes["error"] += 1
    assert min(outcomes.values()) > 20


@needs_heic
def test_a_heic_is_turned_and_has_its_position(tmp_path: Path) -> None:
    (tmp_path / "IMG_1.HEIC").write_bytes(HEIC)
    image = read_image(tmp_path / "IMG_1.HEIC")
    assert image.shape == (64, 48, 3)
    assert np.abs(image[4, 24].astype(int) - (200, 40, 40)).max() < 12
    assert np.abs(image[60, 24].astype(int) - (40, 40, 200)).max() < 12
    assert photo_size(tmp_path / "IMG_1.HEIC") == (64, 48)
    assert location_of(HEIC) == pytest.approx((48.858333, 2.294444), abs=1e-5)
    with pytest.raises(ImageError, match="damaged or cut short"):
        read_image(HEIC[: len(HEIC) // 2])


@needs_heic
@pytest.mark.parametrize("brand", [b"mif1", b"msf1", b"heix", b"hevc", b"hevx", b"MiHB"])
def test_brands_of_heic(brand: bytes) -> None:
    """The first brand is that of the camera; others follow it, or only the items tell."""
    assert read_image(HEIC[:8] + brand + HEIC[12:]).shape == (64, 48, 3)
    bare = HEIC[:100].replace(b"heic", b"miaf") + HEIC[100:]
    assert photo_format(bare[:8] + b"mif1" + bare[12:]) == "HEIC"
    assert read_image(bare[:8] + b"mif1" + bare[12:]).shape == (64, 48, 3)


@needs_heic
@pytest.mark.parametrize(("mode", "scale"), [("RGB;16", 257), ("RGB", 1)])
def test_a_heic_of_ten_bits_and_one_of_several_pictures(mode: str, scale: int) -> None:
    """Cameras write 10 and 12 bits a color; bursts and depth maps have their main picture last."""
    pillow_heif = pytest.importorskip("pillow_heif")
    if not pillow_heif.libheif_info()["HEIF"]:
        pytest.skip("no encoder")
    pixels = np.zeros((64, 96, 3), np.uint16 if scale > 1 else np.uint8)
    pixels[:32], pixels[32:] = np.array((200, 40, 40)) * scale, np.array((40, 40, 200)) * scale
    written = pillow_heif.from_bytes("RGB", (16, 16), bytes(768))
    written.add_frombytes(mode, (96, 64), pixels.tobytes())
    out = io.BytesIO()
    written.save(out, quality=90, primary_index=1)
    image = read_image(out.getvalue()).astype(int)
    assert image.shape == (64, 96, 3)
    assert np.abs(image[5, 48] - (200, 40, 40)).max() < 12
    assert np.abs(image[-5, 48] - (40, 40, 200)).max() < 12


def test_an_avif_without_its_own_brand() -> None:
    data = encoded(Pillow.new("RGB", (64, 48), (200, 40, 40)), "AVIF")
    data = data[:40].replace(b"avif", b"mif1") + data[40:]
    assert photo_format(data) == "AVIF"
    assert np.abs(read_image(data)[9, 9].astype(int) - (200, 40, 40)).max() < 12


@pytest.mark.usefixtures("without_heic")
def test_without_the_extra_a_heic_is_named_with_the_way_out() -> None:
    with pytest.raises(ImageError, match=r"its content: HEIC, .* to JPEG, or pip install"):
        read_image(HEIC)
    fault = failed_object("a.heic", "a.heic: its content: HEIC, which cannot be decoded")["error"]
    assert (fault["code"], fault["format"]) == ("unsupported_format", "HEIC")


def test_the_formats_are_those_that_can_be_decoded() -> None:
    assert photo_formats()[:4] == ("JPEG", "PNG", "WEBP", "GIF")
    assert {"AVIF", "TIFF"} <= {*photo_formats()}
    assert formats_in_words().startswith("JPEG, PNG, WebP, GIF, AVIF")
    assert " or " in formats_in_words()
    for kind, form in (("HEIC, which cannot", "HEIC"), ("web page (HTML)", "web page"),
                       ("only zero bytes: a placeholder", "only zero bytes")):  # fmt: skip
        assert format_of(kind) == form


@pytest.mark.parametrize(
    ("head", "form"),
    [
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "AVIF"),
        (b"\0\0\0\x18ftypavis\0\0\0\0avismsf1", "AVIF"),
        (b"\0\0\0\x18ftypisom\0\0\2\0isommp42", ""),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", ""),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1jxl ", ""),
        (b"MM\0*\0\0\0\x08", "TIFF"), (b"II+\0\x08\0\0\0", "TIFF"), (b"MM\0*\0\0\0\x10CR", ""),
    ],
)  # fmt: skip
def test_the_first_bytes_say_the_format(head: bytes, form: str) -> None:
    assert photo_format(head) == form


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0MM\0*"}])
def test_the_size_of_a_webp_stands_in_its_header(mode: str, options: dict[str, object]) -> None:
    for width, height in ((1, 1), (37, 300), (900, 2)):
        data = encoded(noise(mode, width, height), "WEBP", **options)
        assert webp_size(data) == (width, height)
        assert webp_size(data[:25]) is None
    assert webp_size(encoded(noise(), "PNG")) is None


@pytest.mark.parametrize("orientation", [None, 1, 6])
def test_a_webp_too_large_is_known_by_its_header(orientation: int | None) -> None:
    """Also that it has to be turned, which takes more memory."""
    exif = Pillow.Exif()
    exif[0x0112] = orientation or 1
    options = {"exif": exif} if orientation else {}
    data = encoded(Pillow.new("RGB", (2000, 1500)), "WEBP", method=0, **options)
    most = {None: 2.8, 1: 2.8, 6: 2.4}[orientation]
    with pytest.raises(TooLargeError, match=rf"3\.0 megapixels of WebP; at most {most}$"):
        read_image(data, memory=50_000_000)
    assert len(read_image(data, memory=70_000_000)) == (2000 if orientation == 6 else 1500)
