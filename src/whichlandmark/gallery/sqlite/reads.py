"""What a gallery's file is asked: every answer is of one generation, every sum compared."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from ...core.errors import GalleryError
from ...core.types import Neighbours, Vectors
from ..checksums import Meta, PhotoRow
from ..index import nearest_rows
from ..protocol import Labels
from ..records import Credit, GalleryRow, GalleryTable, LandmarkRecord
from . import queries as queries_module
from . import schema
from .queries import blobs, photos, photos_of, read_landmarks, read_meta, read_sums, read_table


class SqliteReads:
    """An open file, and everything that only reads it. `Gallery` changes it too."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self._connection = connection
        self._lock = threading.RLock()  # one transaction at a time; any thread may ask
        self.name = name

    @property
    def embedder_id(self) -> str:
        """Id of the embedder that all vectors come from."""
        return self._meta().embedder

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._meta().dim

    @property
    def generation(self) -> int:
        """Rises by one with every change."""
        return self._meta().generation

    def count(self) -> int:
        """Photos, distractors included."""
        return self._meta().photos

    def require(self, embedder_id: str) -> None:
        """Raises GalleryError unless the gallery was made by this embedder."""
        if self.embedder_id != embedder_id:
            raise GalleryError(
                f"{self.name} was made by embedder {self.embedder_id!r}, not by "
                f"{embedder_id!r}: their vectors cannot be compared; use that embedder, or "
                "index into a new folder"
            )

    def stamps(self, ids: Collection[str] | None = None) -> dict[str, tuple[str, str, str]]:
        """id → (path, stamp, landmark), of those ids that are there (None = of all): what need not
        be embedded again.
        """
        with self._snapshot() as (sql, meta):
            found = (self._photos(sql, meta) if ids is None
                     else photos_of(sql, ids, self.name))  # fmt: skip
            return {row[1]: (row[2], row[5], row[3]) for row in found}

    def state(self) -> Meta:
        """The gallery's own numbers, all of one generation."""
        return self._meta()

    def sums(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row number and checksum of every photo, (N,) each, in row order."""
        with self._snapshot() as (sql, _):
            return read_sums(sql, self.name)

    def table(self, *, after: int | None = None, vectors: bool = True) -> GalleryTable:
        """Everything that is searched, in row order, of one generation.

        after: only photos of higher row numbers than this. vectors: False = they are not read.
        Raises GalleryError when a row or a vector is not what was put there, or is missing.
        """
        with self._snapshot() as (sql, _):
            return read_table(sql, self.name, after, with_vectors=vectors)

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
            return blobs(sql, "looks", self._photos(sql, meta), self.name)

    def credits(self, ids: Iterable[str]) -> dict[str, Credit]:
        """id → (author, licence), of those photos that are there."""
        with self._snapshot() as (sql, _):
            rows = photos_of(sql, ids, self.name)
        return {row[1]: Credit(row[6], row[7]) for row in rows}

    def landmarks(self) -> dict[str, LandmarkRecord]:
        """Landmark → what is known of it, of those that have a record."""
        with self._snapshot() as (sql, _):
            return read_landmarks(sql, self.name)

    def optimize(self) -> list[str]:
        """Nothing: segment files are made beside the file (`segments/`)."""
        return []

    def labels(self) -> Labels:
        """Row number and landmark of every photo: what fits in memory where vectors do not."""
        with self._snapshot() as (sql, meta):
            return queries_module.labels(self._photos(sql, meta), meta.generation)

    def rows_after(self, row: int, limit: int) -> list[tuple[int, GalleryRow]]:
        """The next `limit` photos above this row number, whole, with their numbers: to copy."""
        with self._snapshot() as (sql, _):
            return queries_module.whole_rows(sql, row, limit, self.name)

    def ids_of(self, rows: NDArray[np.int64]) -> NDArray[np.object_]:
        """(n,) row numbers, in any order → (n,) ids. Raises GalleryError for unknown numbers."""
        with self._snapshot() as (sql, _):
            return queries_module.ids_of(sql, rows, self.name)

    def vectors_of(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        """(n,) row numbers → (n, D). Raises GalleryError as `ids_of` does."""
        with self._snapshot() as (sql, meta):
            return queries_module.vectors_of(sql, rows, meta.dim, self.name)

    def nearest(
        self,
        queries: Vectors,
        k: int,
        *,
        distractors: bool = False,
        landmarks: Collection[str] | None = None,
    ) -> Neighbours:
        """All photos compared, exactly: see `contract.AnyGallery.nearest`. Reads all vectors at
        each call; what is asked often is searched in `GalleryIndex`.
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
        with self._lock, errors(self.name):
            yield self._connection

    @contextmanager
    def _snapshot(self) -> Iterator[tuple[sqlite3.Connection, Meta]]:
        """One read transaction: whatever is read in it is of one generation."""
        with self._reading() as sql:
            sql.execute("BEGIN")
            try:
                yield sql, read_meta(sql, self.name)
            finally:
                roll_back(sql)


def roll_back(sql: sqlite3.Connection) -> None:
    """Give up the transaction, if there is one."""
    if sql.in_transaction:  # SQLite itself may have rolled back, as on a full disk
        sql.execute("ROLLBACK")


@contextmanager
def errors(name: str) -> Iterator[None]:
    """SQLite's errors in our words."""
    try:
        yield
    except schema.ERRORS as error:
        raise schema.translated(error, name) from None
