"""SQL reads of a PostgreSQL gallery; every row and blob is compared with its checksum."""

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
    add_checksum,
    blob_sum,
    checked,
    checked_record,
    damaged,
    digest_of,
    meta_sum,
)
from ..records import GalleryRow, GalleryTable, Labels, LandmarkRecord
from ..sqlite.queries import FIRST_BLOB, sorted_labels
from .connection import BLOBS, META_COLUMNS, Sql
from .vectors import checked_vectors

COLUMNS = ("number, id, path, landmark, hash, stamp, author, licence, "
                          "vectors, keypoints, looks, thumbnails, sum")  # fmt: skip

# One index lookup for each id, because PostgreSQL may scan a table that was just filled.
BY_ID = (f"SELECT {COLUMNS} FROM unnest(%s::text[]) AS w (wanted) CROSS JOIN LATERAL "
         f"(SELECT {COLUMNS} FROM photos WHERE id = w.wanted OFFSET 0) p")  # fmt: skip

TYPES = ("int8", *("text",) * 7, *("int8",) * 5)


@contextmanager
def snapshot(sql: Sql) -> Iterator[None]:
    """A read transaction, so that all its reads see one generation."""
    sql.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    try:
        yield
    finally:
        roll_back(sql)


def roll_back(sql: Sql) -> None:
    """Roll back the open transaction, if there is one."""
    if sql.info.transaction_status == pq.TransactionStatus.ACTIVE:
        sql.close()  # because a COPY was not read to its end; the next call connects again
    if not sql.closed and sql.info.transaction_status != pq.TransactionStatus.IDLE:
        sql.execute("ROLLBACK")


def read_meta(sql: Sql, name: str, *, lock: bool = False) -> Meta:
    """The gallery's header. lock: other writers wait until this transaction ends."""
    query = f"SELECT {META_COLUMNS}, sum FROM meta"
    rows = sql.execute(f"{query} FOR UPDATE" if lock else query).fetchall()
    if len(rows) == 1:
        meta = Meta(*rows[0][:-1])
        if meta_sum(meta) == rows[0][-1]:
            return meta
    raise damaged(name, "its header")


def photos(sql: Sql, meta: Meta, name: str) -> Iterator[PhotoRow]:
    """Every photo in row order. Raises GalleryError when one is changed, missing or added."""
    count = digest = 0
    for row in photos_after(sql, None, name):
        yield row
        count, digest = count + 1, digest + row[-1]
    if (count, add_checksum(digest, 0)) != (meta.photos, meta.photo_digest):
        raise damaged(name, f"{count} photos found, expected {meta.photos}")


def photos_after(sql: Sql, row: int | None, name: str) -> Iterator[PhotoRow]:
    """The photos with a row number above `row` (None = all). Does not detect missing photos."""
    with closing(entries(sql, row)) as found:  # so that an error does not close the connection
        for one in found:
            yield checked(one, name)


def entries(sql: Sql, after: int | None = None) -> Generator[PhotoRow]:
    """As `photos_after`, without verifying checksums."""
    query = f"SELECT {COLUMNS} FROM photos WHERE number > %s ORDER BY number"
    return copy_rows(sql, query, (_first(after),), TYPES)


def _first(after: int | None) -> int:
    return -(2**63) if after is None else after  # no photo has the row number −2^63


def copy_rows(
    sql: Sql, query: str, values: tuple[object, ...], types: Iterable[str]
) -> Generator[tuple[Any, ...]]:
    """Stream the rows of a query; the connection cannot be used until the last row is read."""
    sql.execute("SET LOCAL statement_timeout = 0")  # because reading all photos may take long
    with sql.cursor().copy(f"COPY ({query}) TO STDOUT (FORMAT BINARY)", values) as copy:
        copy.set_types(tuple(types))
        yield from copy.rows()


def read_table(
    sql: Sql, name: str, after: int | None = None, *, with_vectors: bool = True
) -> GalleryTable:
    """The columns of all photos, or only of those with a row number above `after`."""
    meta = read_meta(sql, name)
    shared: dict[str, str] = {}  # one string object for each landmark, to save memory
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
    """Row number and checksum of every photo, in row order, to find changed photos."""
    meta = read_meta(sql, name)
    pairs = list(
        copy_rows(sql, "SELECT number, sum FROM photos ORDER BY number", (), ("int8",) * 2)
    )
    table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    if (len(table), digest_of(table[:, 1])) != (meta.photos, meta.photo_digest):
        raise damaged(name, f"{len(table)} photos found, expected {meta.photos}")
    return table[:, 0], table[:, 1]


def labels(sql: Sql, name: str) -> Labels:
    """Row number and landmark of every photo."""
    meta = read_meta(sql, name)
    code_of: dict[str, int] = {}
    pairs = [(row[0], code_of.setdefault(row[3], len(code_of))) for row in photos(sql, meta, name)]
    table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return sorted_labels(table[:, 0], table[:, 1], list(code_of), meta.generation)


def photos_of(sql: Sql, ids: Iterable[str], name: str) -> list[PhotoRow]:
    """The photos with these ids, in row order; unknown ids are omitted."""
    wanted = list(filter(is_valid_text, dict.fromkeys(ids)))
    query = f"{BY_ID} ORDER BY number"
    return [checked(row, name) for row in sql.execute(query, (wanted,), binary=True)]


def is_valid_text(text: str) -> bool:
    """Whether PostgreSQL can represent this text; it takes no zero bytes and no lone surrogates."""
    try:
        return "\0" not in text and text.encode() is not None
    except UnicodeEncodeError:
        return False


def blobs(sql: Sql, kind: str, rows: Collection[PhotoRow], name: str) -> dict[str, bytes]:
    """Id → blob of one kind other than vectors, of the photos that have one."""
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
    """The photos with these row numbers, each once, in row order.

    Raises:
        GalleryError: for a row number without a photo.
    """
    wanted = np.unique(rows).tolist()
    query = f"SELECT {COLUMNS} FROM photos WHERE number = ANY(%s) ORDER BY number"
    found = [checked(row, name) for row in sql.execute(query, (wanted,), binary=True)]
    if len(found) != len(wanted):
        missing = sorted(set(wanted) - {row[0] for row in found})
        raise GalleryError(f"{name}: no photo of row number {missing[0]}; it was removed since")
    return found


def vectors_of(sql: Sql, rows: NDArray[np.int64], dim: int, name: str) -> NDArray[np.float16]:
    """(n,) row numbers, in any order and possibly repeated → (n, D) vectors."""
    found = photos_at(sql, rows, name)
    numbers = [row[0] for row in found]
    vectors = _vectors_of_photos(sql, found, dim, name)
    return vectors[np.searchsorted(np.array(numbers, dtype=np.int64), rows)]


def _vectors_of_photos(sql: Sql, found: list[PhotoRow], dim: int, name: str) -> NDArray[np.float16]:
    query = "SELECT number, data FROM vectors WHERE number = ANY(%s) ORDER BY number"
    photos = [(row[0], row[1], row[FIRST_BLOB]) for row in found]
    return checked_vectors(sql, query, [row[0] for row in found], dim, photos, name)


def whole_rows(sql: Sql, after: int, limit: int, name: str) -> list[tuple[int, GalleryRow]]:
    """At most `limit` complete photos, with blobs, from those above row `after`."""
    dim = read_meta(sql, name).dim
    query = f"SELECT {COLUMNS} FROM photos WHERE number > %s ORDER BY number LIMIT %s"
    found = [checked(row, name) for row in sql.execute(query, (after, limit), binary=True)]
    vectors = _vectors_of_photos(sql, found, dim, name).astype(np.float32)
    data = {kind: blobs(sql, kind, found, name) for kind in BLOBS[1:]}
    return [
        (row[0], GalleryRow(
            row[1], row[2], row[3], row[4], row[5], vector,
            keypoints=data["keypoints"].get(row[1], b""),
            fingerprint=data["looks"].get(row[1], b""),
            thumbnail=data["thumbnails"].get(row[1], b""), author=row[6], licence=row[7],
        )) for row, vector in zip(found, vectors, strict=True)
    ]  # fmt: skip


def read_landmarks(sql: Sql, name: str) -> dict[str, LandmarkRecord]:
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


def _column(values: tuple[str, ...]) -> NDArray[np.object_]:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
