"""The store of groups: put, name, dismiss, reopen; what is said when a photo or file is gone."""

from __future__ import annotations

import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.photos import photos_of, picture, write_photo
from whichlandmark.core.errors import DataError, OptionError
from whichlandmark.core.images import content_hash, jpeg, read_image
from whichlandmark.features.embedders.histogram import HistogramEmbedder
from whichlandmark.gallery.records import LandmarkRecord
from whichlandmark.gallery.sqlite.store import SqliteGallery
from whichlandmark.recognition.folder.discoveries import (
    DiscoveredPhoto,
    DiscoveryError,
    DiscoveryStore,
    FoundGroup,
    LandmarkSuggestion,
)
from whichlandmark.recognition.folder.edit import describe_landmark, remove_photos
from whichlandmark.recognition.folder.fill import fill_gallery, photos_and_distractors

EMBEDDER = HistogramEmbedder()

TOWER = LandmarkSuggestion("New Tower", "within 80 m", "", "Q42", 48.1, 2.2)


@pytest.fixture
def folder(colour_world: Path) -> Path:
    """A gallery of 4 landmarks × 6 photos and 10 distractors, embedded by colour histogram."""
    out = colour_world / "r.wl"
    table = photos_and_distractors(
        photos_of(colour_world / "gallery"), photos_of(colour_world / "bank", False)
    )
    with SqliteGallery.create(out / "gallery.sqlite", EMBEDDER.id, EMBEDDER.dim) as gallery:
        assert fill_gallery(EMBEDDER, table, gallery) == []
    return out


def photo_at(library: Path, name: str, seed: int = 9, copy: int = 0) -> DiscoveredPhoto:
    """A photo of the place `seed`, written into the library."""
    file = library / name
    write_photo(file, picture(seed, copy))
    image = read_image(file)
    return DiscoveredPhoto(str(file), f"{library.name}/{name}", content_hash(file.read_bytes()),
                           (48.1, 2.2), jpeg(image))  # fmt: skip


def group_of(library: Path, names: str, seed: int = 9) -> FoundGroup:
    photos = tuple(photo_at(library, f"{one}.jpg", seed, ord(one)) for one in names)
    return FoundGroup(photos, len(photos), TOWER)


def in_gallery(folder: Path, landmark: str) -> list[str]:
    with SqliteGallery.open(folder / "gallery.sqlite") as gallery:
        return sorted(one for one, row in gallery.stamps().items() if row[2] == landmark)


def test_groups_are_listed_by_size_and_keep_their_ids(folder: Path, tmp_path: Path) -> None:
    library = tmp_path / "Fotos"
    store = DiscoveryStore(folder)
    assert store.all() == []
    small, large = group_of(library, "abc"), group_of(library, "defgh", seed=20)
    first = store.put([small, large], str(library))
    assert [(one.number, one.size, one.state) for one in first] == [(1, 5, "open"), (2, 3, "open")]
    assert first[0].suggestion == TOWER
    assert first[0].photos[0].taken == (48.1, 2.2)
    assert first[0].photos[0].thumbnail == b""
    full = store.get(first[0].id)
    assert full.photos == large.photos
    assert store.thumbnail(full.id, 4) == large.photos[4].thumbnail
    if sys.platform != "win32":
        assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    # A fourth and more photos join the small group; the large one is not found again.
    again = store.put([group_of(library, "abcxyz")], str(library))
    assert [(one.id, one.number, one.size) for one in again] == [(first[1].id, 1, 6)]
    # Another library has numbers of its own, and the groups of the first one stay.
    other = store.put([group_of(tmp_path / "other", "mno", seed=31)], str(tmp_path / "other"))
    assert [one.number for one in other] == [1]
    assert len(store.all()) == 2
    assert store.resolve("1", str(library)).id == again[0].id
    assert store.resolve("#1", str(tmp_path / "other")).id == other[0].id
    assert store.resolve(other[0].id).id == other[0].id
    with pytest.raises(DiscoveryError, match="numbers 1 to 1, or their ids"):
        store.resolve("7", str(library))
    for missing in (lambda: store.get("f" * 12), lambda: store.thumbnail(other[0].id, 3),
                    lambda: store.thumbnail(other[0].id, -1)):  # fmt: skip
        with pytest.raises(DiscoveryError):
            missing()


def test_a_named_group_joins_the_gallery_and_leaves_it_when_it_is_reopened(
    folder: Path, tmp_path: Path
) -> None:
    library, store = tmp_path / "Fotos", DiscoveryStore(folder)
    (one,) = store.put([group_of(library, "abcd")], str(library))
    done = store.name(one.id, "New Tower", keep=[0, 1, 3], embedder=EMBEDDER)
    assert (done.landmark, done.known, done.left_out) == ("New Tower", False, {})
    assert done.added == ["Fotos/a.jpg", "Fotos/b.jpg", "Fotos/d.jpg"]
    assert in_gallery(folder, "New Tower") == done.added
    assert describe_landmark(folder, "New Tower")[0] == LandmarkRecord(
        "New Tower", "New Tower", wikidata="Q42", latitude=48.1, longitude=2.2
    )
    assert done.discovery.state == "named"
    assert [one.landmark for one in store.all("named")] == ["New Tower"]
    assert store.all() == []
    assert len(store.get(one.id).photos) == 3
    with pytest.raises(DiscoveryError, match="named 'New Tower' already") as raised:
        store.name(one.id, "Another", embedder=EMBEDDER)
    assert raised.value.code == "already_named"
    # It is not asked about again, also where other photos join it.
    assert store.put([group_of(library, "abdxy")], str(library)) == []
    opened = store.reopen(one.id)
    assert (opened.state, len(opened.photos)) == ("open", 4)
    assert in_gallery(folder, "New Tower") == []
    assert store.name(one.id, "Tower 2", embedder=EMBEDDER).added == [
        f"Fotos/{name}.jpg" for name in "abcd"
    ]  # although its photos were removed by hand
    assert describe_landmark(folder, "Tower 2")[0].wikidata == ""  # it is another landmark


def test_a_group_may_be_of_a_landmark_of_the_gallery(folder: Path, tmp_path: Path) -> None:
    library, store = tmp_path / "Fotos", DiscoveryStore(folder)
    label = next(iter(sorted({row[2] for row in SqliteGallery.open(
        folder / "gallery.sqlite").stamps().values()} - {""})))  # fmt: skip
    describe_landmark(folder, label, {"title": "Old Mill", "wikidata": "Q7", "latitude": 1.0,
                                      "longitude": 2.0})  # fmt: skip
    (one,) = store.put([group_of(library, "abc")], str(library))
    done = store.name(one.id, " old mill ", embedder=EMBEDDER,
                      record=LandmarkRecord(label, "Mill", wikidata="Q7", latitude=3.0,
                                            longitude=4.0, source="https://x.test/"))  # fmt: skip
    assert (done.landmark, done.known, len(done.added)) == (label, True, 3)
    record = describe_landmark(folder, label)[0]
    assert (record.title, record.latitude, record.source) == ("Old Mill", 1.0, "https://x.test/")


def test_the_same_landmark_of_wikidata_is_not_made_twice(folder: Path, tmp_path: Path) -> None:
    library, store = tmp_path / "Fotos", DiscoveryStore(folder)
    describe_landmark(folder, "place 1", {"title": "Tour neuve", "wikidata": "Q42"})
    (one,) = store.put([group_of(library, "abc")], str(library))
    done = store.name(one.id, "new tower", embedder=EMBEDDER)
    assert (done.landmark, done.known) == ("place 1", True)
    assert describe_landmark(folder, "place 1")[0].title == "Tour neuve"


def test_a_dismissed_group_is_not_asked_about_again(folder: Path, tmp_path: Path) -> None:
    library, store = tmp_path / "Fotos", DiscoveryStore(folder)
    (one,) = store.put([group_of(library, "abcd")], str(library))
    assert store.dismiss(one.id).state == "dismissed"
    with pytest.raises(DiscoveryError, match="said to be no landmark"):
        store.dismiss(one.id)
    joined = group_of(library, "abxy")
    assert store.put([joined], str(library)) == []
    # What joined it is dismissed too, so that it is known when only that is left.
    assert store.put([replace(joined, photos=joined.photos[2:])], str(library)) == []
    # Another program has written keywords into the photos: other bytes, the same files.
    touched = tuple(replace(photo, hash=f"{at}") for at, photo in enumerate(joined.photos))
    assert store.put([replace(joined, photos=touched)], str(library)) == []
    assert [one.state for one in store.all("all")] == ["dismissed"]
    assert store.reopen(one.id).state == "open"
    assert [found.id for found in store.put([joined], str(library))] == [one.id]


def test_photos_that_are_gone_or_changed_or_known_are_left_out(
    folder: Path, tmp_path: Path
) -> None:
    library, store = tmp_path / "Fotos", DiscoveryStore(folder)
    group = group_of(library, "abcde")
    known = next(iter(sorted((tmp_path / "gallery").glob("*/*.jpg"))), None) or next(
        Path(row[0]) for row in SqliteGallery.open(folder / "gallery.sqlite").stamps().values()
        if row[2]
    )  # fmt: skip
    other = DiscoveredPhoto(str(known), "Fotos/known.jpg", content_hash(known.read_bytes()))
    (one,) = store.put([replace(group, photos=(*group.photos, other))], str(library))
    (library / "a.jpg").unlink()
    write_photo(library / "b.jpg", 255 - picture(3, 5))  # another picture
    with open(library / "c.jpg", "ab") as file:  # the same picture in other bytes
        file.write(b"keywords")
    done = store.name(one.id, "New Tower", embedder=EMBEDDER)
    assert done.added == ["Fotos/c.jpg", "Fotos/d.jpg", "Fotos/e.jpg"]
    assert "no such file" in done.left_out["Fotos/a.jpg"]
    assert "another picture" in done.left_out["Fotos/b.jpg"]
    assert "the gallery has this photo, as" in done.left_out["Fotos/known.jpg"]
    (two,) = store.put([group_of(library, "xyz", seed=21)], str(library))
    for name in "xyz":
        (library / f"{name}.jpg").unlink()
    with pytest.raises(DiscoveryError, match="none of the photos") as raised:
        store.name(two.id, "Gone", embedder=EMBEDDER)
    assert raised.value.code == "no_photos"
    assert store.get(two.id).state == "open"


def test_a_distractor_of_the_gallery_may_turn_out_to_be_a_landmark(
    folder: Path, tmp_path: Path
) -> None:
    library, store = tmp_path / "Fotos", DiscoveryStore(folder)
    with SqliteGallery.open(folder / "gallery.sqlite") as gallery:
        bank = {one: row[0] for one, row in gallery.stamps().items() if not row[2]}
    moved = sorted(bank)[0]
    path = Path(bank[moved])
    same = DiscoveredPhoto(str(path), "Fotos/same.jpg", content_hash(path.read_bytes()))
    group = group_of(library, "abc")
    (one,) = store.put([replace(group, photos=(*group.photos, same))], str(library))
    done = store.name(one.id, "New Tower", embedder=EMBEDDER)
    assert (done.moved, len(done.added)) == ([moved], 3)
    assert moved in in_gallery(folder, "New Tower")
    store.reopen(one.id)
    assert moved in in_gallery(folder, "")


def test_an_interrupted_naming_goes_on_and_its_undo_is_whole(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, store = tmp_path / "Fotos", DiscoveryStore(folder)
    (one,) = store.put([group_of(library, "abc")], str(library))
    from whichlandmark.recognition.folder import discovery_naming

    def killed(*given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(discovery_naming, "_describe", killed)
        with pytest.raises(KeyboardInterrupt):
            store.name(one.id, "New Tower", embedder=EMBEDDER)
    assert len(in_gallery(folder, "New Tower")) == 3
    assert store.get(one.id).state == "open"
    assert len(store.name(one.id, "New Tower", embedder=EMBEDDER).added) == 3
    # What another has removed or moved meanwhile stays as it is.
    remove_photos(folder, ["Fotos/a.jpg"], None)
    store.reopen(one.id)
    assert in_gallery(folder, "New Tower") == []


def test_names_that_no_landmark_may_have_and_odd_positions(folder: Path, tmp_path: Path) -> None:
    library, store = tmp_path / "Fotos", DiscoveryStore(folder)
    (one,) = store.put([group_of(library, "abc")], str(library))
    for name in ("", "  ", "A|B", "a\nb"):
        with pytest.raises(OptionError):
            store.name(one.id, name, embedder=EMBEDDER)
    for keep in ([], [3], [-1, 0]):
        with pytest.raises(OptionError, match="expected numbers from 0 to 2"):
            store.name(one.id, "Tower", keep=keep, embedder=EMBEDDER)
    assert store.get(one.id).state == "open"


def test_a_damaged_store_and_one_of_another_program_are_told(folder: Path) -> None:
    store = DiscoveryStore(folder)
    store.path.write_bytes(b"not a database, but long enough to be read as one" * 40)
    with pytest.raises(DataError, match=r"damaged .* delete it"):
        store.all()
    import sqlite3

    store.path.unlink()
    other = sqlite3.connect(store.path)
    other.execute("CREATE TABLE groups (x)")
    other.close()
    for use in (store.all, lambda: store.put([], "x")):
        with pytest.raises(DataError, match="not a list of discoveries"):
            use()
    with pytest.raises(DataError, match="no such recognizer folder"):
        DiscoveryStore(folder / "missing")
