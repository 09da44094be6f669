"""SqliteGallery: open, transactions, writes."""

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
from ...core.files import whole_file
from ..checksums import Meta, PhotoRow, added, blob_sum, checked, landmark_sum, meta_sum, photo_sum
from ..records import Credit, GalleryRow, LandmarkRecord, check, check_text, unknown_ids
from . import integrity, queries, schema
from .pages import scrub
from .queries import COLUMNS, photos_of
from .reads import SqliteReads, errors, roll_back
from .schema import BLOBS


class SqliteGallery(SqliteReads):
    """Open with `create` or `open`; close with `close` or a with-statement."""

    def __init__(self, connection: sqlite3.Connection, path: Path | None) -> None:
        super().__init__(connection, str(path) if path else "gallery in memory")
        self._path = path
        self._written = False

    @classmethod
    def create(cls, path: Path | None, embedder_id: str, dim: int) -> SqliteGallery:
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
    def open(cls, path: Path) -> SqliteGallery:
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

    def copy_to(self, path: Path) -> SqliteGallery:
        """A full copy in a new file, also of a gallery in memory."""
        with whole_file(path) as temporary, self._reading() as sql:
            target = schema.connect(temporary)
            try:
                sql.backup(target)
                target.execute("PRAGMA journal_mode = WAL")
            finally:
                target.close()
        return SqliteGallery.open(path)

    def faults(self) -> list[str]:
        """Everything that is not as it was put there, in words; empty = whole."""
        if self._path is not None:
            return integrity.faults(self._path)
        with self._snapshot() as (sql, _):
            return integrity.faults_of(sql, self.name)

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

    def __enter__(self) -> SqliteGallery:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @contextmanager
    def _changing(self) -> Iterator[SqliteChange]:
        """One write transaction: a whole batch and the next generation, or nothing."""
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


_PUT = f"INSERT INTO photos ({COLUMNS}) VALUES (?{', ?' * COLUMNS.count(',')})"

_PUT += " ON CONFLICT (row) DO UPDATE SET " + ", ".join(
    f"{column} = excluded.{column}" for column in COLUMNS.split(", ")[2:]
)

LANDMARK, AUTHOR = 3, 6  # in COLUMNS; the licence comes next


@dataclass(eq=False)
class SqliteChange:
    """One batch on its way into the file. `meta` is what `write_meta` writes at its end."""

    sql: sqlite3.Connection
    meta: Meta
    name: str

    def put(self, rows: Sequence[GalleryRow]) -> None:
        """Add photos; those with an id that is there keep their row number and are replaced."""
        batch = {row.id: row for row in rows}  # of two with one id, the later
        for row in batch.values():
            check(row)
        old = {row[1]: row for row in self._stored(batch)}
        for row in batch.values():
            known = old.get(row.id)
            number = known[0] if known else self.meta.next_row
            blobs = (to_bytes(row.vector, self.meta.dim), row.keypoints, row.look, row.thumbnail)
            self._write(number, row, blobs)
            if known:
                self._count(0, -known[-1])
            else:
                self.meta = self.meta._replace(next_row=number + 1)
                self._count(1, 0)
        self._forget({row[LANDMARK] for row in old.values()}, {})
        self._leaves_bytes(bool(old))

    def _write(self, number: int, row: GalleryRow, blobs: Sequence[bytes]) -> None:
        sums = tuple(blob_sum(data) if data else None for data in blobs)
        fields = (number, row.id, row.path, row.landmark, row.hash, row.stamp, row.author,
                  row.licence, *sums)  # fmt: skip
        stored = photo_sum(fields)
        self.sql.execute(_PUT, (*fields, stored))
        self._count(0, stored)
        for kind, data in zip(BLOBS, blobs, strict=True):
            if data:
                self.sql.execute(f"INSERT OR REPLACE INTO {kind} VALUES (?, ?)", (number, data))
            else:
                self.sql.execute(f"DELETE FROM {kind} WHERE row = ?", (number,))

    def remove(self, ids: Iterable[str]) -> int:
        """Forget photos and everything that hangs on them. Raises DataError for unknown ids."""
        found = self._known(ids)
        for row in found:
            self.sql.execute("DELETE FROM photos WHERE row = ?", (row[0],))
            self._count(-1, -row[-1])
        self._forget({row[LANDMARK] for row in found}, {})
        self._leaves_bytes(bool(found))
        return len(found)

    def relabel(self, landmarks: Mapping[str, str]) -> None:
        """Give photos another landmark. Raises DataError for unknown ids.

        A landmark that has lost its last photo leaves its record to the new name, if that has none.
        """
        heirs: dict[str, str] = {}
        for row in self._known(landmarks):
            landmark = landmarks[row[1]]
            check_text("landmark", landmark, f"photo {row[1]!r}")
            fields = (*row[:LANDMARK], landmark, *row[LANDMARK + 1 : -1])
            stored = photo_sum(fields)
            self.sql.execute(
                "UPDATE photos SET landmark = ?, sum = ? WHERE row = ?", (landmark, stored, row[0])
            )
            self._count(0, stored - row[-1])
            heirs[row[LANDMARK]] = landmark
        self._forget(set(heirs), heirs)
        self._leaves_bytes(bool(heirs))

    def credit(self, credits: Mapping[str, Credit]) -> None:
        """Say who made photos. Raises DataError for unknown ids."""
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
        self._leaves_bytes(bool(credits))

    def describe(self, records: Iterable[LandmarkRecord]) -> None:
        """Keep what is known of landmarks, in place of what was known of them."""
        for record in records:
            self._leaves_bytes(self._drop_record(record.name) is not None)
            self._keep_record(record.name, record.to_text())

    def write_meta(self) -> None:
        """The last statement of every batch."""
        meta = self.meta._replace(generation=self.meta.generation + 1)
        names = ", ".join(f"{field} = ?" for field in (*Meta._fields, "sum"))
        self.sql.execute(f"UPDATE meta SET {names}", (*meta, meta_sum(meta)))

    def _stored(self, ids: Iterable[str]) -> list[PhotoRow]:
        """By the index alone: a batch of new photos does not read the whole table."""
        query = f"SELECT {COLUMNS} FROM photos WHERE id IN (SELECT value FROM json_each(?))"
        return [
            checked(row, self.name) for row in self.sql.execute(query, (json.dumps(list(ids)),))
        ]

    def _known(self, ids: Iterable[str]) -> list[PhotoRow]:
        wanted = list(dict.fromkeys(ids))
        found = photos_of(self.sql, wanted, self.name)
        if len(found) != len(wanted):
            there = {row[1] for row in found}
            missing = [photo_id for photo_id in wanted if photo_id not in there]
            raise DataError(unknown_ids(self.sql, missing, self.name))
        return found

    def _leaves_bytes(self, removed: bool) -> None:
        if removed:
            self.meta = self.meta._replace(stale=1)

    def _count(self, photos: int, change: int) -> None:
        self.meta = self.meta._replace(
            photos=self.meta.photos + photos, photo_digest=added(self.meta.photo_digest, change)
        )

    def _forget(self, landmarks: set[str], heirs: Mapping[str, str]) -> None:
        """Records of landmarks that have no photo any more go, or pass to the heir."""
        for landmark in sorted(landmarks - {""}):
            query = "SELECT 1 FROM photos WHERE landmark = ? LIMIT 1"
            if self.sql.execute(query, (landmark,)).fetchone():
                continue
            text, heir = self._drop_record(landmark), heirs.get(landmark, "")
            if text is not None and heir and self._record(heir) is None:
                self._keep_record(heir, text)

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

    def _keep_record(self, landmark: str, text: str) -> None:
        stored = landmark_sum(landmark, text)
        self.sql.execute("INSERT INTO landmarks VALUES (?, ?, ?)", (landmark, text, stored))
        self._count_records(1, stored)

    def _count_records(self, records: int, change: int) -> None:
        self.meta = self.meta._replace(
            landmarks=self.meta.landmarks + records,
            landmark_digest=added(self.meta.landmark_digest, change),
        )


def to_bytes(vector: NDArray[np.float32], dim: int) -> bytes:
    """(D,) → float16, little-endian. Raises GalleryError for another shape, or no numbers."""
    if vector.shape != (dim,):
        raise GalleryError(f"vector of shape {vector.shape} given; this gallery holds ({dim},)")
    if not (np.abs(vector) <= 65504).all():
        raise GalleryError("vector that is not finite given; expected a unit row of an embedder")
    return vector.astype("<f2").tobytes()
