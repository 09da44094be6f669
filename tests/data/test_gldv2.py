"""Import of Google Landmarks v2 from tars and from a tree: tables, counts, listed problems."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest

from tests.cli.test_commands import json_of, run
from tests.support.gldv2_layout import Gldv2Set, Item, hex_id, photo_path, write_gldv2, write_md5
from whichlandmark.core.errors import DataError
from whichlandmark.core.storage import read_bytes
from whichlandmark.data import gldv2_tables
from whichlandmark.data.gldv2 import Gldv2Options, import_gldv2
from whichlandmark.data.gldv2_tables import MAX_CELL_CHARACTERS, name_of
from whichlandmark.data.table import read_photos
from whichlandmark.gallery.records import read_credits

NAMES = {"7": "Café de Paris", "12": "St. John's (Malta)", "203": "清水寺", "9": "100% Tower"}


def data_of(name: str) -> bytes:
    return name.encode() * 50


def item(name: str, landmark: str, usage: str = "", clean: bool = True) -> Item:
    return Item(hex_id(name), landmark, data_of(name), usage, clean)


def small_set() -> Gldv2Set:
    """12 train photos of 3 landmarks, 9 of them clean; 3 index photos; 6 test photos."""
    train = [item(f"t{i}", ("7", "12", "203")[i % 3], clean=i < 9) for i in range(12)]
    index = [item(f"i{i}", ("7", "9", "9")[i]) for i in range(3)]
    answers = [("7", "Public"), ("", "Public"), ("12 203", "Private"), ("", "Private"),
               ("7", "Ignored"), ("9", "Private")]  # fmt: skip
    test = [item(f"q{i}", *answer) for i, answer in enumerate(answers)]
    return Gldv2Set(train, index, test, dict(NAMES))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_gldv2(tmp_path / "gldv2", small_set())
    return tmp_path / "gldv2"


def rows_of(path: Path) -> list[list[str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def set_rows(path: Path, rows: list[list[str]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


@pytest.mark.parametrize("unpacked", [False, True])
def test_all_tables_are_imported_with_their_counts(tmp_path: Path, unpacked: bool) -> None:
    write_gldv2(tmp_path / "gldv2", small_set(), unpacked=unpacked)
    done = import_gldv2(tmp_path / "gldv2", tmp_path / "out")
    assert done.problems == {}
    assert [note.partition(",")[0] for note in done.notes] == ["4 photos are in no table"]
    assert not (tmp_path / "out" / "problems.csv").exists()
    assert {k: v for k, v in done.counts.items() if v} == {
        "train photos": 9, "index photos": 3, "test photos": 5, "test ignored": 1, "landmarks": 4,
        "photos in no table": 4,
    }  # fmt: skip
    wanted = small_set()
    for name, items in (
        ("train", [i for i in wanted.train if i.clean]),
        ("index", wanted.index),
        ("test", [i for i in wanted.test if i.usage != "Ignored"]),
    ):
        photos = read_photos(tmp_path / "out" / f"{name}.csv")
        found = {p.id: (p.landmark or "", p.usage, read_bytes(p.path)) for p in photos}
        assert found == {i.id: (i.landmark.replace(" ", "|"), i.usage, i.data) for i in items}


def test_all_photos_and_train_without_a_clean_list(root: Path, tmp_path: Path) -> None:
    done = import_gldv2(root, tmp_path / "a", Gldv2Options(all_photos=True))
    assert done.counts["train photos"] == 12
    (root / "train_clean.csv").unlink()
    assert import_gldv2(root, tmp_path / "b").counts["train photos"] == 12
    assert rows_of(tmp_path / "a" / "train.csv") == rows_of(tmp_path / "b" / "train.csv")


def test_landmark_names_are_decoded_while_ids_stay_the_labels(root: Path, tmp_path: Path) -> None:
    import_gldv2(root, tmp_path / "out")
    table = rows_of(tmp_path / "out" / "landmarks.csv")
    assert table[0] == ["landmark", "name", "category"]
    assert {row[0]: row[1] for row in table[1:]} == NAMES
    assert name_of("https://commons.wikimedia.org/wiki/Category:Ch%C3%A2teau_d%27If") == (
        "Château d'If"
    )
    assert name_of("http://commons.wikimedia.org/wiki/Category:A/B_%28C%29") == "A/B (C)"
    assert name_of("http://commons.wikimedia.org/wiki/Category:%FF_x") == "\ufffd x"
    assert name_of("") == ""


def test_a_landmark_without_a_category_keeps_its_id(
    root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = root / "train_label_to_category.csv"
    set_rows(path, [row for row in rows_of(path) if row[0] != "12"])
    code, out, err = run(capfd, "import", "gldv2", root, "-o", tmp_path / "out", "--json")
    assert code == 0  # no photo is left out
    assert json.loads(out)["train photos"] == 9
    assert "note: 12: not in the category file" in err
    assert ["12", "12", ""] in rows_of(tmp_path / "out" / "landmarks.csv")


def test_damaged_and_missing_tars_are_listed(
    root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tar = root / "train" / "images_000.tar"
    data = bytearray(tar.read_bytes())
    data[-3000] ^= 1
    tar.write_bytes(data)
    (root / "index" / "images_000.tar").unlink()
    code, out, err = run(capfd, "import", "gldv2", root, "-o", tmp_path / "out", "--json")
    counts = json.loads(out)
    assert code == 3
    assert counts["train photos"] + counts["train missing"] == 9
    assert (counts["train missing"], counts["index missing"], counts["test photos"]) == (5, 3, 5)
    assert "train/images_000.tar: md5 " in err
    assert "index/images_000.tar: missing" in err
    assert "more of this kind (photo)" in err
    assert "Traceback" not in err
    table = rows_of(tmp_path / "out" / "problems.csv")
    assert len([row for row in table if row[0] == "photo"]) == 8
    assert {row[1] for row in table if row[0] == "tar"} == {
        "train/images_000.tar", "index/images_000.tar",
    }  # fmt: skip
    # Without the MD5 check, the tar with one wrong bit is read.
    counts = json_of(capfd, "import", "gldv2", root, "-o", tmp_path / "out", "--no-md5", code=3)
    assert (counts["train photos"], counts["index missing"]) == (9, 3)


def test_mended_tars_clear_the_list_of_problems(root: Path, tmp_path: Path) -> None:
    tar = root / "train" / "images_000.tar"
    whole = tar.read_bytes()
    tar.write_bytes(whole[:700])
    assert import_gldv2(root, tmp_path / "out").problems
    assert (tmp_path / "out" / "problems.csv").exists()
    tar.write_bytes(whole)
    assert not import_gldv2(root, tmp_path / "out").problems
    assert not (tmp_path / "out" / "problems.csv").exists()


def test_photos_before_the_cut_of_a_truncated_tar_are_imported(root: Path, tmp_path: Path) -> None:
    tar = root / "train" / "images_000.tar"
    os.truncate(tar, tar.stat().st_size * 2 // 3)
    done = import_gldv2(root, tmp_path / "out", Gldv2Options(md5=False, all_photos=True))
    assert "cut short" in done.problems["tar"][0]
    missing = done.counts["train missing"]
    assert 0 < missing < 6
    assert len(read_photos(tmp_path / "out" / "train.csv")) == 12 - missing


def test_repeated_rows_are_merged_and_conflicts_listed(root: Path, tmp_path: Path) -> None:
    """The same row twice is harmless; another landmark is listed, and the first row counts."""
    rows = rows_of(root / "train.csv")
    twice, other = list(rows[1]), list(rows[2])
    other[2] = "203"
    set_rows(root / "train.csv", [*rows, twice, other, other])
    done = import_gldv2(root, tmp_path / "out", Gldv2Options(all_photos=True))
    assert (done.counts["train photos"], done.counts["train repeated"]) == (12, 3)
    assert len(done.problems["row"]) == 2
    assert "again, with 203" in done.problems["row"][0]
    found = {p.id: p.landmark for p in read_photos(tmp_path / "out" / "train.csv")}
    assert found[other[0]] == rows[2][2] == "12"


def test_repeats_far_apart_are_found(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in different chunks of the table: the same result as in one chunk."""
    rows = rows_of(root / "train.csv")
    set_rows(root / "train.csv", [*rows, *rows[1:]])
    whole = import_gldv2(root, tmp_path / "a", Gldv2Options(all_photos=True)).counts
    monkeypatch.setattr(gldv2_tables.read_columns, "__kwdefaults__", {"rows": 3})
    in_chunks = import_gldv2(root, tmp_path / "b", Gldv2Options(all_photos=True)).counts
    assert in_chunks == whole
    assert whole["train repeated"] == 12
    assert rows_of(tmp_path / "a" / "train.csv") == rows_of(tmp_path / "b" / "train.csv")


def test_test_photos_without_an_answer_are_left_out(root: Path, tmp_path: Path) -> None:
    path = root / "recognition_solution_v2.1.csv"
    set_rows(path, [row for row in rows_of(path) if row[0] != hex_id("q5")])
    done = import_gldv2(root, tmp_path / "out")
    assert done.counts["test photos"] == 4
    assert done.problems["row"] == [
        f"{hex_id('q5')}: of test: no answer in recognition_solution_v2.1.csv; left out"
    ]
    path.unlink()
    done = import_gldv2(root, tmp_path / "out")
    assert done.counts["test photos"] == 6
    assert "cannot be used to evaluate" in done.notes[0]
    photos = read_photos(tmp_path / "out" / "test.csv")
    assert set(photos.landmarks) == set(photos.usages) == {""}


def test_csv_files_in_subfolders_and_the_newest_solution_are_used(
    root: Path, tmp_path: Path
) -> None:
    (root / "metadata").mkdir()
    for path in list(root.glob("*.csv")):
        path.rename(root / "metadata" / path.name)
    old = rows_of(root / "metadata" / "recognition_solution_v2.1.csv")
    set_rows(root / "metadata" / "recognition_solution_v2.csv", [old[0]])
    assert import_gldv2(root, tmp_path / "out").counts["test photos"] == 5


def test_a_landmark_with_very_many_photos_is_imported(root: Path, tmp_path: Path) -> None:
    """Its cell in train_clean.csv is longer than the csv module reads by default."""
    rows = rows_of(root / "train_clean.csv")
    many = " ".join(hex_id(f"gone{i}") for i in range(9000))
    rows[1][1] = f"{many} {rows[1][1]}"
    set_rows(root / "train_clean.csv", rows)
    before = csv.field_size_limit()
    assert len(many) > before
    done = import_gldv2(root, tmp_path / "out")
    assert (done.counts["train photos"], done.counts["train missing"]) == (9, 9000)
    assert done.problems["photo"][-1] == "… 8,995 more of this kind (photo)"
    assert csv.field_size_limit() == before != MAX_CELL_CHARACTERS


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("train_clean.csv", ["7", "../../etc/passwd"], "id '../../etc/passwd'"),
        ("train_clean.csv", ["7|8", "abc"], "landmark_id '7|8'"),
        ("train_clean.csv", ["", "abcd"], "landmark_id ''"),
        ("train_clean.csv", ["7", "ab"], "id 'ab'; expected at least 3"),
        ("train_clean.csv", ["7", "ébc"], "id 'ébc'"),
        ("train_clean.csv", ["7", "a" * 16, "x"], "3 cells"),
        ("recognition_solution_v2.1.csv", ["abcd", "7|8|a/b", ""], "landmarks '78a/b'"),
        ("index.csv", ["a,b"], "id 'a,b'"),
        ("train_label_to_category.csv", ["7 8", "x"], "landmark_id '7 8'"),
    ],
)
def test_wrong_rows_are_refused(
    root: Path, tmp_path: Path, name: str, row: list[str], message: str
) -> None:
    set_rows(root / name, [*rows_of(root / name), row])
    with pytest.raises(DataError) as caught:
        import_gldv2(root, tmp_path / "out")
    assert message in str(caught.value)
    assert str(root / name) in str(caught.value)
    assert "line" in str(caught.value)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: [p.unlink() for p in root.glob("*.csv")], "expected train.csv"),
        (lambda root: [p.unlink() for p in root.rglob("*.tar")], "no photos found; expected a/b/c"),
        (lambda root: (root / "train_clean.csv").write_text("id,url\n"), "'landmark_id' once"),
        (lambda root: (root / "train_clean.csv").write_bytes(b"\xff\xff"), "UTF-8"),
        (lambda root: (root / "train_clean.csv").write_text(""), "(none) given"),
        (lambda root: [write_md5(p) or p.write_bytes(b"") for p in root.rglob("*.tar")],
         "could be read"),
    ],
)  # fmt: skip
def test_import_errors_are_one_clear_line(
    root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], spoil, message: str
) -> None:
    spoil(root)
    code, _, err = run(capfd, "import", "gldv2", root, "-o", tmp_path / "out")
    assert code == 4, err
    assert message in err
    assert "Traceback" not in err


def test_a_missing_folder_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capfd, "import", "gldv2", tmp_path / "gone", "-o", tmp_path / "out")
    assert (code, "no such folder" in err) == (4, True)
    assert not (tmp_path / "out").exists()


def test_an_unpacked_tree_beside_its_tables_and_photos_found_twice(
    root: Path, tmp_path: Path
) -> None:
    """A photo at ROOT/a/b/c has priority over the same photo in a tar."""
    path = root / photo_path(hex_id("t0"))
    path.parent.mkdir(parents=True)
    path.write_bytes(data_of("t0"))
    import_gldv2(root, root / "tables")
    found = {p.id: str(p.path) for p in read_photos(root / "tables" / "train.csv")}
    assert found[hex_id("t0")] == str(path)
    assert ".tar#" in found[hex_id("t1")]


def test_the_official_tables_are_never_written_over(
    root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in root.glob("*.csv")}
    (tmp_path / "link").symlink_to(root)
    for out in (root, tmp_path / "link"):
        code, _, err = run(capfd, "import", "gldv2", root, "-o", out)
        assert (code, "is not a photo table that whichlandmark wrote" in err) == (2, True)
    assert {path.name: path.read_bytes() for path in root.glob("*.csv")} == before


def test_interrupted_or_refused_imports_keep_the_old_tables(root: Path, tmp_path: Path) -> None:
    import_gldv2(root, tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    set_rows(root / "index.csv", [*rows_of(root / "index.csv"), ["a/b"]])
    with pytest.raises(DataError):
        import_gldv2(root, tmp_path / "out")
    after = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert after == before


def test_kaggles_layout_with_an_unlabelled_test_set_loses_no_photo(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """train.csv without URLs, no test.csv: the sample submission lists the test photos."""
    at = tmp_path / "kaggle"
    ids = [f"{number:x}" * 3 + "abc0123456789" for number in range(6)]
    for number, name in enumerate(ids):
        part = "train" if number < 3 else "test"
        path = at / part / name[0] / name[1] / name[2] / f"{name}.jpg"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"\xff\xd8\xff")
    set_rows(at / "train.csv", [["id", "landmark_id"], *([name, "7"] for name in ids[:3])])
    set_rows(at / "sample_submission.csv",
             [["id", "landmarks"], *([name, "17660 0.51"] for name in ids[3:5])])  # fmt: skip
    code, out, err = run(capfd, "import", "gldv2", at, "-o", tmp_path / "out", "--json")
    assert code == 0
    assert json.loads(out)["test photos"] == 2
    assert json.loads(out)["photos in no table"] == 1
    assert [row[2] for row in rows_of(tmp_path / "out" / "test.csv")[1:]] == ["", ""]
    assert "its photos (of sample_submission.csv) have no landmarks" in err
    assert f"1 photos are in no table, such as {ids[5]}" in err


def test_credits_are_written_from_odd_attributions(root: Path, tmp_path: Path) -> None:
    ids = [item.id for item in small_set().train]
    page, cc = "https://commons.wikimedia.org/wiki/File:A.jpg", "creativecommons.org/licenses"
    attributions = [
        [ids[0], page, "Ana \n  Silva", f"http://{cc}/by/2.0/deed.pt", "File:A.jpg"],
        [ids[1], "File:A.jpg", "x" * 5000, f"https://{cc}/by-nc/2.0", "t"],
        [ids[2], "", "", "GFDL", ""],
        [ids[3], page, "=cmd|' /C calc'!A0", "", "t"],
        [ids[0], page, "another", "", "again"],
        [hex_id("of no table"), page, "Nobody", "", "t"],
    ]
    set_rows(root / "train_attribution.csv", [["id", "url", "author", "license", "title"],
                                              *attributions])  # fmt: skip
    done = import_gldv2(root, tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "credits.csv")
    assert rows[0] == ["id", "author", "licence", "licence_url", "source"]
    assert rows[1] == [ids[0], "Ana Silva", "CC BY 2.0", f"https://{cc}/by/2.0/", page]
    assert rows[2] == [ids[1], "x" * 4000, "CC BY-NC 2.0", f"https://{cc}/by-nc/2.0/", ""]
    assert rows[3] == [ids[2], "", "GFDL", "", ""]
    assert rows[4] == [ids[3], "=cmd|' /C calc'!A0", "", "", page]
    assert len(rows) == 5
    assert done.counts["credits"] == 4
    assert not done.problems
    assert any("GFDL: licence not understood" in note for note in done.notes)
    credits = read_credits(tmp_path / "out" / "credits.csv")
    assert credits[ids[0]].author == "Ana Silva"

    with open(root / "train_attribution.csv", "a") as file:
        file.write("only,two\n")
    done = import_gldv2(root, tmp_path / "out")
    assert "2 cells; the header has 5" in done.problems["credits"][0]
    assert done.counts["train photos"] == 9
    assert "credits.csv has only photos before that" in done.problems["credits"][0]
    assert len(rows_of(tmp_path / "out" / "credits.csv")) == 1 + done.counts["credits"]
