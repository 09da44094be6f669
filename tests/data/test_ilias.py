"""The loader of ILIAS: layout as published, lists or folders, parts, and what is refused."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from tests.support.ilias_layout import names, write_ilias
from whichlandmark.core.errors import DataError
from whichlandmark.data import ilias
from whichlandmark.data.ilias import (
    mini_distractors,
    part_of,
    read_distractor_tars,
    read_ilias,
)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ilias(tmp_path_factory.mktemp("drawn"))


@pytest.fixture
def root(drawn: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(drawn, tmp_path / "ilias"))


def test_as_published(drawn: Path) -> None:
    found = read_ilias(drawn, "ilias")
    assert (len(found.queries), len(found.database)) == (4, 9)
    assert found.queries.ids[0] == "dummy_thing_000/query/Q000_00.jpg"
    assert all(Path(path).is_file() for path in (*found.queries.paths, *found.database.paths))
    judged = found.settings["all"]
    assert [rows.tolist() for rows in judged.positives] == [
        [0, 1, 2], [3, 4], [3, 4], [5, 6, 7, 8],
    ]  # fmt: skip
    assert judged.counted.all()
    assert (found.k, found.boxes, found.upright, found.missing) == (1000, None, True, [])
    assert found.part == "3 objects of 1,000"


@pytest.mark.parametrize("place", ["", "ilias_core"])
def test_without_lists_the_folders_say_who_is_right(place: str, root: Path) -> None:
    expected = read_ilias(root, "mini-ilias")
    shutil.rmtree(root / "image_ids")
    found = read_ilias(root / place, "mini-ilias")
    assert found.queries.ids.tolist() == expected.queries.ids.tolist()
    assert found.database.ids.tolist() == expected.database.ids.tolist()
    assert sum("taken from the folders" in note for note in found.notes) == 2


def test_photos_of_lists_that_are_missing_are_named(root: Path) -> None:
    (root / "ilias_core" / "dummy_thing_001" / "pos" / "P001_01.jpg").unlink()
    found = read_ilias(root, "ilias")
    assert found.missing == ["dummy_thing_001/pos/P001_01.jpg"]
    assert len(found.settings["all"].positives[1]) == 2  # it counts as not retrieved


def test_vectors_need_the_lists_alone(root: Path) -> None:
    shutil.rmtree(root / "ilias_core")
    assert len(read_ilias(root, "ilias", with_photos=False).database) == 9
    with pytest.raises(DataError, match="lists of ids but no photos"):
        read_ilias(root, "ilias")


def test_a_query_whose_object_has_no_photo_counts(root: Path) -> None:
    lines = (root / "image_ids" / "positive_ids.txt").read_text().splitlines()
    kept = [line for line in lines if "thing_000" not in line]
    (root / "image_ids" / "positive_ids.txt").write_text("\n".join(kept))
    judged = read_ilias(root, "ilias").settings["all"]
    assert len(judged.positives[0]) == 0
    assert judged.counted[0]


def test_the_tars_of_hugging_face(root: Path, tmp_path: Path) -> None:
    expected = read_ilias(root, "ilias")
    tars = tmp_path / "hub"
    tars.mkdir()
    for kind, name in (("query", "ilias-core-queries-img-000000"), ("pos", "ilias-core-db-000000")):
        with tarfile.open(tars / f"{name}.tar", "w") as tar:
            for photo in sorted((root / "ilias_core").glob(f"*/{kind}/*.jpg")):
                tar.add(photo, photo.relative_to(root / "ilias_core").as_posix())
    found = read_ilias(tars, "ilias")
    assert found.queries.ids.tolist() == expected.queries.ids.tolist()
    assert found.database.ids.tolist() == expected.database.ids.tolist()
    assert ".tar#" in str(found.database.paths[0])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("../../../etc/passwd,1", "expected ids such as"),
        ("/etc/query/x.jpg", "expected ids such as"),
        ("../query/x.jpg", "expected ids such as"),
        ("dummy_thing_000/pos/Q000_00.jpg", "expected ids such as"),
        ("dummy_thing_000/query/T000.txt", "expected ids such as"),
        ("dummy_thing_000/query/Q000_00.jpg", "occurs twice"),
    ],
)
def test_odd_lists_are_refused(line: str, message: str, root: Path) -> None:
    with open(root / "image_ids" / "image_query_ids.txt", "a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=message):
        read_ilias(root, "ilias")


def test_an_endless_list_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ilias, "MAX_IDS", 3)
    with pytest.raises(DataError, match="more than 3 lines"):
        read_ilias(root, "ilias")


@pytest.mark.parametrize("what", ["nothing", "other photos"])
def test_another_folder_is_refused(what: str, tmp_path: Path) -> None:
    if what == "other photos":
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "x.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match=r"no queries; expected ilias_core/NAME_000/query"):
        read_ilias(tmp_path, "ilias")
    with pytest.raises(DataError, match="no such folder"):
        read_ilias(tmp_path / "none", "ilias")


def test_parts_are_named(drawn: Path) -> None:
    found = read_ilias(drawn, "mini-ilias")
    assert part_of(found, 0) == "3 objects of 1,000, the core set without distractors"
    assert part_of(found, 1000).endswith("1,000 of about 5,000,000 distractors")
    assert part_of(found, 4_999_999) == "3 objects of 1,000"


def test_distractors_of_mini_ilias(root: Path) -> None:
    found = mini_distractors(root / "ilias_core")
    assert found is not None
    np.testing.assert_array_equal(found, [b"0a0", b"0a2", b"0a4", b"0a6"])
    shutil.rmtree(root / "image_ids")
    assert mini_distractors(root) is None


def test_distractors_in_tars(drawn: Path) -> None:
    found = read_distractor_tars(drawn / "yfcc100m")
    assert found is not None
    assert found.ids[0] == "yfcc100m-000000/0a0"
    assert len(found) == 12
    assert read_distractor_tars(drawn / "ilias_core") is None


def test_damaged_tars_are_named(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "yfcc100m" / "b.tar").write_bytes(b"no tar" * 200)
    found = read_distractor_tars(root / "yfcc100m")
    assert found is not None
    assert len(found) == 12
    assert "1 tars or samples cannot be used, such as" in caplog.text
    (root / "yfcc100m" / "yfcc100m-000000.tar").unlink()
    with pytest.raises(DataError, match="cannot be used, such as"):
        read_distractor_tars(root / "yfcc100m")


def test_names_are_those_of_the_options() -> None:
    assert ilias.NAMES == ("ilias", "mini-ilias")
    assert len(names()) == 3
