"""The gallery on disk: one SQLite file of photos, landmarks and vectors, with a sum of everything.

Distractors are photos whose landmark is "". A vector is stored as little-endian float16
bytes (2·D a photo). Every change is one transaction and raises the generation by one. Several
readers work beside one writer (SQLite's write-ahead log); each reads exactly one generation.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import GalleryError
from ..files import whole_file
from . import reading, schema
from .checks import Meta, meta_sum
from .records import Credit, GalleryRow, GalleryTable, LandmarkRecord
from .scrubbing import scrub
from .writing import Change

__all__ = ["Credit", "Gallery", "GalleryRow", "GalleryTable", "LandmarkRecord"]


class Gallery:
    """Open with `create` or `open`; close with `close` or a with-statement."""

    def __init__(self, connection: sqlite3.Connection, path: Path | None) -> None:
        self._connection = connection
        self._path = path
        self._lock = threading.RLock()  # one transaction at a time; any thread may ask
        self._written = False
        self.name = str(path) if path else "gallery in memory"

    @classmethod
    def create(cls, path: Path | None, embedder_id: str, dim: int) -> Gallery:
        """A new gallery at `path` (None = in memory), made for one embedder.

        Raises GalleryError when there is a file already.
        """
        meta = Meta(embedder_id, dim, 0, 1, 0, 0, 0, 0)
        if path is None:
            gallery = cls(schema.connect(None), None)
            schema.make_tables(gallery._connection, meta, meta_sum(meta))
            return gallery
        if path.exists():
            raise GalleryError(f"{path}: there is a file already; open it, or give a new folder")
        with whole_file(path) as temporary, _errors(str(path)):
            sql = schema.connect(temporary)
            try:
                schema.make_tables(sql, meta, meta_sum(meta))
            finally:
                sql.close()
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Gallery:
        """Open an existing gallery. Raises GalleryError when missing, damaged or foreign.

        In a folder that may not be written to it can be read only.
        """
        if not path.is_file():
            raise GalleryError(f"{path}: no gallery there; make one with `whichlandmark index`")
        with _errors(str(path)):
            sql = schema.open_checked(path)
        return cls(sql, path)

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

    def put(self, rows: Sequence[GalleryRow]) -> None:
        """Add photos, replacing those with the same id, in one transaction.

        Raises GalleryError for a vector of another shape, DataError for words that cannot be kept.
        """
        with self._changing() as change:
            change.put(rows)

    def remove(self, ids: Iterable[str]) -> int:
        """Forget photos: words, vector, features, look and thumbnail. Returns their number.

        Their bytes are overwritten; they leave the file with this call, or, while somebody reads
        an older generation, with the next change or close. Raises DataError for unknown ids.
        """
        with self._changing() as change:
            count = change.remove(ids)
        self.forget()
        return count

    def relabel(self, landmarks: Mapping[str, str]) -> None:
        """Give photos another landmark: {id: landmark}, "" = distractor.

        Raises DataError for unknown ids; nothing is changed then.
        """
        with self._changing() as change:
            change.relabel(landmarks)
        self.forget()

    def describe(self, records: Iterable[LandmarkRecord]) -> None:
        """Keep what is known of landmarks, in place of what was known of them."""
        with self._changing() as change:
            change.describe(records)

    def credit(self, credits: Mapping[str, Credit]) -> None:
        """Say who made photos, and under which licence: {id: Credit}.

        Raises DataError for unknown ids; nothing is changed then.
        """
        with self._changing() as change:
            change.credit(credits)

    def compact(self) -> None:
        """Give the space of removed photos back. Needs as much free space as the gallery has."""
        with self._reading() as sql:
            sql.execute("VACUUM")
        self._written = True
        self.forget()

    def stamps(self) -> dict[str, tuple[str, str, str]]:
        """id → (path, stamp, landmark) of every photo: what need not be embedded again."""
        with self._snapshot() as (sql, meta):
            return {row[1]: (row[2], row[5], row[3]) for row in self._photos(sql, meta)}

    def state(self) -> Meta:
        """The gallery's own numbers, all of one generation."""
        return self._meta()

    def sums(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row number and checksum of every photo, (N,) each, in row order."""
        with self._snapshot() as (sql, _):
            return reading.read_sums(sql, self.name)

    def table(self, *, after: int | None = None) -> GalleryTable:
        """Everything that is searched, in row order, of one generation.

        after: only photos of higher row numbers than this.
        Raises GalleryError when a row or a vector is not what was put there, or is missing.
        """
        with self._snapshot() as (sql, _):
            return reading.read_table(sql, self.name, after)

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
            return reading.blobs(sql, "looks", self._photos(sql, meta), self.name)

    def credits(self, ids: Iterable[str]) -> dict[str, Credit]:
        """id → (author, licence), of those photos that are there."""
        with self._snapshot() as (sql, _):
            rows = reading.photos_of(sql, ids, self.name)
        return {row[1]: Credit(row[6], row[7]) for row in rows}

    def landmarks(self) -> dict[str, LandmarkRecord]:
        """Landmark → what is known of it, of those that have a record."""
        with self._snapshot() as (sql, _):
            return reading.read_landmarks(sql, self.name)

    def copy_to(self, path: Path) -> Gallery:
        """A full copy in a new file, also of a gallery in memory."""
        with whole_file(path) as temporary, self._reading() as sql:
            target = schema.connect(temporary)
            try:
                sql.backup(target)
                target.execute("PRAGMA journal_mode = WAL")
            finally:
                target.close()
        return Gallery.open(path)

    def checkpoint(self) -> bool:
        """Move what was written into the one file, unless somebody reads what was before it."""
        with self._reading() as sql:
            sql.execute("PRAGMA busy_timeout = 0")
            busy = sql.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            sql.execute(f"PRAGMA busy_timeout = {int(schema.BUSY_SECONDS * 1000)}")
        return not busy

    def forget(self) -> None:
        """Overwrite every byte of what was removed or replaced; later, if somebody reads it now."""
        if self.checkpoint() and self._path and self._meta().stale:
            with self._reading():
                scrub(self._path)

    def close(self) -> None:
        """Close the file; the object is of no use afterwards."""
        try:
            if self._written:
                self.forget()
        finally:
            self._connection.close()

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _meta(self) -> Meta:
        with self._reading() as sql:
            return reading.read_meta(sql, self.name)

    def _photos(self, sql: sqlite3.Connection, meta: Meta) -> Iterator[reading.PhotoRow]:
        return reading.photos(sql, meta, self.name)

    def _blobs(self, kind: str, ids: Iterable[str]) -> dict[str, bytes]:
        with self._snapshot() as (sql, _):
            rows = reading.photos_of(sql, ids, self.name)
            return reading.blobs(sql, kind, rows, self.name)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _errors(self.name):
            yield self._connection

    @contextmanager
    def _snapshot(self) -> Iterator[tuple[sqlite3.Connection, Meta]]:
        """One read transaction: whatever is read in it is of one generation."""
        with self._reading() as sql:
            sql.execute("BEGIN")
            try:
                yield sql, reading.read_meta(sql, self.name)
            finally:
                _roll_back(sql)

    @contextmanager
    def _changing(self) -> Iterator[Change]:
        """One write transaction: a whole batch and the next generation, or nothing."""
        with self._reading() as sql:
            sql.execute("BEGIN IMMEDIATE")
            try:
                change = Change(sql, reading.read_meta(sql, self.name), self.name)
                yield change
                change.write_meta()
                sql.execute("COMMIT")
                self._written = True
            except BaseException:
                _roll_back(sql)
                raise


def _roll_back(sql: sqlite3.Connection) -> None:
    if sql.in_transaction:  # SQLite itself may have rolled back, as on a full disk
        sql.execute("ROLLBACK")


@contextmanager
def _errors(name: str) -> Iterator[None]:
    try:
        yield
    except schema.ERRORS as error:
        raise schema.translated(error, name) from None
