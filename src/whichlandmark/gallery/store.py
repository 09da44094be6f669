"""The gallery on disk: one SQLite file of photos, landmarks and vectors, with a sum of everything.

Distractors are photos whose landmark is "". A vector is stored as little-endian float16
bytes (2·D a photo). Every change is one transaction and raises the generation by one. Several
readers work beside one writer (SQLite's write-ahead log); each reads exactly one generation.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..errors import GalleryError
from ..files import whole_file
from . import reading, schema, verifying
from .asking import Asking, errors, roll_back
from .checks import Meta, meta_sum
from .records import Credit, GalleryRow, GalleryTable, LandmarkRecord
from .scrubbing import scrub
from .writing import Change

__all__ = ["Credit", "Gallery", "GalleryRow", "GalleryTable", "LandmarkRecord"]


class Gallery(Asking):
    """Open with `create` or `open`; close with `close` or a with-statement."""

    def __init__(self, connection: sqlite3.Connection, path: Path | None) -> None:
        super().__init__(connection, str(path) if path else "gallery in memory")
        self._path = path
        self._written = False

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
        with whole_file(path) as temporary, errors(str(path)):
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
        with errors(str(path)):
            sql = schema.open_checked(path)
        return cls(sql, path)

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

    def faults(self) -> list[str]:
        """Everything that is not as it was put there, in words; empty = whole."""
        if self._path is not None:
            return verifying.faults(self._path)
        with self._snapshot() as (sql, _):
            return verifying.faults_of(sql, self.name)

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
                roll_back(sql)
                raise
