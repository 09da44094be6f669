"""The photo scan: each photo once, also after an interruption, a kill, or with another voter."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.support.photos import photos_of, picture, write_photo
from whichlandmark.core.errors import BusyError, GalleryError
from whichlandmark.core.images import content_hash
from whichlandmark.core.storage import read_bytes
from whichlandmark.core.types import Image, Photos
from whichlandmark.data.cleaning import scan, scan_cache
from whichlandmark.data.cleaning.drop import CleaningRules, clean
from whichlandmark.data.cleaning.scan import scan_photos, scans_of
from whichlandmark.data.cleaning.scan_cache import PhotoScan, ScanCache, SceneVote


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    for i in range(20):
        write_photo(tmp_path / "photos" / "A" / f"{i:02d}.jpg", picture(i, i))
    (tmp_path / "photos" / "A" / "07.jpg").write_bytes(b"no photo")
    return photos_of(tmp_path / "photos")


class Counting:
    """A voter that counts the photos it voted on."""

    short_side = 64

    def __init__(self, name: str = "first") -> None:
        self.id, self.voted = name, 0

    def prepare(self, image: Image) -> Image:
        return image[:4, :4]

    def __call__(self, prepared: Sequence[Image]) -> list[tuple[int, str]]:
        self.voted += len(prepared)
        return [(int(image.mean()) % 6, self.id) for image in prepared]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the photos that were read, in any order."""
    read: list[str] = []
    plain = read_bytes

    def counted(path: str) -> bytes:
        read.append(Path(path).name)
        return plain(path)

    monkeypatch.setattr(scan, "read_bytes", counted)
    return read


def test_an_interrupted_scan_resumes(
    photos: Photos, tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "PHOTOS_PER_BATCH", 4)

    def interrupt(done: int, total: int) -> None:
        if done == 12:
            raise KeyboardInterrupt

    with ScanCache(tmp_path / "l.sqlite") as cache, pytest.raises(KeyboardInterrupt):
        scan_photos(photos.paths, cache, progress=interrupt)
    decoded.clear()
    calls: list[tuple[int, int]] = []
    with ScanCache(tmp_path / "l.sqlite") as cache:
        assert scan_photos(photos.paths, cache, progress=lambda *c: calls.append(c)) == 12
        assert sorted(decoded) == [f"{i:02d}.jpg" for i in range(12, 20)]
        assert calls == [(16, 20), (20, 20)]
        resumed = scans_of(photos.paths, cache)
    with ScanCache() as cache:
        scan_photos(photos.paths, cache)
        at_once = scans_of(photos.paths, cache)
    for name in ("hashes", "pixels", "bytes", "errors", "bits", "coarse", "outdoor"):
        assert np.array_equal(getattr(resumed, name), getattr(at_once, name)), name


def test_a_scan_killed_midway_resumes(photos: Photos, tmp_path: Path) -> None:
    """After SIGKILL the file has complete batches, and the next run scans only the other photos."""
    script = (
        "import sys, time; from whichlandmark.data.cleaning import scan; from pathlib import Path\n"
        "from whichlandmark.data.cleaning.scan_cache import ScanCache\n"
        "scan.PHOTOS_PER_BATCH = 4\n"
        "paths = sorted(str(p) for p in Path(sys.argv[1]).rglob('*.jpg'))\n"
        "scan.scan_photos(paths, ScanCache(Path(sys.argv[2])), None,"
        " lambda done, total: print(done, flush=True) or time.sleep(0.2))\n"
    )
    cache_path = tmp_path / "l.sqlite"
    command = [sys.executable, "-c", script, str(tmp_path / "photos"), str(cache_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "4\n"
        assert process.stdout.readline() == "8\n"
        os.kill(process.pid, signal.SIGKILL)
    with ScanCache(cache_path) as cache:
        known = len(cache.stamps())
        assert known in (8, 12)
        assert scan_photos(photos.paths, cache) == known
        assert len(cache.stamps()) == 20


def test_changed_photos_are_scanned_again(
    photos: Photos, tmp_path: Path, decoded: list[str]
) -> None:
    (tmp_path / "photos" / "A" / "03.jpg").rename(tmp_path / "03.jpg")
    with ScanCache(tmp_path / "l.sqlite") as cache:
        assert scan_photos(photos.paths, cache) == 0
        assert "no such file" in scans_of(photos.paths, cache).errors[3]
        decoded.clear()
        (tmp_path / "03.jpg").rename(tmp_path / "photos" / "A" / "03.jpg")
        write_photo(tmp_path / "photos" / "A" / "07.jpg", picture(7, 7))
        path = write_photo(tmp_path / "photos" / "A" / "09.jpg", picture(99, 9, (30, 50)))
        assert scan_photos(photos.paths, cache) == 17
        assert sorted(decoded) == ["03.jpg", "07.jpg", "09.jpg"]
        seen = scans_of(photos.paths, cache)
        assert not seen.errors.astype(bool).any()
        assert seen.hashes[9] == content_hash(path.read_bytes())
        assert (seen.pixels[9], seen.bytes[9]) == (30 * 50, path.stat().st_size)


def test_votes_are_cached_per_voter(photos: Photos, tmp_path: Path, decoded: list[str]) -> None:
    first, second = Counting(), Counting("second")
    with ScanCache(tmp_path / "l.sqlite") as cache:
        scan_photos(photos.paths, cache)
        assert scans_of(photos.paths, cache).outdoor.tolist() == [-1] * 20
        decoded.clear()
        scan_photos(photos.paths, cache, first)  # again, because there is no vote yet
        assert (first.voted, len(decoded)) == (19, 19)  # one is unreadable, and stays so
        scan_photos(photos.paths, cache, first)
        assert first.voted == 19
        scan_photos(photos.paths, cache, second)
        assert second.voted == 19
        seen = scans_of(photos.paths, cache, first)
    assert seen.outdoor[7] == -1
    assert set(seen.scenes) == {"first", ""}
    assert set(seen.outdoor) <= {-1, 0, 1, 2, 3, 4, 5}


def test_a_copy_reuses_the_vote_of_its_content(photos: Photos, tmp_path: Path) -> None:
    voter = Counting()
    with ScanCache() as cache:
        scan_photos(photos.paths, cache, voter)
        copy = tmp_path / "copy.jpg"
        copy.write_bytes(Path(photos.paths[0]).read_bytes())
        scan_photos([str(copy)], cache)
        assert scans_of([str(copy)], cache, voter).scenes[0] == "first"


def test_cleaning_reports_how_many_photos_were_cached(photos: Photos, tmp_path: Path) -> None:
    with ScanCache(tmp_path / "l.sqlite") as cache:
        first = clean(photos.take(np.arange(10)), CleaningRules(min_photos=1), cache=cache)
        second = clean(photos, CleaningRules(min_photos=1), cache=cache)
    assert (first.scanned_before, second.scanned_before) == (0, 10)
    assert clean(photos, CleaningRules(min_photos=1)).kept.ids.tolist() == second.kept.ids.tolist()


def test_a_batch_is_stored_completely_or_not_at_all(tmp_path: Path) -> None:
    with ScanCache(tmp_path / "l.sqlite") as cache:
        cache.put([PhotoScan("a.jpg", "1:1", error="bad")], "v", [SceneVote("h", 3, "alley")])
        bad = SceneVote("h2", None, "alley")  # type: ignore[arg-type]
        with pytest.raises(GalleryError, match="NOT NULL"):
            cache.put([PhotoScan("b.jpg", "1:1", error="bad")], "v", [bad])
        assert len(cache.stamps()) == 1
        assert cache.votes("v") == {"h": (3, "alley")}


def test_verified_pairs_are_cached_by_content(tmp_path: Path) -> None:
    with ScanCache(tmp_path / "l.sqlite") as cache:
        cache.put_pairs("how", {("a", "b"): 31, ("a", "c"): 0, ("b", "c"): 5})
        assert cache.pairs("how", ["a"]) == {("a", "b"): 31, ("a", "c"): 0}
        assert cache.pairs("how", ["a", "b", "c"])["b", "c"] == 5
        assert cache.pairs("another", ["a"]) == {}


def test_a_damaged_or_foreign_cache_file_is_refused(tmp_path: Path, photos: Photos) -> None:
    path = tmp_path / "l.sqlite"
    path.write_bytes(b"nonsense" * 1000)
    with pytest.raises(GalleryError, match="delete it to scan the photos again"):
        ScanCache(path)
    path.unlink()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE something (x)")
    other.close()
    with pytest.raises(GalleryError, match="not a scan cache"):
        ScanCache(path)


def test_a_second_writer_gets_busy_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_cache, "BUSY_SECONDS", 0.1)
    with ScanCache(tmp_path / "l.sqlite") as one, ScanCache(tmp_path / "l.sqlite") as two:
        started = time.monotonic()
        with one._transaction(), pytest.raises(BusyError, match="another process"):
            two.put([PhotoScan("a.jpg", "1:1")])
        assert time.monotonic() - started < 5
        two.put([PhotoScan("a.jpg", "1:1")])
