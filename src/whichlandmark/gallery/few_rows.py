"""Some photos of a gallery's file by their row numbers, every sum compared."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ..errors import GalleryError
from . import reading
from .contract import Labels
from .records import GalleryRow
from .schema import BLOBS


def labels(photos: Iterable[reading.PhotoRow], generation: int) -> Labels:
    """Of photos in row order."""
    code_of: dict[str, int] = {}
    rows, codes = [], []
    for row in photos:
        rows.append(row[0])
        codes.append(code_of.setdefault(row[3], len(code_of)))
    return sorted_labels(np.array(rows, dtype=np.int64), np.array(codes), list(code_of), generation)


def sorted_labels(
    rows: NDArray[np.int64], codes: NDArray[np.int64], names: list[str], generation: int
) -> Labels:
    """rows (N,) rising; codes (N,) into names in any order, "" among them or not."""
    order = sorted(name for name in names if name)
    place = {name: at for at, name in enumerate(order)}
    new = np.array([place.get(name, -1) for name in names], dtype=np.int32)
    return Labels(rows, new[codes] if len(codes) else np.empty(0, np.int32), order, generation)


def whole_rows(
    sql: sqlite3.Connection, after: int, limit: int, name: str
) -> list[tuple[int, GalleryRow]]:
    """The next photos above a row number, with everything that hangs on them."""
    found = list(islice(reading.photos_after(sql, after, name), limit))
    kept = {kind: reading.blobs(sql, kind, found, name) for kind in BLOBS}
    return [
        (row[0], GalleryRow(
            row[1], row[2], row[3], row[4], row[5],
            np.frombuffer(kept["vectors"][row[1]], "<f2").astype(np.float32),
            keypoints=kept["keypoints"].get(row[1], b""), look=kept["looks"].get(row[1], b""),
            thumbnail=kept["thumbnails"].get(row[1], b""), author=row[6], licence=row[7],
        )) for row in found
    ]  # fmt: skip


def ids_of(sql: sqlite3.Connection, rows: NDArray[np.int64], name: str) -> NDArray[np.object_]:
    """(n,) row numbers, in any order, repeated or not → (n,) ids."""
    id_of = {row[0]: row[1] for row in _photos(sql, rows, name)}
    ids = np.empty(len(rows), dtype=object)
    ids[:] = [id_of[row] for row in rows.tolist()]
    return ids


def vectors_of(
    sql: sqlite3.Connection, rows: NDArray[np.int64], dim: int, name: str
) -> NDArray[np.float16]:
    """(n,) row numbers, in any order, repeated or not → (n, D)."""
    found = _photos(sql, rows, name)
    data = reading.blobs(sql, "vectors", found, name)
    place = {row[0]: at for at, row in enumerate(found)}
    flat = b"".join(data[row[1]] for row in found)
    vectors = np.frombuffer(flat, "<f2").reshape(len(found), dim)
    return vectors[[place[row] for row in rows.tolist()]].astype(np.float16, copy=False)


def _photos(sql: sqlite3.Connection, rows: NDArray[np.int64], name: str) -> list[reading.PhotoRow]:
    wanted = sorted({int(row) for row in rows})
    query = f"SELECT {reading.COLUMNS} FROM photos WHERE row IN (SELECT value FROM json_each(?))"
    found = [reading.checked(row, name) for row in sql.execute(query, (json.dumps(wanted),))]
    if len(found) != len(wanted):
        missing = sorted(set(wanted) - {row[0] for row in found})
        raise GalleryError(f"{name}: no photo of row number {missing[0]}; it was removed since")
    return found
