"""predictions.csv: exact round trips, relative paths, errors with a line number."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from whichlandmark.core.errors import DataError
from whichlandmark.evaluation.predictions import (
    COLUMNS,
    Predictions,
    read_predictions,
    write_predictions,
    write_submission,
)

NAMES = ["Tour Eiffel", "東京タワー", 'say "hi", twice', "two\nlines", "50%20off", " spaced ", ""]


def predictions_in(folder: Path) -> Predictions:
    """Seven queries with names and numbers that a careless csv writer would change."""

    def column(values: list[str]) -> np.ndarray:
        filled = np.empty(len(values), dtype=object)
        filled[:] = values
        return filled

    n = len(NAMES)
    return Predictions(
        ids=column([f"q{i}" for i in range(n)]),
        guess=column(NAMES),
        score=np.array([0.1 + 0.2, 1 / 3, 1e-300, -2.5, 1e17, 0.0, -np.inf]),
        confidence=np.array([1.0, 0.5, np.nextafter(0.5, 1), 0.0, 0.25, 0.125, 0.0]),
        decision=column(["landmark", "uncertain", "no_landmark", *["landmark"] * (n - 3)]),
        truth=column(["Tour Eiffel", "", "elsewhere", "two\nlines", "50%20off", "x", ""]),
        nearest=column(["g1", "g2", "g,3", "g4", "g5", "g6", ""]),
        similarity=np.array([0.9, -0.1, 0.3, 0.4, 0.5, 0.6, 0.0]),
        rank=np.array([1, 0, 0, 1, 1, 3, 0]),
        path=column([str(folder / "photos" / f"ü {i}.jpg") for i in range(n)]),
        nearest_path=column([str(folder.parent / "gallery" / f"{i}.jpg") for i in range(6)] + [""]),
        known=np.array([True, False, False, True, True, True, False]),
    )


def same(one: Predictions, other: Predictions) -> bool:
    fields = [field for field, _ in COLUMNS.values()]
    return all(getattr(one, f).tolist() == getattr(other, f).tolist() for f in fields)


def test_written_predictions_read_back_exactly(tmp_path: Path) -> None:
    before = predictions_in(tmp_path)
    write_predictions(tmp_path / "p.csv", before)
    after = read_predictions(tmp_path / "p.csv")
    assert same(before, after)
    kinds = [after.score.dtype, after.rank.dtype, after.known.dtype, after.guess.dtype]
    assert kinds == [np.float64, np.int64, np.bool_, object]


def test_a_tier_and_a_usage_have_columns_only_where_a_query_has_one(tmp_path: Path) -> None:
    for columns in (["tier"], ["usage"], ["usage", "tier"], []):
        p = predictions_in(tmp_path)
        for name in columns:
            getattr(p, name)[2] = f"some {name}"
        write_predictions(tmp_path / "p.csv", p)
        header = (tmp_path / "p.csv").read_text().splitlines()[0].split(",")
        assert header == [*COLUMNS, *columns]
        back = read_predictions(tmp_path / "p.csv")
        for name in ("usage", "tier"):
            expected = f"some {name}" if name in columns else ""
            assert getattr(back, name).tolist() == ["", "", expected, "", "", "", ""]


def test_the_file_is_plain_csv(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.csv", predictions_in(tmp_path))
    with open(tmp_path / "p.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert ",".join(rows[0]) == (
        "id,landmark,score,confidence,decision,truth,nearest,similarity,rank,path,nearest_path,known"
    )
    assert rows[1] == ["q0", "Tour Eiffel", "0.30000000000000004", "1.0", "landmark", "Tour Eiffel",
                       "g1", "0.9", "1", "photos/ü 0.jpg", "../gallery/0.jpg", "1"]  # fmt: skip


def test_photo_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "original").mkdir()
    write_predictions(tmp_path / "original" / "p.csv", predictions_in(tmp_path / "original"))
    shutil.copytree(tmp_path / "original", tmp_path / "moved" / "copy")
    moved = read_predictions(tmp_path / "moved" / "copy" / "p.csv")
    assert moved.path[0] == str(tmp_path / "moved" / "copy" / "photos" / "ü 0.jpg")
    assert moved.nearest_path[0] == str(tmp_path / "moved" / "gallery" / "0.jpg")
    assert moved.nearest_path[6] == ""


def test_columns_in_any_order_and_blank_lines_are_accepted(tmp_path: Path) -> None:
    before = predictions_in(tmp_path)
    write_predictions(tmp_path / "p.csv", before)
    with open(tmp_path / "p.csv", newline="", encoding="utf-8") as file:
        rows = [row[::-1] for row in csv.reader(file)]
    with open(tmp_path / "turned.csv", "w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([*rows, []])
    assert same(before, read_predictions(tmp_path / "turned.csv"))


def test_an_empty_table_round_trips(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(",".join(COLUMNS) + "\n")
    empty = read_predictions(tmp_path / "p.csv")
    assert (len(empty), empty.score.dtype, empty.known.dtype) == (0, np.float64, np.bool_)
    write_predictions(tmp_path / "again.csv", empty)
    assert (tmp_path / "again.csv").read_text() == (tmp_path / "p.csv").read_text()


def test_right_and_predicted_masks(tmp_path: Path) -> None:
    found = predictions_in(tmp_path)
    assert found.right.tolist() == [True, False, False, True, True, False, False]
    assert found.predicted.tolist() == [True] * 6 + [False]  # the last query has no guess


GOOD = "q,tower,0.5,0.9,landmark,tower,g,0.8,1,q.jpg,g.jpg,1"


@pytest.mark.parametrize(
    ("header", "line", "message"),
    [
        (",".join(COLUMNS).replace("score", "scroe"), GOOD,
         r"unknown column: 'scroe'; did you mean 'score'"),
        (",".join(COLUMNS).replace(",known", ""), GOOD, "column 'known' is missing"),
        (",".join(COLUMNS) + ",id", GOOD, "column 'id' occurs 2 times"),
        ("", "", "unknown column: 'first'"),
        (None, GOOD.replace("0.5", "high"), "line 3: score is 'high'; expected a number"),
        (None, GOOD.replace("0.9", "nan"), "line 3: confidence is 'nan'; expected a number"),
        (None, GOOD.replace(",1,q", ",1.5,q"), "line 3: rank is '1.5'; expected a whole number"),
        (None, GOOD.replace(",1,q", ",-1,q"), "line 3: rank is '-1'"),
        (None, GOOD[:-1] + "yes", "line 3: known is 'yes'; expected 0 or 1"),
        (None, GOOD.replace("landmark", "landmrk"),
         "line 3: unknown decision: 'landmrk'; did you mean 'landmark'"),
        (None, GOOD + ",more", "line 3: 13 cells; the header has 12"),
        (None, "first" + GOOD[1:], "line 3: id 'first' occurs twice"),
    ],
)  # fmt: skip
def test_errors_name_the_column_or_the_line(
    tmp_path: Path, header: str | None, line: str, message: str
) -> None:
    """Line 2 is valid; line 3 or the header is not."""
    header = ",".join(COLUMNS) if header is None else header
    path = tmp_path / "p.csv"
    path.write_text(f"{header}\nfirst{GOOD[1:]}\n{line}\n")
    with pytest.raises(DataError, match=message) as raised:
        read_predictions(path)
    assert str(raised.value).startswith(str(path))


def test_line_numbers_count_lines_of_the_file(tmp_path: Path) -> None:
    """A name with a line break must not shift the line number in the error."""
    first = "first" + GOOD[1:].replace("tower,0.5", '"to\nwer",0.5')
    (tmp_path / "p.csv").write_text(f"{','.join(COLUMNS)}\n{first}\n{GOOD.replace('0.5', 'x')}\n")
    with pytest.raises(DataError, match="line 4: score"):
        read_predictions(tmp_path / "p.csv")


def test_files_that_are_no_predictions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_predictions(tmp_path / "absent.csv")
    (tmp_path / "photo.csv").write_bytes(b"\xff\xd8\xff\xe0 not text")
    with pytest.raises(DataError, match="a photo, not a csv file"):
        read_predictions(tmp_path / "photo.csv")


def test_columns_of_different_lengths_are_refused(tmp_path: Path) -> None:
    fields = {f: getattr(predictions_in(tmp_path), f) for f, _ in COLUMNS.values()}
    with pytest.raises(DataError, match=r"differ in length.*'rank': 3"):
        Predictions(**fields | {"rank": np.zeros(3, dtype=np.int64)})


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    good = predictions_in(tmp_path)
    write_predictions(tmp_path / "p.csv", good)
    bad = Predictions(**{f: getattr(good, f) for f, _ in COLUMNS.values()}
                      | {"score": np.array(["half"] * 7, dtype=object)})  # fmt: skip
    with pytest.raises(ValueError, match="half"):
        write_predictions(tmp_path / "p.csv", bad)
    assert same(good, read_predictions(tmp_path / "p.csv"))
    assert [p.name for p in tmp_path.iterdir()] == ["p.csv"]


def test_a_submission_has_two_tokens_per_row_and_names_survive(tmp_path: Path) -> None:
    found = predictions_in(tmp_path)
    write_submission(tmp_path / "s.csv", found)
    with open(tmp_path / "s.csv", newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["id", "landmarks"]
    assert [row[0] for row in rows] == found.ids.tolist()
    assert rows[1][1] == "東京タワー 0.3333333333333333"  # not encoded
    assert rows[0][1] == "Tour%20Eiffel 0.30000000000000004"
    assert rows[6][1] == ""
    for row, name, score in zip(rows[:6], NAMES, found.score, strict=False):
        landmark, number = row[1].split(" ")
        assert (unquote(landmark), float(number)) == (name, score)
