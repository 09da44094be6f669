"""Index whose vectors and ids stay in the database; row numbers and landmarks are loaded.

It needs 16 bytes of memory per photo. The database proposes candidates; their vectors are fetched,
so that cosines are computed as with a local index.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.types import Vectors
from ..base import Gallery
from . import GalleryIndex, SearchRows

MAX_SAMPLED_PHOTOS = 20_000  # with a landmark, to fit on; half as many distractors


@dataclass(frozen=True, eq=False)
class RemoteRows:
    """(N, D) vectors in the database, fetched when indexed; rows: (N,) their row numbers."""

    gallery: Gallery
    rows: NDArray[np.int64]
    dim: int
    dtype = np.dtype(np.float16)

    @property
    def shape(self) -> tuple[int, ...]:
        """As of a NumPy array."""
        return len(self.rows), self.dim

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Any) -> NDArray[np.float16]:
        rows = self.rows[key]
        wanted, places = np.unique(rows, return_inverse=True)
        found = self.gallery.vectors_of(wanted)[places.ravel()]
        return found.reshape(*np.shape(rows), self.dim)


@dataclass(frozen=True, eq=False)
class RemoteTexts:
    """(N,) ids (or paths) in the database, fetched when indexed; rows: (N,) their row numbers."""

    gallery: Gallery
    rows: NDArray[np.int64]
    paths: bool = False
    dtype = np.dtype(object)

    @property
    def shape(self) -> tuple[int, ...]:
        """As of a NumPy array."""
        return (len(self.rows),)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Any) -> Any:
        rows = self.rows[key]
        flat = np.atleast_1d(rows).ravel()
        texts = self.gallery.ids_of(flat)
        if self.paths:
            stamps = self.gallery.stamps(set(texts.tolist()))
            texts[:] = [stamps[one][0] for one in texts]
        return texts.reshape(np.shape(rows)) if np.ndim(rows) else texts[0]


@dataclass(frozen=True, eq=False)
class RemoteCandidates:
    """The nearest photos that the database finds; a `CandidateSource`.

    rows: (N,) row numbers of the index, ascending; distractors: search these instead of landmark
    photos.
    """

    gallery: Gallery
    rows: NDArray[np.int64]
    distractors: bool

    def candidates(self, queries: Vectors, least: int) -> NDArray[np.int64]:
        """(Q, D) queries → (Q, R) indices into `rows`, −1 = no more."""
        found = self.gallery.nearest(queries, least, distractors=self.distractors).rows
        if not len(self.rows):
            return np.full(found.shape, -1, dtype=np.int64)
        places = np.minimum(np.searchsorted(self.rows, found), len(self.rows) - 1)
        # Photos added after the index was loaded are ignored.
        return np.where(self.rows[places] == found, places, -1)


def remote_index(gallery: Gallery) -> tuple[GalleryIndex, SearchRows]:
    """The index of a gallery that its database searches, for its current generation."""
    labels = gallery.labels()
    has_landmark = labels.codes >= 0
    rows, distractor_rows = labels.rows[has_landmark], labels.rows[~has_landmark]
    names = np.empty(len(labels.names), dtype=object)
    names[:] = labels.names
    index = GalleryIndex(
        names=names,
        codes=labels.codes[has_landmark].astype(np.int64),
        ids=RemoteTexts(gallery, rows),
        paths=RemoteTexts(gallery, rows, paths=True),
        vectors=RemoteRows(gallery, rows, gallery.dim),
        distractor_ids=RemoteTexts(gallery, distractor_rows),
        distractor_vectors=RemoteRows(gallery, distractor_rows, gallery.dim),
        distractor_paths=RemoteTexts(gallery, distractor_rows, paths=True),
    )
    search_rows = SearchRows(
        "",
        index.vectors,
        index.distractor_vectors,
        RemoteCandidates(gallery, rows, distractors=False),
        RemoteCandidates(gallery, distractor_rows, distractors=True),
    )
    return index, search_rows


def sample_index(index: GalleryIndex, seed: int = 0) -> GalleryIndex:
    """Fetch a random sample of a remote index, to fit on.

    It has all photos of randomly chosen landmarks, at most MAX_SAMPLED_PHOTOS, and half as many
    distractors.
    """
    rng = np.random.default_rng(seed)
    sizes = np.bincount(index.codes, minlength=len(index.names))
    order = rng.permutation(len(sizes))
    chosen = order[np.cumsum(sizes[order]) <= MAX_SAMPLED_PHOTOS]
    kept = np.flatnonzero(np.isin(index.codes, chosen))
    present, codes = np.unique(index.codes[kept], return_inverse=True)
    drawn = rng.permutation(len(index.distractor_vectors))[: MAX_SAMPLED_PHOTOS // 2]
    distractors = np.sort(drawn)
    return replace(
        index,
        names=index.names[present],
        codes=codes.astype(np.int64),
        ids=index.ids[kept],
        paths=index.paths[kept],
        vectors=index.vectors[kept],
        distractor_ids=index.distractor_ids[distractors],
        distractor_vectors=index.distractor_vectors[distractors],
        distractor_paths=index.distractor_paths[distractors],
    )
