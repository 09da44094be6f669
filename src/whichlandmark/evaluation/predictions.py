"""predictions.csv: one row a query, what was answered beside what is true."""

from __future__ import annotations

import csv
import math
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError
from ..core.files import open_csv, whole_file
from ..core.json_options import unknown
from ..core.storage import absolute_path, relative_path
from ..core.types import Decision, is_true
from ..metrics.ranking import gap

# column in the file → field, and how its text is read
COLUMNS: dict[str, tuple[str, type]] = {
    "id": ("ids", str),
    "landmark": ("guess", str),
    "score": ("score", float),
    "confidence": ("confidence", float),
    "decision": ("decision", str),
    "truth": ("truth", str),
    "nearest": ("nearest", str),
    "similarity": ("similarity", float),
    "rank": ("rank", int),
    "path": ("path", str),
    "nearest_path": ("nearest_path", str),
    "known": ("known", int),
}

# written only where a query has one
OPTIONAL: dict[str, tuple[str, type]] = {"usage": ("usage", str), "tier": ("tier", str)}

_ALL = COLUMNS | OPTIONAL


@dataclass(frozen=True, eq=False)
class Predictions:
    """Columns of Q queries, each (Q,). Raises DataError when they differ in length.

    guess: the best landmark whatever the decision, so that GAP can rank it ("" = none);
    decision: "landmark", "uncertain" or "no_landmark"; truth: "" = shows no landmark, "A|B" =
    either is right; known: the truth (one of them) is a landmark of the gallery; usage: the
    part of the test set that is scored apart ("" = none); tier: how hard the photo is, in the
    table's words ("" = not said); nearest, similarity: id and cosine of the first neighbour;
    rank: of the first neighbour that is right, 0 = none of those kept; path, nearest_path: of the
    two photos, absolute ("" = not known).
    """

    ids: NDArray[np.object_]
    guess: NDArray[np.object_]
    score: NDArray[np.float64]
    confidence: NDArray[np.float64]
    decision: NDArray[np.object_]
    truth: NDArray[np.object_]
    nearest: NDArray[np.object_]
    similarity: NDArray[np.float64]
    rank: NDArray[np.int64]
    path: NDArray[np.object_]
    nearest_path: NDArray[np.object_]
    known: NDArray[np.bool_]
    usage: NDArray[np.object_] = field(default_factory=lambda: np.empty(0, dtype=object))
    tier: NDArray[np.object_] = field(default_factory=lambda: np.empty(0, dtype=object))

    def __post_init__(self) -> None:
        for name in OPTIONAL:
            if len(getattr(self, name)) == 0:
                object.__setattr__(self, name, np.full(len(self.ids), "", dtype=object))
        lengths = {field.name: len(getattr(self, field.name)) for field in fields(self)}
        if len(set(lengths.values())) > 1:
            raise DataError(f"columns differ in length: {lengths}; expected one value a query")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def right(self) -> NDArray[np.bool_]:
        """(Q,) the guess is a true landmark, and one that the gallery knows."""
        return is_true(self.truth, self.guess) & self.known

    @property
    def unknown(self) -> NDArray[np.bool_]:
        """(Q,) the photo shows a landmark that the gallery does not know."""
        return np.asarray((self.truth != "") & ~self.known, dtype=bool)

    @property
    def no_landmark(self) -> NDArray[np.bool_]:
        """(Q,) the photo shows no landmark."""
        return np.asarray(self.truth == "", dtype=bool)

    @property
    def well(self) -> NDArray[np.bool_]:
        """(Q,) answered rightly: a known landmark named, or nothing named otherwise."""
        named = np.asarray(self.decision == "landmark", dtype=bool)
        return np.where(self.known, named & self.right, ~named)

    @property
    def ranked_score(self) -> NDArray[np.float64]:
        """(Q,) the score; −∞, below all others, where there is no guess."""
        return np.where(self.predicted, self.score, -np.inf)

    @property
    def predicted(self) -> NDArray[np.bool_]:
        """(Q,) there is a guess."""
        return np.asarray(self.guess != "", dtype=bool)

    def count_by_usage(self, rows: NDArray[np.bool_] | None = None) -> dict[str, int]:
        """Usage → its queries, or those of the chosen rows; in sorted order, without blank."""
        of_all = set(self.usage) - {""}
        counts = Counter(self.usage if rows is None else self.usage[rows])
        return {usage: counts[usage] for usage in sorted(of_all)}


def gap_by_usage(predictions: Predictions) -> dict[str, float]:
    """Usage → GAP of its queries, ranked apart, M = those of them that show a landmark.

    That is how Kaggle scores Public and Private. A Usage without a landmark has no GAP.
    """
    p, landmarks = predictions, predictions.truth != ""
    return {
        usage: gap(p.score[part], p.right[part], count, predicted=p.predicted[part])
        for usage, count in p.count_by_usage(landmarks).items()
        if count and len(part := np.flatnonzero(p.usage == usage))
    }


def write_predictions(path: str | Path, predictions: Predictions) -> None:
    """Write predictions.csv atomically; photo paths relative to its folder, numbers exact."""
    folder = os.path.abspath(Path(path).parent)
    names = [*COLUMNS, *(name for name in OPTIONAL if (getattr(predictions, name) != "").any())]
    columns = [getattr(predictions, _ALL[name][0]) for name in names]
    with whole_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        for cells in zip(*columns, strict=True):
            row = dict(zip(names, cells, strict=True))
            for name in ("path", "nearest_path"):
                row[name] = relative_path(row[name], folder) if row[name] else ""
            writer.writerow(
                repr(float(value)) if _ALL[name][1] is float else
                int(value) if _ALL[name][1] is int else value
                for name, value in row.items()
            )  # fmt: skip


def read_predictions(path: str | Path) -> Predictions:
    """Read predictions.csv: the columns of `COLUMNS` in any order (and `OPTIONAL`), paths absolute.

    Raises DataError naming the column or the line that is wrong, and what was expected.
    """
    path = Path(path)
    rows = list(_rows(path))
    columns: dict[str, Any] = {}
    for i, (attribute, kind) in enumerate(_ALL.values()):
        column = np.empty(len(rows), dtype=object)
        column[:] = [row[i] for row in rows]
        columns[attribute] = column.astype({float: np.float64, int: np.int64}.get(kind, object))
    columns["known"] = columns["known"] != 0
    return Predictions(**columns)


def _rows(path: Path) -> Iterator[list[Any]]:
    """The values of each line in the order of COLUMNS."""
    folder = os.path.abspath(path.parent)
    seen: set[str] = set()
    with open_csv(path) as (header, rows):
        _check_header(header, path)
        for line, cells in rows:
            where = f"{path}, line {line}"
            row = dict(zip(header, cells, strict=True))
            if row["id"] in seen:
                raise DataError(f"{where}: id {row['id']!r} occurs twice; one prediction a photo")
            seen.add(row["id"])
            for name in ("path", "nearest_path"):
                row[name] = absolute_path(row[name], folder) if row[name] else ""
            row = dict.fromkeys(OPTIONAL, "") | row
            yield [_value(name, row[name], where) for name in _ALL]


def _check_header(header: list[str], path: Path) -> None:
    for name in header:
        if name not in _ALL:
            raise DataError(f"{path}: {unknown(name, _ALL, 'column')}")
        if header.count(name) > 1:
            raise DataError(f"{path}: column {name!r} occurs {header.count(name)} times")
    if missing := [name for name in COLUMNS if name not in header]:
        raise DataError(
            f"{path}: column {missing[0]!r} is missing; expected a table written by `evaluate`, "
            f"with the columns {','.join(COLUMNS)}"
        )


def _value(name: str, text: str, where: str) -> str | float | int:
    """One cell as its column's type. NaN is refused: such a score or confidence has no order."""
    kind = _ALL[name][1]
    if name == "decision" and text not in get_args(Decision):
        raise DataError(f"{where}: {unknown(text, get_args(Decision), 'decision')}")
    if kind is str:
        return text
    try:
        value: float | int = float(text) if kind is float else int(text)
    except ValueError:
        value = math.nan
    allowed = {"known": value in (0, 1), "rank": value >= 0}.get(name, not math.isnan(value))
    if not allowed:
        expected = {"known": "0 or 1", "rank": "a whole number from 0"}.get(name, "a number")
        raise DataError(f"{where}: {name} is {text!r}; expected {expected}")
    return value


def write_submission(path: str | Path, predictions: Predictions) -> None:
    """Kaggle's form: `id,landmarks` with "<landmark> <score>", or empty without a guess.

    The form separates the two by a space, so a name that has whitespace (or a "%", to leave
    no doubt) is percent-encoded; `urllib.parse.unquote` gives every name back.
    """
    with whole_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("id", "landmarks"))
        for photo_id, guess, score in zip(
            predictions.ids, predictions.guess, predictions.score, strict=True
        ):
            unsafe = "%" in guess or guess.split() != [guess]
            name = quote(guess, safe="") if unsafe else guess
            writer.writerow((photo_id, f"{name} {float(score)!r}" if guess else ""))
