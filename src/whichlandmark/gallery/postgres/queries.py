"""What a gallery on PostgreSQL holds, read inside one transaction, every sum compared."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg import pq

from ...core.errors import GalleryError
from ..checksums import (
    Meta,
    PhotoRow,
    added,
    blob_sum,
    checked,
    checked_record,
    damaged,
    digest_of,
    meta_sum,
)
from ..protocol import Labels
from ..records import GalleryRow, GalleryTable, LandmarkRecord
from ..sqlite.queries import FIRST_BLOB, sorted_labels
from .connection import BLOBS, META, Sql
from .vectors import checked_vectors

COLUMNS = ("number, id, path, landmark, hash, stamp, author, licence, "
                          "vectors, keypoints, looks, thumbnails, sum")  # fmt: skip

# Id by id through its index: of a table that was just filled PostgreSQL might else read everything.
BY_ID = (f"SELECT {COLUMNS} FROM unnest(%s::text[]) AS w (wanted) CROSS JOIN LATERAL "
         f"(SELECT {COLUMNS} FROM photos WHERE id = w.wanted OFFSET 0) p")  # fmt: skip

TYPES = ("int8", *("text",) * 7, *("int8",) * 5)


@contextmanager
def snapshot(sql: Sql) -> Iterator[None]:
    """Whatever is read inside is of one generation."""
    sql.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    try:
        yield
    finally:
        roll_back(sql)


def roll_back(sql: Sql) -> None:
    """Give up the transaction, if there is one and somebody to tell."""
    if sql.info.transaction_status == pq.TransactionStatus.ACTIVE:
        sql.close()  # a stream that was left in its middle: the next call connects anew
    if not sql.closed and sql.info.transaction_status != pq.TransactionStatus.IDLE:
        sql.execute("ROLLBACK")


def read_meta(sql: Sql, name: str, *, lock: bool = False) -> Meta:
    """The gallery's own numbers. lock: other writers wait from here to the transaction's end."""
    query = f"SELECT {META}, sum FROM meta"
    rows = sql.execute(f"{query} FOR UPDATE" if lock else query).fetchall()
    if len(rows) == 1:
        meta = Meta(*rows[0][:-1])
        if meta_sum(meta) == rows[0][-1]:
            return meta
    raise damaged(name, "its own numbers")


def photos(sql: Sql, meta: Meta, name: str) -> Iterator[PhotoRow]:
    """Every photo in row order; raises GalleryError when one is changed, missing or too many."""
    count = digest = 0
    for row in photos_after(sql, None, name):
        yield row
        count, digest = count + 1, digest + row[-1]
    if (count, added(digest, 0)) != (meta.photos, meta.photo_digest):
        raise damaged(name, f"{count} photos found, {meta.photos} were put there")


def photos_after(sql: Sql, row: int | None, name: str) -> Iterator[PhotoRow]:
    """The photos of higher row numbers (None = all); whether all are there, the caller knows."""
    with closing(entries(sql, row)) as found:  # a fault ends the stream, not the connection
        for one in found:
            yield checked(one, name)


def entries(sql: Sql, after: int | None = None) -> Generator[PhotoRow]:
    """The same, as they stand there."""
    query = f"SELECT {COLUMNS} FROM photos WHERE number > %s ORDER BY number"
    return copied(sql, query, (_first(after),), TYPES)


def _first(after: int | None) -> int:
    return -(2**63) if after is None else after  # no photo has that number


def copied(
    sql: Sql, query: str, values: tuple[object, ...], types: Iterable[str]
) -> Generator[tuple[Any, ...]]:
    """The rows of a query of any length, as they come; nothing else may be asked meanwhile."""
    sql.execute("SET LOCAL statement_timeout = 0")  # all of a gallery takes what it takes
    with sql.cursor().copy(f"COPY ({query}) TO STDOUT (FORMAT BINARY)", values) as copy:
        copy.set_types(tuple(types))
        yield from copy.rows()


def read_table(
    sql: Sql, name: str, after: int | None = None, *, with_vectors: bool = True
) -> GalleryTable:
    """Everything that is searched; after: only the photos of higher row numbers than this."""
    meta = read_meta(sql, name)
    shared: dict[str, str] = {}  # equal landmarks share memory
    found = photos(sql, meta, name) if after is None else photos_after(sql, after, name)
    kept = [
        (row[0], row[1], row[2], shared.setdefault(row[3], row[3]), row[4], row[FIRST_BLOB])
        for row in found
    ]
    rows, ids, paths, landmarks, hashes, sums = zip(*kept, strict=True) if kept else ((),) * 6
    if len(set(ids)) != len(ids):
        raise damaged(name, "two photos of one id")
    vectors = np.empty((0, meta.dim), dtype=np.float16)
    if with_vectors:
        query = "SELECT number, data FROM vectors WHERE number > %s ORDER BY number"
        vectors = checked_vectors(
            sql, query, _first(after), meta.dim, list(zip(rows, ids, sums, strict=True)), name
        )
    return GalleryTable(
        ids=_column(ids), paths=_column(paths), landmarks=_column(landmarks),
        hashes=_column(hashes), vectors=vectors, rows=np.array(rows, dtype=np.int64),
        generation=meta.generation,
    )  # fmt: skip


def read_sums(sql: Sql, name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row number and checksum of every photo, in row order: what tells two states apart."""
    meta = read_meta(sql, name)
    pairs = list(copied(sql, "SELECT number, sum FROM photos ORDER BY number", (), ("int8",) * 2))
    table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    if (len(table), digest_of(table[:, 1])) != (meta.photos, meta.photo_digest):
        raise damaged(name, f"{len(table)} photos found, {meta.photos} were put there")
    return table[:, 0], table[:, 1]


def labels(sql: Sql, name: str) -> Labels:
    """Row number and landmark of every photo."""
    meta = read_meta(sql, name)
    code_of: dict[str, int] = {}
    pairs = [(row[0], code_of.setdefault(row[3], len(code_of))) for row in photos(sql, meta, name)]
    table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return sorted_labels(table[:, 0], table[:, 1], list(code_of), meta.generation)


def photos_of(sql: Sql, ids: Iterable[str], name: str) -> list[PhotoRow]:
    """The photos of some ids, in row order; unknown ids are left out."""
    wanted = list(filter(can_be, dict.fromkeys(ids)))
    query = f"{BY_ID} ORDER BY number"
    return [checked(row, name) for row in sql.execute(query, (wanted,), binary=True)]


def can_be(text: str) -> bool:
    """Is this a text that PostgreSQL can be asked for?"""
    try:
        return "\0" not in text and text.encode() is not None
    except UnicodeEncodeError:
        return False


def blobs(sql: Sql, kind: str, rows: Collection[PhotoRow], name: str) -> dict[str, bytes]:
    """id → blob of one kind other than vectors, of those photos that have it."""
    at = FIRST_BLOB + BLOBS.index(kind)
    wanted = {row[0]: row for row in rows if row[at] is not None}
    query = f"SELECT number, data FROM {kind} WHERE number = ANY(%s)"
    stored: dict[int, bytes] = {}
    if wanted:
        stored = dict(sql.execute(query, (list(wanted),), binary=True).fetchall())
    found: dict[str, bytes] = {}
    for number, row in wanted.items():
        if number not in stored or blob_sum(stored[number]) != row[at]:
            raise damaged(name, f"{kind} of photo {row[1]!r}")
        found[row[1]] = stored[number]
    return found


def photos_at(sql: Sql, rows: NDArray[np.int64], name: str) -> list[PhotoRow]:
    """The photos of some row numbers, each once, in row order. Raises GalleryError for a number
    that no photo has.
    """
    wanted = np.unique(rows).tolist()
    query = f"SELECT {COLUMNS} FROM photos WHERE number = ANY(%s) ORDER BY number"
    found = [checked(row, name) for row in sql.execute(query, (wanted,), binary=True)]
    if len(found) != len(wanted):
        missing = sorted(set(wanted) - {row[0] for row in found})
        raise GalleryError(f"{name}: no photo of row number {missing[0]}; it was removed since")
    return found


def vectors_of(sql: Sql, rows: NDArray[np.int64], dim: int, name: str) -> NDArray[np.float16]:
    """(n,) row numbers, in any order, repeated or not → (n, D)."""
    found = photos_at(sql, rows, name)
    numbers = [row[0] for row in found]
    vectors = _of_photos(sql, found, dim, name)
    return vectors[np.searchsorted(np.array(numbers, dtype=np.int64), rows)]


def _of_photos(sql: Sql, found: list[PhotoRow], dim: int, name: str) -> NDArray[np.float16]:
    query = "SELECT number, data FROM vectors WHERE number = ANY(%s) ORDER BY number"
    photos = [(row[0], row[1], row[FIRST_BLOB]) for row in found]
    return checked_vectors(sql, query, [row[0] for row in found], dim, photos, name)


def whole_rows(sql: Sql, after: int, limit: int, name: str) -> list[tuple[int, GalleryRow]]:
    """The next photos above a row number, with everything that hangs on them."""
    dim = read_meta(sql, name).dim
    query = f"SELECT {COLUMNS} FROM photos WHERE number > %s ORDER BY number LIMIT %s"
    found = [checked(row, name) for row in sql.execute(query, (after, limit), binary=True)]
    vectors = _of_photos(sql, found, dim, name).astype(np.float32)
    kept = {kind: blobs(sql, kind, found, name) for kind in BLOBS[1:]}
    return [
        (row[0], GalleryRow(
            row[1], row[2], row[3], row[4], row[5], vector,
            keypoints=kept["keypoints"].get(row[1], b""), look=kept["looks"].get(row[1], b""),
            thumbnail=kept["thumbnails"].get(row[1], b""), author=row[6], licence=row[7],
        )) for row, vector in zip(found, vectors, strict=True)
    ]  # fmt: skip


def read_landmarks(sql: Sql, name: str) -> dict[str, LandmarkRecord]:
    """Landmark → what is known of it, of those that have a record."""
    meta = read_meta(sql, name)
    found: dict[str, LandmarkRecord] = {}
    digest = 0
    for landmark, text, stored in sql.execute("SELECT name, record, sum FROM landmarks"):
        found[landmark] = checked_record(landmark, text, stored, name)
        digest += stored
    if (len(found), added(digest, 0)) != (meta.landmarks, meta.landmark_digest):
        raise damaged(name, f"{len(found)} landmark records found, {meta.landmarks} were put there")
    return found


def _column(values: tuple[str, ...]) -> NDArray[np.object_]:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
