"""Verify a PostgreSQL gallery: checksums, counts and vector lengths."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import psycopg

from ...core.errors import GalleryError
from ..checksums import Meta, add_checksum, blob_sum, checked
from ..sqlite.integrity import MAX_FAULTS_SHOWN, MAX_LENGTH_ERROR
from .connection import BLOBS, Sql, gallery_error
from .queries import copy_rows, entries, read_landmarks, read_meta
from .vectors import vector_blocks

FaultCheck = Callable[[Sql, str], Iterator[str]]


def faults(sql: Sql, name: str) -> list[str]:
    """Verify a gallery in one transaction; one line for each fault, empty = intact.

    Compares every entry, vector, blob and record with its checksum, and counts them. Data that
    PostgreSQL cannot read counts as a fault. PostgreSQL's own page checksums and indexes are not
    checked; use `pg_amcheck` for these.
    """
    sql.execute("SET LOCAL statement_timeout = 0")
    checks = (_photos, _vectors, _blobs, _landmarks)
    return [line for check in checks for line in _first_faults(check, sql, name)]


def _first_faults(check: FaultCheck, sql: Sql, name: str) -> list[str]:
    """The first faults that a check finds; an error that ends the check counts as a fault."""
    found: list[str] = []
    try:
        with sql.transaction():  # a savepoint, so that the other checks can run after an error
            lines = check(sql, name)
            found += islice(lines, MAX_FAULTS_SHOWN)
            if more := sum(1 for _ in lines):
                found.append(f"… and {more} more like the last")
    except (psycopg.OperationalError, psycopg.errors.QueryCanceled):
        raise  # because a lost connection is no fault of the gallery
    except psycopg.Error as error:
        found.append(str(gallery_error(error, "PostgreSQL")))
    except GalleryError as error:
        found.append(str(error).partition("damaged (")[2].partition(");")[0] or str(error))
    return found


def _photos(sql: Sql, name: str) -> Iterator[str]:
    """Check every row of `photos`, their number, their digest, and that ids are unique."""
    meta: Meta | None = None
    try:
        meta = read_meta(sql, name)
    except GalleryError:
        yield "the gallery's header"
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
        yield f"{count} photos found, expected {meta.photos}"
    elif meta and not broken and add_checksum(digest, 0) != meta.photo_digest:
        yield "the photos do not match the digest of the last change"
    if meta and last >= meta.next_row:
        yield f"row {last}: expected row numbers below {meta.next_row}"


def _vectors(sql: Sql, name: str) -> Iterator[str]:
    """Compare every vector with the checksum and the distractor flag of its photo."""
    expected = {
        row[0]: row[1:]
        for row in copy_rows(
            sql, "SELECT number, id, vectors, landmark = '' FROM photos", (),
            ("int8", "text", "int8", "bool"),
        )
    }  # fmt: skip
    marked = dict(copy_rows(sql, "SELECT number, bank FROM vectors", (), ("int8", "bool")))
    query = "SELECT number, data FROM vectors WHERE number > %s ORDER BY number"
    # The dimensions are those of the table's type, because the header may be damaged.
    of_type = sql.execute(
        "SELECT atttypmod FROM pg_attribute WHERE attrelid = 'vectors'::regclass "
        "AND attname = 'data'"
    ).fetchone()
    dim = int(of_type[0]) if of_type else 0
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
            elif length and abs(length - 1) > MAX_LENGTH_ERROR:
                yield f"{what}: length {length:.3f}; expected 1"
            if marked[number] != distractor:
                yield f"{what}: wrongly marked as a distractor, or not marked"
    for number, (photo_id, _, _) in expected.items():
        yield f"vectors of photo {photo_id!r}, row {number}: missing"


def _blobs(sql: Sql, name: str) -> Iterator[str]:
    """Compare every other blob with the checksum in its photo, and find blobs without photo."""
    for kind in BLOBS[1:]:
        query = (
            f"SELECT coalesce(p.number, b.number), p.id, p.{kind}, b.data FROM photos p "
            f"FULL JOIN {kind} b ON b.number = p.number "
            f"WHERE p.{kind} IS NOT NULL OR b.number IS NOT NULL"
        )
        for number, photo_id, stored, data in copy_rows(
            sql, query, (), ("int8", "text", "int8", "bytea")
        ):
            what = f"{kind} of photo {photo_id!r}, row {number}"
            if photo_id is None:
                yield f"{kind}, row {number}: without its photo"
            elif stored is None:
                yield f"{what}: stored, but not in its entry"
            elif data is None or blob_sum(data) != stored:
                yield f"{what}: {'missing' if data is None else 'changed'}"


def _landmarks(sql: Sql, name: str) -> Iterator[str]:
    read_landmarks(sql, name)
    yield from ()
