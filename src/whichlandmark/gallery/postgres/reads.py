"""What a gallery on PostgreSQL is asked: every answer is of one generation, every sum compared."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from ...core.errors import GalleryError
from ...core.types import Neighbours, Vectors
from ..checksums import Meta
from ..protocol import Labels
from ..records import Credit, GalleryRow, GalleryTable, LandmarkRecord
from . import connection as schema
from . import queries as reading
from .connection import Address, Sql, connect, translated
from .integrity import faults
from .search import nearest, wanted_photos


class PostgresReads:
    """An open gallery, and everything that only reads it. `PostgresGallery` changes it too."""

    def __init__(self, address: Address, connection: Sql) -> None:
        self._address, self._connection = address, connection
        self._lock = threading.RLock()  # one transaction at a time; any thread may ask
        self._closed = False
        self.name = address.shown

    @property
    def embedder_id(self) -> str:
        """Id of the embedder that all vectors come from."""
        return self.state().embedder

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.state().dim

    @property
    def generation(self) -> int:
        """Rises by one with every change."""
        return self.state().generation

    def count(self) -> int:
        """Photos, distractors included."""
        return self.state().photos

    def state(self) -> Meta:
        """The gallery's own numbers, all of one generation."""
        with self._talking() as sql:
            return reading.read_meta(sql, self.name)

    def require(self, embedder_id: str) -> None:
        """Raises GalleryError unless the gallery was made by this embedder."""
        if self.embedder_id != embedder_id:
            raise GalleryError(
                f"{self.name} was made by embedder {self.embedder_id!r}, not by "
                f"{embedder_id!r}: their vectors cannot be compared; use that embedder, or "
                "index under another name"
            )

    def stamps(self, ids: Collection[str] | None = None) -> dict[str, tuple[str, str, str]]:
        """id → (path, stamp, landmark), of those ids that are there (None = of all)."""
        with self._snapshot() as (sql, meta):
            found = (reading.photos(sql, meta, self.name) if ids is None
                     else reading.photos_of(sql, ids, self.name))  # fmt: skip
            return {row[1]: (row[2], row[5], row[3]) for row in found}

    def sums(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row number and checksum of every photo, (N,) each, in row order."""
        with self._snapshot() as (sql, _):
            return reading.read_sums(sql, self.name)

    def table(self, *, after: int | None = None, vectors: bool = True) -> GalleryTable:
        """Everything that is searched, in row order. after: only higher row numbers than this."""
        with self._snapshot() as (sql, _):
            return reading.read_table(sql, self.name, after, with_vectors=vectors)

    def labels(self) -> Labels:
        """Row number and landmark of every photo."""
        with self._snapshot() as (sql, _):
            return reading.labels(sql, self.name)

    def rows_after(self, row: int, limit: int) -> list[tuple[int, GalleryRow]]:
        """The next `limit` photos above this row number, whole, with their numbers: to copy."""
        with self._snapshot() as (sql, _):
            return reading.whole_rows(sql, row, limit, self.name)

    def ids_of(self, rows: NDArray[np.int64]) -> NDArray[np.object_]:
        """(n,) row numbers, in any order → (n,) ids. Raises GalleryError for unknown numbers."""
        with self._snapshot() as (sql, _):
            id_of = {row[0]: row[1] for row in reading.photos_at(sql, rows, self.name)}
        ids = np.empty(len(rows), dtype=object)
        ids[:] = [id_of[row] for row in rows.tolist()]
        return ids

    def vectors_of(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        """(n,) row numbers → (n, D). Raises GalleryError as `ids_of` does."""
        with self._snapshot() as (sql, meta):
            return reading.vectors_of(sql, rows, meta.dim, self.name)

    def nearest(
        self,
        queries: Vectors,
        k: int,
        *,
        distractors: bool = False,
        landmarks: Collection[str] | None = None,
    ) -> Neighbours:
        """Photos of the highest cosine: see `contract.AnyGallery.nearest`, `postgres_search`."""
        with self._snapshot() as (sql, meta):
            wanted = wanted_photos(sql, distractors, landmarks)
            if wanted is None:
                return Neighbours(
                    np.full((len(queries), k), -1, dtype=np.int64),
                    np.full((len(queries), k), -np.inf, dtype=np.float32),
                )
            return nearest(sql, queries, k, wanted, meta.dim, self.name)

    def keypoints(self, ids: Iterable[str]) -> dict[str, bytes]:
        """id → packed local features; photos without them, or not there, are left out."""
        return self._blobs("keypoints", ids)

    def thumbnails(self, ids: Iterable[str]) -> dict[str, bytes]:
        """id → small JPEG; photos without one, or not there, are left out."""
        return self._blobs("thumbnails", ids)

    def looks(self, ids: Iterable[str] | None = None) -> dict[str, bytes]:
        """id → packed perceptual fingerprint, of those photos (None = all) that have one."""
        if ids is not None:
            return self._blobs("looks", ids)
        with self._snapshot() as (sql, meta):
            rows = list(reading.photos(sql, meta, self.name))
            return reading.blobs(sql, "looks", rows, self.name)

    def credits(self, ids: Iterable[str]) -> dict[str, Credit]:
        """id → (author, licence), of those photos that are there."""
        with self._snapshot() as (sql, _):
            rows = reading.photos_of(sql, ids, self.name)
        return {row[1]: Credit(row[6], row[7]) for row in rows}

    def landmarks(self) -> dict[str, LandmarkRecord]:
        """Landmark → what is known of it, of those that have a record."""
        with self._snapshot() as (sql, _):
            return reading.read_landmarks(sql, self.name)

    def faults(self) -> list[str]:
        """Everything that is not as it was put there, in words; empty = whole."""
        with self._talking() as sql, reading.snapshot(sql):
            return faults(sql, self.name)

    def _blobs(self, kind: str, ids: Iterable[str]) -> dict[str, bytes]:
        with self._snapshot() as (sql, _):
            rows = reading.photos_of(sql, ids, self.name)
            return reading.blobs(sql, kind, rows, self.name)

    @contextmanager
    def _talking(self) -> Iterator[Sql]:
        with self._lock:
            if self._closed:
                raise GalleryError(f"{self.name}: used after it was closed; open it again")
            if self._connection.closed:
                self._connection = opened(self._address)
            with translated(self.name):
                yield self._connection

    @contextmanager
    def _snapshot(self) -> Iterator[tuple[Sql, Meta]]:
        """One read transaction: whatever is read in it is of one generation."""
        with self._talking() as sql, reading.snapshot(sql):
            yield sql, reading.read_meta(sql, self.name)


def opened(address: Address) -> Sql:
    """A connection that sees the gallery's tables. Raises GalleryError when there are none."""
    connection = connect(address)
    try:
        with translated(address.shown):
            schema.look_into(connection, address)
    except BaseException:
        connection.close()
        raise
    return connection
