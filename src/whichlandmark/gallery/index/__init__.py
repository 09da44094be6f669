"""`GalleryIndex`: the searchable arrays of a gallery, landmark photos and distractors apart."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.types import Embedder, Floats, Neighbours, RowArray, Vectors
from ..records import GalleryTable
from .exact import CandidateSource, nearest


@dataclass(frozen=True, eq=False)
class GalleryIndex:
    """G landmark photos and M distractors, each in the order of their row numbers.

    Texts and vectors are arrays, or objects that read them on indexing (`RowArray`).

    names: (C,) landmark names, sorted; codes: (G,) int64 indices into names; ids, paths: (G,)
    texts; vectors: (G, D) float16; distractor_ids, distractor_paths: (M,) texts;
    distractor_vectors: (M, D) float16. place_evidence: what the embedder says of its vectors,
    (n, D) → (n,) log-odds that the photo shows a place; None = nothing. default_fit: coefficients
    that come with the embedder, for galleries too small to fit their own; None = none.
    """

    names: NDArray[np.object_]
    codes: NDArray[np.int64]
    ids: RowArray
    paths: RowArray
    vectors: RowArray
    distractor_ids: RowArray
    distractor_vectors: RowArray
    distractor_paths: RowArray = field(default_factory=lambda: np.empty(0, dtype=object))
    place_evidence: Callable[[Vectors], Floats] | None = None
    default_fit: Mapping[str, Any] | None = None

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

    def made_by(self, embedder: Embedder) -> GalleryIndex:
        """The index with what the embedder of its vectors offers beside them."""
        return replace(
            self,
            place_evidence=getattr(embedder, "place_evidence", None),
            default_fit=getattr(embedder, "default_fit", None),
        )

    def photos_of(self) -> dict[str, int]:
        """Landmark → number of its photos."""
        return dict(zip(self.names, np.bincount(self.codes).tolist(), strict=True))

    def without(self, rows: NDArray[np.int64]) -> GalleryIndex:
        """The index without these landmark photos, and without landmarks that lose all photos.

        rows: indices into `codes`.
        """
        kept = np.setdiff1d(np.arange(len(self.codes)), rows)
        present, codes = np.unique(self.codes[kept], return_inverse=True)
        return replace(
            self, names=self.names[present], codes=codes.astype(np.int64), ids=self.ids[kept],
            paths=self.paths[kept], vectors=self.vectors[kept],
        )  # fmt: skip

    def nearest(self, queries: Vectors, k: int) -> Neighbours:
        """The k landmark photos of highest cosine for each query (Q, D), as rows of this index."""
        return nearest(queries, self.vectors, k)


def nearest_rows(
    table: GalleryTable,
    queries: Vectors,
    k: int,
    distractors: bool,
    landmarks: Collection[str] | None,
) -> Neighbours:
    """`base.Gallery.nearest` for a table in memory, by comparing all photos."""
    wanted = (table.landmarks == "") == distractors
    if landmarks is not None:
        wanted &= np.isin(table.landmarks, list(landmarks))
    kept = np.flatnonzero(wanted)
    found = nearest(queries, table.vectors[kept], k)
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    similarity = np.full((len(queries), k), -np.inf, dtype=np.float32)
    rows[:, : found.rows.shape[1]] = table.rows[kept][found.rows]
    similarity[:, : found.rows.shape[1]] = found.similarity
    return Neighbours(rows, similarity)


@dataclass(frozen=True, eq=False)
class SearchRows:
    """Vectors after projection, and what proposes search candidates among them.

    key: of the projection (`projection_key`), "" = none; vectors: (G, d) of landmark photos;
    distractor_vectors: (M, d); candidate_source, distractor_source: None = compare all rows.
    """

    key: str
    vectors: Any
    distractor_vectors: Any
    candidate_source: CandidateSource | None = None
    distractor_source: CandidateSource | None = None
