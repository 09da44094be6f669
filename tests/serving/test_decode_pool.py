"""Decode workers that are killed, hang, exceed their limits, are recycled or orphaned."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from tests.support.served_world import front, jpeg, taken_at, with_gps
from whichlandmark.core.file_kinds import photo_format
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
    assert time.monotonic() - began < 2
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
