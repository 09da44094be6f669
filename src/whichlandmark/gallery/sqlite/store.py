"""SqliteGallery: a gallery in one SQLite file, or in memory."""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...core.errors import BusyError, GalleryError
from ...core.files import atomic_file
from ..base import Gallery
from ..checksums import AUTHOR, BLOBS, LANDMARK, SOURCE, Meta, PhotoRow, meta_sum
from ..integrity import MAX_FAULTS_SHOWN
from ..records import MAX_IDS_COMPARED, MAX_IDS_SHOWN, Credit
from ..tables import Mode, read_meta
from . import schema

log = logging.getLogger("whichlandmark")

MAX_SCRUBBED_BYTES = 256_000_000  # of a file that `remove` itself rewrites without unused space

COLUMNS = ("row", "id", "path", "landmark", "hash", "stamp", *Credit._fields, *BLOBS,
           "sum")  # of a PhotoRow  # fmt: skip

SELECT_PHOTO = f"SELECT {', '.join(COLUMNS)} FROM photos"

WRITE_PHOTO = f"INSERT INTO photos ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"

CHANGEABLE = ("landmark", *Credit._fields, "sum")

UPDATE_PHOTO = f"UPDATE photos SET {', '.join(f'{one} = ?' for one in CHANGEABLE)} WHERE row = ?"

WRITE_HEADER = f"UPDATE meta SET {', '.join(f'{one} = ?' for one in (*Meta._fields, 'sum'))}"

OF_LIST = "IN (SELECT value FROM json_each(?))"


@dataclass(frozen=True)
class SqliteTables:
    """The tables of a gallery file; see `tables.Tables` for the methods. name: for messages."""

    sql: sqlite3.Connection
    name: str
    select_photo: str = SELECT_PHOTO

    def header(self) -> list[tuple[Any, ...]]:
        return self.sql.execute(f"SELECT {', '.join(Meta._fields)}, sum FROM meta").fetchall()

    def write_header(self, values: Sequence[object]) -> None:
        self.sql.execute(WRITE_HEADER, values)

    def entries(self, after: int | None, limit: int | None = None) -> Generator[PhotoRow]:
        query = f"{self.select_photo} NOT INDEXED WHERE row > ? ORDER BY row LIMIT ?"
        yield from self.sql.execute(query, (_first(after), -1 if limit is None else limit))

    def entries_at(self, numbers: list[int]) -> list[PhotoRow]:
        query = f"{self.select_photo} WHERE row {OF_LIST} ORDER BY row"
        return self.sql.execute(query, (json.dumps(numbers),)).fetchall()

    def entries_with(self, column: Literal["id", "hash"], values: list[str]) -> list[PhotoRow]:
        query = f"{self.select_photo} WHERE {column} {OF_LIST}"
        return sorted(self.sql.execute(query, (json.dumps(values),)), key=lambda row: int(row[0]))

    def is_unindexed(self, ids: list[str]) -> bool:
        query = f"SELECT 1 FROM photos NOT INDEXED WHERE id {OF_LIST} LIMIT 1"
        return self.sql.execute(query, (json.dumps(ids),)).fetchone() is not None

    def sums(self) -> list[tuple[int, int]]:
        return self.sql.execute("SELECT row, sum FROM photos NOT INDEXED ORDER BY row").fetchall()

    def blobs(
        self, kind: str, after: int | None = None, numbers: list[int] | None = None
    ) -> Generator[tuple[int, bytes]]:
        query = f"SELECT row, data FROM {kind} WHERE row"
        if numbers is None:
            yield from self.sql.execute(f"{query} > ? ORDER BY row", (_first(after),))
        else:
            yield from self.sql.execute(f"{query} {OF_LIST} ORDER BY row", (json.dumps(numbers),))

    def records(self, names: list[str] | None = None) -> list[tuple[str, str, int]]:
        query = "SELECT name, record, sum FROM landmarks"
        if names is None:
            return self.sql.execute(query).fetchall()
        return self.sql.execute(f"{query} WHERE name {OF_LIST}", (json.dumps(names),)).fetchall()

    def with_photos(self, landmarks: list[str]) -> set[str]:
        query = (
            "SELECT value FROM json_each(?) WHERE EXISTS "
            "(SELECT 1 FROM photos WHERE landmark = value)"
        )
        return {row[0] for row in self.sql.execute(query, (json.dumps(landmarks),))}

    def similar_ids(self, ids: Sequence[str]) -> list[str]:
        query = "SELECT id FROM photos ORDER BY id LIMIT ?"
        known = {row[0] for row in self.sql.execute(query, (MAX_IDS_COMPARED + 1,))}
        if len(known) > MAX_IDS_COMPARED:
            queries = (
                "SELECT id FROM photos WHERE id > ? ORDER BY id LIMIT 50",
                "SELECT id FROM photos WHERE id < ? ORDER BY id DESC LIMIT 50",
                "SELECT id FROM photos WHERE instr(id, ?) LIMIT 50",
            )
            known = {row[0] for one in ids[:MAX_IDS_SHOWN] for query in queries
                     for row in self.sql.execute(query, (one,))}  # fmt: skip
        return sorted(known)

    def write_photos(self, entries: list[PhotoRow], blobs: Sequence[tuple[bytes, ...]]) -> None:
        self.sql.executemany(WRITE_PHOTO, entries)
        for at, kind in enumerate(BLOBS):
            rows = ((row[0], data[at]) for row, data in zip(entries, blobs, strict=True))
            self.sql.executemany(
                f"INSERT INTO {kind} VALUES (?, ?)", (row for row in rows if row[1])
            )

    def update_entries(self, entries: list[PhotoRow]) -> None:
        self.sql.executemany(
            UPDATE_PHOTO,
            ((row[LANDMARK], *row[AUTHOR : SOURCE + 1], row[-1], row[0]) for row in entries),
        )

    def delete_photos(self, numbers: list[int]) -> None:
        self.sql.executemany("DELETE FROM photos WHERE row = ?", ((one,) for one in numbers))

    def write_records(self, rows: list[tuple[str, str, int]]) -> None:
        self.sql.executemany("INSERT INTO landmarks VALUES (?, ?, ?)", rows)

    def delete_records(self, names: list[str]) -> None:
        self.sql.executemany("DELETE FROM landmarks WHERE name = ?", ((one,) for one in names))

    @contextmanager
    def checking(self) -> Iterator[None]:
        try:
            yield
        except schema.SQLITE_ERRORS as error:
            known = schema.gallery_error(error, self.name)
            raise known if isinstance(known, BusyError) else GalleryError(
                f"SQLite: {error}"
            ) from None  # fmt: skip

    def structure_faults(self) -> Iterator[str]:
        # Not read here, because closing the file would end the locks of this process on it (POSIX).
        for pragma, expected in (("page_size", schema.PAGE_BYTES), ("journal_mode", "wal")):
            found = self.sql.execute(f"PRAGMA {pragma}").fetchone()[0]
            immutable = self.sql.execute("PRAGMA query_only").fetchone()[0]  # has no journal
            if found not in (expected, "memory") and not (immutable and pragma == "journal_mode"):
                yield f"the file's header: {pragma} {found}; expected {expected}"
        for (line,) in self.sql.execute(f"PRAGMA integrity_check({MAX_FAULTS_SHOWN})"):
            if line != "ok":
                yield f"SQLite's structure: {line}"


class SqliteGallery(Gallery):
    """A gallery in one SQLite file, or in memory; see `base.Gallery` for the methods.

    Open with `create` or `open`; close with `close` or a with-statement.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path | None) -> None:
        self.name = str(path) if path else "gallery in memory"
        self._connection, self._path = connection, path
        self._select_photo = SELECT_PHOTO
        if not schema.has_licence_urls(connection):
            self._select_photo = SELECT_PHOTO.replace("licence_url", "''")
        self._lock = threading.RLock()  # because threads share one connection
        self._scrub_at_close = False

    @classmethod
    def create(cls, path: Path | None, embedder_id: str, dim: int) -> SqliteGallery:
        """Create an empty gallery for vectors of one embedder.

        Args:
            path: the new file; None = in memory.
            embedder_id: of the embedder.
            dim: dimensions of its vectors.

        Raises:
            GalleryError: when the file exists.
            DataError: when it cannot be written.
        """
        meta = Meta(embedder_id, dim, 0, 1, 0, 0, 0, 0)
        if path is None:
            gallery = cls(schema.connect(None), None)
            schema.make_tables(gallery._connection, meta, meta_sum(meta))
            return gallery
        try:
            if path.exists():
                raise FileExistsError
            # New only, because of two first runs the second would replace the file of the first.
            with (
                atomic_file(path, new=True) as temporary,
                schema.gallery_errors(str(path)),
                closing(schema.connect(temporary)) as sql,
            ):
                schema.make_tables(sql, meta, meta_sum(meta))
        except FileExistsError:
            raise GalleryError(
                f"{path}: there is a file already; open it, or give a new folder"
            ) from None
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> SqliteGallery:
        """Open an existing gallery, read-only if its folder may not be written to.

        Raises:
            GalleryError: when it is missing, damaged or not a gallery.
        """
        if not path.is_file():
            raise GalleryError(f"{path}: no gallery there; make one with `whichlandmark index`")
        with schema.gallery_errors(str(path)):
            return cls(schema.open_checked(path), path)

    def remove(self, ids: Iterable[str]) -> int:
        """Delete photos with all their data, and return how many.

        SQLite overwrites what it deletes (`secure_delete`), but copies of rows that it moved
        earlier may be left in unused parts of the file. A file of up to MAX_SCRUBBED_BYTES is
        therefore rewritten at once, or at `close` where another connection still reads an older
        generation; a larger one by `compact`. Until then `state().stale` is 1.

        Raises:
            DataError: for unknown ids.
        """
        count = super().remove(ids)
        if self._path is not None:
            try:
                self.checkpoint()  # until then the file has the old pages
                if self._path.stat().st_size <= MAX_SCRUBBED_BYTES:
                    self._scrub_at_close = not self.compact()
            except GalleryError as error:  # the photos are removed, whatever becomes of this
                log.warning("%s; the photos are removed, but the file was not rewritten", error)
        return count

    def compact(self) -> bool:
        """Rewrite the file without unused space, so that no byte of removed data is left in it.

        Needs free disk space of the size of the gallery.

        Returns:
            False while another connection reads an older generation, which keeps the old pages.
        """
        with self._lock, schema.gallery_errors(self.name):
            sql = self._connection
            generation = self.generation
            sql.execute("VACUUM")
            if not self.checkpoint():
                return False
            with self._tables("change") as tables:
                meta = read_meta(tables, self.name)
                if meta.stale and meta.generation == generation:
                    meta = meta._replace(stale=0)
                    tables.write_header((*meta, meta_sum(meta)))
            return self.checkpoint()

    def checkpoint(self) -> bool:
        """Move changes from the journal into the file; False while older generations are read."""
        with self._lock, schema.gallery_errors(self.name):
            sql = self._connection
            sql.execute("PRAGMA busy_timeout = 0")
            busy = sql.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            sql.execute(f"PRAGMA busy_timeout = {int(schema.BUSY_SECONDS * 1000)}")
        return not busy

    def copy_to(self, path: Path) -> SqliteGallery:
        """Copy the gallery, which may be in memory, into a new file, and open that."""
        with atomic_file(path) as temporary, self._lock, schema.gallery_errors(self.name):
            self._connection.execute("VACUUM INTO ?", (str(temporary),))
            with closing(schema.connect(temporary)) as target:
                target.execute("PRAGMA journal_mode = WAL")
        return SqliteGallery.open(path)

    def faults(self) -> list[str]:
        """Verify all stored data; one line for each fault, empty = intact."""
        return super().faults() if self._path is None else faults(self._path)

    def close(self) -> None:
        """Close the file; the object cannot be used afterwards."""
        try:
            if self._scrub_at_close:
                self.compact()
        finally:
            self._connection.close()

    @contextmanager
    def _tables(self, mode: Mode) -> Iterator[SqliteTables]:
        with self._lock, schema.gallery_errors(self.name), self._connection as sql:
            if mode != "statement":  # the connection commits at the end, or rolls back
                sql.execute("BEGIN IMMEDIATE" if mode == "change" else "BEGIN")
            yield SqliteTables(sql, self.name, self._select_photo)


def faults(path: Path) -> list[str]:
    """Verify a gallery file, through a connection of its own; empty = intact.

    Raises:
        GalleryError: when there is no file.
        BusyError: when another process is writing.
    """
    if not path.is_file():
        raise GalleryError(f"{path}: no gallery there; make one with `whichlandmark index`")
    try:
        with SqliteGallery.open(path) as gallery:
            return Gallery.faults(gallery)
    except BusyError:
        raise
    except GalleryError as error:
        return [str(error)]


def _first(after: int | None) -> int:
    return -(2**63) if after is None else after  # no photo has the row number −2^63
