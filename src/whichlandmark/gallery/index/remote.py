"""A gallery that its server searches: vectors stay there, row numbers and landmarks come here.

16 bytes a photo are kept in memory; candidates are asked of the server, and their vectors fetched,
so that every cosine is computed here as for any other gallery.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.types import Vectors
from ..protocol import Gallery
from . import GalleryIndex, SearchRows

SAMPLED = 20_000  # photos of whole landmarks that rules are fitted on, and half as many distractors


@dataclass(frozen=True, eq=False)
class RemoteRows:
    """(N, D) vectors on the server, by their row numbers (N,)."""

    gallery: Gallery
    rows: NDArray[np.int64]
    dim: int
    dtype = np.dtype(np.float16)

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an array."""
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
    """(N,) ids, or paths, on the server."""

    gallery: Gallery
    rows: NDArray[np.int64]
    paths: bool = False
    dtype = np.dtype(object)

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an array."""
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
    """What the server names as nearest, as places among `rows` (N,), rising."""

    gallery: Gallery
    rows: NDArray[np.int64]
    distractors: bool

    def candidates(self, queries: Vectors, least: int) -> NDArray[np.int64]:
        """(Q, D) → (Q, R) places, −1 = no more."""
        found = self.gallery.nearest(queries, least, distractors=self.distractors).rows
        if not len(self.rows):
            return np.full(found.shape, -1, dtype=np.int64)
        places = np.minimum(np.searchsorted(self.rows, found), len(self.rows) - 1)
        return np.where(self.rows[places] == found, places, -1)  # others came after we looked


def remote_index(gallery: Gallery) -> tuple[GalleryIndex, SearchRows]:
    """The arrays of such a gallery, as they are now."""
    labels = gallery.labels()
    shown = labels.codes >= 0
    rows, bank_rows = labels.rows[shown], labels.rows[~shown]
    names = np.empty(len(labels.names), dtype=object)
    names[:] = labels.names
    vectors, bank = (
        RemoteRows(gallery, rows, gallery.dim),
        RemoteRows(gallery, bank_rows, gallery.dim),
    )
    index = GalleryIndex(
        names=names, codes=labels.codes[shown].astype(np.int64), ids=RemoteTexts(gallery, rows),
        paths=RemoteTexts(gallery, rows, True), vectors=vectors,
        bank_ids=RemoteTexts(gallery, bank_rows), bank=bank,
        bank_paths=RemoteTexts(gallery, bank_rows, True),
    )  # fmt: skip
    return index, SearchRows("", vectors, bank, RemoteCandidates(gallery, rows, False),
                           RemoteCandidates(gallery, bank_rows, True))  # fmt: skip


def sampled(index: GalleryIndex, seed: int = 0) -> GalleryIndex:
    """Photos of whole landmarks, drawn by landmark, and distractors, fetched: what is fitted on.

    Of a gallery of up to 20,000 photos that is all of it.
    """
    rng = np.random.default_rng(seed)
    sizes = np.bincount(index.codes, minlength=len(index.names))
    order = rng.permutation(len(sizes))
    chosen = order[np.cumsum(sizes[order]) <= SAMPLED]
    kept = np.flatnonzero(np.isin(index.codes, chosen))
    present, codes = np.unique(index.codes[kept], return_inverse=True)
    bank = np.sort(rng.permutation(len(index.bank))[: SAMPLED // 2])
    return GalleryIndex(
        names=index.names[present], codes=codes.astype(np.int64), ids=index.ids[kept],
        paths=index.paths[kept], vectors=index.vectors[kept], bank_ids=index.bank_ids[bank],
        bank=index.bank[bank], bank_paths=index.bank_paths[bank],
    )  # fmt: skip
