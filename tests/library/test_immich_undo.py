"""Undo in Immich: exactly what was put there, also after others' changes and without the state."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.fake_immich import FakeAsset, FakeImmich
from tests.support.immich_world import fill, jpeg, label, make_recognizer, undo
from tests.support.web_doubles import only_this_machine
from whichlandmark.recognition.recognizer import Recognizer

pytestmark = pytest.mark.server

MARK, PLACED = "landmark/by-whichlandmark", "landmark/position-by-whichlandmark"


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory: pytest.TempPathFactory) -> Recognizer:
    return make_recognizer(tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    only_this_machine(monkeypatch)


def named(fake: FakeImmich, name: str) -> FakeAsset:
    return next(one for one in fake.assets.values() if one.name == name)


def test_changes_of_others_stay(tmp_path: Path, recognizer: Recognizer) -> None:
    fake = fill(FakeImmich(clears=True))
    with fake.running():
        label(fake, tmp_path, recognizer, gps=True)
        # The user moves one photo, tags others by hand, deletes one, trashes one, archives one.
        moved, tagged = named(fake, "0-0.jpg"), named(fake, "none.jpg")
        moved.latitude = 50.0
        fake.tag(tagged, "landmark/Eiffel Tower")
        fake.tag(named(fake, "1-0.jpg"), "landmark/mine")
        del fake.assets[named(fake, "2-0.jpg").id]
        named(fake, "3-0.jpg").trashed = True
        named(fake, "1-1.jpg").visibility = "archive"
        found = undo(fake, tmp_path)
    assert found.counts["positions that others changed"] == 1
    assert (moved.latitude, moved.longitude) == (50.0, 2.2945)
    left = {one.name: fake.values(one) for one in fake.assets.values() if one.tags}
    assert left == {
        "none.jpg": {"landmark/Eiffel Tower"}, "1-0.jpg": {"landmark/mine"},
        "placed.jpg": {"holiday"},
    }  # fmt: skip
    assert sorted(fake.tags.values()) == [
        "holiday", "landmark", "landmark/Eiffel Tower", "landmark/mine"]  # fmt: skip


def test_without_the_state_by_the_tag_alone(tmp_path: Path, recognizer: Recognizer) -> None:
    fake = fill(FakeImmich())
    before = fake.snapshot()
    with fake.running():
        label(fake, tmp_path, recognizer)
        named(fake, "3-0.jpg").trashed = True
        shutil.rmtree(tmp_path / "state")
        found = undo(fake, tmp_path)
        assert found.counts["photos"] == 11
        assert undo(fake, tmp_path).counts["photos"] == 0
    named(fake, "3-0.jpg").trashed = False
    assert fake.snapshot() == before


def test_positions_that_nobody_remembers_are_left_and_named(
    tmp_path: Path, recognizer: Recognizer
) -> None:
    fake = fill(FakeImmich(clears=True))
    with fake.running():
        label(fake, tmp_path, recognizer, gps=True)
        shutil.rmtree(tmp_path / "state")
        found = undo(fake, tmp_path)
    assert len(found.kept) == 6
    assert set(found.kept.values()) == {"the state that knows the position is not here"}
    assert sum(fake.values(one) == {PLACED} for one in fake.assets.values()) == 6
    assert sorted(fake.tags.values()) == ["holiday", "landmark", PLACED]


def test_positions_that_immich_cannot_clear_are_named_and_tried_again(
    tmp_path: Path, recognizer: Recognizer
) -> None:
    fake = fill(FakeImmich())
    before = fake.snapshot()
    with fake.running():
        label(fake, tmp_path, recognizer, gps=True)
        found = undo(fake, tmp_path)
        # "zero.jpg" was at 0/0 before, and is again.
        assert (len(found.kept), found.counts["positions removed"]) == (5, 1)
        assert "0-0.jpg" in next(iter(found.kept))
        assert fake.values(named(fake, "0-0.jpg")) == {PLACED}
        fake.clears = True  # a later version
        assert undo(fake, tmp_path).kept == {}
    assert fake.snapshot() == before


def test_a_server_that_only_says_that_it_cleared(tmp_path: Path, recognizer: Recognizer) -> None:
    from tests.support.fake_immich import body

    fake = FakeImmich()
    asset = fake.add("1.jpg", jpeg(0))
    with fake.running():
        label(fake, tmp_path, recognizer, gps=True)
        fake.fault(f"/assets/{asset.id}$", body(b"{}"), method="PUT")
        assert len(undo(fake, tmp_path).kept) == 1


def test_two_machines(tmp_path: Path, recognizer: Recognizer) -> None:
    fake = fill(FakeImmich())
    before = fake.snapshot()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with fake.running():
        assert label(fake, tmp_path / "a", recognizer, limit=5).counts["labelled"] == 4
        done = label(fake, tmp_path / "b", recognizer)
        assert (done.counts["labelled"], done.counts["foreign"]) == (7, 4)
        assert undo(fake, tmp_path / "a").counts["photos"] == 11
    assert fake.snapshot() == before


def test_another_root(tmp_path: Path, recognizer: Recognizer) -> None:
    fake = fill(FakeImmich())
    fake.make_tag("places/holiday")
    before = fake.snapshot()
    with fake.running():
        label(fake, tmp_path, recognizer, root="places/seen")
        assert "places/seen/Eiffel Tower" in fake.tags.values()
        # What the state knows is undone whatever the root is.
        assert undo(fake, tmp_path).counts["photos"] == 11
    assert fake.snapshot() == before


def test_a_version_that_cannot_search_tags_says_so(tmp_path: Path, recognizer: Recognizer) -> None:
    fake = fill(FakeImmich((1, 118, 2)))
    with fake.running():
        label(fake, tmp_path, recognizer)
        shutil.rmtree(tmp_path / "state")
        (note,) = undo(fake, tmp_path).notes
    assert "v1.118.2 cannot search by tag" in note


def test_nothing_to_undo(tmp_path: Path) -> None:
    fake = fill(FakeImmich())
    before = fake.snapshot()
    with fake.running():
        found = undo(fake, tmp_path)
        assert not any(method in ("PUT", "DELETE") for method, _ in fake.log)
    assert not +found.counts
    assert fake.snapshot() == before
