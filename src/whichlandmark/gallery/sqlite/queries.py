"""SQL reads of a SQLite gallery; every row and blob is compared with its checksum."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import GalleryError
from ..checksums import (
    Meta,
    PhotoRow,
    add_checksum,
    blob_sum,
    checked,
    checked_record,
    damaged,
    digest_of,
    meta_sum,
)
from ..protocol import Labels
from ..records import GalleryRow, GalleryTable, LandmarkRecord
from .schema import BLOBS

COLUMNS = ("row, id, path, landmark, hash, stamp, author, licence, "
           "vectors, keypoints, looks, thumbnails, sum")  # fmt: skip

FIRST_BLOB = 8  # index of the first blob checksum in COLUMNS


def labels(photos: Iterable[PhotoRow], generation: int) -> Labels:
    """The landmarks of photos, which are in row order."""
    code_of: dict[str, int] = {}
    rows, codes = [], []
    for row in photos:
        rows.append(row[0])
        codes.append(code_of.setdefault(row[3], len(code_of)))
    return sorted_labels(np.array(rows, dtype=np.int64), np.array(codes), list(code_of), generation)


def sorted_labels(
    rows: NDArray[np.int64], codes: NDArray[np.int64], names: list[str], generation: int
) -> Labels:
    """Labels with sorted names.

    rows: (N,) ascending; codes: (N,) indices into `names`, which may be in any order and hold "".
    """
    landmarks = sorted(name for name in names if name)
    code_of = {name: code for code, name in enumerate(landmarks)}
    new = np.array([code_of.get(name, -1) for name in names], dtype=np.int32)
    return Labels(rows, new[codes] if len(codes) else np.empty(0, np.int32), landmarks, generation)


def whole_rows(
    sql: sqlite3.Connection, after: int, limit: int, name: str
) -> list[tuple[int, GalleryRow]]:
    """At most `limit` complete photos, with blobs, from those above row `after`."""
    found = list(islice(photos_after(sql, after, name), limit))
    kept = {kind: blobs(sql, kind, found, name) for kind in BLOBS}
    return [
        (row[0], GalleryRow(
            row[1], row[2], row[3], row[4], row[5],
            np.frombuffer(kept["vectors"][row[1]], "<f2").astype(np.float32),
            keypoints=kept["keypoints"].get(row[1], b""),
            fingerprint=kept["looks"].get(row[1], b""),
            thumbnail=kept["thumbnails"].get(row[1], b""), author=row[6], licence=row[7],
        )) for row in found
    ]  # fmt: skip


def ids_of(sql: sqlite3.Connection, rows: NDArray[np.int64], name: str) -> NDArray[np.object_]:
    """(n,) row numbers, in any order and possibly repeated → (n,) ids."""
    id_of = {row[0]: row[1] for row in _photos_at(sql, rows, name)}
    ids = np.empty(len(rows), dtype=object)
    ids[:] = [id_of[row] for row in rows.tolist()]
    return ids


def vectors_of(
    sql: sqlite3.Connection, rows: NDArray[np.int64], dim: int, name: str
) -> NDArray[np.float16]:
    """(n,) row numbers, in any order and possibly repeated → (n, D) vectors."""
    found = _photos_at(sql, rows, name)
    data = blobs(sql, "vectors", found, name)
    place = {row[0]: at for at, row in enumerate(found)}
    flat = b"".join(data[row[1]] for row in found)
    vectors = np.frombuffer(flat, "<f2").reshape(len(found), dim)
    return vectors[[place[row] for row in rows.tolist()]].astype(np.float16, copy=False)


def _photos_at(sql: sqlite3.Connection, rows: NDArray[np.int64], name: str) -> list[PhotoRow]:
    wanted = sorted({int(row) for row in rows})
    query = f"SELECT {COLUMNS} FROM photos WHERE row IN (SELECT value FROM json_each(?))"
    found = [checked(row, name) for row in sql.execute(query, (json.dumps(wanted),))]
    if len(found) != len(wanted):
        missing = sorted(set(wanted) - {row[0] for row in found})
        raise GalleryError(f"{name}: no photo of row number {missing[0]}; it was removed since")
    return found


def read_meta(sql: sqlite3.Connection, name: str) -> Meta:
    """The gallery's header: the row of table `meta`. Raises GalleryError when it is damaged."""
    rows = sql.execute(f"SELECT {', '.join(Meta._fields)}, sum FROM meta").fetchall()
    if len(rows) == 1:
        meta = Meta(*rows[0][:-1])
        if meta_sum(meta) == rows[0][-1] and all(isinstance(value, int) for value in meta[1:]):
            return meta
    raise damaged(name, "its header")


def photos(sql: sqlite3.Connection, meta: Meta, name: str) -> Iterator[PhotoRow]:
    """Every photo in row order. Raises GalleryError when one is changed, missing or added."""
    count = digest = 0
    for row in sql.execute(f"SELECT {COLUMNS} FROM photos NOT INDEXED ORDER BY row"):
        yield checked(row, name)
        count, digest = count + 1, digest + row[-1]
    if (count, add_checksum(digest, 0)) != (meta.photos, meta.photo_digest):
        raise damaged(name, f"{count} photos found, expected {meta.photos}")


def read_table(
    sql: sqlite3.Connection, name: str, after: int | None = None, *, with_vectors: bool = True
) -> GalleryTable:
    """The columns of all photos, or only of those with a row number above `after`."""
    meta = read_meta(sql, name)
    columns: tuple[list[Any], ...] = ([], [], [], [], [], [])
    shared: dict[str, str] = {}  # one string object for each landmark, to save memory
    found = photos(sql, meta, name) if after is None else photos_after(sql, after, name)
    for row in found:
        values = (
            row[1],
            row[2],
            shared.setdefault(row[3], row[3]),
            row[4],
            row[0],
            row[FIRST_BLOB],
        )
        for column, value in zip(columns, values, strict=True):
            column.append(value)
    ids, paths, landmarks, hashes, rows, sums = columns
    if len(set(ids)) != len(ids):
        raise damaged(name, "two photos of one id")
    vectors = np.empty((0, meta.dim), dtype=np.float16)
    if with_vectors:
        vectors = _vectors(sql, meta.dim, name, (ids, rows, sums), after)
    return GalleryTable(
        ids=_column(ids), paths=_column(paths), landmarks=_column(landmarks),
        hashes=_column(hashes), vectors=vectors,
        rows=np.array(rows, dtype=np.int64), generation=meta.generation,
    )  # fmt: skip


def photos_after(sql: sqlite3.Connection, row: int, name: str) -> Iterator[PhotoRow]:
    """The photos with a row number above `row`. Does not detect missing photos."""
    query = f"SELECT {COLUMNS} FROM photos WHERE row > ? ORDER BY row"
    return (checked(found, name) for found in sql.execute(query, (row,)))


def read_sums(sql: sqlite3.Connection, name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row number and checksum of every photo, in row order, to find changed photos."""
    meta = read_meta(sql, name)
    pairs = sql.execute("SELECT row, sum FROM photos NOT INDEXED ORDER BY row").fetchall()
    table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    if (len(table), digest_of(table[:, 1])) != (meta.photos, meta.photo_digest):
        raise damaged(name, f"{len(table)} photos found, expected {meta.photos}")
    return table[:, 0], table[:, 1]


def _vectors(
    sql: sqlite3.Connection, dim: int, name: str, photos: tuple[list[Any], ...], after: int | None
) -> NDArray[np.float16]:
    """(N, D) vectors in row order, each compared with its checksum.

    photos: the columns ids, row numbers and vector checksums.
    """
    width = 2 * dim
    vectors = np.empty((len(photos[0]), dim), dtype="<f2")
    flat = vectors.data.cast("B") if vectors.size else memoryview(bytearray())
    first = -(2**63) if after is None else after  # no photo has the row number −2^63
    found = sql.execute("SELECT row, data FROM vectors WHERE row > ? ORDER BY row", (first,))
    for at, (photo_id, row, expected) in enumerate(zip(*photos, strict=True)):
        stored = found.fetchone()
        if stored is None or stored[0] != row or not _matches(stored[1], expected, width):
            raise damaged(name, f"vector of photo {photo_id!r}, row {row}")
        flat[at * width : (at + 1) * width] = stored[1]
    if found.fetchone() is not None:
        raise damaged(name, "a vector without its photo")
    return vectors.astype(np.float16, copy=False)


def _matches(data: object, expected: object, width: int | None = None) -> bool:
    """Whether `data` is a blob with this checksum (and of `width` bytes)."""
    if not isinstance(data, bytes) or (width is not None and len(data) != width):
        return False
    return blob_sum(data) == expected


def photos_of(sql: sqlite3.Connection, ids: Iterable[str], name: str) -> list[PhotoRow]:
    """The photos with these ids, in row order; unknown ids are omitted.

    Ids missing from the index are searched in the table too, because the index may be damaged.
    """
    wanted = set(ids)
    found = _by_id(sql, wanted, "")
    if (missing := wanted - {row[1] for row in found}) and _by_id(sql, missing, "NOT INDEXED"):
        raise damaged(name, "the index of ids")
    return sorted((checked(row, name) for row in found), key=lambda row: int(row[0]))


def _by_id(sql: sqlite3.Connection, ids: set[str], hint: str) -> list[PhotoRow]:
    query = f"SELECT {COLUMNS} FROM photos {hint} WHERE id IN (SELECT value FROM json_each(?))"
    return sql.execute(query, (json.dumps(sorted(ids)),)).fetchall()


def blobs(
    sql: sqlite3.Connection, kind: str, rows: Iterable[PhotoRow], name: str
) -> dict[str, bytes]:
    """Id → blob of one kind, of the photos that have one."""
    at = FIRST_BLOB + BLOBS.index(kind)
    query = f"SELECT data FROM {kind} WHERE row = ?"
    found: dict[str, bytes] = {}
    for row in rows:
        if row[at] is None:
            continue
        stored = sql.execute(query, (row[0],)).fetchone()
        if stored is None or not _matches(stored[0], row[at]):
            raise damaged(name, f"{kind} of photo {row[1]!r}")
        found[row[1]] = stored[0]
    return found


def read_landmarks(sql: sqlite3.Connection, name: str) -> dict[str, LandmarkRecord]:
    """Landmark → its record, for landmarks that have one."""
    meta = read_meta(sql, name)
    found: dict[str, LandmarkRecord] = {}
    digest = 0
    for landmark, text, stored in sql.execute("SELECT name, record, sum FROM landmarks"):
        found[landmark] = checked_record(landmark, text, stored, name)
        digest += stored
    if (len(found), add_checksum(digest, 0)) != (meta.landmarks, meta.landmark_digest):
        raise damaged(name, f"{len(found)} landmark records found, expected {meta.landmarks}")
    return found


def _column(values: Sequence[str]) -> NDArray[np.object_]:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
