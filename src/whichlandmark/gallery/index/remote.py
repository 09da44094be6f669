"""Index whose vectors and ids stay in the gallery; row numbers and landmarks are loaded.

It needs 16 bytes of memory per photo. The gallery's server, or a search index beside the gallery,
proposes candidates; their vectors are fetched, so that cosines are computed as with a local index.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ...core.errors import GalleryError
from ...core.types import Progress, Vectors
from ..base import Gallery
from ..checksums import Meta
from . import GalleryIndex, SearchRows

RETRY_SECONDS = 10.0  # after which a search index that could not be searched is asked again

MAX_SAMPLED_PHOTOS = 20_000  # with a landmark, to fit on; half as many distractors


log = logging.getLogger("whichlandmark")


class SearchIndex(Protocol):
    """An index of a gallery on another server. It is derived, and can be made again at any time.

    All methods raise GalleryError when the server cannot be used or the index is not ours.
    """

    name: str

    def sync(
        self, gallery: Gallery, *, rebuild: bool = False, progress: Progress | None = None
    ) -> Synced:
        """Bring it in step with the gallery. rebuild: throw it away first.

        Raises BusyError when another sync works on it.
        """

    def state(self) -> IndexState | None:
        """What it holds; None = there is none yet."""

    def nearest(
        self, state: Meta, queries: Vectors, k: int, *, distractors: bool
    ) -> NDArray[np.int64]:
        """About k nearest photos of each query, as row numbers (Q, k), −1 where fewer are found.

        Raises GalleryError unless it holds exactly this state of the gallery.
        """


class IndexState(NamedTuple):
    """The state of a gallery that a search index holds. complete: has its last sync ended?"""

    complete: bool
    generation: int
    photos: int
    digest: int


@dataclass(frozen=True)
class Synced:
    """Result of a sync: photos in the index, photos written and deleted by it."""

    photos: int
    written: int
    deleted: int
    generation: int


class NotSearchedError(GalleryError):
    """A search index does not hold what the gallery held when it was opened, or is out of reach."""


@dataclass(eq=False)
class GuardedSearch:
    """Searches an index that holds exactly the gallery's state; else says so, once.

    Called with queries, k and whether distractors are searched; returns row numbers (Q, k).
    """

    gallery: Gallery
    index: SearchIndex
    state: Meta
    _trouble: str = field(default="", init=False)
    _again: float = field(default=0.0, init=False)

    def __call__(self, queries: Vectors, k: int, distractors: bool) -> NDArray[np.int64]:
        """Raises NotSearchedError when the index cannot be searched."""
        if time.monotonic() < self._again:
            raise NotSearchedError(self._trouble)
        if self.gallery.generation != self.state.generation:  # this index is of an old one
            raise NotSearchedError(f"{self.gallery.name}: changed since it was opened")
        try:
            found = self.index.nearest(self.state, queries, k, distractors=distractors)
        except GalleryError as error:
            if str(error) != self._trouble:
                log.warning(
                    "%s; it is not searched, the gallery itself answers. `whichlandmark gallery "
                    "sync FOLDER` brings it in step",
                    error,
                )
            self._trouble, self._again = str(error), time.monotonic() + RETRY_SECONDS
            raise NotSearchedError(self._trouble) from None
        self._trouble = ""
        return found


@dataclass(frozen=True, eq=False)
class RemoteRows:
    """(N, D) vectors in the gallery, fetched when indexed; rows: (N,) their row numbers."""

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
    """(N,) ids (or paths) in the gallery, fetched when indexed; rows: (N,) their row numbers."""

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
    """The nearest photos that a server finds; a `CandidateSource`.

    search: (queries, k, distractors) → row numbers (Q, k); rows: (N,) row numbers of the index,
    ascending; distractors: search these instead of landmark photos.
    """

    search: Callable[[Vectors, int, bool], NDArray[np.int64]]
    rows: NDArray[np.int64]
    distractors: bool

    def candidates(self, queries: Vectors, least: int) -> NDArray[np.int64]:
        """(Q, D) queries → (Q, R) indices into `rows`, −1 = no more."""
        found = self.search(queries, least, self.distractors)
        if not len(self.rows):
            return np.full(found.shape, -1, dtype=np.int64)
        places = np.minimum(np.searchsorted(self.rows, found), len(self.rows) - 1)
        # Photos added after the index was loaded are ignored.
        return np.where(self.rows[places] == found, places, -1)


def remote_index(
    gallery: Gallery, search_index: SearchIndex | None = None
) -> tuple[GalleryIndex, SearchRows]:
    """The index of a gallery's current generation, searched by its own server or a search index."""

    def own(queries: Vectors, k: int, distractors: bool) -> NDArray[np.int64]:
        return gallery.nearest(queries, k, distractors=distractors).rows

    labels, state = gallery.labels(), gallery.state()
    while labels.generation != state.generation:  # changed between both reads
        labels, state = gallery.labels(), gallery.state()
    search = GuardedSearch(gallery, search_index, state) if search_index else own
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
        RemoteCandidates(search, rows, distractors=False),
        RemoteCandidates(search, distractor_rows, distractors=True),
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
