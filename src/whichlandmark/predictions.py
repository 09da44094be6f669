"""predictions.csv: one row a query, what was answered beside what is true."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from .errors import DataError
from .files import whole_file
from .options import unknown

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


@dataclass(frozen=True, eq=False)
class Predictions:
    """Columns of Q queries, each (Q,).

    guess: the best landmark whatever the decision, so that GAP can rank it ("" = none);
    decision: "landmark", "uncertain" or "no_landmark"; truth: "" = shows no landmark;
    known: the truth is a landmark of the gallery; nearest, similarity: id and cosine of the
    first neighbour; rank: of the first neighbour that is right, 0 = none of those kept.
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

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def right(self) -> NDArray[np.bool_]:
        """(Q,) the guess is the true landmark, and one that the gallery knows."""
        return np.asarray((self.guess == self.truth) & self.known, dtype=bool)

    @property
    def predicted(self) -> NDArray[np.bool_]:
        """(Q,) there is a guess."""
        return np.asarray(self.guess != "", dtype=bool)


def write_predictions(path: str | Path, predictions: Predictions) -> None:
    """Write predictions.csv atomically; photo paths relative to its folder, numbers exact."""
    folder = os.path.abspath(Path(path).parent)
    columns = [getattr(predictions, field) for field, _ in COLUMNS.values()]
    with whole_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for cells in zip(*columns, strict=True):
            row = dict(zip(COLUMNS, cells, strict=True))
            for name in ("path", "nearest_path"):
                row[name] = os.path.relpath(row[name], folder) if row[name] else ""
            writer.writerow(
                repr(float(value)) if COLUMNS[name][1] is float else
                int(value) if COLUMNS[name][1] is int else value
                for name, value in row.items()
            )  # fmt: skip


def read_predictions(path: str | Path) -> Predictions:
    """Read predictions.csv. Raises DataError naming the column or the line that is wrong."""
    path = Path(path)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(_rows(csv.reader(file), path))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not readable as a UTF-8 csv file ({error})") from None
    fields: dict[str, Any] = {}
    for i, (field, kind) in enumerate(COLUMNS.values()):
        column = np.empty(len(rows), dtype=object)
        column[:] = [row[i] for row in rows]
        fields[field] = column.astype({float: np.float64, int: np.int64}.get(kind, object))
    fields["known"] = fields["known"] != 0
    return Predictions(**fields)


def _rows(reader: Iterator[list[str]], path: Path) -> Iterator[list[Any]]:
    header = next(reader, [])
    for name in header:
        if name not in COLUMNS:
            raise DataError(f"{path}: {unknown(name, COLUMNS, 'column')}")
    if missing := [name for name in COLUMNS if name not in header]:
        raise DataError(f"{path}: column {missing[0]!r} is missing; write it with `evaluate`")
    folder = os.path.abspath(path.parent)
    for number, cells in enumerate(reader, 2):
        try:
            row = dict(zip(header, cells, strict=True))
            values = [kind(row[name]) for name, (_, kind) in COLUMNS.items()]
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}") from None
        for i, name in enumerate(COLUMNS):
            if name in ("path", "nearest_path") and values[i]:
                values[i] = os.path.normpath(os.path.join(folder, values[i]))
        yield values


def write_submission(path: str | Path, predictions: Predictions) -> None:
    """Kaggle's form: `id,landmarks` with "<landmark> <score>", or empty without a guess.

    The form separates by spaces, so a landmark's name is percent-encoded where it has any.
    """
    with whole_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("id", "landmarks"))
        for photo_id, guess, score in zip(
            predictions.ids, predictions.guess, predictions.score, strict=True
        ):
            name = quote(guess, safe="") if len(guess.split()) > 1 else guess
            writer.writerow((photo_id, f"{name} {float(score)!r}" if guess else ""))
