"""Watching a folder: only complete files, nothing lost when it vanishes, a clock of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from pathlib import Path

import pytest

from whichlandmark.core.errors import BusyError, DataError, NetworkError, OptionError
from whichlandmark.library.watch import Watcher

INTERVAL = 60.0

START = 1_700_000_000.0


class Desk:
    """A folder, a clock, and what the watcher does."""

    def __init__(self, top: Path) -> None:
        self.top, self.time = top, START
        self.calls: list[set[str]] = []
        self.lines: list[str] = []
        self.stamp = 0
        self.error: Exception | None = None
        top.mkdir()
        self.watcher = Watcher(
            str(top), self.label, interval=INTERVAL, stamp=lambda: self.stamp,
            tell=self.lines.append, now=lambda: self.time, wait=self.wait,
        )  # fmt: skip

    def label(self, changing: Collection[str]) -> None:
        self.calls.append({os.path.basename(path) for path in changing})
        if self.error:
            raise self.error

    def wait(self, seconds: float) -> None:
        assert seconds == INTERVAL
        self.time += seconds

    def write(self, name: str, size: int = 10, *, age: float = 0.0) -> Path:
        path = self.top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
        os.utime(path, (self.time - age,) * 2)
        return path

    def look(self) -> int:
        """Look once and wait; returns the number of times that photos were labelled."""
        before = len(self.calls)
        self.watcher.look()
        self.wait(INTERVAL)
        return len(self.calls) - before


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "library")


def test_photos_that_are_there_are_labelled_at_once(desk: Desk) -> None:
    desk.write("old.jpg", age=1000)
    desk.write("new.jpg", age=5)
    assert desk.look() == 1
    assert desk.calls == [{"new.jpg"}]
    assert desk.look() == 1
    assert desk.calls[-1] == set()
    assert [desk.look() for _ in range(3)] == [0, 0, 0]


def test_a_file_that_still_grows_is_left_until_it_is_complete(desk: Desk) -> None:
    assert desk.look() == 1  # the recognizer is new
    for size in (10, 20, 30):
        desk.write("copy.jpg", size)
        assert desk.look() == 0
    assert desk.look() == 1
    assert desk.calls[-1] == set()
    desk.write("copy.jpg", 30)  # the same size at another time
    assert [desk.look(), desk.look(), desk.look()] == [0, 1, 0]


def test_a_complete_photo_does_not_wait_for_one_that_grows(desk: Desk) -> None:
    desk.look()
    desk.write("done.jpg")
    desk.write("growing.jpg", 1)
    desk.look()
    desk.write("growing.jpg", 2)
    assert desk.look() == 1
    assert desk.calls[-1] == {"growing.jpg"}


def test_sidecars_and_files_of_systems_do_not_count(desk: Desk) -> None:
    desk.look()
    for name in ("a.jpg.xmp", "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", ".a.jpg.whichlandmark-1"):
        desk.write(name, age=1000)
    assert [desk.look(), desk.look()] == [0, 0]


def test_a_folder_that_vanishes_is_waited_for(desk: Desk, tmp_path: Path) -> None:
    desk.write("a.jpg", age=1000)
    assert desk.look() == 1
    shutil.move(desk.top, tmp_path / "away")
    assert [desk.look(), desk.look()] == [0, 0]
    desk.top.mkdir()  # the folder in which nothing is mounted
    assert desk.look() == 0
    desk.top.rmdir()
    shutil.move(tmp_path / "away", desk.top)
    assert desk.look() == 0
    assert [line.partition(": ")[2] for line in desk.lines] == [
        "not there, or empty all at once; waiting for it (nothing is taken as deleted)",
        "there again",
    ]
    desk.write("b.jpg", age=1000)
    assert [desk.look(), desk.look()] == [0, 1]


def test_another_recognizer_labels_all_again(desk: Desk) -> None:
    desk.write("a.jpg", age=1000)
    assert desk.look() == 1
    desk.stamp = 1
    assert [desk.look(), desk.look()] == [1, 0]


def test_errors_that_pass_and_errors_that_do_not(desk: Desk, tmp_path: Path) -> None:
    desk.write("a.jpg", age=1000)
    desk.error = BusyError("another process works on this library now")
    assert [desk.look(), desk.look()] == [1, 1]  # told once
    desk.error = NetworkError("the gallery's server is away")
    assert desk.look() == 1
    desk.error = DataError("the disk is full")
    with pytest.raises(DataError, match="disk is full"):
        desk.look()
    desk.error = None
    assert desk.look() == 1
    assert desk.lines == [
        "another process works on this library now (tried again every 60 s)",
        "the gallery's server is away (tried again every 60 s)",
    ]

    def vanish(changing: Collection[str]) -> None:
        shutil.rmtree(desk.top)
        raise DataError("no such folder")

    desk.write("b.jpg", age=1000)
    desk.look()
    desk.watcher.label = vanish
    desk.watcher.look()


def test_it_runs_until_it_is_interrupted(desk: Desk) -> None:
    looks = []

    def wait(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            raise KeyboardInterrupt

    desk.watcher.wait = wait
    with pytest.raises(KeyboardInterrupt):
        desk.watcher.run()
    assert looks == [INTERVAL] * 3


def test_an_interval_that_is_too_short_is_refused() -> None:
    for wrong in (0.5, 0.0, -1.0, float("nan")):
        with pytest.raises(OptionError, match="expected seconds, 1 or more"):
            Watcher("x", print, interval=wrong, stamp=int, tell=print)
