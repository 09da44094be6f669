"""Decode workers that are killed, hang, exceed their limits, are recycled or orphaned."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from tests.support.heic_photo import HEIC
from tests.support.served_world import front, jpeg, taken_at, with_gps
from whichlandmark.core.file_kinds import photo_format, photo_formats
from whichlandmark.core.images import read_image
from whichlandmark.serving.api_errors import PhotoError
from whichlandmark.serving.decode_pool import DecodeLimits, DecodePool
from whichlandmark.serving.decode_worker import reduce_to_side

PHOTO = jpeg(front(0, 0))


@pytest.fixture
def lost() -> list[str]:
    return []


@pytest.fixture
def pool(lost: list[str], request: pytest.FixtureRequest) -> Iterator[DecodePool]:
    limits = DecodeLimits(**{"processes": 1, **getattr(request, "param", {})})
    pool = DecodePool(limits, lost.append)
    yield pool
    pool.close()


def gone(pid: int) -> bool:
    """Whether a process has ended, possibly as a zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def wait(condition: object, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_location_is_read_only_on_request(pool: DecodePool) -> None:
    photo = taken_at(front(0, 0), 48.5, 2.25)
    assert pool.pixels(photo, 100).result().location is None
    assert pool.pixels(photo, 100, location=True).result().location == pytest.approx((48.5, 2.25))
    assert pool.pixels(PHOTO, 100, location=True).result().location is None
    assert pool.jpeg(photo, 100).result().location is None


def png(height: int, width: int) -> bytes:
    data = io.BytesIO()
    Pillow.new("RGB", (width, height), "red").save(data, "PNG")
    return data.getvalue()


def test_pixels_equal_those_of_the_decoder(pool: DecodePool) -> None:
    for data in (PHOTO, png(300, 200)):
        done = pool.pixels(data, 120).result()
        expected = reduce_to_side(read_image(data, short_side=120), 120)
        assert np.array_equal(done.image, expected)
        assert min(done.image.shape[:2]) >= 120
    assert (done.height, done.width) == (300, 200)
    assert pool.pixels(png(1200, 960), 120).result().image.shape == (150, 120, 3)  # halved thrice


def test_decoder_output_reaches_no_log(tmp_path: Path) -> None:
    """Pillow warns about unusual metadata; nothing of it reaches the server's stdout or stderr."""
    data = with_gps(front(0, 0), "words", 6)
    at = data.index(b"Exif") + 14
    broken = data[:at] + b"\0\x40" + data[at + 2 :]  # more entries than there are bytes
    with pytest.warns(UserWarning, match="Corrupt EXIF"):
        Pillow.open(io.BytesIO(broken)).getexif()
    (tmp_path / "broken.jpg").write_bytes(broken)
    script = (
        "import sys\nfrom pathlib import Path\nfrom whichlandmark.serving.decode_pool import *\n"
        "pool = DecodePool(DecodeLimits(processes=1))\n"
        "print(pool.pixels(Path(sys.argv[1]).read_bytes(), 100).result().height)\npool.close()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "broken.jpg")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("360\n", "")


def test_a_killed_worker_costs_one_photo(pool: DecodePool, lost: list[str]) -> None:
    pool.pixels(PHOTO, 100).result()
    (pid,) = pool.pids
    os.kill(pid, signal.SIGSTOP)
    waiting = pool.pixels(PHOTO, 100)
    time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(PhotoError) as error:
        waiting.result(10)
    assert error.value.code == "worker_lost"
    assert pool.pixels(PHOTO, 100).result(10).image is not None
    assert (lost, gone(pid)) == (["lost"], True)
    os.kill(pool.pids[0], signal.SIGKILL)  # an idle worker: no photo is lost
    time.sleep(0.1)
    assert pool.pixels(PHOTO, 100).result(10).image is not None


@pytest.mark.parametrize("pool", [{"seconds": 0.6}], indirect=True)
def test_a_hanging_worker_is_killed(pool: DecodePool, lost: list[str]) -> None:
    pool.pixels(PHOTO, 100).exception(10)  # may be slow to start
    lost.clear()
    (pid,) = pool.pids
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(PhotoError) as error:
        pool.pixels(PHOTO, 100).result(10)
    assert error.value.code == "timeout"
    assert time.monotonic() - began < 8  # not the 10 s above
    assert (lost, gone(pid)) == (["timeout"], True)


@pytest.mark.parametrize("pool", [{"cpu_seconds": 0.1, "seconds": 20}], indirect=True)
def test_processor_time_is_bounded(pool: DecodePool, lost: list[str]) -> None:
    """A PNG of 24 megapixels takes longer than 0.1 s, so the kernel ends the process."""
    with pytest.raises(PhotoError, match=r"over 0\.1 s of processor time") as error:
        pool.pixels(png(4000, 6000), 100).result(20)
    assert (error.value.code, lost) == ("timeout", ["timeout"])


@pytest.mark.parametrize("pool", [{"megabytes": 150}], indirect=True)
def test_memory_is_bounded(pool: DecodePool, lost: list[str]) -> None:
    with pytest.raises(PhotoError) as error:
        pool.pixels(png(6000, 6600), 100).result(20)
    assert error.value.code == "too_large"
    with open(f"/proc/{pool.pids[0]}/status") as file:
        peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    assert peak < 150_000
    assert pool.pixels(PHOTO, 100).result(10).image is not None
    assert lost == []  # the allocation failed, the process survived


@pytest.mark.parametrize("pool", [{"recycle": 3}], indirect=True)
def test_workers_are_recycled(pool: DecodePool, lost: list[str]) -> None:
    seen = set()
    for _ in range(7):
        assert pool.pixels(PHOTO, 100).result(10).image is not None
        wait(lambda: pool.pids)
        seen |= set(pool.pids)
    wait(lambda: len(lost) == 2)
    assert set(lost) == {"recycled"}
    assert len(seen) >= 2


def test_close_ends_every_process_and_answers_pending_photos() -> None:
    pool = DecodePool(DecodeLimits(processes=2))
    pending = [pool.pixels(PHOTO, 100) for _ in range(20)]
    wait(lambda: len(pool.pids) == 2)
    pids = pool.pids
    pool.close()
    assert all(one.result(0).image is not None for one in pending)
    assert all(gone(pid) for pid in pids)
    with pytest.raises(PhotoError, match="stopped"):
        pool.pixels(PHOTO, 100).result(1)


def test_no_worker_outlives_a_killed_server() -> None:
    script = (
        "import time\nfrom whichlandmark.serving.decode_pool import *\n"
        "pool = DecodePool(DecodeLimits(processes=2))\n"
        "while len(pool.pids) < 2: time.sleep(0.01)\n"
        "print(*pool.pids, flush=True)\ntime.sleep(60)"
    )
    server = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    with server:
        assert server.stdout is not None
        pids = [int(pid) for pid in server.stdout.readline().split()]
        assert len(pids) == 2
        server.kill()
    wait(lambda: all(gone(pid) for pid in pids), 5)


def test_formats_are_recognized_by_their_first_bytes() -> None:
    for form in ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "TIFF"):
        data = io.BytesIO()
        front(0, 0).save(data, form)
        assert photo_format(data.getvalue()) == form
    for form in ("BMP", "ICO", "PPM", "PCX", "PDF"):
        data = io.BytesIO()
        front(0, 0).save(data, form)
        assert not photo_format(data.getvalue()), form
    assert not any(photo_format(d) for d in (b"", b"\xff\xd8", b"<svg>", b"%!PS", b"RIFF1234WAVE"))


def encoded(form: str, megapixels: float, mode: str = "RGB", **options: object) -> bytes:
    """A 4:3 photo of one color, which takes as much memory as any other."""
    width = round((megapixels * 1e6 * 4 / 3) ** 0.5)
    data = io.BytesIO()
    Pillow.new(mode, (width, round(width * 3 / 4))).save(data, form, **options)
    return data.getvalue()


@pytest.mark.parametrize(
    ("form", "name", "options"),
    [("WEBP", "WebP", {"method": 0}), ("WEBP", "WebP", {"lossless": True, "method": 0}),
     ("AVIF", "AVIF", {"speed": 10}), ("PNG", "PNG", {"compress_level": 1}), ("GIF", "GIF", {}),
     ("TIFF", "TIFF", {"compression": "tiff_lzw"}), ("JPEG", "", {}),
     ("JPEG", "progressive JPEG", {"progressive": True, "subsampling": 0})],
)  # fmt: skip
@pytest.mark.parametrize(
    "pool", [{"megabytes": 200, "cpu_seconds": 20, "seconds": 40}], indirect=True
)
def test_what_cannot_be_decoded_is_refused_with_its_size_and_the_largest(
    pool: DecodePool, lost: list[str], form: str, name: str, options: dict[str, object]
) -> None:
    """In 200 MB: a photo of 97% of the size that a refusal names is decoded."""
    error = pool.pixels(encoded(form, 33, **options), 224).exception(60)
    if not name:  # decoded at 1/8
        assert error is None
        return
    assert isinstance(error, PhotoError)
    told = re.fullmatch(
        rf"too large to decode here: 33\.0 megapixels of {name}; at most ([\d.]+)", error.message
    )
    assert told is not None, error.message
    assert error.code == "too_large"
    most = float(told[1])
    assert 2 < most < 33
    assert pool.pixels(encoded(form, most * 0.97, **options), 224).exception(60) is None
    assert pool.pixels(encoded(form, most * 1.03, **options), 224).exception(60) is not None
    assert lost == []  # no process ended


@pytest.mark.parametrize("pool", [{"megabytes": 200, "recycle": 10_000}], indirect=True)
def test_small_photos_leave_room_for_a_large_one(pool: DecodePool, lost: list[str]) -> None:
    large = encoded("WEBP", 3.2, method=0)
    small = [jpeg(front(code, 0).resize((600 + 97 * code, 500))) for code in range(12)]
    for _ in range(6):
        assert all(pool.pixels(photo, 224).exception(20) is None for photo in small)
        assert pool.pixels(large, 224).exception(20) is None
    assert lost == []


@pytest.mark.parametrize("pool", [{"megabytes": 150}], indirect=True)
def test_a_file_larger_than_the_memory_is_told_so(pool: DecodePool, lost: list[str]) -> None:
    photo = PHOTO + bytes(120_000_000)
    error = pool.pixels(photo, 100).exception(20)
    assert isinstance(error, PhotoError)
    assert (error.code, error.message) == (
        "too_large", "too large to decode here: a file of 120 MB",
    )  # fmt: skip
    assert pool.pixels(PHOTO, 100).exception(20) is None
    assert lost == []


def refusal(pool: DecodePool, data: bytes) -> dict[str, str]:
    error = pool.pixels(data, 100).exception(20)
    assert isinstance(error, PhotoError)
    return dict(error.to_fault())


@pytest.mark.parametrize("pool", [{"seconds": 60}], indirect=True)
@pytest.mark.usefixtures("without_heic")
def test_other_formats_are_named_with_the_way_out(pool: DecodePool) -> None:
    heic = refusal(pool, HEIC)
    assert heic["message"] == (
        "This is a HEIC photo, as iPhones take them; this server cannot read it: send it as JPEG, "
        "or install whichlandmark[heic] on the server."
    )
    assert (heic["code"], heic["format"]) == ("unsupported_format", "HEIC")
    assert heic["hint"] == "Send JPEG, PNG, WebP, GIF, AVIF or TIFF."
    film = b"\0\0\0\x14ftypqt  \0\0\0\0qt  "
    for data, form, text in (
        (film, "video", "This is a video, such as the moving part of a Live Photo: send a photo."),
        (b"\xff\x0a" + bytes(60), "JPEG XL", "This is a JPEG XL file; this server cannot"),
        (b"IIRO" + bytes(60), "Olympus RAW", "This is an Olympus RAW file; this server cannot"),
        (b"II*\0\x10\0\0\0CR\2\0", "Canon RAW", "This is a Canon RAW file; this server cannot"),
        (b"8BPS" + bytes(60), "Photoshop", "This is a Photoshop file (PSD); this server cannot"),
        (b"BM" + bytes(60), "BMP", "This is a BMP file; this server cannot"),
        (b"<svg xmlns=", "SVG drawing", "This is not a photo. Its content: SVG drawing."),
        (b"%PDF-1.7", "PDF", "This is not a photo. Its content: PDF."),
        (b"<!doctype html>", "web page", "This is not a photo. Its content: web page (HTML)."),
    ):  # fmt: skip
        told = refusal(pool, data)
        assert (told["code"], told["format"]) == ("unsupported_format", form)
        assert told["message"].startswith(text)
    unknown = refusal(pool, b"\x01\x02\xff\xfe")
    assert unknown["message"] == "This is not a photo in an accepted format."
    assert "format" not in unknown
    assert refusal(pool, b"")["code"] == "unreadable"


@pytest.mark.parametrize("pool", [{"seconds": 60}], indirect=True)
def test_a_raw_file_that_begins_as_a_tiff_is_named_by_its_content(pool: DecodePool) -> None:
    """Only the decode process looks that far."""
    dng = (
        b"II*\0\x08\0\0\0\1\0" + (50706).to_bytes(2, "little") + b"\1\0\4\0\0\0\1\4\0\0" + bytes(4)
    )
    told = refusal(pool, dng)
    assert (told["code"], told["format"]) == ("unsupported_format", "DNG RAW")
    assert told["message"].startswith("This is a DNG RAW file; this server cannot read it")


@pytest.mark.parametrize("pool", [{"seconds": 60}], indirect=True)
def test_tiff_and_heic_are_decoded_in_the_pool(pool: DecodePool) -> None:
    data = io.BytesIO()
    front(0, 0).save(data, "TIFF", compression="tiff_lzw")
    done = pool.pixels(data.getvalue(), 224).result(20)
    assert np.array_equal(done.image, np.asarray(front(0, 0)))
    if "HEIC" not in photo_formats():
        pytest.skip("the extra heic")
    done = pool.pixels(HEIC, 48, location=True).result(20)
    assert done.image.shape == (64, 48, 3)
    assert (done.height, done.width) == (64, 48)
    assert done.location == pytest.approx((48.858333, 2.294444), abs=1e-5)
