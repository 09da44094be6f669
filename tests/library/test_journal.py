"""The journal of sidecars: killed at every step, the same command goes on to the same result."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.labelled import FakeLibrary, Snapshot, photo, snapshot
from whichlandmark.core.errors import BusyError, DataError
from whichlandmark.gallery.sqlite import own_file
from whichlandmark.gallery.sqlite.own_file import OwnSqliteFile
from whichlandmark.library import journal as journal_module
from whichlandmark.library import sidecar_files
from whichlandmark.library.journal import Journal, library_of
from whichlandmark.library.label import undo
from whichlandmark.library.xmp import Additions, add, read_xmp

OLD = 1_500_000_000

STEPS = [(os, name) for name in ("open", "replace", "link", "unlink", "utime", "fsync")]


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a power cut would show the difference."""
    monkeypatch.setattr(journal_module, "KIND", replace(journal_module.KIND, durable=False))
    monkeypatch.setattr(os, "fsync", lambda number: None)


class Killed(BaseException):
    """The end of a process: nothing that would run after it in the process is run."""


@contextmanager
def killed_at(step: int) -> Iterator[list[int]]:
    """Raise Killed before system call number `step` on sidecars, or after a transaction.

    Yields a list with the number of steps that were reached.
    """
    reached = [0]

    def count() -> None:
        reached[0] += 1
        if reached[0] == step:
            raise Killed

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **options: Any) -> Any:
            count()
            return real(*given, **options)

        return call

    real_transaction = OwnSqliteFile.transaction

    @contextmanager
    def transaction(self: OwnSqliteFile) -> Iterator[Any]:
        with real_transaction(self) as sql:
            yield sql
            count()
        count()

    with pytest.MonkeyPatch.context() as patch:
        for module, name in STEPS:
            patch.setattr(module, name, counted(getattr(module, name)))
        patch.setattr(sidecar_files, "copystat", counted(shutil.copystat))
        patch.setattr(OwnSqliteFile, "transaction", transaction)
        yield reached


def a_library(top: Path) -> Path:
    """Photos with sidecars of ours and of others, and without any."""
    for name in ("a.jpg", "b.jpg", "c/d.jpg", "c/e.jpg"):
        photo(top / name)
    for name in ("b.jpg.xmp", "c/e.xmp"):
        (top / name).write_bytes(add(None, Additions(("Holiday",)))[0])
        os.utime(top / name, (OLD, OLD))
    return top


def open_library(top: Path, state: Path) -> FakeLibrary:
    """The same library after a first run, whose landmarks are others now."""
    library = FakeLibrary(top, state)
    for name in ("a.jpg", "b.jpg", "c/d.jpg", "c/e.jpg"):
        library.answer(name, "louvre")
    library.answer("c/d.jpg", "eiffel", 0.2)
    return library


@pytest.fixture
def world(tmp_path: Path) -> tuple[Path, Path, Snapshot, dict[str, bytes | None]]:
    """A library that was labelled once and its state, as they were before, and what a second run
    makes of it.
    """
    top, state = a_library(tmp_path / "library"), tmp_path / "state"
    before = snapshot(top)
    with FakeLibrary(top, state) as library:
        for name in ("a.jpg", "c/d.jpg", "c/e.jpg"):
            library.answer(name, "eiffel")
        assert library.written() == {}
    shutil.copytree(top, tmp_path / "once", symlinks=True)
    shutil.copytree(state, tmp_path / "state once")
    with open_library(top, state) as library:
        assert library.written() == {}
    after = {name: found[0] for name, found in snapshot(top).items()}
    assert after != {name: found[0] for name, found in before.items()}
    return top, state, before, after


def restart(top: Path, state: Path, tmp_path: Path) -> None:
    for folder, copy in ((top, "once"), (state, "state once")):
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / copy, folder, symlinks=True)


def test_killed_at_every_step_of_writing(
    world: tuple[Path, Path, Snapshot, dict[str, bytes | None]], tmp_path: Path
) -> None:
    top, state, before, after = world
    step, ended = 0, False
    while not ended:
        step += 1
        restart(top, state, tmp_path)
        library = open_library(top, state)
        plan = library.planned()
        try:
            with killed_at(step):
                library.write(plan)
            ended = True
        except Killed:
            pass
        library.journal.close()
        if step % 2:  # either the same command again, or undo at once
            with open_library(top, state) as again:
                again.written()
                assert again.planned().sidecars == []
            assert {name: found[0] for name, found in snapshot(top).items()} == after, step
        undo(top, state=state)
        assert snapshot(top) == before, step
    assert step > 25


def test_killed_at_every_step_of_undo(
    world: tuple[Path, Path, Snapshot, dict[str, bytes | None]], tmp_path: Path
) -> None:
    top, state, before, after = world
    step, ended = 0, False
    while not ended:
        step += 1
        restart(top, state, tmp_path)
        try:
            with killed_at(step):
                undo(top, state=state)
            ended = True
        except Killed:
            pass
        if step % 2:  # labelled again, as by another program that runs at night
            with open_library(top, state) as again:
                again.written()
            assert {name: found[0] for name, found in snapshot(top).items()} == after, step
        undo(top, state=state)
        assert snapshot(top) == before, step
        undo(top, state=state)
        assert snapshot(top) == before, step
    assert step > 20


def test_what_others_wrote_after_the_kill_stays(tmp_path: Path) -> None:
    top, state = a_library(tmp_path / "library"), tmp_path / "state"
    library = open_library(top, state)
    with killed_at(1_000) as reached:  # how many steps are there?
        library.write(library.planned())
    library.journal.close()
    steps = reached[0]
    undo(top, state=state)
    for step in range(1, steps + 1):
        library = open_library(top, state)
        with pytest.raises(Killed), killed_at(step):
            library.write(library.planned())
        library.journal.close()
        path = top / "b.jpg.xmp"
        path.write_bytes(path.read_bytes().replace(b"Holiday", b"Summer"))
        undo(top, state=state)
        assert read_xmp(path.read_bytes()).keywords == ("Summer",), step
        path.write_bytes(path.read_bytes().replace(b"Summer", b"Holiday"))
        assert not list(top.rglob(".*")), step


def test_one_process_has_a_journal_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_file, "BUSY_SECONDS", 0.01)
    (tmp_path / "state").mkdir()
    with Journal(tmp_path / "state", str(tmp_path)), pytest.raises(BusyError):
        Journal(tmp_path / "state", str(tmp_path))


def test_damaged_and_newer_journals_are_named(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    path = state / journal_module.JOURNAL_FILE
    path.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 20)
    with pytest.raises(DataError, match="cannot be undone without it"):
        Journal(state, str(tmp_path))
    assert library_of(path) == ""
    path.unlink()
    with Journal(state, str(tmp_path)) as journal, journal.file.transaction() as sql:
        sql.execute("PRAGMA user_version = 99")
    assert library_of(path) == str(tmp_path)
    with pytest.raises(DataError, match="newer version"):
        Journal(state, str(tmp_path))
    assert path.stat().st_mode & 0o077 == 0


def test_a_damaged_entry_is_named(tmp_path: Path) -> None:
    top, state = a_library(tmp_path / "library"), tmp_path / "state"
    with open_library(top, state) as library:
        library.written()
        with library.journal.file.transaction() as sql:
            sql.execute('UPDATE entries SET facts = \'{"photos": ["a.jpg"]}\'')
    before = snapshot(top)
    with pytest.raises(DataError, match=r"the entry of .*: damaged|damaged.*the entry of"):
        undo(top, state=state)
    assert snapshot(top) == before


def test_the_journal_does_not_grow_with_runs(tmp_path: Path) -> None:
    top, state = a_library(tmp_path / "library"), tmp_path / "state"
    for run in range(6):
        with FakeLibrary(top, state) as library:
            library.answer("b.jpg", ("eiffel", "louvre")[run % 2])
            library.written()
            with library.journal.file.reading() as sql:
                (entries,) = sql.execute("SELECT count(*) FROM entries").fetchone()
                (changes,) = sql.execute("SELECT count(*) FROM changes").fetchone()
            assert (entries, changes) == (1, 0)
        path = top / "b.jpg.xmp"
        path.write_bytes(path.read_bytes() + b"\n")
    undo(top, state=state)
    assert read_xmp(path.read_bytes()).keywords == ("Holiday",)
