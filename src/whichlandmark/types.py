"""The values that travel between the steps, and the one protocol: `Embedder`.

Shapes: N photos, Q queries, K neighbours, D dimensions. Rows are photos, always (N, D).
Landmarks are names (strings) everywhere; "" in a column, None in a single item = no landmark.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .errors import DataError, OptionError

Image = NDArray[np.uint8]  # (H, W, 3) RGB, upright
Vectors = NDArray[np.float32]  # (N, D), unit rows
Decision = Literal["landmark", "uncertain", "no_landmark"]


@runtime_checkable
class Embedder(Protocol):
    """Any callable from a list of images to unit rows.

    `id` changes whenever the weights or the preprocessing change: vectors are comparable
    only when their embedder ids are equal. `short_side` is the smallest short side, in
    pixels, that a photo may be decoded at without losing what the embedder looks at.
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
        """(H, W, 3) uint8 RGB images of any sizes → (N, dim) float32, unit rows."""
        ...

    def save(self, folder: Path, /) -> None:
        """Write the embedder (weights and preprocessing) so that it can be loaded again."""
        ...


@dataclass(frozen=True)
class Photo:
    """One row of a photo table."""

    id: str
    path: Path
    landmark: str | None


@dataclass(frozen=True, eq=False)
class Photos:
    """A photo table as columns: ids, paths and landmarks, each (N,) str ("" = no landmark)."""

    ids: NDArray[np.object_]
    paths: NDArray[np.object_]
    landmarks: NDArray[np.object_]

    @classmethod
    def of(cls, photos: Iterable[Photo]) -> Photos:
        """Columns from single photos. Raises DataError when an id occurs twice."""
        rows = list(photos)
        table = cls.of_columns(
            [p.id for p in rows], [str(p.path) for p in rows], [p.landmark or "" for p in rows]
        )
        table.check_ids()
        return table

    @classmethod
    def of_columns(
        cls, ids: Sequence[str], paths: Sequence[str], landmarks: Sequence[str]
    ) -> Photos:
        """Columns from sequences of equal length."""
        return cls(_column(ids), _column(paths), _column(landmarks))

    def check_ids(self) -> None:
        """Raises DataError naming the first id that occurs twice."""
        seen: set[str] = set()
        for photo_id in self.ids:
            if photo_id in seen:
                raise DataError(f"photo id {photo_id!r} occurs twice; ids must be unique")
            seen.add(photo_id)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, row: int) -> Photo:
        return Photo(self.ids[row], Path(self.paths[row]), self.landmarks[row] or None)

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
        return Photos(self.ids[index], self.paths[index], self.landmarks[index])

    def split(self, *, test: float = 0.25, seed: int = 0) -> tuple[Photos, Photos]:
        """Two disjoint tables (train, test), drawn within each landmark.

        Every landmark keeps at least one photo in train; a landmark with one photo has
        none in test. Photos without a landmark are split by the same share.
        Raises OptionError unless 0 < test < 1.
        """
        if not 0 < test < 1:
            raise OptionError(f"test share {test} given; expected a number between 0 and 1")
        chosen = np.zeros(len(self), dtype=bool)
        rng = np.random.default_rng(seed)
        for rows in self.rows_by_landmark().values():
            count = min(len(rows) - 1, max(1, round(test * len(rows))))
            chosen[rng.permutation(rows)[:count]] = True
        return self.take(~chosen), self.take(chosen)

    def rows_by_landmark(self) -> dict[str, NDArray[np.int64]]:
        """Landmark → its rows, both in sorted order; "" holds the photos without one."""
        found: dict[str, list[int]] = {}
        for row, landmark in enumerate(self.landmarks):
            found.setdefault(landmark, []).append(row)
        return {name: np.array(found[name], dtype=np.int64) for name in sorted(found)}


@dataclass(frozen=True)
class Neighbours:
    """Nearest gallery rows of each query: rows (Q, K) int64, similarity (Q, K), descending."""

    rows: NDArray[np.int64]
    similarity: NDArray[np.float32]


@dataclass(frozen=True)
class Match:
    """One gallery photo that speaks for an answer. `similarity` is a cosine, −1 to 1."""

    photo_id: str
    landmark: str | None
    similarity: float
    inliers: int | None = None


@dataclass(frozen=True)
class Prediction:
    """The answer for one photo.

    `landmark` is what is answered (None unless the decision is "landmark"); `guess` is the
    best landmark whatever the decision; `score` ranks predictions (any real number);
    `confidence` (0 to 1) is the calibrated probability that the guess is right.
    """

    landmark: str | None
    decision: Decision
    confidence: float
    score: float
    guess: str | None
    matches: tuple[Match, ...]


def _column(values: Sequence[str]) -> NDArray[np.object_]:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
