"""SqliteGallery: create, open, change and close a gallery file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import DataError, GalleryError
from ...core.files import atomic_file
from ..checksums import (
    Meta,
    PhotoRow,
    add_checksum,
    blob_sum,
    checked,
    landmark_sum,
    meta_sum,
    photo_sum,
)
from ..records import Credit, GalleryRow, LandmarkRecord, check, check_text, unknown_ids
from . import integrity, queries, schema
from .pages import erase_deleted
from .queries import COLUMNS, photos_of
from .reads import SqliteReads, gallery_errors, roll_back
from .schema import BLOBS

UPSERT_PHOTO = f"INSERT INTO photos ({COLUMNS}) VALUES (?{', ?' * COLUMNS.count(',')})"

UPSERT_PHOTO += " ON CONFLICT (row) DO UPDATE SET " + ", ".join(
    f"{column} = excluded.{column}" for column in COLUMNS.split(", ")[2:]
)

LANDMARK, AUTHOR = 3, 6  # indices in COLUMNS; the licence follows the author


class SqliteGallery(SqliteReads):
    """A gallery in one SQLite file, or in memory; see `protocol.Gallery` for the methods.

    Open with `create` or `open`; close with `close` or a with-statement.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path | None) -> None:
        super().__init__(connection, str(path) if path else "gallery in memory")
        self._path = path
        self._written = False

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
            with atomic_file(path, new=True) as temporary, gallery_errors(str(path)):
                sql = schema.connect(temporary)
                try:
                    schema.make_tables(sql, meta, meta_sum(meta))
                finally:
                    sql.close()
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
        with gallery_errors(str(path)):
            sql = schema.open_checked(path)
        return cls(sql, path)

    def put(self, rows: Sequence[GalleryRow]) -> None:
        """Add photos in one transaction; a photo with a known id is replaced and keeps its row.

        Raises:
            GalleryError: for a vector of another shape.
            DataError: for a text that cannot be stored (`records.check`).
        """
        with self._changing() as change:
            change.put(rows)

    def remove(self, ids: Iterable[str]) -> int:
        """Delete photos with all their data, and return how many.

        Their bytes in the file are overwritten by this call, or, while another connection reads an
        older generation, by the next change or close.

        Raises:
            DataError: for unknown ids.
        """
        with self._changing() as change:
            count = change.remove(ids)
        self.erase_deleted()
        return count

    def relabel(self, landmarks: Mapping[str, str]) -> None:
        """Change the landmark of photos: id → landmark, "" = distractor.

        Raises:
            DataError: for unknown ids; nothing is changed then.
        """
        with self._changing() as change:
            change.relabel(landmarks)
        self.erase_deleted()

    def describe(self, records: Iterable[LandmarkRecord]) -> None:
        """Store landmark records, replacing those of the same landmarks."""
        with self._changing() as change:
            change.describe(records)

    def credit(self, credits: Mapping[str, Credit]) -> None:
        """Set author and licence of photos by id.

        Raises:
            DataError: for unknown ids; nothing is changed then.
        """
        with self._changing() as change:
            change.credit(credits)

    def compact(self) -> None:
        """Shrink the file after deletions. Needs free disk space of the size of the gallery."""
        with self._reading() as sql:
            sql.execute("VACUUM")
        self._written = True
        self.erase_deleted()

    def copy_to(self, path: Path) -> SqliteGallery:
        """Copy the gallery, which may be in memory, into a new file, and open that."""
        with atomic_file(path) as temporary, self._reading() as sql:
            target = schema.connect(temporary)
            try:
                sql.backup(target)
                target.execute("PRAGMA journal_mode = WAL")
            finally:
                target.close()
        return SqliteGallery.open(path)

    def faults(self) -> list[str]:
        """Verify all stored data; one line for each fault, empty = intact."""
        if self._path is not None:
            return integrity.faults(self._path)
        with self._snapshot() as (sql, _):
            return integrity.faults_of(sql, self.name)

    def checkpoint(self) -> bool:
        """Move changes from the journal into the file; False while older generations are read."""
        with self._reading() as sql:
            sql.execute("PRAGMA busy_timeout = 0")
            busy = sql.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            sql.execute(f"PRAGMA busy_timeout = {int(schema.BUSY_SECONDS * 1000)}")
        return not busy

    def erase_deleted(self) -> None:
        """Overwrite the bytes of deleted and replaced data, unless other readers still use them."""
        if self.checkpoint() and self._path and self._meta().stale:
            with self._reading():
                erase_deleted(self._path)

    def close(self) -> None:
        """Close the file; the object cannot be used afterwards."""
        try:
            if self._written:
                self.erase_deleted()
        finally:
            self._connection.close()

    def __enter__(self) -> SqliteGallery:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @contextmanager
    def _changing(self) -> Iterator[SqliteChange]:
        """A write transaction that increments the generation; it is rolled back on any error."""
        with self._reading() as sql:
            sql.execute("BEGIN IMMEDIATE")
            try:
                change = SqliteChange(sql, queries.read_meta(sql, self.name), self.name)
                yield change
                change.write_meta()
                sql.execute("COMMIT")
                self._written = True
            except BaseException:
                roll_back(sql)
                raise


@dataclass(eq=False)
class SqliteChange:
    """One batch of changes in an open transaction.

    meta: the header as it will be; `write_meta` writes it at the end.
    """

    sql: sqlite3.Connection
    meta: Meta
    name: str

    def put(self, rows: Sequence[GalleryRow]) -> None:
        """Add photos; a photo with a known id is replaced and keeps its row number."""
        batch = {row.id: row for row in rows}  # the last of photos with the same id
        for row in batch.values():
            check(row)
        # Found by the index alone, so that adding photos to a large gallery stays fast.
        query = f"SELECT {COLUMNS} FROM photos WHERE id IN (SELECT value FROM json_each(?))"
        stored = self.sql.execute(query, (json.dumps(list(batch)),))
        old = {row[1]: checked(row, self.name) for row in stored}
        for row in batch.values():
            known = old.get(row.id)
            number = known[0] if known else self.meta.next_row
            blobs = (
                to_bytes(row.vector, self.meta.dim),
                row.keypoints,
                row.fingerprint,
                row.thumbnail,
            )
            self._write(number, row, blobs)
            if known:
                self._count(0, -known[-1])
            else:
                self.meta = self.meta._replace(next_row=number + 1)
                self._count(1, 0)
        self._drop_unused_records({row[LANDMARK] for row in old.values()}, {})
        self._mark_stale(bool(old))

    def _write(self, number: int, row: GalleryRow, blobs: Sequence[bytes]) -> None:
        sums = tuple(blob_sum(data) if data else None for data in blobs)
        fields = (number, row.id, row.path, row.landmark, row.hash, row.stamp, row.author,
                  row.licence, *sums)  # fmt: skip
        stored = photo_sum(fields)
        self.sql.execute(UPSERT_PHOTO, (*fields, stored))
        self._count(0, stored)
        for kind, data in zip(BLOBS, blobs, strict=True):
            if data:
                self.sql.execute(f"INSERT OR REPLACE INTO {kind} VALUES (?, ?)", (number, data))
            else:
                self.sql.execute(f"DELETE FROM {kind} WHERE row = ?", (number,))

    def remove(self, ids: Iterable[str]) -> int:
        """Delete photos with all their data. Raises DataError for unknown ids."""
        found = self._known(ids)
        for row in found:
            self.sql.execute("DELETE FROM photos WHERE row = ?", (row[0],))
            self._count(-1, -row[-1])
        self._drop_unused_records({row[LANDMARK] for row in found}, {})
        self._mark_stale(bool(found))
        return len(found)

    def relabel(self, landmarks: Mapping[str, str]) -> None:
        """Change the landmark of photos. Raises DataError for unknown ids.

        The record of a landmark that loses its last photo moves to the new landmark, unless that
        one has a record.
        """
        successors: dict[str, str] = {}
        for row in self._known(landmarks):
            landmark = landmarks[row[1]]
            check_text("landmark", landmark, f"photo {row[1]!r}")
            fields = (*row[:LANDMARK], landmark, *row[LANDMARK + 1 : -1])
            stored = photo_sum(fields)
            self.sql.execute(
                "UPDATE photos SET landmark = ?, sum = ? WHERE row = ?", (landmark, stored, row[0])
            )
            self._count(0, stored - row[-1])
            successors[row[LANDMARK]] = landmark
        self._drop_unused_records(set(successors), successors)
        self._mark_stale(bool(successors))

    def credit(self, credits: Mapping[str, Credit]) -> None:
        """Set author and licence of photos by id. Raises DataError for unknown ids."""
        for row in self._known(credits):
            given = Credit(*credits[row[1]])
            for name, text in given._asdict().items():
                check_text(name, text, f"photo {row[1]!r}")
            stored = photo_sum((*row[:AUTHOR], *given, *row[AUTHOR + 2 : -1]))
            self.sql.execute(
                "UPDATE photos SET author = ?, licence = ?, sum = ? WHERE row = ?",
                (*given, stored, row[0]),
            )
            self._count(0, stored - row[-1])
        self._mark_stale(bool(credits))

    def describe(self, records: Iterable[LandmarkRecord]) -> None:
        """Store landmark records, replacing those of the same landmarks."""
        for record in records:
            self._mark_stale(self._drop_record(record.name) is not None)
            self._insert_record(record.name, record.to_text())

    def write_meta(self) -> None:
        """Write the header with the next generation: the last statement of every batch."""
        meta = self.meta._replace(generation=self.meta.generation + 1)
        names = ", ".join(f"{field} = ?" for field in (*Meta._fields, "sum"))
        self.sql.execute(f"UPDATE meta SET {names}", (*meta, meta_sum(meta)))

    def _known(self, ids: Iterable[str]) -> list[PhotoRow]:
        wanted = list(dict.fromkeys(ids))
        found = photos_of(self.sql, wanted, self.name)
        if len(found) != len(wanted):
            known = {row[1] for row in found}
            missing = [photo_id for photo_id in wanted if photo_id not in known]
            raise DataError(unknown_ids(self.sql, missing, self.name))
        return found

    def _mark_stale(self, removed: bool) -> None:
        if removed:
            self.meta = self.meta._replace(stale=1)

    def _count(self, photos: int, change: int) -> None:
        self.meta = self.meta._replace(
            photos=self.meta.photos + photos,
            photo_digest=add_checksum(self.meta.photo_digest, change),
        )

    def _drop_unused_records(self, landmarks: set[str], successors: Mapping[str, str]) -> None:
        """Delete the records of landmarks without photos, or move them to the successor."""
        for landmark in sorted(landmarks - {""}):
            query = "SELECT 1 FROM photos WHERE landmark = ? LIMIT 1"
            if self.sql.execute(query, (landmark,)).fetchone():
                continue
            text, successor = self._drop_record(landmark), successors.get(landmark, "")
            if text is not None and successor and self._record(successor) is None:
                self._insert_record(successor, text)

    def _record(self, landmark: str) -> tuple[Any, ...] | None:
        query = "SELECT record, sum FROM landmarks WHERE name = ?"
        found: tuple[Any, ...] | None = self.sql.execute(query, (landmark,)).fetchone()
        return found

    def _drop_record(self, landmark: str) -> str | None:
        if (found := self._record(landmark)) is None:
            return None
        self.sql.execute("DELETE FROM landmarks WHERE name = ?", (landmark,))
        self._count_records(-1, -found[1])
        return str(found[0])

    def _insert_record(self, landmark: str, text: str) -> None:
        stored = landmark_sum(landmark, text)
        self.sql.execute("INSERT INTO landmarks VALUES (?, ?, ?)", (landmark, text, stored))
        self._count_records(1, stored)

    def _count_records(self, records: int, change: int) -> None:
        self.meta = self.meta._replace(
            landmarks=self.meta.landmarks + records,
            landmark_digest=add_checksum(self.meta.landmark_digest, change),
        )


def to_bytes(vector: NDArray[np.float32], dim: int) -> bytes:
    """(D,) → little-endian float16. Raises GalleryError for another shape, or NaN or infinity."""
    if vector.shape != (dim,):
        raise GalleryError(f"vector of shape {vector.shape} given; this gallery holds ({dim},)")
    if not (np.abs(vector) <= 65504).all():
        raise GalleryError("vector that is not finite given; expected a unit row of an embedder")
    return vector.astype("<f2").tobytes()
