"""The changes of a gallery: each method runs inside one transaction and keeps the sums in step."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, GalleryError
from .checks import Meta, added, blob_sum, landmark_sum, meta_sum, photo_sum
from .naming import unknown_ids
from .reading import COLUMNS, PhotoRow, checked, photos_of
from .records import Credit, GalleryRow, LandmarkRecord, check, check_text
from .schema import BLOBS

_PUT = f"INSERT INTO photos ({COLUMNS}) VALUES (?{', ?' * COLUMNS.count(',')})"
_PUT += " ON CONFLICT (row) DO UPDATE SET " + ", ".join(
    f"{column} = excluded.{column}" for column in COLUMNS.split(", ")[2:]
)
LANDMARK, AUTHOR = 3, 6  # in COLUMNS; the licence comes next


@dataclass(eq=False)
class Change:
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
