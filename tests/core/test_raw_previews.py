"""Raw photos of cameras: read by the JPEG in them, upright; their positions; what fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from tests.support import raw_photo
from tests.support.raw_photo import PLACE, dng, preview, raw_of
from whichlandmark.core import file_kinds, raw_previews
from whichlandmark.core.errors import ImageError, TooLargeError
from whichlandmark.core.file_kinds import kind_of, photo_format
from whichlandmark.core.images import header_size, photo_size, read_image
from whichlandmark.core.photo_files import location_of
from whichlandmark.data.left_out import why_not_used
from whichlandmark.recognition.faults import failed_object

pytest.importorskip("rawpy", reason="the extra raw")

RED, BLUE = (200, 40, 40), (40, 40, 200)

# EXIF orientation of the raw file → corners of the upright picture that are red.
RED_CORNERS = {
    1: "top", 2: "top", 3: "bottom", 4: "bottom", 5: "left", 6: "right", 7: "right", 8: "left",
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _end_process() -> Iterator[None]:
    yield
    for worker in raw_previews._WORKERS.values():
        worker.close()


def is_near(pixel: np.ndarray, color: tuple[int, int, int]) -> bool:
    return bool(np.abs(pixel.astype(int) - color).max() < 12)


def red_side(image: np.ndarray) -> str:
    """Which side of a picture is red."""
    middle = image.shape[0] // 2, image.shape[1] // 2
    sides = {
        "top": image[5, middle[1]], "bottom": image[-5, middle[1]], "left": image[middle[0], 5],
        "right": image[middle[0], -5],
    }  # fmt: skip
    opposite = {"top": "bottom", "bottom": "top", "left": "right", "right": "left"}
    found = [
        side for side in sides if is_near(sides[side], RED) and is_near(sides[opposite[side]], BLUE)
    ]
    return ", ".join(found)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_raw_photo_comes_upright(orientation: int) -> None:
    data = dng(orientation)
    image = read_image(data)
    assert image.shape == ((480, 640, 3) if orientation < 5 else (640, 480, 3))
    assert red_side(image) == RED_CORNERS[orientation]
    assert header_size(data, full=True) == image.shape[:2]


@pytest.mark.parametrize("suffix", raw_photo.MAKERS)
def test_raw_files_of_makers(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"IMG_1{suffix.upper()}"
    path.write_bytes(raw_of(suffix, 6))
    assert not why_not_used(str(path))
    image = read_image(path)
    assert (image.shape, red_side(image)) == ((640, 480, 3), "right")
    assert photo_size(path) == (640, 480)
    assert location_of(path.read_bytes()) == pytest.approx(PLACE, abs=1e-5)


@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_the_preview_of_a_raf_has_its_own_orientation(orientation: int) -> None:
    data = raw_photo.raf(orientation)
    assert red_side(read_image(data)) == RED_CORNERS[orientation]
    assert location_of(data) == pytest.approx(PLACE, abs=1e-5)


def test_orientations_of_previews() -> None:
    """Its own goes before the raw file's; one that stands already is not turned."""
    exif = Pillow.Exif()
    exif[0x0112] = 8
    assert red_side(read_image(dng(6, preview(exif=exif)))) == "left"
    standing = read_image(dng(6, preview((480, 640))))
    assert (standing.shape, red_side(standing)) == ((640, 480, 3), "top")


def test_the_position_of_a_cr3_and_none() -> None:
    head = raw_photo.cr3_head()
    assert photo_format(head) == ""
    assert kind_of(head) == ""
    assert location_of(head) == pytest.approx(PLACE, abs=1e-5)
    assert location_of(head[:60]) is None
    assert location_of(dng(position=False)) is None
    rw2 = b"IIU\0" + raw_of(".nef")[4:]
    assert location_of(rw2) == pytest.approx(PLACE, abs=1e-5)
    assert location_of(b"FOVb" + bytes(2000)) is None


def test_a_preview_that_is_a_bitmap() -> None:
    image = read_image(dng(6, bitmap=True))
    assert image.shape == (640, 480, 3)
    assert np.abs(image.astype(int) - 90).max() < 3


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (raw_photo.dng_without_preview(), "DNG RAW (without a preview in it)"),
        (dng(jpeg=preview((160, 120))), "DNG RAW (its only preview has 160 × 120 px)"),
        (b"FOVb" + bytes(3000), "Sigma RAW (of a camera that LibRaw does not know)"),
        (raw_photo.cr3_head() + bytes(900), "Canon RAW (of a camera that LibRaw does not know)"),
    ],
)
def test_a_raw_photo_that_cannot_be_used_says_why(data: bytes, told: str) -> None:
    for read in (read_image, header_size):
        with pytest.raises(ImageError) as caught:
            read(data, name="a.raw")
        expected = f"a.raw: its content: {told}, which cannot be decoded: convert it to JPEG"
        assert str(caught.value) == expected
    fault = failed_object("a.raw", str(caught.value))["error"]
    assert (fault["code"], fault["format"]) == ("unsupported_format", told.partition(" (")[0])


def test_an_ordinary_tiff_with_the_ending_of_raw_files(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Pillow.fromarray(pixels).save(tmp_path / "a.nef", "TIFF")
    assert not why_not_used(str(tmp_path / "a.nef"))
    assert np.array_equal(read_image(tmp_path / "a.nef"), pixels)


def test_limits_of_a_preview(monkeypatch: pytest.MonkeyPatch) -> None:
    data = dng(jpeg=preview((2000, 1600)))
    monkeypatch.setenv("WHICHLANDMARK_MAX_MEGAPIXELS", "1")
    assert max(read_image(data).shape) == 1000  # as every other JPEG, at half its size
    monkeypatch.setattr("whichlandmark.core.images.max_file_bytes", lambda: 10_000)
    with pytest.raises(TooLargeError, match="larger than"):
        read_image(data)


def test_a_process_that_dies_is_one_failed_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    data = dng()
    read_image(data)
    worker = raw_previews._WORKERS[os.getpid()]
    assert worker._process is not None
    first = worker._process.pid
    os.kill(first, signal.SIGKILL)
    worker._process.wait()
    assert read_image(data).shape == (480, 640, 3)  # noticed before the request
    assert worker._process.pid != first

    def dies(*_: object) -> None:
        raise EOFError

    with monkeypatch.context() as patched:
        patched.setattr(worker, "_exchange", dies)
        with pytest.raises(ImageError, match=r"a\.dng: a raw photo that LibRaw ended over"):
            read_image(data, name="a.dng")
    assert read_image(data).shape == (480, 640, 3)


def test_a_process_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "hangs.py"
    script.write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(raw_previews, "_WORKERS", {})
    monkeypatch.setattr(raw_previews, "WAIT_SECONDS", 0.2)
    with monkeypatch.context() as patched:
        patched.setattr(raw_previews.raw_worker, "__file__", str(script))
        with pytest.raises(ImageError, match="LibRaw ended over"):
            read_image(dng())
    monkeypatch.setattr(raw_previews, "WAIT_SECONDS", 30.0)
    assert read_image(dng()).shape == (480, 640, 3)
    raw_previews._WORKERS[os.getpid()].close()


def test_many_threads_share_one_process() -> None:
    files = [dng(orientation) for orientation in (1, 6)] * 10
    with ThreadPoolExecutor(8) as pool:
        shapes = list(pool.map(lambda data: read_image(data).shape, files))
    assert shapes == [(480, 640, 3), (640, 480, 3)] * 10
    assert len(raw_previews._WORKERS) == 1


def test_no_process_outlives_the_one_that_started_it(tmp_path: Path) -> None:
    """Also one that was killed; and a current folder lends it no modules."""
    (tmp_path / "a.dng").write_bytes(dng())
    (tmp_path / "rawpy.py").write_text("raise SystemExit('of a folder of photos')")
    code = (
        "import os, sys\n"
        "from whichlandmark.core import raw_previews\n"
        "from whichlandmark.core.images import read_image\n"
        "assert read_image('a.dng').shape == (480, 640, 3)\n"
        "print(raw_previews._WORKERS[os.getpid()]._process.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as started:  # fmt: skip
        assert started.stdout is not None
        pid = int(started.stdout.readline())
        os.kill(pid, 0)  # it runs
        started.kill()
        started.wait()
    for _ in range(200):
        if not is_alive(pid):
            break
        time.sleep(0.01)
    assert not is_alive(pid)


def is_alive(pid: int) -> bool:
    """Does a process run? One that ended and was not asked for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_damaged_raw_files_give_pixels_or_an_image_error() -> None:
    rng = np.random.default_rng(1)
    originals = [dng(6), raw_of(".nef"), raw_of(".cr2"), raw_photo.raf()]
    outcomes = {"pixels": 0, "error": 0}
    for turn in range(120):
        data = bytearray(originals[turn % 4])
        for _ in range(int(rng.integers(1, 60))):
            data[int(rng.integers(4, 900))] = int(rng.integers(0, 256))
        location_of(bytes(data[: int(rng.integers(100, len(data)))]))
        try:
            outcomes["pixels" if read_image(bytes(data)).size else "none"] += 1
        except ImageError:
            outcomes["error"] += 1
    assert min(outcomes.values()) > 5


@pytest.mark.usefixtures("without_raw")
@pytest.mark.parametrize("suffix", [".dng", ".nef", ".orf"])
def test_without_the_extra_the_command_is_named(suffix: str, tmp_path: Path) -> None:
    data = dng() if suffix == ".dng" else raw_of(suffix)
    (tmp_path / f"a{suffix}").write_bytes(data)
    kind = {".dng": "DNG", ".nef": "Nikon", ".orf": "Olympus"}[suffix]
    told = f"{kind} RAW, which cannot be decoded: convert it to JPEG, or pip install "
    with pytest.raises(ImageError) as caught:
        read_image(tmp_path / f"a{suffix}")
    assert f"its content: {told}" in str(caught.value)
    assert "[raw]" in str(caught.value)
    assert why_not_used(str(tmp_path / f"a{suffix}")).startswith(told)


@pytest.mark.parametrize("data", [dng(), raw_of(".orf"), raw_of(".cr2"), raw_photo.cr3_head()])
def test_strangers_raw_photos_are_refused_unread(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the server does: LibRaw is not asked, though it is installed."""
    monkeypatch.setattr(raw_previews, "_WORKERS", None)
    assert file_kinds.raw_is_read()
    with pytest.raises(ImageError, match=r"RAW, which .* decoded: convert it to JPEG$"):
        read_image(data, raw=False)
