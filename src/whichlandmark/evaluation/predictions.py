"""Read and write predictions.csv: one row per query, with its answer and its true landmark."""

from __future__ import annotations

import csv
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from ..core.csv_files import open_csv
from ..core.errors import DataError
from ..core.files import atomic_file
from ..core.json_options import unknown_message
from ..core.storage import absolute_path, relative_path
from ..core.types import Decision, is_true, true_landmarks
from ..metrics.ranking import gap

# Column in the file → field, and the type of its values.
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

# Written only when a query has one.
OPTIONAL: dict[str, tuple[str, type]] = {"usage": ("usage", str), "tier": ("tier", str)}

_ALL_COLUMNS = COLUMNS | OPTIONAL


@dataclass(frozen=True, eq=False)
class Predictions:
    """Answers and truth of Q queries; each column is (Q,).

    guess: the best landmark whatever the decision, so that GAP can rank it; "" = none.
    decision: "landmark", "uncertain" or "no_landmark".
    truth: "" = shows no landmark; "A|B" = either is right.
    known: the gallery has the true landmark (or one of them).
    usage: part of the test set that is scored separately, "" = none.
    tier: difficulty of the photo, as the query table names it, "" = not given.
    nearest, similarity: id and cosine of the first neighbour.
    rank: of the first right neighbour, 1 = first; 0 = none among those that were stored.
    path, nearest_path: of the query and of its first neighbour, absolute; "" = unknown.

    Raises DataError when columns differ in length.
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
        """(Q,) the guess is a true landmark of a known query."""
        return is_true(self.truth, self.guess) & self.known

    @property
    def unknown(self) -> NDArray[np.bool_]:
        """(Q,) the photo shows a landmark that the gallery does not have."""
        return np.asarray((self.truth != "") & ~self.known, dtype=bool)

    @property
    def no_landmark(self) -> NDArray[np.bool_]:
        """(Q,) the photo shows no landmark."""
        return np.asarray(self.truth == "", dtype=bool)

    @property
    def unreadable(self) -> NDArray[np.bool_]:
        """(Q,) the photo could not be read: a readable one has a nearest gallery photo."""
        return np.asarray(self.nearest == "", dtype=bool)

    @property
    def answered_correctly(self) -> NDArray[np.bool_]:
        """(Q,) a known landmark is named, or the query shows no known one and none is named."""
        named = np.asarray(self.decision == "landmark", dtype=bool)
        return np.where(self.known, named & self.right, ~named)

    @property
    def ranked_score(self) -> NDArray[np.float64]:
        """(Q,) the score; −∞, so that they rank last, for queries without a guess."""
        return np.where(self.predicted, self.score, -np.inf)

    @property
    def predicted(self) -> NDArray[np.bool_]:
        """(Q,) the query has a guess."""
        return np.asarray(self.guess != "", dtype=bool)

    def count_by_usage(self, rows: NDArray[np.bool_] | None = None) -> dict[str, int]:
        """Usage → number of its queries; sorted, without the blank usage.

        rows: (Q,) the queries to count; None = all.
        """
        counts = Counter(self.usage if rows is None else self.usage[rows])
        return {usage: counts[usage] for usage in sorted(set(self.usage) - {""})}


def wrong_names(p: Predictions, titles: Mapping[str, str]) -> list[str]:
    """A line for each query that got a wrong name, the most confident first.

    titles: label → title, for landmarks that have one.
    """
    wrong = np.flatnonzero((p.decision == "landmark") & ~p.right)
    rows = wrong[np.argsort(-p.confidence[wrong], kind="stable")]
    lines = []
    for row in rows:
        shows = " or ".join(titles.get(name, name) for name in true_landmarks(p.truth[row]))
        guess = titles.get(p.guess[row], p.guess[row])
        where = p.path[row] or p.ids[row]
        lines.append(
            f"{where} shows {shows or 'no landmark'}, named {guess} ({p.confidence[row]:.2f})"
        )
    return lines


def gap_by_usage(predictions: Predictions) -> dict[str, float]:
    """Usage → GAP of its queries, ranked separately, with M = those that show a landmark.

    Kaggle scores "Public" and "Private" like this. A usage without a landmark has no GAP.
    """
    p, landmarks = predictions, predictions.truth != ""
    return {
        usage: gap(p.score[part], p.right[part], count, predicted=p.predicted[part])
        for usage, count in p.count_by_usage(landmarks).items()
        if count and len(part := np.flatnonzero(p.usage == usage))
    }


def write_predictions(path: str | Path, predictions: Predictions) -> None:
    """Write predictions.csv, atomically. Paths are relative to its folder; numbers are exact."""
    folder = os.path.abspath(Path(path).parent)
    names = [*COLUMNS, *(name for name in OPTIONAL if (getattr(predictions, name) != "").any())]
    columns = [getattr(predictions, _ALL_COLUMNS[name][0]) for name in names]
    with (
        atomic_file(path, "table of predictions") as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        for values in zip(*columns, strict=True):
            row = dict(zip(names, values, strict=True))
            for name, value in row.items():
                kind = _ALL_COLUMNS[name][1]
                if kind is float:
                    row[name] = repr(float(value))  # all digits
                elif kind is int:
                    row[name] = int(value)
                elif name in ("path", "nearest_path"):
                    row[name] = relative_path(value, folder) if value else ""
            writer.writerow(row.values())


def read_predictions(path: str | Path) -> Predictions:
    """Read predictions.csv: `COLUMNS` and `OPTIONAL` in any order. Paths become absolute.

    Raises DataError naming the column or the line that is wrong, and what was expected.
    """
    path = Path(path)
    rows = list(_rows(path))
    columns: dict[str, Any] = {}
    for i, (attribute, kind) in enumerate(_ALL_COLUMNS.values()):
        column = np.empty(len(rows), dtype=object)
        column[:] = [row[i] for row in rows]
        columns[attribute] = column.astype({float: np.float64, int: np.int64}.get(kind, object))
    columns["known"] = columns["known"] != 0
    return Predictions(**columns)


def _rows(path: Path) -> Iterator[list[Any]]:
    """The values of each line, in the order of `_ALL_COLUMNS`."""
    folder = os.path.abspath(path.parent)
    seen: set[str] = set()
    with open_csv(path) as (header, rows):
        _check_header(header, path)
        for line, cells in rows:
            where = f"{path}, line {line}"
            row = dict(zip(header, cells, strict=True))
            if row["id"] in seen:
                raise DataError(
                    f"{where}: id {row['id']!r} occurs twice; expected one row per query"
                )
            seen.add(row["id"])
            for name in ("path", "nearest_path"):
                row[name] = absolute_path(row[name], folder) if row[name] else ""
            row = dict.fromkeys(OPTIONAL, "") | row
            yield [_value(name, row[name], where) for name in _ALL_COLUMNS]


def _check_header(header: list[str], path: Path) -> None:
    for name in header:
        if name not in _ALL_COLUMNS:
            raise DataError(f"{path}: {unknown_message(name, _ALL_COLUMNS, 'column')}")
        if header.count(name) > 1:
            raise DataError(f"{path}: column {name!r} occurs {header.count(name)} times")
    if missing := [name for name in COLUMNS if name not in header]:
        raise DataError(
            f"{path}: column {missing[0]!r} is missing; expected a table written by `evaluate`, "
            f"with the columns {','.join(COLUMNS)}"
        )


def _value(name: str, text: str, where: str) -> str | float | int:
    """Convert a cell to its column's type. NaN is refused, because it cannot be ranked."""
    kind = _ALL_COLUMNS[name][1]
    if name == "decision" and text not in get_args(Decision):
        raise DataError(f"{where}: {unknown_message(text, get_args(Decision), 'decision')}")
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
    """Write Kaggle's submission format: `id,landmarks` with "<landmark> <score>", "" = no guess.

    A name with whitespace or "%" is percent-encoded, because a space separates name and score;
    `urllib.parse.unquote` decodes it.
    """
    with (
        atomic_file(path, "submission") as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("id", "landmarks"))
        for photo_id, guess, score in zip(
            predictions.ids, predictions.guess, predictions.score, strict=True
        ):
            unsafe = "%" in guess or guess.split() != [guess]
            name = quote(guess, safe="") if unsafe else guess
            writer.writerow((photo_id, f"{name} {float(score)!r}" if guess else ""))
