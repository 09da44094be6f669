"""Is a gallery on PostgreSQL as it was written? Every fault found, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import psycopg

from ...core.errors import GalleryError
from ..checksums import Meta, added, blob_sum, checked
from ..sqlite.integrity import SHOWN, UNIT
from .connection import BLOBS, Sql, in_our_words
from .queries import copied, entries, read_landmarks, read_meta
from .vectors import vector_blocks

Check = Callable[[Sql, str], Iterator[str]]


def faults(sql: Sql, name: str) -> list[str]:
    """Every entry, vector, blob and record against its sum, and their counts; in one snapshot.

    What PostgreSQL itself finds unreadable on the way is told too; the checksums of its pages and
    its indexes are its own tools' business (`pg_amcheck`).
    """
    sql.execute("SET LOCAL statement_timeout = 0")
    checks = (_photos, _vectors, _blobs, _landmarks)
    return [line for check in checks for line in _at_most(check, sql, name)]


def _at_most(check: Check, sql: Sql, name: str) -> list[str]:
    """The first faults of one kind; a check that cannot go on is a fault too."""
    found: list[str] = []
    try:
        with sql.transaction():  # a savepoint: the other checks go on after an error
            lines = check(sql, name)
            found += islice(lines, SHOWN)
            if more := sum(1 for _ in lines):
                found.append(f"… and {more} more like the last")
    except (psycopg.OperationalError, psycopg.errors.QueryCanceled):
        raise  # the server went away: no fault of the gallery
    except psycopg.Error as error:
        found.append(str(in_our_words(error, "PostgreSQL")))
    except GalleryError as error:
        found.append(str(error).partition("damaged (")[2].partition(");")[0] or str(error))
    return found


def _photos(sql: Sql, name: str) -> Iterator[str]:
    """Every entry, their count and their digest; every id once."""
    meta: Meta | None = None
    try:
        meta = read_meta(sql, name)
    except GalleryError:
        yield "the gallery's own numbers"
    count = digest = last = broken = 0
    ids: set[str] = set()
    for row in entries(sql):
        count, last = count + 1, row[0]
        try:
            digest += checked(row, name)[-1]
        except GalleryError:
            broken += 1
            yield f"the entry of photo {row[1]!r}, row {row[0]}"
        if row[1] in ids:
            yield f"photo {row[1]!r}: two entries"
        ids.add(row[1])
    if meta and count != meta.photos:
        yield f"{count} photos found, {meta.photos} were put there"
    elif meta and not broken and added(digest, 0) != meta.photo_digest:
        yield "the photos are not those that were put there last"
    if meta and last >= meta.next_row:
        yield f"row {last}: a number that was not given yet"


def _vectors(sql: Sql, name: str) -> Iterator[str]:
    """Every vector against the sum that its photo has of it, both ways; on its side of the bank."""
    expected = {
        row[0]: row[1:]
        for row in copied(
            sql, "SELECT number, id, vectors, landmark = '' FROM photos", (),
            ("int8", "text", "int8", "bool"),
        )
    }  # fmt: skip
    bank = dict(copied(sql, "SELECT number, bank FROM vectors", (), ("int8", "bool")))
    query = "SELECT number, data FROM vectors WHERE number > %s ORDER BY number"
    dim = _dim(sql)
    for numbers, block in vector_blocks(sql, query, -(2**63), dim, name):
        lengths = np.linalg.norm(block.astype(np.float64), axis=1)
        for number, vector, length in zip(numbers, block, lengths, strict=True):
            if number not in expected:
                yield f"vectors, row {number}: without its photo"
                continue
            photo_id, stored, distractor = expected.pop(number)
            what = f"vectors of photo {photo_id!r}, row {number}"
            if blob_sum(vector.tobytes()) != stored:
                yield f"{what}: changed"
            elif length and abs(length - 1) > UNIT:
                yield f"{what}: length {length:.3f}; expected 1"
            if bank[number] != distractor:
                yield f"{what}: on the wrong side of the bank"
    for number, (photo_id, _, _) in expected.items():
        yield f"vectors of photo {photo_id!r}, row {number}: missing"


def _dim(sql: Sql) -> int:
    """The length of the vectors by the table itself: the gallery's own numbers may be damaged."""
    query = ("SELECT atttypmod FROM pg_attribute WHERE attrelid = 'vectors'::regclass "
             "AND attname = 'data'")  # fmt: skip
    found = sql.execute(query).fetchone()
    return int(found[0]) if found else 0


def _blobs(sql: Sql, name: str) -> Iterator[str]:
    """Every other blob, both ways."""
    for kind in BLOBS[1:]:
        query = (
            f"SELECT coalesce(p.number, b.number), p.id, p.{kind}, b.data FROM photos p "
            f"FULL JOIN {kind} b ON b.number = p.number "
            f"WHERE p.{kind} IS NOT NULL OR b.number IS NOT NULL"
        )
        for number, photo_id, stored, data in copied(
            sql, query, (), ("int8", "text", "int8", "bytea")
        ):
            what = f"{kind} of photo {photo_id!r}, row {number}"
            if photo_id is None:
                yield f"{kind}, row {number}: without its photo"
            elif stored is None:
                yield f"{what}: there, but not in its entry"
            elif data is None or blob_sum(data) != stored:
                yield f"{what}: {'missing' if data is None else 'changed'}"


def _landmarks(sql: Sql, name: str) -> Iterator[str]:
    read_landmarks(sql, name)
    yield from ()
