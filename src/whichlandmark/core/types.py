"""Types that every package shares: photo tables, predictions, the `Embedder` protocol, arrays.

Shapes: N photos, Q queries, K neighbours, D dimensions; one row per photo, so vectors are (N, D).
Landmarks are names (strings) everywhere; no landmark is "" in a column and None in a single item.
A query may have several true landmarks, written "Louvre|Louvre Pyramid".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .errors import DataError, OptionError
from .json_options import SEED

Image = NDArray[np.uint8]  # (H, W, 3) RGB, upright

Vectors = NDArray[np.float32]  # (N, D), rows of unit length

Rows = NDArray[np.int64]  # row numbers, or landmarks as numbers

Floats = NDArray[np.float64]

Decision = Literal["landmark", "uncertain", "no_landmark"]

Progress = Callable[[int, int], None]  # called with (done, total)

ProgressFor = Callable[[str], Progress]  # name of a step → its progress function

NotedProgress = Callable[..., None]  # called with (done, total) or (done, total, note)

SEPARATOR = "|"  # between several true landmarks; no landmark's name may contain it


class RowArray(Protocol):
    """(N, …) array in memory or on disk, indexed by a row number, a slice or row numbers."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __len__(self) -> int: ...
    def __getitem__(self, key: Any, /) -> Any: ...


@runtime_checkable
class Embedder(Protocol):
    """A callable that turns images into vectors of unit length.

    `id` changes whenever the weights or the preprocessing change, because vectors are comparable
    only when their embedder ids are equal. `short_side` is the size in pixels to which a photo's
    short side may be reduced while decoding without losing detail that the embedder uses.
    """

    @property
    def dim(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def short_side(self) -> int: ...

    def __call__(self, images: Sequence[Image], /) -> Vectors:
        """(H, W, 3) uint8 RGB images of any sizes → (N, dim) float32, rows of unit length."""
        ...

    def save(self, folder: Path, /) -> None:
        """Write the embedder (weights and preprocessing) so that it can be loaded again."""
        ...


@dataclass(frozen=True)
class Photo:
    """One row of a photo table; its fields are explained at `Photos`."""

    id: str
    path: Path
    landmark: str | None
    usage: str = ""
    tier: str = ""


@dataclass(frozen=True, eq=False)
class Photos:
    """A photo table as columns; iterating over it gives one `Photo` per row.

    Attributes:
        ids: (N,) str, unique.
        paths: (N,) str: files, URLs, or addresses inside a tar.
        landmarks: (N,) str; "" = no landmark; queries may have several, written "A|B".
        usages: (N,) str: the part of a test set that is scored separately ("Public", "Private");
            "" = none.
        tiers: (N,) str: the photo's group of difficulty, named by the table ("low light"); "" =
            not given.
    """

    ids: NDArray[np.object_]
    paths: NDArray[np.object_]
    landmarks: NDArray[np.object_]
    usages: NDArray[np.object_] = field(default_factory=lambda: np.empty(0, dtype=object))
    tiers: NDArray[np.object_] = field(default_factory=lambda: np.empty(0, dtype=object))

    def __post_init__(self) -> None:
        for name in ("usages", "tiers"):
            if len(getattr(self, name)) == 0:
                object.__setattr__(self, name, np.full(len(self.ids), "", dtype=object))

    @classmethod
    def of(cls, photos: Iterable[Photo]) -> Photos:
        """Columns from single photos.

        Raises:
            DataError: When an id occurs twice.
        """
        rows = list(photos)
        table = cls.of_columns(
            [p.id for p in rows], [str(p.path) for p in rows], [p.landmark or "" for p in rows],
            [p.usage for p in rows], [p.tier for p in rows],
        )  # fmt: skip
        table.check_ids()
        return table

    @classmethod
    def of_columns(
        cls,
        ids: Sequence[str],
        paths: Sequence[str],
        landmarks: Sequence[str],
        usages: Sequence[str] = (),
        tiers: Sequence[str] = (),
    ) -> Photos:
        """Columns from sequences of equal length; usages and tiers may be left out."""
        return cls(*map(_column, (ids, paths, landmarks, usages, tiers)))

    def check_ids(self) -> None:
        """Raises DataError naming the first id that occurs twice."""
        earlier: set[str] = set()
        for photo_id in self.ids:
            if photo_id in earlier:
                raise DataError(f"photo id {photo_id!r} occurs twice; ids must be unique")
            earlier.add(photo_id)

    def require_one_landmark(self, purpose: str) -> None:
        """Raises DataError naming the first photo that has several landmarks."""
        for row, landmark in enumerate(self.landmarks):
            if SEPARATOR in landmark:
                raise DataError(
                    f"photo {self.ids[row]!r} has several landmarks ({landmark}); {purpose} needs "
                    f"one each: only the queries of `evaluate` may have more"
                )

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, row: int) -> Photo:
        return Photo(self.ids[row], Path(self.paths[row]), self.landmarks[row] or None,
                     self.usages[row], self.tiers[row])  # fmt: skip

    def __iter__(self) -> Iterator[Photo]:
        return (self[row] for row in range(len(self)))

    def __repr__(self) -> str:
        named = self.landmarks[self.landmarks != ""]
        return (
            f"Photos({len(self)} photos, {len(set(named))} landmarks, "
            f"{len(self) - len(named)} without a landmark)"
        )

    def take(self, rows: NDArray[Any] | Sequence[int]) -> Photos:
        """The given rows (indices or a boolean mask), in that order."""
        index = np.asarray(rows)
        if index.dtype != bool:
            index = index.astype(np.int64)
        return Photos(self.ids[index], self.paths[index], self.landmarks[index],
                      self.usages[index], self.tiers[index])  # fmt: skip

    def split(self, *, test: float = 0.25, seed: int = 0) -> tuple[Photos, Photos]:
        """Split into two disjoint tables, drawn within each landmark.

        Every landmark keeps at least one photo in train; a landmark with one photo has none in
        test. Photos without a landmark are split by the same share.

        Args:
            test: The share of each landmark's photos that goes into test, between 0 and 1.
            seed: Another seed draws another split; the same seed draws the same one.

        Returns:
            (train, test).

        Raises:
            OptionError: Unless 0 < test < 1.
        """
        if isinstance(test, bool) or not isinstance(test, int | float) or not 0 < test < 1:
            raise OptionError(f"test share {test!r} given; expected a number between 0 and 1")
        if seed not in SEED:
            raise OptionError(f"seed {seed!r} given; expected {SEED}")
        chosen = np.zeros(len(self), dtype=bool)
        rng = np.random.default_rng(seed)
        for rows in self.rows_by_landmark().values():
            count = min(len(rows) - 1, max(1, round(test * len(rows))))
            chosen[rng.permutation(rows)[:count]] = True
        return self.take(~chosen), self.take(chosen)

    def rows_by_landmark(self) -> dict[str, NDArray[np.int64]]:
        """Landmark → its row numbers, both sorted; the key "" has the photos without one."""
        rows: dict[str, list[int]] = {}
        for row, landmark in enumerate(self.landmarks):
            rows.setdefault(landmark, []).append(row)
        return {name: np.array(rows[name], dtype=np.int64) for name in sorted(rows)}


@dataclass(frozen=True)
class Neighbours:
    """Nearest gallery photos of each query: row numbers (Q, K), cosines (Q, K) descending."""

    rows: NDArray[np.int64]
    similarity: NDArray[np.float32]


@dataclass(frozen=True)
class Match:
    """One gallery photo that is similar to the query.

    Attributes:
        photo_id: its id in the gallery.
        landmark: None for a distractor.
        similarity: cosine of the two vectors, −1 to 1.
        inliers: local features that fit one transformation; None when not compared.
    """

    photo_id: str
    landmark: str | None
    similarity: float
    inliers: int | None = None


@dataclass(frozen=True)
class Detection:
    """One landmark recognised in a photo.

    Attributes:
        landmark: its name.
        confidence: the calibrated probability that it is in the photo, 0 to 1.
        box: the part of the photo in which spatial verification matched it, as (left, top, right,
            bottom) in shares of the photo's width and height, 0 to 1; None = not verified, or
            boxes were not requested.
    """

    landmark: str
    confidence: float
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class Prediction:
    """The answer for one photo.

    Attributes:
        landmark: The recognised landmark; None unless the decision is "landmark".
        decision: "landmark", "uncertain" or "no_landmark".
        confidence: The calibrated probability that the guess is right, 0 to 1.
        score: Any real number that ranks the predictions of one recognizer, the most confident
            highest.
        guess: The most likely landmark, for every decision; None when the gallery has none.
        matches: The nearest gallery photos, the best first.
        second: The second most likely landmark; an "uncertain" answer names both.
        landmarks: All recognised landmarks, the guess first; more than one when spatial
            verification matched others in other parts of the photo.
    """

    landmark: str | None
    decision: Decision
    confidence: float
    score: float
    guess: str | None
    matches: tuple[Match, ...]
    second: str | None = None
    landmarks: tuple[Detection, ...] = ()


def true_landmarks(cell: str) -> list[str]:
    """The landmarks in one cell of a table's landmark column: none, one or several."""
    return [name.strip() for name in cell.split(SEPARATOR)] if cell else []


def is_true(truth: NDArray[np.object_], answers: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Is each answer one of the query's true landmarks?

    Args:
        truth: (Q,) cells of a landmark column; "" = no landmark.
        answers: (Q,) or (Q, K) landmarks; "" is right where the truth is "".

    Returns:
        bool, in the shape of `answers`.
    """
    shape = (len(truth), *[1] * (answers.ndim - 1))
    right = np.asarray(answers == truth.reshape(shape), dtype=bool)
    for row in np.flatnonzero([SEPARATOR in cell for cell in truth]):
        right[row] = np.isin(answers[row], np.array(true_landmarks(truth[row]), dtype=object))
    return right


def _column(values: Sequence[str]) -> NDArray[np.object_]:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
