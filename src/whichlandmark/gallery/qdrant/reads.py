"""What a gallery on Qdrant is asked: every answer of one generation, every sum compared."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...core.errors import BusyError, GalleryError
from ...core.types import Neighbours, Vectors
from ..checksums import Meta
from ..protocol import Labels
from ..records import Credit, GalleryRow, GalleryTable, LandmarkRecord
from ..sqlite.queries import labels as labels_of
from . import points
from . import queries as reading
from .client import RetryingClient
from .config import QdrantConfig
from .points import Head
from .search import nearest, only_those

Answer = TypeVar("Answer")

TRIES = 5  # of a reading that a change came in between


class QdrantReads:
    """An open gallery, and everything that only reads it. `QdrantGallery` changes it too."""

    def __init__(self, calls: RetryingClient, head: Head, config: QdrantConfig) -> None:
        self._calls = calls
        self._embedder, self._dim = head.meta.embedder, head.meta.dim
        self._config = config
        self.name = calls.name

    @property
    def embedder_id(self) -> str:
        """Id of the embedder that all vectors come from."""
        return self._embedder

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._dim

    @property
    def generation(self) -> int:
        """Rises by one with every change."""
        return self.state().generation

    def count(self) -> int:
        """Photos, distractors included."""
        return self.state().photos

    def state(self) -> Meta:
        """The gallery's own numbers, all of one generation."""
        return reading.read_head(self._calls).meta

    def require(self, embedder_id: str) -> None:
        """Raises GalleryError unless the gallery was made by this embedder."""
        if self.embedder_id != embedder_id:
            raise GalleryError(
                f"{self.name} was made by embedder {self.embedder_id!r}, not by {embedder_id!r}: "
                "their vectors cannot be compared; use that embedder, or index into a new gallery"
            )

    def stamps(self, ids: Collection[str] | None = None) -> dict[str, tuple[str, str, str]]:
        """id → (path, stamp, landmark), of those ids that are there (None = of all)."""
        return {entry[1]: (entry[2], entry[5], entry[3]) for entry in self._entries(ids)}

    def sums(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row number and checksum of every photo, (N,) each, in row order."""
        return self._steadily(lambda head: reading.read_sums(self._calls, head))

    def table(self, *, after: int | None = None, vectors: bool = True) -> GalleryTable:
        """Everything that is searched, in row order. after: only higher row numbers than this."""
        return self._steadily(lambda head: reading.read_table(self._calls, head, after, vectors))

    def labels(self) -> Labels:
        """Row number and landmark of every photo: what fits in memory where vectors do not."""
        return self._steadily(
            lambda head: labels_of(reading.all_photos(self._calls, head), head.meta.generation)
        )

    def rows_after(self, row: int, limit: int) -> list[tuple[int, GalleryRow]]:
        """The next `limit` photos above this row number, whole, with their numbers: to copy."""
        return self._steadily(lambda head: reading.whole_rows(self._calls, head, row, limit))

    def ids_of(self, rows: NDArray[np.int64]) -> NDArray[np.object_]:
        """(n,) row numbers, in any order → (n,) ids. Raises GalleryError for unknown numbers."""
        head = reading.read_head(self._calls)
        ids = np.empty(len(rows), dtype=object)
        found = reading.few_rows(self._calls, head, rows, vectors=False)
        ids[:] = [entry[1] for entry, _ in found]
        return ids

    def vectors_of(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        """(n,) row numbers → (n, D). Raises GalleryError as `ids_of` does."""
        head = reading.read_head(self._calls)
        vectors = [
            points.vector_of(record, entry, self._dim, self.name)
            for entry, record in reading.few_rows(self._calls, head, rows, vectors=True)
        ]
        return np.array(vectors, dtype=np.float16).reshape(-1, self._dim)

    def nearest(
        self,
        queries: Vectors,
        k: int,
        *,
        distractors: bool = False,
        landmarks: Collection[str] | None = None,
    ) -> Neighbours:
        """Photos of the highest cosine: see `contract.AnyGallery.nearest`.

        All are compared up to `QdrantConfig.exact_below` photos; above, the server's graph finds.
        """
        only = only_those(distractors, landmarks)
        return self._steadily(
            lambda head: nearest(self._calls, head, self._config, queries, k, only)
        )

    def keypoints(self, ids: Iterable[str]) -> dict[str, bytes]:
        """id → packed local features; photos without them, or not there, are left out."""
        return self._blobs("keypoints", list(ids))

    def thumbnails(self, ids: Iterable[str]) -> dict[str, bytes]:
        """id → small JPEG; photos without one, or not there, are left out."""
        return self._blobs("thumbnails", list(ids))

    def looks(self, ids: Iterable[str] | None = None) -> dict[str, bytes]:
        """id → packed perceptual fingerprint, of those photos (None = all) that have one."""
        return self._blobs("looks", None if ids is None else list(ids))

    def credits(self, ids: Iterable[str]) -> dict[str, Credit]:
        """id → (author, licence), of those photos that are there."""
        return {entry[1]: Credit(entry[6], entry[7]) for entry in self._entries(list(ids))}

    def landmarks(self) -> dict[str, LandmarkRecord]:
        """Landmark → what is known of it, of those that have a record."""
        return self._steadily(lambda head: reading.read_landmarks(self._calls, head))

    def _entries(self, ids: Collection[str] | None) -> list[Any]:
        def read(head: Head) -> list[Any]:
            if ids is None:
                return reading.all_photos(self._calls, head)
            return reading.photos_of(self._calls, ids, head.meta.next_row)

        return self._steadily(read)

    def _blobs(self, kind: str, ids: Collection[str] | None) -> dict[str, bytes]:
        def read(head: Head) -> dict[str, bytes]:
            found = (reading.all_photos(self._calls, head) if ids is None
                     else reading.photos_of(self._calls, ids, head.meta.next_row))  # fmt: skip
            return reading.named_blobs(self._calls, kind, found)

        return self._steadily(read)

    def _steadily(self, read: Callable[[Head], Answer]) -> Answer:
        """What was read, of one generation: read again where a change came in between."""
        for _ in range(TRIES):
            head = reading.read_head(self._calls)
            try:
                return read(head)
            except BusyError:
                raise
            except GalleryError:
                if reading.read_head(self._calls).meta == head.meta:
                    raise
                self._calls.sleep(0.1)
        raise BusyError(f"{self.name}: it changes faster than it can be read; try again")
