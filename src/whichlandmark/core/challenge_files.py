"""Solutions and submissions of the Google Landmarks challenges, read as their authors read them.

Columns as in the README of github.com/cvdfoundation/google-landmark; rules as in tensorflow/models,
research/delf/delf/python/datasets/google_landmarks_dataset/dataset_file_io.py and metrics.py.

recognition_solution_v2.1.csv  id,landmarks (ids with spaces between, or empty),Usage
retrieval_solution_v2.1.csv    id,images (ids with spaces between, or None),Usage
submissions                    id,landmarks ("<landmark> <score>" or empty); id,images (at most 100)

Usage is Public, Private (scored apart) or Ignored (in no score).
"""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .csv_files import open_csv
from .errors import DataError
from .files import atomic_file

Task = Literal["recognition", "retrieval"]

MAX_IMAGES = 100  # of a query that are scored

COLUMN: dict[Task, str] = {"recognition": "landmarks", "retrieval": "images"}

USAGES = {"public": "Public", "private": "Private", "ignored": "Ignored"}

MAX_CELL_CHARACTERS = 4_000_000  # the longest cell lists the images that show one landmark

MAX_ROWS = 5_000_000  # a solution has 117,577

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

_NONE = "None"  # in the column images of a photo that is ignored

_SHOWN = 3  # examples in a note


@dataclass(frozen=True, eq=False)
class Solution:
    """The answers to Q test photos, without the ignored ones.

    Attributes:
        task: "recognition" or "retrieval".
        ids, usages: (Q,); a usage is "Public" or "Private".
        truth: per photo, the landmarks that it shows, or the index photos that show the same;
            () = none.
        ignored: ids of the photos that are in no score.
    """

    task: Task
    ids: NDArray[np.object_]
    usages: NDArray[np.object_]
    truth: Sequence[tuple[str, ...]]
    ignored: frozenset[str]

    def __len__(self) -> int:
        return len(self.ids)

    def settings(self) -> dict[str, NDArray[np.bool_]]:
        """Setting → (Q,) its photos: public, private, all; a usage without a photo is left out."""
        found = {
            name: np.asarray(self.usages == usage, dtype=bool) for name, usage in USAGES.items()
        }
        everything = {"all": np.ones(len(self), dtype=bool)}
        return {name: rows for name, rows in (found | everything).items() if rows.any()}


@dataclass(frozen=True, eq=False)
class Submission:
    """The predictions of a submission, and what was met in it.

    Attributes:
        landmarks: of recognition: photo id → (landmark, score).
        images: of retrieval: photo id → ids of index photos, best first, at most 100; a repeated
            one keeps its rank.
        notes: what was left out, in sentences.
    """

    landmarks: dict[str, tuple[str, float]] = field(default_factory=dict)
    images: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def landmark_id(text: str) -> str:
    """A landmark's id; numbers are compared as numbers, as the authors do: "007" is "7"."""
    return (text.lstrip("0") or "0") if text.isascii() and text.isdigit() else text


def read_solution(path: Path, task: Task) -> Solution:
    """Read a solution file.

    Raises:
        DataError: Naming the line: a column is missing, a usage or an id is none, a photo is there
            twice, or no photo is scored.
    """
    ids: list[str] = []
    usages: list[str] = []
    truth: list[tuple[str, ...]] = []
    ignored: set[str] = set()
    seen: set[str] = set()
    with open_csv(path, max_cell_length=MAX_CELL_CHARACTERS) as (header, rows):
        at = _columns(header, ("id", COLUMN[task], "Usage"), path, f"a solution of {task}")
        for line, cells in rows:
            photo_id, shown, usage = (cells[number].strip() for number in at)
            where = f"{path}, line {line}"
            _check_id(photo_id, "id", where)
            if photo_id in seen:
                raise DataError(f"{where}: photo {photo_id!r} is there twice; expected it once")
            if len(seen) >= MAX_ROWS:
                raise DataError(f"{where}: more than {MAX_ROWS} photos; is this a solution?")
            seen.add(photo_id)
            name = usage.lower()
            if name not in USAGES:
                raise DataError(
                    f"{where}: Usage {usage!r} given; expected {', '.join(USAGES.values())}"
                )
            if name == "ignored":
                ignored.add(photo_id)
                continue
            ids.append(photo_id)
            usages.append(USAGES[name])
            truth.append(_truth(shown, task, where))
    if not ids:
        raise DataError(f"{path}: no photo with Usage Public or Private; expected a solution")
    return Solution(task, _column(ids), _column(usages), truth, frozenset(ignored))


def _truth(cell: str, task: Task, where: str) -> tuple[str, ...]:
    if task == "retrieval" and cell == _NONE:
        return ()
    words = cell.split()
    for word in words:
        _check_id(word, COLUMN[task], where)
    return tuple(dict.fromkeys(map(landmark_id, words) if task == "recognition" else words))


def read_submission(
    path: Path, solution: Solution, known: Collection[str] | None = None
) -> Submission:
    """Read a submission for a solution.

    Only photos of the solution are kept, so that memory is bounded by it. Spaces separate the parts
    of a cell one by one, as the authors' code has it: of two in a row, the second is an empty name.

    Args:
        path: The file.
        solution: What it answers.
        known: Ids of all index photos, to tell others; None = they are not known.

    Raises:
        DataError: Naming the line: a column is missing, a photo is in no solution or there twice,
            or a prediction is none.
    """
    return _SubmissionReader(path, solution, known).read()


class _SubmissionReader:
    """Reads the rows of one submission and counts what is odd in them."""

    def __init__(self, path: Path, solution: Solution, known: Collection[str] | None) -> None:
        self.path, self.solution = path, solution
        self.known = None if known is None else known if isinstance(known, set) else set(known)
        self.scored = set(solution.ids.tolist())
        self.landmarks: dict[str, tuple[str, float]] = {}
        self.images: dict[str, list[str]] = {}
        self.odd: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}

    def read(self) -> Submission:
        task = self.solution.task
        seen: set[str] = set()
        with open_csv(self.path, max_cell_length=MAX_CELL_CHARACTERS) as (header, rows):
            at = _columns(header, ("id", COLUMN[task]), self.path, f"a submission of {task}")
            for line, cells in rows:
                photo_id, cell = (cells[number] for number in at)
                photo_id = photo_id.strip()
                if photo_id in self.solution.ignored:
                    self._count("photos of Usage Ignored, which are in no score", photo_id)
                    continue
                where = f"{self.path}, line {line}: test photo {photo_id!r}"
                if photo_id not in self.scored:
                    if not cell.strip():
                        self._count(
                            "photos that are in no solution, without a prediction", photo_id
                        )
                        continue
                    raise DataError(
                        f"{where} is not in the solution; expected photos of the test set that the "
                        "solution is of"
                    )
                if photo_id in seen:
                    raise DataError(f"{where} is there twice; expected one row for each photo")
                seen.add(photo_id)
                if cell.strip():
                    self._add(photo_id, cell, where)
        for photo_id in self.solution.ids.tolist():
            if photo_id not in seen:
                self._count(
                    "photos of the solution that are not in it, which have no prediction", photo_id
                )
        notes = [
            f"{what}: {count:,}, such as {', '.join(self.examples[what])}"
            for what, count in self.odd.items()
        ]
        return Submission(self.landmarks, self.images, notes)

    def _add(self, photo_id: str, cell: str, where: str) -> None:
        parts = cell.split(" ")
        if not parts[-1]:
            parts = parts[:-1]  # one space at the end is no part
        if self.solution.task == "recognition":
            self.landmarks[photo_id] = _prediction(parts, cell, where)
            return
        if len(parts) > MAX_IMAGES:
            self._count(
                f"rows with more than {MAX_IMAGES} images, of which the first count", photo_id
            )
            parts = parts[:MAX_IMAGES]
        if len(set(parts)) < len(parts):
            self._count("rows that repeat an image, which keeps its rank and counts once", photo_id)
        if "" in parts:
            self._count("rows with two spaces in a row, which take a rank", photo_id)
        if self.known is not None and not self.known.issuperset(filter(None, parts)):
            self._count("rows with images that are not in the index, which are wrong", photo_id)
        self.images[photo_id] = parts

    def _count(self, what: str, photo_id: str) -> None:
        self.odd[what] += 1
        examples = self.examples.setdefault(what, [])
        if len(examples) < _SHOWN:
            examples.append(photo_id)


def _prediction(parts: list[str], cell: str, where: str) -> tuple[str, float]:
    shown = cell if len(cell) <= 40 else f"{cell[:40]}…"
    if len(parts) != 2:
        raise DataError(
            f"{where}: {shown!r} has {len(parts)} parts; expected a landmark and a score with one "
            "space between, or nothing"
        )
    try:
        score = float(parts[1])
    except ValueError:
        score = math.nan
    if math.isnan(score):
        raise DataError(f"{where}: score {parts[1][:40]!r}; expected a number")
    if not parts[0]:
        raise DataError(f"{where}: {shown!r} names no landmark; expected its id before the score")
    return landmark_id(parts[0]), score


def write_retrieval_submission(path: Path, ranked: Iterable[tuple[str, Sequence[str]]]) -> None:
    """Write `id,images`, atomically: for each test photo the ids of index photos, best first."""
    with (
        atomic_file(path, "retrieval submission") as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("id", "images"))
        for photo_id, images in ranked:
            writer.writerow((photo_id, " ".join(images[:MAX_IMAGES])))


def _columns(header: list[str], names: Sequence[str], path: Path, what: str) -> list[int]:
    for name in names:
        if header.count(name) != 1:
            raise DataError(
                f"{path}, line 1: columns {','.join(header)[:200] or '(none)'} given; expected "
                f"{','.join(names)}, as {what} has"
            )
    return [header.index(name) for name in names]


def _check_id(text: str, column: str, where: str) -> None:
    if not _ID.fullmatch(text):
        raise DataError(
            f"{where}: {column} {text[:80]!r}; expected 1 to 64 of the characters a–z, A–Z, 0–9, _ "
            "and -"
        )


def _column(values: list[str]) -> NDArray[np.object_]:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
