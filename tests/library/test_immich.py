"""Labels into Immich: what is tagged and placed, what stays as it is, and how much is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.fake_immich import KEY, FakeImmich, body, meanwhile, status
from tests.support.immich_world import (
    fill,
    jpeg,
    label,
    make_recognizer,
    opened,
    state_of,
    undo,
)
from tests.support.web_doubles import only_this_machine
from whichlandmark.core.errors import BusyError, NetworkError, OptionError
from whichlandmark.library.immich_shapes import Marks, same_place
from whichlandmark.recognition.recognizer import Recognizer
from whichlandmark.recognition.sure import sure_confidence

pytestmark = pytest.mark.server

MARK, PLACED = "landmark/by-whichlandmark", "landmark/position-by-whichlandmark"

VERSIONS = [(1, 105, 1), (1, 106, 4), (1, 112, 1), (1, 118, 2), (1, 131, 3), (2, 3, 1), (3, 2, 0)]


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory: pytest.TempPathFactory) -> Recognizer:
    return make_recognizer(tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    only_this_machine(monkeypatch)


def named(fake: FakeImmich, name: str) -> object:
    return next(one for one in fake.assets.values() if one.name == name)


def tags_of(fake: FakeImmich, name: str) -> set[str]:
    return fake.values(named(fake, name))  # type: ignore[arg-type]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_story_tag_place_undo(
    version: tuple[int, int, int], tmp_path: Path, recognizer: Recognizer
) -> None:
    fake = fill(FakeImmich(version, clears=True))
    before = fake.snapshot()
    with fake.running():
        done = label(fake, tmp_path, recognizer, gps=True)
        assert done.counts["new"] == done.counts["answered"] == 12
        assert (done.counts["labelled"], done.counts["positions"]) == (11, 6)
        assert done.landmarks == {"Eiffel Tower": 4, "Gate A/B": 3, "Kölner Dom": 2, "place 3": 2}
        assert tags_of(fake, "0-0.jpg") == {MARK, PLACED, "landmark/Eiffel Tower"}
        assert tags_of(fake, "1-0.jpg") == {MARK, PLACED, "landmark/Gate A∕B"}
        assert tags_of(fake, "phone.HEIC") >= {"landmark/Eiffel Tower"}
        assert tags_of(fake, "placed.jpg") == {MARK, "landmark/Eiffel Tower", "holiday"}
        assert tags_of(fake, "2-1.jpg") == {MARK, "landmark/Kölner Dom"}
        untouched = ["none.jpg", "film.mp4", "trashed.jpg", "archived.jpg", "partner.jpg"]
        assert not set().union(*(tags_of(fake, name) for name in untouched))
        assert (named(fake, "0-0.jpg").latitude, named(fake, "0-0.jpg").longitude) == (
            48.858222, 2.2945)  # fmt: skip
        assert (named(fake, "zero.jpg").latitude, named(fake, "placed.jpg").latitude) == (
            52.5163, 1.5)  # fmt: skip
        asked = fake.counts()
        previews = sum(n for kind, n in asked.items() if "thumbnail" in kind)
        assert previews == 12
        assert sum(asked.values()) <= 60
        fake.log.clear()
        assert label(fake, tmp_path, recognizer, gps=True).counts["labelled"] == 0
        assert len(fake.log) <= 5
        assert not any(method == "PUT" for method, _ in fake.log)
        found = undo(fake, tmp_path)
    assert (found.counts["photos"], found.counts["positions removed"]) == (11, 6)
    assert found.kept == {}
    after = fake.snapshot()
    if (1, 113, 0) <= version < (1, 126, 0):  # nothing tells whether a tag is still on a photo
        assert after["photos"] == before["photos"]
    else:
        assert after == before


def test_a_dry_run_changes_nothing_and_its_answers_are_used(
    tmp_path: Path, recognizer: Recognizer
) -> None:
    fake = fill(FakeImmich())
    before = fake.snapshot()
    with fake.running():
        done = label(fake, tmp_path, recognizer, gps=True, dry_run=True)
        assert done.counts["would label"] == 11
        assert done.counts["would place"] == 6
        assert done.landmarks["Eiffel Tower"] == 4
        tower = next(one for one in done.photos if one["name"] == "0-0.jpg")
        assert (tower["landmark"], tower["title"]) == ("place 0", "Eiffel Tower")
        assert tower["page"] == f"{fake.base}/photos/{tower['id']}"
        assert {method for method, _ in fake.log} == {"GET", "POST"}
        assert fake.snapshot() == before
        fake.log.clear()
        assert label(fake, tmp_path, recognizer).counts["labelled"] == 11
        assert not any("thumbnail" in path for _, path in fake.log)


def test_only_what_is_certain_enough_is_labelled_and_less_later(
    tmp_path: Path, recognizer: Recognizer
) -> None:
    fake = fill(FakeImmich())
    with fake.running():
        done = label(fake, tmp_path, recognizer, above=0.9)
        assert set(done.landmarks) == {"Eiffel Tower", "Gate A/B"}
        fake.log.clear()
        done = label(fake, tmp_path, recognizer, above=0.8)
        assert set(done.landmarks) == {"Kölner Dom", "place 3"}
        assert not any("thumbnail" in path for _, path in fake.log)


def test_what_the_user_takes_off_is_not_put_on_again(
    tmp_path: Path, recognizer: Recognizer
) -> None:
    fake = fill(FakeImmich())
    with fake.running():
        label(fake, tmp_path, recognizer)
        one, other = named(fake, "0-0.jpg"), named(fake, "1-0.jpg")
        fake.untag(one, "landmark/Eiffel Tower")  # type: ignore[arg-type]
        fake.untag(other, "landmark/Gate A∕B")  # type: ignore[arg-type]
        fake.untag(other, MARK)  # type: ignore[arg-type]
        one.updated = other.updated = fake.now()  # type: ignore[attr-defined]
        for again in (False, True):
            assert label(fake, tmp_path, recognizer, again=again).counts["labelled"] == 0
        assert (tags_of(fake, "0-0.jpg"), tags_of(fake, "1-0.jpg")) == ({MARK}, set())


def test_photos_labelled_from_another_machine_are_left_alone(
    tmp_path: Path, recognizer: Recognizer
) -> None:
    fake = fill(FakeImmich())
    (tmp_path / "other").mkdir()
    with fake.running():
        label(fake, tmp_path / "other", recognizer)
        fake.untag(named(fake, "0-0.jpg"), "landmark/Eiffel Tower")  # type: ignore[arg-type]
        before = fake.snapshot()
        done = label(fake, tmp_path, recognizer)
    assert (done.counts["labelled"], done.counts["foreign"]) == (0, 11)
    assert fake.snapshot() == before


def test_tags_and_positions_that_are_there_stay(tmp_path: Path, recognizer: Recognizer) -> None:
    fake = FakeImmich(clears=True)
    mine = fake.add("mine.jpg", jpeg(0))
    fake.tag(mine, "landmark/Eiffel Tower")
    late = fake.add("late.jpg", jpeg(0, 71))
    before = fake.snapshot()

    def place() -> None:
        late.latitude, late.longitude = 3.0, 4.0

    with fake.running():
        # The user places the photo after it was looked at, and before its position is written.
        fake.fault(f"/assets/{late.id}$", None, meanwhile(place), method="GET")
        done = label(fake, tmp_path, recognizer, gps=True)
        assert done.counts["positions"] == 1
        assert (late.latitude, late.longitude) == (3.0, 4.0)
        assert tags_of(fake, "late.jpg") == {MARK, "landmark/Eiffel Tower"}
        undo(fake, tmp_path)
        late.latitude = late.longitude = None
    assert fake.snapshot() == before  # with the tag that the user had put on


def test_previews_that_are_not_made_yet_are_asked_for_in_later_runs(
    tmp_path: Path, recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeImmich()
    new = fake.add("new.jpg", None)
    with fake.running():
        assert label(fake, tmp_path, recognizer).counts["waiting"] == 1
        new.preview = jpeg(0)
        assert label(fake, tmp_path, recognizer).counts["labelled"] == 1
        fake.add("broken.jpg", None)
        for _ in range(4):
            assert label(fake, tmp_path, recognizer).counts["waiting"] == 1
        fake.log.clear()
        assert label(fake, tmp_path, recognizer).counts["waiting"] == 0  # once a day from now on
        monkeypatch.setattr("whichlandmark.library.immich.time.time", lambda: 4e9)
        assert label(fake, tmp_path, recognizer).counts["waiting"] == 1


def test_photos_that_vanish_and_come_back(tmp_path: Path, recognizer: Recognizer) -> None:
    fake = FakeImmich()
    deleted, trashed, hidden = (fake.add(f"{n}.jpg", jpeg(0, 70 + n)) for n in range(3))
    with fake.running():
        fake.fault("thumbnail", meanwhile(lambda: fake.assets.pop(deleted.id)))
        fake.fault(f"/assets/{trashed.id}$", meanwhile(lambda: setattr(trashed, "trashed", True)))
        fake.fault("/tags/.*/assets",
                   meanwhile(lambda: fake.assets.pop(hidden.id)))  # fmt: skip
        done = label(fake, tmp_path, recognizer)
        assert (done.counts["labelled"], done.counts["gone"]) == (0, 3)
        assert label(fake, tmp_path, recognizer).counts["new"] == 0
        trashed.trashed, trashed.updated = False, fake.now()
        assert label(fake, tmp_path, recognizer).counts["labelled"] == 1
        assert undo(fake, tmp_path).counts["photos"] == 1
    assert fake.snapshot()["tags"] == []


def test_pages_that_shift_bring_every_photo_once(tmp_path: Path, recognizer: Recognizer) -> None:
    fake = FakeImmich()
    fake.page_size = 4
    for i in range(9):
        fake.add(f"{i}.jpg", jpeg(201, i), taken=f"2020-01-0{i + 1}T00:00:00.000Z")
    for i in range(11):  # more than a page of one time, as of scans
        fake.add(f"scan {i}.jpg", jpeg(202, i), taken="2020-02-01T00:00:00.000Z")
    first = next(iter(fake.assets.values()))
    with fake.running():
        fake.fault("/search/metadata", None, meanwhile(lambda: fake.assets.pop(first.id)))
        done = label(fake, tmp_path, recognizer)
        previews = [path for _, path in fake.log if "thumbnail" in path]
        assert done.counts["new"] == 20
        assert len(previews) == len(set(previews)) == 20
        # A photo of 1999 that is uploaded now, and two of the same moment.
        old = fake.add("old.jpg", jpeg(0), taken="1999-01-01T00:00:00.000Z")
        fake.add("twin.jpg", jpeg(0, 71), updated=old.updated)
        assert label(fake, tmp_path, recognizer).counts["labelled"] == 2
        fake.log.clear()
        label(fake, tmp_path, recognizer)
    assert [path for _, path in fake.log if "thumbnail" in path] == []


def test_a_limit_leaves_the_rest_for_the_next_run(tmp_path: Path, recognizer: Recognizer) -> None:
    fake = fill(FakeImmich())
    with fake.running():
        done = label(fake, tmp_path, recognizer, limit=5)
        assert (done.counts["answered"], done.counts["left for the next run"]) == (5, 7)
        assert label(fake, tmp_path, recognizer).counts["answered"] == 7


def test_the_archive_only_when_asked(tmp_path: Path, recognizer: Recognizer) -> None:
    for version in ((1, 118, 0), (2, 3, 1)):
        folder = tmp_path / str(version[0])
        folder.mkdir()
        fake = fill(FakeImmich(version))
        with fake.running():
            label(fake, folder, recognizer)
            assert label(fake, folder, recognizer, archived=True).counts["labelled"] == 1
        assert MARK in tags_of(fake, "archived.jpg")


def test_a_changed_recognizer_is_asked_only_with_all(
    tmp_path: Path, recognizer: Recognizer
) -> None:
    fake = fill(FakeImmich())
    doubtful = recognizer.with_rules(replace(recognizer.rules, answer_above=0.999))
    with fake.running():
        assert label(fake, tmp_path, doubtful).counts["labelled"] == 0
        done = label(fake, tmp_path, recognizer)
        assert done.counts["answered"] == 0
        assert "12 photos were answered by an earlier state" in done.notes[0]
        assert label(fake, tmp_path, recognizer, again=True).counts["labelled"] == 11


def test_an_undone_photo_is_labelled_again_only_with_all(
    tmp_path: Path, recognizer: Recognizer
) -> None:
    fake = fill(FakeImmich())
    with fake.running():
        label(fake, tmp_path, recognizer)
        undo(fake, tmp_path)
        assert label(fake, tmp_path, recognizer).counts["labelled"] == 0
        fake.log.clear()
        assert label(fake, tmp_path, recognizer, again=True).counts["labelled"] == 11
        assert not any("thumbnail" in path for _, path in fake.log)


def test_a_tag_that_is_deleted_meanwhile_is_made_again(
    tmp_path: Path, recognizer: Recognizer
) -> None:
    fake = fill(FakeImmich())
    before = fake.snapshot()

    def delete() -> None:
        gone = next(id for id, value in fake.tags.items() if value == "landmark/Eiffel Tower")
        del fake.tags[gone]

    with fake.running():
        fake.fault("/tags/.*/assets", None, meanwhile(delete))
        assert label(fake, tmp_path, recognizer).counts["labelled"] == 11
        assert "landmark/Eiffel Tower" in tags_of(fake, "0-0.jpg")
        undo(fake, tmp_path)
    assert fake.snapshot() == before


def test_undecodable_previews_are_named_and_not_asked_for_again(
    tmp_path: Path, recognizer: Recognizer
) -> None:
    fake = FakeImmich()
    bad = fake.add("bad.jpg", b"\xff\xd8\xff" + bytes(500))
    with fake.running():
        done = label(fake, tmp_path, recognizer)
        assert list(done.failures) == [f"bad.jpg ({bad.id})"]
        assert label(fake, tmp_path, recognizer).failures == {}
        bad.preview, bad.updated = jpeg(0), fake.now()
        assert label(fake, tmp_path, recognizer).counts["labelled"] == 1


def test_one_preview_that_the_server_cannot_give_stops_nothing(
    tmp_path: Path, recognizer: Recognizer
) -> None:
    fake = FakeImmich()
    for i in range(3):
        fake.add(f"{i}.jpg", jpeg(0, 70 + i))
    with fake.running():
        first = next(iter(fake.assets))
        fake.fault(f"{first}/thumbnail", *[status(500, "Internal server error")] * 3)
        done = label(fake, tmp_path, recognizer)
        assert (done.counts["labelled"], done.counts["waiting"]) == (2, 1)
        assert label(fake, tmp_path, recognizer).counts["labelled"] == 1


def test_rate_limits_and_faults_are_waited_out(tmp_path: Path, recognizer: Recognizer) -> None:
    fake = fill(FakeImmich())
    with fake.running():
        from tests.support.fake_immich import reset

        fake.fault("thumbnail", status(429, "Too Many Requests", wait="7"), reset,
                   status(502, "Bad Gateway", html=True), None, status(503))  # fmt: skip
        fake.fault("/tags/.*/assets", reset, status(504, html=True))
        fake.fault("/search", status(429))
        done = label(fake, tmp_path, recognizer)
    assert done.counts["labelled"] == 11


def test_a_proxy_that_finds_nothing_while_immich_restarts(
    tmp_path: Path, recognizer: Recognizer
) -> None:
    fake = fill(FakeImmich())
    with fake.running():
        for pattern in ("thumbnail", r"/assets/[^/]*$", "/tags/.*/assets"):
            fake.fault(pattern, *[body(b"404 page not found", "text/plain", 404)] * 3)
        done = label(fake, tmp_path, recognizer)
        assert (done.counts["labelled"], done.counts["gone"], done.counts["waiting"]) == (11, 0, 0)
        fake.fault("", None, None, *[body(b"404 page not found", "text/plain", 404)] * 8)
        with pytest.raises(NetworkError, match="does not answer as Immich does"):
            label(fake, tmp_path, recognizer)


def test_a_version_that_would_lose_positions_is_refused(
    tmp_path: Path, recognizer: Recognizer
) -> None:
    fake = fill(FakeImmich((1, 131, 3)))
    fake.reverse_geocoding = False
    before = fake.snapshot()
    with fake.running(), pytest.raises(NetworkError, match=r"v1\.131\.3 deletes the position"):
        label(fake, tmp_path, recognizer)
    assert fake.snapshot() == before


def test_permissions_that_are_enough(tmp_path: Path, recognizer: Recognizer) -> None:
    fake = fill(FakeImmich(clears=True))
    reading = {"user.read", "asset.read", "asset.view", "tag.read"}
    fake.keys[KEY] = reading
    with fake.running():
        label(fake, tmp_path, recognizer, dry_run=True)
        fake.keys[KEY] = reading | {"tag.create", "tag.asset"}
        assert label(fake, tmp_path, recognizer).counts["labelled"] == 11
        fake.keys[KEY] = reading | {"tag.asset", "tag.delete"}
        undo(fake, tmp_path)
        fake.keys[KEY] = reading | {"tag.create", "tag.asset", "asset.update"}
        assert label(fake, tmp_path, recognizer, again=True, gps=True).counts["positions"] == 6


def test_a_second_run_at_once_is_busy(tmp_path: Path, recognizer: Recognizer) -> None:
    fake = fill(FakeImmich())
    with (
        fake.running(), opened(fake, tmp_path) as api, state_of(api, tmp_path),
        pytest.raises(BusyError, match="another process"),
    ):  # fmt: skip
        label(fake, tmp_path, recognizer)


def test_titles_make_one_level_and_roots_are_tags() -> None:
    marks = Marks.below("places/landmark")
    assert marks.mark == "places/landmark/by-whichlandmark"
    assert marks.of("Gate A/B|C") == "places/landmark/Gate A∕B∣C"
    assert marks.of(" Two\n lines\x00 ") == "places/landmark/Two lines"
    assert marks.of("\u202e") == "places/landmark/unnamed"
    assert len(marks.of("x" * 1000)) == len("places/landmark/") + 200
    for wrong in ("", "/", "a//b", "a/", " ", "x" * 300):
        with pytest.raises(OptionError, match="expected the name of a tag"):
            Marks.below(wrong)


def test_positions_are_the_same_within_a_metre() -> None:
    assert same_place((48.8582220001, 2.2945), (48.858222, 2.2945))
    assert not same_place((48.8583, 2.2945), (48.858222, 2.2945))
    assert not same_place(None, (0.0, 0.0))


def test_a_server_that_goes_away_is_not_asked_for_the_other_previews(
    tmp_path: Path, recognizer: Recognizer
) -> None:
    fake = FakeImmich()
    for i in range(20):
        fake.add(f"{i}.jpg", jpeg(201, i))
    with fake.running():
        fake.fault("thumbnail", *[status(503)] * 200)
        with pytest.raises(NetworkError, match="the same command goes on where it stopped"):
            label(fake, tmp_path, recognizer)
        assert len({path for _, path in fake.log if "thumbnail" in path}) <= 4
        fake.before.clear()
        assert label(fake, tmp_path, recognizer).counts["answered"] == 20


def test_without_a_threshold_the_gallery_says_what_is_certain_enough(
    tmp_path: Path, recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, expected = fill(FakeImmich()), sure_confidence(recognizer)
    with fake.running():
        done = label(fake, tmp_path, recognizer, above=None, dry_run=True)
        assert (done.above, done.notes) == (expected.confidence, [expected.note])
        # Remembered, because it may take a fit, and cron has nothing to do most of the time.
        monkeypatch.setattr("whichlandmark.library.immich.sure_confidence", None)
        done = label(fake, tmp_path, recognizer, above=None)
    assert (done.above, done.notes) == (expected.confidence, [expected.note])
