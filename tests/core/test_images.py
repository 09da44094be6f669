"""Decoding: formats, orientation, colour modes, limits; damaged and hostile files."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import features

from whichlandmark.core import images
from whichlandmark.core.errors import ImageError, TooLargeError
from whichlandmark.core.images import read_image


def encoded(picture: Pillow.Image, form: str, **options: object) -> bytes:
    data = io.BytesIO()
    picture.save(data, form, **options)
    return data.getvalue()


def gradient(width: int = 64, height: int = 48) -> Pillow.Image:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Pillow.fromarray(np.stack([x, y, 255 - x], axis=2).astype(np.uint8))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "AVIF"])
def test_every_image_format_is_decoded(form: str) -> None:
    if form == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    image = read_image(encoded(gradient(), form))
    assert image.shape == (48, 64, 3)
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - np.asarray(gradient())).mean() < 12


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP"])
def test_first_frame_of_an_animation(form: str) -> None:
    frames = [Pillow.new("RGB", (20, 10), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], form, save_all=True, append_images=frames[1:], duration=50)
    assert read_image(data)[5, 5].tolist() == pytest.approx([255, 0, 0], abs=5)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int) -> None:
    """A photo that is stored rotated or mirrored comes out upright: bright corner top left."""
    upright = np.zeros((20, 30, 3), np.uint8)
    upright[:8, :8] = 255
    stored = {
        1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud,
        5: lambda a: a.transpose(1, 0, 2), 6: np.rot90,
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2), 8: lambda a: np.rot90(a, -1),
    }[orientation](upright)  # fmt: skip
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    data = encoded(Pillow.fromarray(np.ascontiguousarray(stored)), "JPEG", exif=exif, quality=95)
    image = read_image(data)
    assert image.shape == (20, 30, 3)
    assert image[:6, :6].min() > 200
    assert image[12:].max() < 60


def test_colour_modes_become_rgb() -> None:
    grey = gradient().convert("L")
    assert read_image(encoded(grey, "PNG")).shape == (48, 64, 3)
    assert read_image(encoded(grey.convert("1"), "PNG")).max() == 255
    cmyk = read_image(encoded(gradient().convert("CMYK"), "JPEG", quality=95))
    assert np.abs(cmyk.astype(int) - np.asarray(gradient())).mean() < 6
    palette = read_image(encoded(gradient().quantize(64), "PNG"))
    assert np.abs(palette.astype(int) - np.asarray(gradient())).mean() < 12


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    deep = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)
    image = read_image(encoded(Pillow.fromarray(deep), "PNG"))
    assert np.abs(image[..., 0].astype(float) - deep / 257).max() <= 1


def test_transparent_pixels_are_composited_on_white() -> None:
    picture = Pillow.new("RGBA", (10, 10), (255, 0, 0, 0))
    picture.paste((0, 0, 255, 255), (0, 0, 5, 10))
    image = read_image(encoded(picture, "PNG"))
    assert image[5, 8].tolist() == [255, 255, 255]
    assert image[5, 2].tolist() == [0, 0, 255]
    half = Pillow.new("LA", (4, 4), (0, 128))
    assert read_image(encoded(half, "PNG"))[0, 0, 0] == pytest.approx(127, abs=1)
    keyed = Pillow.new("P", (4, 4), 0)
    keyed.putpalette([0, 255, 0] + [0] * 765)
    assert read_image(encoded(keyed, "PNG", transparency=0))[0, 0].tolist() == [255, 255, 255]


def test_jpegs_are_decoded_near_the_wanted_size_keeping_the_aspect_ratio() -> None:
    data = encoded(gradient(1600, 800), "JPEG")
    small = read_image(data, short_side=150)
    assert min(small.shape[:2]) >= 150
    assert small.shape[0] < 400
    assert small.shape[1] / small.shape[0] == pytest.approx(2.0)
    assert read_image(data, short_side=799).shape == (800, 1600, 3)


def png_header(width: int, height: int) -> bytes:
    """A PNG whose header has a size but which has no pixels, so only a header check refuses it."""
    body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + body
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk
        + struct.pack(">I", zlib.crc32(chunk)) + struct.pack(">I", 0) + b"IDAT"
        + struct.pack(">I", zlib.crc32(b"IDAT"))
    )  # fmt: skip


@pytest.mark.parametrize(
    ("width", "height", "reason"),
    [(65_501, 10, "at most 65500 px a side"), (8_000, 7_000, "50 megapixels"),
     (19_000, 19_000, "at most 50 megapixels .* WHICHLANDMARK_MAX_MEGAPIXELS=361")],
)  # fmt: skip
def test_pixel_limits_are_checked_from_the_header(width: int, height: int, reason: str) -> None:
    with pytest.raises(TooLargeError, match=reason):
        read_image(png_header(width, height), name="big.png")


def test_a_file_over_the_size_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge.jpg"
    path.touch()
    os.truncate(path, 100_000_001)
    with pytest.raises(TooLargeError, match=r"huge\.jpg: larger than 100 MB; WHICHLANDMARK_MAX"):
        read_image(path)


def test_errors_name_the_damaged_or_foreign_file(tmp_path: Path) -> None:
    whole = encoded(gradient(), "JPEG")
    cases = {
        "cut.jpg": (whole[: len(whole) // 2], "damaged or cut short"),
        "cut.png": (encoded(gradient(), "PNG")[:90], "damaged or cut short"),
        "text.jpg": (b"hello, I am a text", "its content: text"),
        "empty.jpg": (b"", "empty"),
        "scan.tif": (
            encoded(gradient(), "TIFF", compression="lzma"),
            "TIFF .of the rare kind lzma., which cannot be decoded: convert",
        ),
        "page.bmp": (encoded(gradient(), "BMP"), "BMP, which cannot be decoded"),
    }
    for name, (data, reason) in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ImageError, match=reason) as caught:
            read_image(tmp_path / name)
        assert name in str(caught.value)
    with pytest.raises(ImageError, match=r"gone\.jpg: no such file"):
        read_image(tmp_path / "gone.jpg")
    with pytest.raises(ImageError, match="cannot be read"):
        read_image(tmp_path)


def test_random_damage_raises_only_image_errors() -> None:
    """Of 1,200 files with 1 to 11 changed bytes, each is decoded or raises an ImageError."""
    rng = np.random.default_rng(0)
    exif = Pillow.Exif()
    exif[0x0112] = 6
    originals = [encoded(gradient(), "JPEG", exif=exif), encoded(gradient(), "PNG"),
                 encoded(gradient(), "WEBP"), encoded(gradient(), "GIF")]  # fmt: skip
    outcomes = {"picture": 0, "error": 0}
    for original in originals:
        for _ in range(300):
            data = bytearray(original)
            for offset in rng.integers(0, len(data), rng.integers(1, 12)):
                data[offset] = rng.integers(0, 256)
            try:
                assert read_image(bytes(data)).ndim == 3
                outcomes["picture"] += 1
            except ImageError:
                outcomes["error"] += 1
    assert min(outcomes.values()) > 50, outcomes


def test_the_wanted_size_can_be_given_for_the_long_side() -> None:
    """A network that keeps the aspect ratio needs its pixels on the long side of any photo."""
    data = encoded(gradient(1600, 400), "JPEG")
    assert read_image(data, long_side=336).shape == (100, 400, 3)
    assert read_image(data, long_side=336, short_side=101).shape == (200, 800, 3)
    assert read_image(encoded(gradient(1600, 400), "PNG"), long_side=336).shape == (400, 1600, 3)


def test_reserve_is_called_after_the_limits_and_before_decoding() -> None:
    reserved: list[int] = []
    read_image(encoded(gradient(1600, 800), "JPEG"), short_side=150, reserve=reserved.append)
    read_image(encoded(gradient(), "PNG"), reserve=reserved.append)
    assert reserved == [400 * 200 * 8, 64 * 48 * 9]
    for bad in (png_header(8_000, 7_000), b"", b"no photo"):
        with pytest.raises(ImageError):
            read_image(bad, reserve=reserved.append)
    assert len(reserved) == 2

    class Refused(Exception):  # noqa: N818
        pass

    def refuse(size: int) -> None:
        raise Refused

    with pytest.raises(Refused):  # not reported as a damaged photo, as decoder errors are
        read_image(encoded(gradient(), "JPEG"), reserve=refuse)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "I;16"])
def test_a_photo_decoded_in_strips_equals_the_whole_photo(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = gradient(40, 50)
    if mode == "I;16":
        deep = np.linspace(0, 65535, 40 * 50).reshape(50, 40).astype(np.uint16)
        picture = Pillow.fromarray(deep)
    elif mode == "RGBA":
        picture.putalpha(gradient(40, 50).convert("L"))
    else:
        picture = picture.convert(mode)
    data = encoded(picture, "PNG")
    whole = read_image(data)
    monkeypatch.setattr(images, "_STRIP_ROWS", 7)
    assert np.array_equal(read_image(data), whole)
