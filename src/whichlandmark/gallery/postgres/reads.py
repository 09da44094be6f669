"""Reads of a PostgreSQL gallery; each sees one generation and verifies checksums."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from ...core.errors import GalleryError
from ...core.types import Neighbours, Vectors
from ..checksums import Meta
from ..records import Credit, GalleryRow, GalleryTable, Labels, LandmarkRecord, other_embedder
from . import connection as connections
from . import queries as sql_queries
from .connection import Address, Sql, connect, gallery_errors
from .integrity import faults
from .search import nearest, search_scope


class PostgresReads:
    """The reading half of `PostgresGallery`; see `base.Gallery` for the methods."""

    def __init__(self, address: Address, connection: Sql) -> None:
        self._address, self._connection = address, connection
        self._lock = threading.RLock()  # because threads share one connection
        self._closed = False
        self.name = address.shown

    @property
    def embedder_id(self) -> str:
        """Id of the embedder that computed all vectors."""
        return self.state().embedder

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return self.state().dim

    @property
    def generation(self) -> int:
        """Number of changes so far."""
        return self.state().generation

    def count(self) -> int:
        """Number of photos, distractors included."""
        return self.state().photos

    def state(self) -> Meta:
        """Embedder, counts and digests, all of one generation."""
        with self._connected() as sql:
            return sql_queries.read_meta(sql, self.name)

    def require(self, embedder_id: str) -> None:
        """Raise GalleryError unless this embedder computed the gallery's vectors."""
        if self.embedder_id != embedder_id:
            raise other_embedder(self.name, self.embedder_id, embedder_id)

    def stamps(self, ids: Collection[str] | None = None) -> dict[str, tuple[str, str, str]]:
        """Id → (path, stamp, landmark); unknown ids are omitted. ids: None = all photos."""
        with self._snapshot() as (sql, meta):
            found = (sql_queries.photos(sql, meta, self.name) if ids is None
                     else sql_queries.photos_of(sql, ids, self.name))  # fmt: skip
            return {row[1]: (row[2], row[5], row[3]) for row in found}

    def sums(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row number and checksum of every photo, (N,) each, in row order."""
        with self._snapshot() as (sql, _):
            return sql_queries.read_sums(sql, self.name)

    def table(self, *, after: int | None = None, vectors: bool = True) -> GalleryTable:
        """The columns of all photos, or only of those with a row number above `after`."""
        with self._snapshot() as (sql, _):
            return sql_queries.read_table(sql, self.name, after, with_vectors=vectors)

    def labels(self) -> Labels:
        """Row number and landmark of every photo."""
        with self._snapshot() as (sql, _):
            return sql_queries.labels(sql, self.name)

    def rows_after(self, row: int, limit: int) -> list[tuple[int, GalleryRow]]:
        """At most `limit` complete photos with their row numbers, from those above `row`."""
        with self._snapshot() as (sql, _):
            return sql_queries.whole_rows(sql, row, limit, self.name)

    def ids_of(self, rows: NDArray[np.int64]) -> NDArray[np.object_]:
        """Ids of (n,) row numbers. Raises GalleryError for a row number without a photo."""
        with self._snapshot() as (sql, _):
            id_of = {row[0]: row[1] for row in sql_queries.photos_at(sql, rows, self.name)}
        ids = np.empty(len(rows), dtype=object)
        ids[:] = [id_of[row] for row in rows.tolist()]
        return ids

    def vectors_of(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        """Vectors (n, D) of (n,) row numbers. Raises GalleryError as `ids_of` does."""
        with self._snapshot() as (sql, meta):
            return sql_queries.vectors_of(sql, rows, meta.dim, self.name)

    def nearest(
        self,
        queries: Vectors,
        k: int,
        *,
        distractors: bool = False,
        landmarks: Collection[str] | None = None,
    ) -> Neighbours:
        """The k photos of highest cosine: see `base.Gallery.nearest` and `search.nearest`."""
        with self._snapshot() as (sql, meta):
            wanted = search_scope(sql, distractors, landmarks)
            if wanted is None:
                return Neighbours(
                    np.full((len(queries), k), -1, dtype=np.int64),
                    np.full((len(queries), k), -np.inf, dtype=np.float32),
                )
            return nearest(sql, queries, k, wanted, meta.dim, self.name)

    def keypoints(self, ids: Iterable[str]) -> dict[str, bytes]:
        """Id → packed local features; unknown ids and photos without features are omitted."""
        return self._blobs("keypoints", ids)

    def thumbnails(self, ids: Iterable[str]) -> dict[str, bytes]:
        """Id → small JPEG; unknown ids and photos without a thumbnail are omitted."""
        return self._blobs("thumbnails", ids)

    def fingerprints(self, ids: Iterable[str] | None = None) -> dict[str, bytes]:
        """Id → packed perceptual fingerprint, of the photos that have one. ids: None = all."""
        if ids is not None:
            return self._blobs("looks", ids)
        with self._snapshot() as (sql, meta):
            rows = list(sql_queries.photos(sql, meta, self.name))
            return sql_queries.blobs(sql, "looks", rows, self.name)

    def credits(self, ids: Iterable[str]) -> dict[str, Credit]:
        """Id → (author, licence); unknown ids are omitted."""
        with self._snapshot() as (sql, _):
            rows = sql_queries.photos_of(sql, ids, self.name)
        return {row[1]: Credit(row[6], row[7]) for row in rows}

    def landmarks(self) -> dict[str, LandmarkRecord]:
        """Landmark → its record, for landmarks that have one."""
        with self._snapshot() as (sql, _):
            return sql_queries.read_landmarks(sql, self.name)

    def faults(self) -> list[str]:
        """Verify all stored data; one line for each fault, empty = intact."""
        with self._connected() as sql, sql_queries.snapshot(sql):
            return faults(sql, self.name)

    def _blobs(self, kind: str, ids: Iterable[str]) -> dict[str, bytes]:
        with self._snapshot() as (sql, _):
            rows = sql_queries.photos_of(sql, ids, self.name)
            return sql_queries.blobs(sql, kind, rows, self.name)

    @contextmanager
    def _connected(self) -> Iterator[Sql]:
        with self._lock:
            if self._closed:
                raise GalleryError(f"{self.name}: used after it was closed; open it again")
            if self._connection.closed:
                self._connection = open_connection(self._address)
            with gallery_errors(self.name):
                yield self._connection

    @contextmanager
    def _snapshot(self) -> Iterator[tuple[Sql, Meta]]:
        """A read transaction, so that all its reads see one generation."""
        with self._connected() as sql, sql_queries.snapshot(sql):
            yield sql, sql_queries.read_meta(sql, self.name)


def open_connection(address: Address) -> Sql:
    """A connection to the gallery's tables. Raises GalleryError when there are none."""
    connection = connect(address)
    try:
        with gallery_errors(address.shown):
            connections.use_schema(connection, address)
    except BaseException:
        connection.close()
        raise
    return connection
