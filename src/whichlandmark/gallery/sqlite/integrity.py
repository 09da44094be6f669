"""Verify a SQLite gallery: structure, checksums, counts and vector lengths."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np

from ...core.errors import BusyError, GalleryError
from ...core.files import read_at
from ..checksums import Meta, add_checksum, blob_sum, checked
from . import schema
from .pages import shared_descriptor
from .queries import COLUMNS, read_landmarks, read_meta

MAX_FAULTS_SHOWN = 100  # of one kind; the others are counted

MAX_LENGTH_ERROR = 0.01  # of a unit vector; rounding to float16 causes less

MAGIC = b"SQLite format 3\0"

FaultCheck = Callable[[sqlite3.Connection, str], Iterator[str]]


def faults(path: Path) -> list[str]:
    """Verify a gallery file; one line for each fault, empty = intact.

    Checks SQLite's structure and indexes, the tables, every checksum, the counts, and the length of
    every vector (0 is allowed, because an embedder may find nothing in a photo).

    Raises:
        GalleryError: when there is no file.
        BusyError: when another process is writing.
    """
    if not path.is_file():
        raise GalleryError(f"{path}: no gallery there; make one with `whichlandmark index`")
    found = list(_header(path))
    try:
        with closing(schema.open_checked(path)) as sql:
            sql.execute("BEGIN")  # so that all checks see one generation
            found += faults_of(sql, str(path))
            sql.execute("ROLLBACK")
    except schema.SQLITE_ERRORS as error:
        found.append(_sqlite_fault(error, path))
    except BusyError:
        raise
    except GalleryError as error:
        found.append(str(error))
    return list(dict.fromkeys(found))


def faults_of(sql: sqlite3.Connection, name: str) -> list[str]:
    """As `faults`, for an open connection inside a transaction."""
    checks = (_structure, _photos, _blobs, _landmarks)
    return [line for check in checks for line in _first_faults(check, sql, name)]


def _header(path: Path) -> Iterator[str]:
    header = read_at(shared_descriptor(path), 100, 0)
    if len(header) < 100 or header[:16] != MAGIC:
        yield "the file's header: not that of a SQLite file"
        return
    size, write, read, reserved = struct.unpack_from(">HBBB", header, 16)
    if (size, write, read, reserved) != (schema.PAGE_BYTES, 2, 2, 0):
        yield f"the file's header: pages of {size} − {reserved} bytes, formats {write}, {read}"


def _first_faults(check: FaultCheck, sql: sqlite3.Connection, name: str) -> list[str]:
    """The first faults that a check finds; an error that ends the check counts as a fault."""
    found: list[str] = []
    try:
        lines = check(sql, name)
        found += islice(lines, MAX_FAULTS_SHOWN)
        if more := sum(1 for _ in lines):
            found.append(f"… and {more} more like the last")
    except schema.SQLITE_ERRORS as error:
        found.append(_sqlite_fault(error, Path(name)))
    except GalleryError as error:
        found.append(str(error).partition("damaged (")[2].partition(");")[0] or str(error))
    return found


def _sqlite_fault(error: Exception, path: Path) -> str:
    """A line for an error of SQLite. Raises BusyError when another process is writing."""
    if isinstance(known := schema.gallery_error(error, str(path)), BusyError):
        raise known from None
    return f"SQLite: {error}"


def _structure(sql: sqlite3.Connection, name: str) -> Iterator[str]:
    for (line,) in sql.execute(f"PRAGMA integrity_check({MAX_FAULTS_SHOWN})"):
        if line != "ok":
            yield f"SQLite's structure: {line}"
    for table, row, parent, _ in sql.execute("PRAGMA foreign_key_check"):
        yield f"{table}, row {row}: without its row in {parent}"


def _photos(sql: sqlite3.Connection, name: str) -> Iterator[str]:
    """Check every row of `photos`, their number, their digest, and that ids are unique."""
    meta: Meta | None = None
    try:
        meta = read_meta(sql, name)
    except GalleryError:
        yield "the gallery's header"
    count = digest = last = broken = 0
    ids: set[str] = set()
    for row in sql.execute(f"SELECT {COLUMNS} FROM photos NOT INDEXED ORDER BY row"):
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


def _blobs(sql: sqlite3.Connection, name: str) -> Iterator[str]:
    """Compare every blob with the checksum in its photo, and find blobs without a checksum."""
    for kind in schema.BLOBS:
        query = (
            f"SELECT p.id, p.row, p.{kind}, b.data FROM photos p NOT INDEXED "
            f"LEFT JOIN {kind} b ON b.row = p.row"
        )
        for photo_id, row, stored, data in sql.execute(query):
            what = f"{kind} of photo {photo_id!r}, row {row}"
            if stored is None:
                if data is not None or kind == "vectors":
                    yield f"{what}: stored, but not in its entry" if data else f"{what}: missing"
            elif not isinstance(data, bytes) or blob_sum(data) != stored:
                yield f"{what}: {'missing' if data is None else 'changed'}"
            elif kind == "vectors":
                vector = np.frombuffer(data[: len(data) // 2 * 2], "<f2").astype(float)
                length = float(np.linalg.norm(vector))
                if length and abs(length - 1) > MAX_LENGTH_ERROR:
                    yield f"{what}: length {length:.3f}; expected 1"


def _landmarks(sql: sqlite3.Connection, name: str) -> Iterator[str]:
    read_landmarks(sql, name)
    yield from ()
