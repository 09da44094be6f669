"""GalleryIndex: the arrays that are searched, landmark photos apart from distractors."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.types import Neighbours, RowArray, Vectors
from ..records import GalleryTable
from .exact import CandidateSource, nearest


@dataclass(frozen=True, eq=False)
class GalleryIndex:
    """Landmark photos (G rows) and the distractor bank (M rows), in gallery order.

    names: (C,) landmark names, sorted; codes: (G,) int64 into names; ids, paths: (G,) texts;
    vectors: (G, D) float16; bank_ids, bank_paths (M,), bank: (M, D) float16. Texts and vectors
    are arrays, or stand on disk and are read where they are asked for.
    """

    names: NDArray[np.object_]
    codes: NDArray[np.int64]
    ids: RowArray
    paths: RowArray
    vectors: RowArray
    bank_ids: RowArray
    bank: RowArray
    bank_paths: RowArray = field(default_factory=lambda: np.empty(0, dtype=object))

    @classmethod
    def of(cls, table: GalleryTable) -> GalleryIndex:
        """Split a gallery's table into landmark photos and distractors."""
        landmark = table.landmarks != ""
        names, codes = np.unique(table.landmarks[landmark], return_inverse=True)
        return cls(
            names.astype(object), codes.astype(np.int64),
            table.ids[landmark], table.paths[landmark], table.vectors[landmark],
            table.ids[~landmark], table.vectors[~landmark], table.paths[~landmark],
        )  # fmt: skip

    def without(self, rows: NDArray[np.int64]) -> GalleryIndex:
        """The index without these landmark photos; a landmark without photos goes too."""
        kept = np.setdiff1d(np.arange(len(self.codes)), rows)
        present, codes = np.unique(self.codes[kept], return_inverse=True)
        return replace(
            self, names=self.names[present], codes=codes.astype(np.int64), ids=self.ids[kept],
            paths=self.paths[kept], vectors=self.vectors[kept],
        )  # fmt: skip

    def nearest(self, queries: Vectors, k: int) -> Neighbours:
        """The k landmark photos of highest cosine: (Q, D) → rows into this index."""
        return nearest(queries, self.vectors, k)


def nearest_rows(
    table: GalleryTable,
    queries: Vectors,
    k: int,
    distractors: bool,
    landmarks: Collection[str] | None,
) -> Neighbours:
    """`AnyGallery.nearest` over a whole table: row numbers, −1 and −inf where there are fewer."""
    if landmarks is None:
        wanted = (table.landmarks == "") == distractors
    else:
        wanted = np.isin(table.landmarks, list(landmarks)) & (
            (table.landmarks == "") == distractors
        )
    kept = np.flatnonzero(wanted)
    found = nearest(queries, table.vectors[kept], k)
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    similarity = np.full((len(queries), k), -np.inf, dtype=np.float32)
    rows[:, : found.rows.shape[1]] = table.rows[kept][found.rows]
    similarity[:, : found.rows.shape[1]] = found.similarity
    return Neighbours(rows, similarity)


@dataclass(frozen=True, eq=False)
class SearchRows:
    """Rows as they are searched: landmark photos (G, d), distractors (M, d), and their cells.

    key: of the change of axes that made them (`projection_key`).
    """

    key: str
    vectors: Any
    bank: Any
    cells: CandidateSource | None = None
    bank_cells: CandidateSource | None = None
