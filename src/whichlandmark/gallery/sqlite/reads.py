"""Reads of a SQLite gallery; each sees one generation and verifies checksums."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from ...core.types import Neighbours, Vectors
from ..checksums import Meta, PhotoRow
from ..index import nearest_rows
from ..protocol import Labels
from ..records import Credit, GalleryRow, GalleryTable, LandmarkRecord, other_embedder
from . import queries as sql_queries
from . import schema
from .queries import blobs, photos, photos_of, read_landmarks, read_meta, read_sums, read_table


class SqliteReads:
    """The reading half of `SqliteGallery`; see `protocol.Gallery` for the methods."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self._connection = connection
        self._lock = threading.RLock()  # because threads share one connection
        self.name = name

    @property
    def embedder_id(self) -> str:
        """Id of the embedder that computed all vectors."""
        return self._meta().embedder

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return self._meta().dim

    @property
    def generation(self) -> int:
        """Number of changes so far."""
        return self._meta().generation

    def count(self) -> int:
        """Number of photos, distractors included."""
        return self._meta().photos

    def require(self, embedder_id: str) -> None:
        """Raise GalleryError unless this embedder computed the gallery's vectors."""
        if self.embedder_id != embedder_id:
            raise other_embedder(self.name, self.embedder_id, embedder_id)

    def stamps(self, ids: Collection[str] | None = None) -> dict[str, tuple[str, str, str]]:
        """Id → (path, stamp, landmark), to find photos that need not be embedded again.

        ids: None = all photos; unknown ids are omitted.
        """
        with self._snapshot() as (sql, meta):
            found = (self._photos(sql, meta) if ids is None
                     else photos_of(sql, ids, self.name))  # fmt: skip
            return {row[1]: (row[2], row[5], row[3]) for row in found}

    def state(self) -> Meta:
        """Embedder, counts and digests, all of one generation."""
        return self._meta()

    def sums(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row number and checksum of every photo, (N,) each, in row order."""
        with self._snapshot() as (sql, _):
            return read_sums(sql, self.name)

    def table(self, *, after: int | None = None, vectors: bool = True) -> GalleryTable:
        """Ids, paths, landmarks, hashes and vectors of all photos, in row order.

        Args:
            after: only photos with a higher row number; None = all.
            vectors: False = do not read the vectors.

        Raises:
            GalleryError: when a photo or vector is missing or does not match its checksum.
        """
        with self._snapshot() as (sql, _):
            return read_table(sql, self.name, after, with_vectors=vectors)

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
            return blobs(sql, "looks", self._photos(sql, meta), self.name)

    def credits(self, ids: Iterable[str]) -> dict[str, Credit]:
        """Id → (author, licence); unknown ids are omitted."""
        with self._snapshot() as (sql, _):
            rows = photos_of(sql, ids, self.name)
        return {row[1]: Credit(row[6], row[7]) for row in rows}

    def landmarks(self) -> dict[str, LandmarkRecord]:
        """Landmark → its record, for landmarks that have one."""
        with self._snapshot() as (sql, _):
            return read_landmarks(sql, self.name)

    def optimize(self) -> list[str]:
        """Do nothing, because a SQLite gallery is searched through index files."""
        return []

    def labels(self) -> Labels:
        """Row number and landmark of every photo, for galleries whose vectors exceed the memory."""
        with self._snapshot() as (sql, meta):
            return sql_queries.labels(self._photos(sql, meta), meta.generation)

    def rows_after(self, row: int, limit: int) -> list[tuple[int, GalleryRow]]:
        """At most `limit` complete photos with their row numbers, from those above `row`."""
        with self._snapshot() as (sql, _):
            return sql_queries.whole_rows(sql, row, limit, self.name)

    def ids_of(self, rows: NDArray[np.int64]) -> NDArray[np.object_]:
        """Ids of (n,) row numbers. Raises GalleryError for a row number without a photo."""
        with self._snapshot() as (sql, _):
            return sql_queries.ids_of(sql, rows, self.name)

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
        """Compare all photos exactly; see `protocol.Gallery.nearest`.

        Each call reads all vectors from the file; use a `GalleryIndex` for repeated searches.
        """
        return nearest_rows(self.table(), queries, k, distractors, landmarks)

    def _meta(self) -> Meta:
        with self._reading() as sql:
            return read_meta(sql, self.name)

    def _photos(self, sql: sqlite3.Connection, meta: Meta) -> Iterator[PhotoRow]:
        return photos(sql, meta, self.name)

    def _blobs(self, kind: str, ids: Iterable[str]) -> dict[str, bytes]:
        with self._snapshot() as (sql, _):
            rows = photos_of(sql, ids, self.name)
            return blobs(sql, kind, rows, self.name)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, gallery_errors(self.name):
            yield self._connection

    @contextmanager
    def _snapshot(self) -> Iterator[tuple[sqlite3.Connection, Meta]]:
        """A read transaction, so that all its reads see one generation."""
        with self._reading() as sql:
            sql.execute("BEGIN")
            try:
                yield sql, read_meta(sql, self.name)
            finally:
                roll_back(sql)


def roll_back(sql: sqlite3.Connection) -> None:
    """Roll back the open transaction, if there is one."""
    if sql.in_transaction:  # SQLite itself may have rolled back, as on a full disk
        sql.execute("ROLLBACK")


@contextmanager
def gallery_errors(name: str) -> Iterator[None]:
    """Raise errors of SQLite as GalleryError."""
    try:
        yield
    except schema.SQLITE_ERRORS as error:
        raise schema.gallery_error(error, name) from None
