"""Odd photo files: pipes, huge and long photos, megabytes of metadata, files of other kinds."""

from __future__ import annotations

import importlib.util
import io
import os
import socket
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageFile, PngImagePlugin

from whichlandmark.core import storage
from whichlandmark.core.errors import ImageError, OptionError, TooLargeError
from whichlandmark.core.file_kinds import kind_of
from whichlandmark.core.images import photo_size, read_image
from whichlandmark.core.photo_files import location_of
from whichlandmark.core.storage import read_bytes, stamp
from whichlandmark.features.preprocessing import Preprocessing
from whichlandmark.serving.options import ServeOptions


def encoded(picture: Pillow.Image, form: str, **options: object) -> bytes:
    data = io.BytesIO()
    picture.save(data, form, **options)
    return data.getvalue()


def noise(width: int = 64, height: int = 48, mode: str = "RGB") -> Pillow.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Pillow.fromarray(pixels).convert(mode)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes")
@pytest.mark.parametrize("kind", ["a named pipe", "a socket", "a device"])
def test_what_is_no_file_is_never_opened(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # because the name of a socket has at most 107 characters
    path = tmp_path / "x.jpg"
    if kind == "a named pipe":
        os.mkfifo(path)
    elif kind == "a socket":
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("x.jpg")
    else:
        path.symlink_to("/dev/zero")
    monkeypatch.setattr(os, "open", None)  # opening a device may do something
    for read in (read_bytes, read_image, photo_size):
        with pytest.raises(ImageError, match=f"x.jpg: is {kind}, not a file"):
            read(path)
    path.rename(tmp_path / "x.tar")
    with pytest.raises(ImageError, match=f"is {kind}, not a plain file"):
        read_bytes(f"{tmp_path}/x.tar#a.jpg@512+10")
    assert isinstance(stamp(f"{tmp_path}/x.tar"), str)


def test_a_path_with_a_zero_byte_is_no_path() -> None:
    with pytest.raises(ImageError, match="not a path"):
        read_bytes("a\0b.jpg")
    assert stamp("a\0b.jpg") == ""


def test_a_file_that_grows_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "copied.jpg"
    path.write_bytes(encoded(noise(), "JPEG"))
    real, calls = os.fstat, []

    def growing(descriptor: int) -> os.stat_result:
        calls.append(descriptor)
        if len(calls) == 2:
            with open(path, "ab") as file:
                file.write(b"more")
        return real(descriptor)

    monkeypatch.setattr(storage.os, "fstat", growing)
    with pytest.raises(ImageError, match="changed while it was read; is it still being copied"):
        read_bytes(path)


FOREIGN = {
    "page.jpg": (b"\xef\xbb\xbf\n<!DOCTYPE html>\n<html><body>404</body>", "its content: web page"),
    "fragment.jpg": (b"<p>gone</p><HTML>", "its content: web page"),
    "denied.jpg": (
        b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
        "error message of a server",
    ),
    "lfs.jpg": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
    "icloud.jpg": (b"bplist00\xd4", "placeholder of iCloud: download it first"),
    "zeros.jpg": (b"\0" * 5000, "only zero bytes"),
    "empty.jpg": (b"", "cloud drive"),
    "phone.jpg": (
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        "HEIC, which cannot be decoded: convert",
    ),
    "new.jpg": (b"\xff\x0a" + b"\x7f" * 50, "JPEG XL, which cannot be decoded: convert"),
    "box.jpg": (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL, which cannot be decoded: convert"),
    "old.jpg": (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    "camera.jpg": (b"II*\0\x10\0\0\0CR\2\0", "Canon RAW, which cannot"),
    "canon.jpg": (b"\0\0\0\x18ftypcrx \0\0\0\1", "Canon RAW"),
    "film.jpg": (b"\0\0\0\x18ftypisom\0\0\2\0", "video"),
    "apple.jpg": (b"\0\5\x16\7\0\2\0\0Mac OS X", "AppleDouble"),
    "drawing.jpg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG drawing"),
    "manual.jpg": (b"%PDF-1.7\n%\xe2\xe3", "PDF"),
    "pack.jpg": (b"PK\3\4\x14\0", "zip archive"),
    "json.jpg": (b'{"error": "not found"}', "its content: text"),
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.usefixtures("without_heic", "without_raw")
def test_a_file_of_another_kind_is_named(name: str, tmp_path: Path) -> None:
    data, what = FOREIGN[name]
    (tmp_path / name).write_bytes(data)
    for read in (read_image, photo_size):
        with pytest.raises(ImageError, match=what) as caught:
            read(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert location_of(data) is None


def test_unknown_bytes_have_no_name() -> None:
    assert kind_of(b"\x01\x02\xff\xfe") is None
    with pytest.raises(ImageError, match="not a photo in one of JPEG, PNG"):
        read_image(b"\x01\x02\xff\xfe")


def png_texts(kind: str) -> bytes:
    """A PNG with 3 MB of metadata of one kind, or 80 MB in all."""
    texts, options = PngImagePlugin.PngInfo(), {}
    if kind == "xmp":
        texts.add_itxt("XML:com.adobe.xmp", "<x/>" * 750_000)
    elif kind == "packed xmp":
        texts.add_itxt("XML:com.adobe.xmp", "<x/>" * 750_000, zip=True)
    elif kind == "packed text":
        texts.add_text("Comment", "x" * 3_000_000, zip=True)
    elif kind == "many":
        for number in range(80):
            texts.add_text(f"text {number}", "x" * 1_000_000, zip=True)
    else:
        options["icc_profile"] = b"x" * 3_000_000
    return encoded(noise(), "PNG", pnginfo=texts, **options)


@pytest.mark.parametrize("kind", ["xmp", "packed xmp", "packed text", "many", "icc"])
def test_a_png_with_megabytes_of_metadata_is_decoded(kind: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_texts(kind))
    assert np.array_equal(read_image(tmp_path / "a.png"), np.asarray(noise()))
    assert photo_size(tmp_path / "a.png") == (48, 64)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_short_texts_of_a_png_still_turn_it() -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>', zip=True)
    texts.add_text("Comment", "x" * 3_000_000, zip=True)
    assert read_image(encoded(noise(), "PNG", pnginfo=texts)).shape == (64, 48, 3)


def test_exif_data_behind_the_pixels_of_a_png(tmp_path: Path) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 30.0), 3: "E", 4: (2.0, 17.0, 40.0)})
    before = encoded(noise(), "PNG", exif=exif)
    start = before.index(b"eXIf") - 4
    length = 12 + int.from_bytes(before[start : start + 4], "big")
    end = chunk(b"IEND", b"")
    after = before[:start] + before[start + length : -12] + before[start : start + length] + end
    for data in (before, after):
        (tmp_path / "a.png").write_bytes(data)
        assert read_image(data).shape == (64, 48, 3)
        assert photo_size(tmp_path / "a.png") == (64, 48)
        assert location_of(data) == pytest.approx((48.858333, 2.294444), abs=1e-5)


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [(9248, 6936, (867, 1156)), (12000, 9000, (1125, 1500)), (16384, 12288, (1536, 2048)),
     (30000, 4000, (500, 3750)), (65500, 40, (40, 65500))],
)  # fmt: skip
def test_a_large_jpeg_is_decoded_at_a_smaller_scale(
    width: int, height: int, expected: tuple[int, int], tmp_path: Path
) -> None:
    """64, 108 and 200 megapixels, a panorama, and a strip that needs all its rows."""
    data = encoded(Pillow.new("L", (width, height), 200), "JPEG")
    reserved: list[int] = []
    image = read_image(data, short_side=256, reserve=reserved.append)
    assert image.shape[:2] == expected
    assert reserved[0] < 50_000_000
    (tmp_path / "a.jpg").write_bytes(data)
    assert photo_size(tmp_path / "a.jpg", short_side=256) == expected
    whole = read_image(data)  # at the largest scale within the limit
    assert photo_size(tmp_path / "a.jpg") == whole.shape[:2]
    assert whole.shape[0] * whole.shape[1] <= 50_000_000


def test_the_limit_is_told_and_can_be_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHICHLANDMARK_MAX_MEGAPIXELS", "1")
    data = encoded(Pillow.new("L", (1500, 1000), 200), "PNG")
    with pytest.raises(TooLargeError, match=r"1500 × 1000 px of a PNG .* at most 1 megapixels .*"
                       "WHICHLANDMARK_MAX_MEGAPIXELS=2 to decode it"):  # fmt: skip
        read_image(data)
    jpeg = encoded(Pillow.new("L", (1500, 1000), 200), "JPEG")
    assert read_image(jpeg).shape == (500, 750, 3)
    for pictures in (data, jpeg):
        monkeypatch.setenv("WHICHLANDMARK_MAX_MEGAPIXELS", "2")
        assert read_image(pictures).shape == (1000, 1500, 3)
    for wrong in ("many", "0", "-3", "nan", "1e9"):
        monkeypatch.setenv("WHICHLANDMARK_MAX_MEGAPIXELS", wrong)
        with pytest.raises(OptionError, match=f"MEGAPIXELS={wrong} given; expected a number"):
            read_image(data)


def test_a_progressive_jpeg_counts_the_coefficients_that_its_decoder_keeps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WHICHLANDMARK_MAX_MEGAPIXELS", "1")
    picture, reserved = Pillow.new("RGB", (2000, 1600), (9, 99, 200)), []
    data = encoded(picture, "JPEG", progressive=True)  # 2 × 1.5 bytes a pixel: 9.6 MB
    with pytest.raises(TooLargeError, match="progressive JPEG take the memory of 2 megapixels"):
        read_image(data, short_side=100)
    monkeypatch.setenv("WHICHLANDMARK_MAX_MEGAPIXELS", "2")
    assert read_image(data, short_side=100, reserve=reserved.append).shape == (200, 250, 3)
    assert reserved == [3 * 2000 * 1600 + 4 * 200 * 250]  # the picture's memory beside these


def test_a_jpeg_of_thousands_of_scans_is_refused_at_once() -> None:
    data = encoded(noise(), "JPEG", progressive=True)
    scan = data.rindex(b"\xff\xda")
    with pytest.raises(ImageError, match="more than 100 scans"):
        read_image(data[:-2] + data[scan:-2] * 500 + data[-2:])


def test_what_follows_a_jpeg_is_not_read() -> None:
    """A motion photo has a video behind the picture; some cameras append megabytes."""
    data = encoded(noise(), "JPEG")
    video = b"\0\0\0\x18ftypmp42" + np.random.default_rng(0).bytes(5_000_000)
    assert np.array_equal(read_image(data + video), read_image(data))


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP"])
def test_a_cut_photo_is_told_as_cut_and_never_filled_up(form: str) -> None:
    data = encoded(noise(), form)
    with pytest.raises(ImageError, match="damaged or cut short"):
        read_image(data[: len(data) * 2 // 3])
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_a_jpeg_of_no_height() -> None:
    data = bytearray(encoded(noise(), "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 7] = b"\0\0"
    with pytest.raises(ImageError, match=r"64 × 0 px|damaged"):
        read_image(bytes(data))


@pytest.mark.parametrize(
    ("form", "count", "value"),
    [(3, 1, b"\0\0\0\0"), (3, 1, b"\0\x09\0\0"), (3, 1, b"\xff\xff\0\0"), (2, 2, b"6\0\0\0"),
     (7, 1, b"\6\0\0\0"), (99, 1, b"\0\6\0\0"), (3, 1, b"")],
)  # fmt: skip
def test_an_impossible_orientation_leaves_the_photo_as_it_is(
    form: int, count: int, value: bytes, tmp_path: Path
) -> None:
    """Out of range, a text, raw bytes, an unknown type, cut short."""
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\1" + struct.pack(">HHI", 0x0112, form, count) + value
    (tmp_path / "a.jpg").write_bytes(encoded(noise(), "JPEG", exif=exif))
    shape = read_image(tmp_path / "a.jpg").shape
    assert photo_size(tmp_path / "a.jpg") == shape[:2] == (48, 64)


def test_twelve_bits_and_gray_with_alpha() -> None:
    data = bytearray(encoded(noise(), "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(ImageError, match="a JPEG of 12 bits a color; save it with 8"):
        read_image(bytes(data))
    clear = Pillow.new("LA", (4, 4), (0, 0))
    for form in ("PNG", "WEBP"):
        assert read_image(encoded(clear, form, lossless=True)).min() == 255


def test_three_hundred_mutated_photos_give_pixels_or_an_image_error() -> None:
    """A few of those of benchmarks/fuzz_photos.py, which mutates 20,000."""
    path = Path(__file__).parents[2] / "benchmarks" / "fuzz_photos.py"
    found = importlib.util.spec_from_file_location("fuzz_photos", path)
    assert found is not None
    assert found.loader is not None
    fuzz = importlib.util.module_from_spec(found)
    found.loader.exec_module(fuzz)
    report = fuzz.run(300, seed=1)
    assert report["faults"] == []
    assert report["pixels"] > 60
    assert report["error"] > 60


def test_a_strip_is_cropped_before_it_is_resized() -> None:
    """Resized whole to a height of 224, a strip of 65,500 × 1 would take 10 GB."""
    crop = Preprocessing(size=224, fit="crop")
    for shape in ((1, 65_500, 3), (65_500, 1, 3), (40, 65_000, 3)):
        assert crop.resize(np.full(shape, 7, np.uint8)).shape == (224, 224, 3)


def test_a_server_does_not_start_with_a_wrong_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHICHLANDMARK_MAX_MEGAPIXELS", "all")
    with pytest.raises(OptionError, match="expected a number of megapixels"):
        ServeOptions()
