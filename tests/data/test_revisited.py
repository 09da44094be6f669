"""Revisited Oxford and Paris: layouts that people have, ground truth that is not as published."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.revisited_layout import ground_truth, plain, write_revisited
from whichlandmark.core.errors import DataError
from whichlandmark.data.revisited import read_revisited


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder above roxford5k, as published."""
    at = tmp_path_factory.mktemp("data")
    write_revisited(at)
    return at


@pytest.fixture
def root(published: Path, tmp_path: Path) -> Path:
    """A copy of roxford5k that a test may change."""
    return Path(shutil.copytree(published / "roxford5k", tmp_path / "roxford5k"))


def change(root: Path, **changed: Any) -> None:
    """Write the ground truth with these members changed; None = without it."""
    truth = {**ground_truth(), **changed}
    truth = {key: value for key, value in truth.items() if value is not None}
    (root / "gnd_roxford5k.pkl").write_bytes(pickle.dumps(truth))


def change_query(root: Path, **changed: Any) -> None:
    """The same for the members of the first query."""
    records = ground_truth()["gnd"]
    records[0] = {key: v for key, v in {**records[0], **changed}.items() if v is not None}
    change(root, gnd=records)


def test_as_published(published: Path) -> None:
    found = read_revisited(published / "roxford5k", "roxford5k")
    assert (len(found.queries), len(found.database)) == (3, 28)
    assert found.queries.ids.tolist() == ["query_0", "query_1", "query_2"]
    assert Path(found.database.paths[0]) == published / "roxford5k" / "jpg" / "place_0_000000.jpg"
    assert found.boxes is not None
    assert found.boxes.tolist() == [[10, 5, 70, 55]] * 3
    easy, medium, hard = (found.settings[name] for name in ("easy", "medium", "hard"))
    assert [rows.tolist() for rows in easy.positives] == [[0, 1], [6, 7], []]
    assert [rows.tolist() for rows in easy.ignored] == [
        [2, 3, 4, 5],
        [8, 9, 10, 11],
        [14, 15, 16, 17],
    ]
    assert easy.counted.tolist() == [True, True, False]
    assert [rows.tolist() for rows in medium.positives] == [[0, 1, 2, 3], [6, 7, 8, 9], [14, 15]]
    assert [rows.tolist() for rows in medium.ignored] == [[4, 5], [10, 11], [16, 17]]
    assert [rows.tolist() for rows in hard.positives] == [[2, 3], [8, 9], [14, 15]]
    assert [rows.tolist() for rows in hard.ignored] == [[0, 1, 4, 5], [6, 7, 10, 11], [16, 17]]
    assert hard.counted.all()
    assert (found.measure, found.precision_at, found.upright) == ("mAP", (1, 5, 10), False)
    assert any("as published roxford5k has 70 and 4993" in note for note in found.notes)


def test_json_is_the_same(tmp_path: Path, published: Path) -> None:
    write_revisited(tmp_path, as_json=True)
    a = read_revisited(tmp_path / "roxford5k", "roxford5k")
    b = read_revisited(published / "roxford5k", "roxford5k")
    assert a.database.ids.tolist() == b.database.ids.tolist()
    for name, judged in a.settings.items():
        other = b.settings[name]
        assert [rows.tolist() for rows in judged.positives] == [r.tolist() for r in other.positives]
        assert [rows.tolist() for rows in judged.ignored] == [r.tolist() for r in other.ignored]


def test_layouts_that_people_have(root: Path, tmp_path: Path) -> None:
    """Above the folder, its photos, data/datasets, images/, sub-folders, other suffixes."""
    assert len(read_revisited(tmp_path, "roxford5k").database) == 28
    assert len(read_revisited(root / "jpg", "roxford5k").database) == 28
    nested = tmp_path / "revisitop" / "data" / "datasets"
    nested.mkdir(parents=True)
    shutil.move(root, nested / "roxford5k")
    assert len(read_revisited(tmp_path / "revisitop", "roxford5k").database) == 28
    root = nested / "roxford5k"
    (root / "jpg").rename(root / "images")
    assert not read_revisited(root, "roxford5k").missing
    (root / "images" / "place").mkdir()  # as paris_1.tgz unpacks
    for path in [*(root / "images").glob("place_*.jpg")]:
        path.rename(root / "images" / "place" / path.name.upper())
    assert not read_revisited(root, "roxford5k").missing
    names = ground_truth()["imlist"]
    change(root, imlist=[f"{name}.jpg" for name in names])
    assert not read_revisited(root, "roxford5k").missing
    change(root, imlist=np.array([f"jpg/{name}.jpg".encode() for name in names]))
    assert not read_revisited(root, "roxford5k").missing
    for path in [*(root / "images").glob("other_*.jpg")]:  # without a suffix
        path.rename(path.with_suffix(""))
    change(root)
    assert not read_revisited(root, "roxford5k").missing
    shutil.move(root / "images", root / "elsewhere")
    found = read_revisited(root / "elsewhere", "roxford5k")  # the ground truth is beside it
    assert not found.missing


def test_of_several_photos_of_a_name_the_published_one_is_taken(root: Path) -> None:
    """Nearest to the folder, and a .jpg."""
    photo = root / "jpg" / "query_0.jpg"
    (root / "jpg" / "a").mkdir()
    for other in (
        photo.with_suffix(".JPEG"),
        photo.with_suffix(".avif"),
        root / "jpg/a/query_0.jpg",
    ):
        shutil.copy(photo, other)
    assert read_revisited(root, "roxford5k").queries.paths[0] == str(photo)


def test_ground_truth_elsewhere(root: Path, tmp_path: Path) -> None:
    given = shutil.move(root / "gnd_roxford5k.pkl", tmp_path / "mine.pickle")
    with pytest.raises(DataError, match=r"no gnd_roxford5k.pkl or gnd_roxford5k.json there"):
        read_revisited(root, "roxford5k")
    found = read_revisited(root, "roxford5k", ground_truth=Path(given))
    assert not found.missing
    assert len(found.database) == 28


@pytest.mark.parametrize("how", [pickle.dumps, lambda value: pickle.dumps(value, 0)])
def test_what_python_2_wrote(root: Path, how: Any) -> None:
    """Names as bytes."""
    truth = ground_truth()
    truth["imlist"] = [name.encode() for name in truth["imlist"]]
    (root / "gnd_roxford5k.pkl").write_bytes(how(truth))
    assert read_revisited(root, "roxford5k").database.ids[0] == "place_0_000000"


def test_missing_photos(root: Path) -> None:
    """One may be missing, and is told; more would make figures that cannot be compared."""
    (root / "jpg" / "other_000003.jpg").unlink()
    assert read_revisited(root, "roxford5k").missing == ["other_000003"]
    (root / "jpg" / "other_000004.jpg").unlink()
    with pytest.raises(
        DataError, match="2 of the 28 photos of the database are not there, such as"
    ):
        read_revisited(root, "roxford5k")


def test_a_missing_query(root: Path) -> None:
    (root / "jpg" / "query_1.jpg").unlink()
    assert read_revisited(root, "roxford5k").missing == ["query_1"]
    (root / "jpg" / "query_0.jpg").unlink()
    with pytest.raises(
        DataError, match="2 of the 3 queries are not there, such as query_0, query_1"
    ):
        read_revisited(root, "roxford5k")


def test_one_photo_may_be_asked_with_several_boxes(root: Path) -> None:
    change(root, qimlist=["query_0", "query_1", "query_1"])
    found = read_revisited(root, "roxford5k")
    assert found.queries.ids.tolist() == ["query_0", "query_1", "query_1#2"]
    assert found.queries.paths[1] == found.queries.paths[2]


def test_what_is_told(root: Path) -> None:
    """Queries in the database, photos in two lists, repeated rows, no box."""
    change(root, qimlist=["query_0", "query_1", "place_2_000000"])
    notes = read_revisited(root, "roxford5k").notes
    assert any("1 queries are in the database too, such as place_2_000000" in n for n in notes)
    change_query(root, easy=[0, 1, 1], junk=[1, 4], bbx=None)
    found = read_revisited(root, "roxford5k")
    assert any("1 photos named twice in one list" in note for note in found.notes)
    assert any("1 photos are both right and ignored" in note for note in found.notes)
    assert any("1 queries have no box, such as query_0" in note for note in found.notes)
    assert found.settings["easy"].positives[0].tolist() == [0, 1]
    assert found.settings["easy"].ignored[0].tolist() == [2, 3, 4]
    assert found.boxes is not None
    assert np.isnan(found.boxes[0]).all()


def test_settings_without_a_right_photo(root: Path) -> None:
    """One that no query counts in is not measured; where that is so for all, nothing is."""
    records = [{**record, "easy": []} for record in ground_truth()["gnd"]]
    change(root, gnd=records)
    found = read_revisited(root, "roxford5k")
    assert [*found.settings] == ["medium", "hard"]
    assert "easy is not measured: no query has a right photo there" in found.notes
    change(root, gnd=[{**record, "hard": []} for record in records])
    with pytest.raises(DataError, match="no query has a right photo; expected easy or hard"):
        read_revisited(root, "roxford5k")


def test_floats_and_arrays_as_boxes_and_rows(root: Path) -> None:
    change_query(root, bbx=np.array([10.4, 5.6, 70, 55]), easy=np.array([0.0, 1.0]), hard=[])
    found = read_revisited(root, "roxford5k")
    assert found.boxes is not None
    assert found.boxes[0].tolist() == [10.4, 5.6, 70, 55]
    assert found.settings["medium"].positives[0].tolist() == [0, 1]


BAD_QUERIES = {
    "a row too large": (
        {"easy": [28]},
        r"easy: row 28, but imlist has rows 0 to 27; rows are count",
    ),
    "a negative row": ({"hard": [-1]}, "hard: row -1, but imlist has rows 0 to 27"),
    "half a row": ({"junk": [1.5]}, "junk: '1.5'; expected row numbers"),
    "a name for a row": ({"easy": ["place_0"]}, "easy: 'place_0'; expected row numbers"),
    "a truth for a row": ({"easy": [True]}, "easy: 'True'; expected row numbers"),
    "a number for a list": ({"easy": 3}, "easy: int; expected a list of row numbers"),
    "a reversed box": (
        {"bbx": [70, 5, 10, 55]},
        "has no pixels; expected left, top, right, bottom",
    ),
    "an empty box": ({"bbx": [5, 5, 5, 9]}, "has no pixels"),
    "three sides": ({"bbx": [1, 2, 3]}, "expected left, top, right, bottom"),
    "text for a box": ({"bbx": "all"}, "expected left, top, right, bottom"),
    "no number": ({"bbx": [0, 0, float("nan"), 5]}, "expected left, top, right, bottom"),
    "a giant box": ({"bbx": [0, 0, 1e12, 5]}, "expected pixels"),
    "a complex row": ({"easy": np.array([1j])}, "easy: '1j'; expected row numbers"),
    "an endless row": ({"easy": [float("inf")]}, "easy: 'inf'; expected row numbers"),
    "a giant row": ({"easy": [10**400]}, "easy: '1000.*…'; expected row numbers"),
    "an array in a box": ({"bbx": [np.eye(2), 5, 70, 55]}, r"bbx \[array\(.*; expected left, top"),
    "the original set": ({"easy": None, "ok": [0]}, "'ok', as the original Oxford 5k and Paris 6k"),
}


@pytest.mark.parametrize("name", BAD_QUERIES)
def test_a_query_that_is_not_as_published(root: Path, name: str) -> None:
    changed, said = BAD_QUERIES[name]
    change_query(root, **changed)
    with pytest.raises(DataError, match=said) as refused:
        read_revisited(root, "roxford5k")
    assert "query 'query_0'" in str(refused.value)


BAD_FILES = {
    "no gnd": ({"gnd": None}, r"expected a dict of imlist, qimlist and gnd"),
    "a name twice": ({"imlist": ["a", "b", "a"]}, "imlist names 'a' twice"),
    "too few": ({"gnd": []}, "gnd has 0 entries; expected 3"),
    "a number for gnd": ({"gnd": 3}, "gnd has int entries; expected 3"),
    "no queries": ({"qimlist": [], "gnd": []}, "0 queries and 28 photos; expected some"),
    "no database": ({"imlist": []}, "3 queries and 0 photos; expected some"),
    "a number for a name": ({"imlist": [3]}, "imlist: '3' in the place of a photo's name"),
    "half a letter": ({"imlist": ["a\ud800"]}, "imlist: .* in the place of a photo's name"),
    "a blank name": ({"qimlist": ["a", " ", "b"]}, "qimlist: '' in the place of a photo's name"),
    "a name of 300 letters": ({"qimlist": ["a", "b", "c" * 300]}, "qimlist: 'c{60}…' in the place"),
    "text for a list": ({"imlist": "place"}, "imlist: str; expected a list of names"),
    "no dicts": ({"gnd": [1, 2, 3]}, "int; expected bbx, easy, hard and junk"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_is_not_as_published(root: Path, name: str) -> None:
    changed, said = BAD_FILES[name]
    change(root, **changed)
    with pytest.raises(DataError, match=said):
        read_revisited(root, "roxford5k")


def test_names_that_climb_out_of_the_folder(root: Path, tmp_path: Path) -> None:
    """Only the last part of a name counts, and only photos in the folder are found."""
    (tmp_path / "secret.jpg").write_bytes(b"x")
    names = ground_truth()["imlist"]
    change(root, imlist=["../../secret", *names[1:]])
    assert read_revisited(root, "roxford5k").missing == ["../../secret"]


def test_wrong_folders_and_formats(root: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="no such folder; expected the folder of rparis6k, with jpg/"
    ):
        read_revisited(tmp_path / "gone", "rparis6k")
    with pytest.raises(
        DataError, match=r"there is gnd_roxford5k.pkl: is it --protocol roxford5k\?"
    ):
        read_revisited(root, "rparis6k")
    (root / "gnd_roxford5k.pkl").rename(root / "gnd_roxford5k.mat")
    with pytest.raises(
        DataError, match="a file of Matlab, whose rows are counted from 1; give gnd_"
    ):
        read_revisited(root, "roxford5k")
    (root / "gnd_roxford5k.json").write_text("{")
    with pytest.raises(DataError, match="not readable as JSON"):
        read_revisited(root, "roxford5k")
    (root / "gnd_roxford5k.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match="not readable as JSON"):
        read_revisited(root, "roxford5k")
    (root / "gnd_roxford5k.json").write_text(json.dumps(plain(ground_truth())))
    shutil.rmtree(root / "jpg")
    with pytest.raises(DataError, match=r"no photos in roxford5k/jpg or beside"):
        read_revisited(root, "roxford5k")


def test_a_pickle_that_would_run_something(root: Path) -> None:
    class Run:
        def __reduce__(self) -> Any:
            return print, ("never",)

    change(root, imlist=Run())
    with pytest.raises(DataError, match=r"this pickle holds '(builtins|__builtin__).print'"):
        read_revisited(root, "roxford5k")
