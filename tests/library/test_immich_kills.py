"""A run, or an undo, that is killed anywhere goes on, and ends as if it had not been."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_immich import FakeImmich
from tests.support.immich_world import jpeg, label, make_recognizer, undo
from tests.support.web_doubles import only_this_machine
from whichlandmark.gallery.sqlite.own_file import OwnSqliteFile
from whichlandmark.library.immich_client import Connection
from whichlandmark.recognition.recognizer import Recognizer

pytestmark = pytest.mark.server


class Killed(BaseException):
    """The end of the process, which nothing may catch."""


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory: pytest.TempPathFactory) -> Recognizer:
    return make_recognizer(tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    only_this_machine(monkeypatch)


class Killing:
    """Raises Killed before or after the n-th request or commit."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left, self.steps = -1, 0
        for owner, name in ((Connection, "json"), (Connection, "file")):
            self._wrap(monkeypatch, owner, name)
        self._wrap(monkeypatch, OwnSqliteFile, "transaction")

    def _wrap(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        inner: Callable[..., Any] = getattr(owner, name)

        def step(*given: Any, **named: Any) -> Any:
            self._tick()
            made = inner(*given, **named)
            if name != "transaction":
                self._tick()
            return made

        monkeypatch.setattr(owner, name, step)

    def _tick(self) -> None:
        self.steps += 1
        if self.left == 0:
            raise Killed
        self.left -= 1


def world() -> FakeImmich:
    fake = FakeImmich(clears=True)
    for i, code in enumerate((0, 0, 1, 2, 201)):
        fake.add(f"{i}.jpg", jpeg(code, 70 + i))
    fake.tag(next(iter(fake.assets.values())), "landmark/Eiffel Tower")
    return fake


def ends(
    killing: Killing, folder: Path, act: Callable[[FakeImmich, Path], object], prepare: bool,
    recognizer: Recognizer,
) -> list[tuple[Any, Counter[str]]]:  # fmt: skip
    """What is there, and what was asked, after a kill at each step and another run."""
    found, at = [], 0
    while True:
        fake, here = world(), folder / str(at)
        here.mkdir(parents=True)
        with fake.running():
            if prepare:
                label(fake, here, recognizer, gps=True)
                fake.log.clear()
            killing.left, killed = at, False
            try:
                act(fake, here)
            except Killed:
                killed = True
            killing.left = -1
            if killed:
                act(fake, here)
            found.append((fake.snapshot(), fake.counts()))
        shutil.rmtree(here)
        if not killed:
            return found
        at += 7 if at > 3 else 1  # the whole sweep takes a minute


def test_a_killed_run_goes_on(
    tmp_path: Path, recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act(fake: FakeImmich, folder: Path) -> object:
        return label(fake, folder, recognizer, gps=True)

    found = ends(Killing(monkeypatch), tmp_path, act, False, recognizer)
    assert len(found) > 8
    expected, asked = found[-1]
    photos = list(expected["photos"].values())
    assert [len(photo[-1]) for photo in photos] == [3, 3, 3, 2, 0]
    for snapshot, counts in found:
        assert snapshot == expected
        assert counts["GET /assets/{id}/thumbnail"] <= 2 * asked["GET /assets/{id}/thumbnail"]


def test_a_killed_undo_goes_on(
    tmp_path: Path, recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ends(Killing(monkeypatch), tmp_path, undo, True, recognizer)
    assert len(found) > 6
    assert all(snapshot == world().snapshot() for snapshot, _ in found)


def test_what_a_killed_run_has_put_there_can_be_undone(
    tmp_path: Path, recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    killing = Killing(monkeypatch)
    for at in range(20, 60, 13):
        fake, folder = world(), tmp_path / str(at)
        folder.mkdir()
        with fake.running():
            killing.left = at
            try:
                label(fake, folder, recognizer, gps=True)
            except Killed:
                killing.left = -1
            undo(fake, folder)
        assert fake.snapshot() == world().snapshot()
