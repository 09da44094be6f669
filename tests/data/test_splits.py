"""Splits: which photos are in which table; no id or content is in two tables."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.support.photos import picture, write_photo
from whichlandmark.core.errors import DataError, OptionError
from whichlandmark.core.types import Photo, Photos
from whichlandmark.data import splits
from whichlandmark.data.cleaning.drop import CleaningRules, clean
from whichlandmark.data.cleaning.scan_cache import ScanCache
from whichlandmark.data.splits import (
    HoldOutOptions,
    Split,
    SplitOptions,
    check_disjoint,
    contents,
    known_contents,
    missing_kinds,
    query_kinds,
    split_test,
    split_validation,
)
from whichlandmark.data.table import write_photos


def table(folder: Path, counts: dict[str, int], prefix: str = "") -> Photos:
    """Write `counts` different small pictures of each landmark ("" = no landmark)."""
    rows = []
    for number, (landmark, count) in enumerate(counts.items()):
        for i in range(count):
            path = folder / f"{prefix}{landmark or 'none'}" / f"{i:02d}.jpg"
            write_photo(path, picture(number + 50 * len(prefix), i, (8, 10)))
            rows.append(Photo(f"{prefix}{landmark or 'none'}/{i:02d}", path, landmark or None))
    return Photos.of(rows)


@pytest.fixture
def world(tmp_path: Path) -> tuple[Photos, Photos]:
    """Ten landmarks of 1 to 20 photos, and 12 distractors."""
    counts = {f"L{i}": count for i, count in enumerate((1, 1, 2, 3, 5, 8, 10, 12, 20, 20))}
    return table(tmp_path, counts), table(tmp_path, {"": 12}, prefix="d")


def overlap(split: Split) -> int:
    """Number of photos that two tables share by id or content, by comparing all pairs."""
    parts = list(split.tables.values())
    shared = 0
    for i, one in enumerate(parts):
        for two in parts[:i]:
            for a in one:
                for b in two:
                    shared += a.id == b.id or a.path.read_bytes() == b.path.read_bytes()
    return shared


def test_a_validation_split_gives_train_database_queries_and_distractors(
    world: tuple[Photos, Photos],
) -> None:
    photos, distractors = world
    options = SplitOptions(landmarks=4, unknown=2, query_share=0.25, bank_share=0.75)
    split = split_validation(photos, options, distractors=distractors)
    train, database, queries, bank = (split.tables[name] for name in split.tables)
    assert list(split.tables) == ["train", "database", "queries", "bank"]
    assert split.left_out == []
    known, trained = set(database.landmarks), set(train.landmarks)
    queried = set(queries.landmarks) - {""}
    assert len(known) == 4
    assert len(queried - known) == 2
    assert len(trained) == 4
    assert not trained & (known | queried)
    for landmark in known:
        total = int((photos.landmarks == landmark).sum())
        assert (queries.landmarks == landmark).sum() == min(total - 1, max(1, round(total / 4)))
    for landmark in queried - known:
        assert (queries.landmarks == landmark).sum() == (photos.landmarks == landmark).sum()
    assert len(bank) == 9
    assert set(bank.landmarks) == {""}
    assert (queries.landmarks == "").sum() == 3
    assert sum(map(len, split.tables.values())) == len(photos) + 12
    assert overlap(split) == 0


def test_the_split_depends_on_the_seed_not_on_row_order(world: tuple[Photos, Photos]) -> None:
    photos, distractors = world
    options = SplitOptions(landmarks=3, unknown=1)

    def ids(split: Split) -> dict[str, set[str]]:
        return {name: set(part.ids) for name, part in split.tables.items()}

    first = ids(split_validation(photos, options, distractors=distractors))
    order = np.random.default_rng(1).permutation(len(photos))
    assert ids(split_validation(photos.take(order), options, distractors=distractors)) == first
    others = [
        ids(split_validation(photos, SplitOptions(landmarks=3, unknown=1, seed=seed)))["database"]
        for seed in range(6)
    ]
    assert len({frozenset(other) for other in others}) > 3


def test_copies_stay_in_one_table(world: tuple[Photos, Photos]) -> None:
    """Each photo of the two largest landmarks has three copies: all three are in one table."""
    photos, _ = world
    big = photos.take(np.isin(photos.landmarks, ["L8", "L9"]))
    copies = [big] + [
        Photos.of_columns([f"{i}-{n}" for i in big.ids], list(big.paths), list(big.landmarks))
        for n in range(2)
    ]
    rows = [
        photo for part in (photos.take(~np.isin(photos.ids, big.ids)), *copies) for photo in part
    ]
    for seed in range(4):
        split = split_validation(Photos.of(rows), SplitOptions(landmarks=7, seed=seed))
        assert overlap(split) == split.left_out.__len__() == 0
        for part in split.tables.values():
            large = part.take(np.isin(part.landmarks, ["L8", "L9"]))
            assert all(list(large.paths).count(path) == 3 for path in large.paths)


def test_photos_shared_by_two_landmarks_stay_in_one_table(world: tuple[Photos, Photos]) -> None:
    """The same file under every landmark and among the distractors is kept in one table only."""
    photos, distractors = world
    same = Path(photos.paths[0])
    for row in range(0, len(photos), 3):
        Path(photos.paths[row]).write_bytes(same.read_bytes())
    Path(distractors.paths[0]).write_bytes(same.read_bytes())
    for seed in range(4):
        split = split_validation(
            photos, SplitOptions(landmarks=4, unknown=1, seed=seed), distractors=distractors
        )
        assert overlap(split) == 0
        assert split.left_out
        kept = sum(map(len, split.tables.values()))
        assert kept + len(split.left_out) == len(photos) + len(distractors)


def test_photos_without_a_landmark_are_distractors(tmp_path: Path) -> None:
    photos = table(tmp_path, {"A": 4, "B": 4, "C": 4, "": 6})
    split = split_validation(photos, SplitOptions(landmarks=1))
    assert len(split.tables["bank"]) == 3
    assert (split.tables["queries"].landmarks == "").sum() == 3
    assert "" not in {*split.tables["train"].landmarks, *split.tables["database"].landmarks}
    named = photos.take(photos.landmarks != "")
    assert "bank" not in split_validation(named, SplitOptions(landmarks=1)).tables


def test_photos_of_several_landmarks_are_queries(tmp_path: Path) -> None:
    photos = table(tmp_path, {"A": 4, "B": 4, "C": 4, "A|B": 3, "B|C": 2})
    split = split_validation(photos, SplitOptions(landmarks=1, unknown=1, seed=1))
    used = {*split.tables["database"].landmarks, *split.tables["queries"].landmarks} & {*"ABC"}
    assert len({*split.tables["database"].landmarks}) == 1
    assert len(used) == 2
    for several in ("A|B", "B|C"):
        where = "queries" if {*several} & used else "train"
        found = (split.tables[where].landmarks == several).sum()
        assert found == (photos.landmarks == several).sum()
    split = split_test(photos, HoldOutOptions(test=0.25, unknown=1))
    assert sum("|" in cell for cell in split.tables["test"].landmarks) == 5
    assert len({*split.tables["train"].landmarks}) == 2
    assert query_kinds(split)["unknown landmark"] == 4
    assert query_kinds(split)["known landmark"] == 2 + 5
    with pytest.raises(OptionError, match="3 unknown landmarks given; the table has 3"):
        split_test(photos, HoldOutOptions(unknown=3))


def test_the_simple_split_equals_photos_split_but_for_copies(world: tuple[Photos, Photos]) -> None:
    """Test photos that are copies of training photos move to train."""
    photos, _ = world
    train, test = photos.split(test=0.25, seed=3)
    split = split_test(photos, HoldOutOptions(test=0.25, seed=3))
    assert list(split.tables) == ["train", "test"]
    assert split.tables["train"].ids.tolist() == train.ids.tolist()
    assert split.tables["test"].ids.tolist() == test.ids.tolist()
    Path(test.paths[2]).write_bytes(Path(train.paths[0]).read_bytes())
    split = split_test(photos, HoldOutOptions(test=0.25, seed=3))
    assert set(test.ids) - set(split.tables["test"].ids) == {test.ids[2]}
    assert len(split.tables["train"]) == len(train) + 1
    assert overlap(split) == 0


def test_the_simple_split_asks_all_three_kinds(tmp_path: Path) -> None:
    photos = table(tmp_path, {f"L{i}": 3 for i in range(20)} | {"": 10})
    extra = table(tmp_path, {"": 12}, prefix="d")
    options = HoldOutOptions(test=0.1, unknown=4, bank_share=0.25)
    split = split_test(photos, options, distractors=extra)
    assert {name: len(part) for name, part in split.tables.items()} == {
        "train": 60 + 10 - 12 - 5 - 1, "test": 12 + 5 + 1 + 9, "bank": 3,
    }  # fmt: skip
    assert query_kinds(split) == {
        "known landmark": 5, "unknown landmark": 12, "no landmark": 10, "share of known": 0.1042,
    }  # fmt: skip
    assert missing_kinds(split, 0.1) == []
    assert overlap(split) == 0
    with pytest.raises(OptionError, match="20 unknown landmarks given; the table has 20"):
        split_test(photos, HoldOutOptions(unknown=20))


def test_the_simple_split_says_which_kinds_and_shares_are_missing(tmp_path: Path) -> None:
    photos = table(tmp_path, {f"L{i}": 1 for i in range(20)} | {"A": 4})
    notes = " ".join(missing_kinds(split_test(photos, HoldOutOptions(test=0.5)), 0.5))
    assert "8.3% of the landmarks' photos are in test.csv, not 50.0%" in notes
    assert "no queries of unknown landmarks" in notes
    assert "--distractors PHOTOS adds some" in notes


def test_a_planted_leak_is_reported(world: tuple[Photos, Photos]) -> None:
    photos, _ = world
    hashes, _ = contents(photos.paths)
    parts = {"train": photos.take([0, 1, 2]), "test": photos.take([3, 4])}
    check_disjoint(parts, hashes)
    with pytest.raises(DataError, match=r"1 photos .*'L1/00' of test and 'L1/00' of train \(id\)"):
        check_disjoint(parts | {"test": photos.take([1, 4])}, {})
    same = dict.fromkeys((photos.paths[0], photos.paths[4]), "one content")
    with pytest.raises(DataError, match=r"'L3/00' of test and 'L0/00' of train \(content\)"):
        check_disjoint(parts, hashes | same)
    nothing = dict.fromkeys(photos.paths, "")  # unreadable: no content to compare
    check_disjoint(parts, nothing)


def test_unreadable_photos_are_listed(world: tuple[Photos, Photos]) -> None:
    photos, _ = world
    Path(photos.paths[5]).unlink()
    Path(photos.paths[9]).unlink()
    split = split_validation(photos, SplitOptions(landmarks=2))
    assert set(split.unreadable) == {photos.ids[5], photos.ids[9]}
    assert "no such file" in split.unreadable[photos.ids[5]]
    assert sum(map(len, split.tables.values())) == len(photos)
    assert set(split_test(photos).unreadable) == set(split.unreadable)


def test_photos_hashed_by_cleaning_are_not_read_again(
    world: tuple[Photos, Photos], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, _ = world
    with ScanCache(tmp_path / "clean.looks.sqlite") as cache:
        kept = clean(photos, CleaningRules(min_photos=1), cache=cache).kept
    write_photos(tmp_path / "clean.csv", kept)
    Path(kept.paths[0]).write_bytes(Path(kept.paths[-1]).read_bytes())
    os.utime(kept.paths[0], ns=(1, 1))
    known = known_contents(tmp_path / "clean.csv")
    assert kept.paths[0] not in known
    assert set(kept.paths[1:]) <= set(known)
    read: list[str] = []
    monkeypatch.setattr(splits, "read_bytes", lambda path: read.append(path) or b"changed")
    hashes, _ = contents(kept.paths, known)
    assert read == [kept.paths[0]]
    assert len(set(hashes.values())) == len(kept)
    assert known_contents(tmp_path / "other.csv") == {}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"landmarks": 0}, "landmarks 0 given; expected a whole number, 1 to"),
        ({"landmarks": 1, "unknown": -1}, "unknown -1 given; expected a whole number, 0 to"),
        ({"landmarks": 1, "query_share": 1.0}, "query_share 1 given"),
        ({"landmarks": 1, "bank_share": 0.0}, "bank_share 0 given"),
        ({"landmarks": 9}, "10 landmarks, 8 of them with two photos that differ"),
        ({"landmarks": 8, "unknown": 2}, "left for training"),
    ],
)
def test_impossible_splits_are_refused(
    world: tuple[Photos, Photos], wrong: dict[str, float], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        split_validation(world[0], SplitOptions(**wrong))


def test_ids_in_both_tables_are_refused(world: tuple[Photos, Photos]) -> None:
    photos, distractors = world
    twice = Photos.of_columns(
        [photos.ids[4], *distractors.ids[1:]], list(distractors.paths), list(distractors.landmarks)
    )
    with pytest.raises(DataError, match=f"such as {photos.ids[4]!r}; ids must be unique"):
        split_validation(photos, SplitOptions(landmarks=2), distractors=twice)
