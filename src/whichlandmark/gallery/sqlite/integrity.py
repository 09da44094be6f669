"""Is the whole file as it was written? Every fault found, in words."""

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
from ..checksums import Meta, added, blob_sum, checked
from . import schema
from .pages import kept_open
from .queries import COLUMNS, read_landmarks, read_meta

SHOWN = 100  # faults of one kind; the others are counted

UNIT = 0.01  # how far from 1 the length of a row may be; float16 rounds by less

MAGIC = b"SQLite format 3\0"

Check = Callable[[sqlite3.Connection, str], Iterator[str]]


def faults(path: Path) -> list[str]:
    """What is wrong with a gallery's file; empty = nothing.

    Looks at SQLite's own structure and indexes, the tables, every checksum, the counts, and the
    length of every vector (0 is allowed: a photo in which an embedder sees nothing).
    Raises GalleryError when there is no file, or another program's; BusyError.
    """
    if not path.is_file():
        raise GalleryError(f"{path}: no gallery there; make one with `whichlandmark index`")
    found = list(_header(path))
    try:
        with closing(schema.open_checked(path)) as sql:
            sql.execute("BEGIN")  # everything below looks at one generation
            found += faults_of(sql, str(path))
            sql.execute("ROLLBACK")
    except schema.ERRORS as error:
        found.append(_words(error, path))
    except BusyError:
        raise
    except GalleryError as error:
        found.append(str(error))
    return list(dict.fromkeys(found))


def faults_of(sql: sqlite3.Connection, name: str) -> list[str]:
    """The same of an open gallery, within a transaction."""
    checks = (_structure, _photos, _blobs, _landmarks)
    return [line for check in checks for line in _at_most(check, sql, name)]


def _header(path: Path) -> Iterator[str]:
    header = read_at(kept_open(path), 100, 0)
    if len(header) < 100 or header[:16] != MAGIC:
        yield "the file's header: not that of a SQLite file"
        return
    size, write, read, reserved = struct.unpack_from(">HBBB", header, 16)
    if (size, write, read, reserved) != (schema.PAGE, 2, 2, 0):
        yield f"the file's header: pages of {size} − {reserved} bytes, formats {write}, {read}"


def _at_most(check: Check, sql: sqlite3.Connection, name: str) -> list[str]:
    """The first faults of one kind; a check that cannot go on is a fault too."""
    found: list[str] = []
    try:
        lines = check(sql, name)
        found += islice(lines, SHOWN)
        if more := sum(1 for _ in lines):
            found.append(f"… and {more} more like the last")
    except schema.ERRORS as error:
        found.append(_words(error, Path(name)))
    except GalleryError as error:
        found.append(str(error).partition("damaged (")[2].partition(");")[0] or str(error))
    return found


def _words(error: Exception, path: Path) -> str:
    """SQLite's complaint. Raises BusyError: being written to is no fault."""
    if isinstance(known := schema.translated(error, str(path)), BusyError):
        raise known from None
    return f"SQLite: {error}"


def _structure(sql: sqlite3.Connection, name: str) -> Iterator[str]:
    for (line,) in sql.execute(f"PRAGMA integrity_check({SHOWN})"):
        if line != "ok":
            yield f"SQLite's structure: {line}"
    for table, row, parent, _ in sql.execute("PRAGMA foreign_key_check"):
        yield f"{table}, row {row}: without its row in {parent}"


def _photos(sql: sqlite3.Connection, name: str) -> Iterator[str]:
    """Every entry, their count and their digest; every id once."""
    meta: Meta | None = None
    try:
        meta = read_meta(sql, name)
    except GalleryError:
        yield "the gallery's own numbers"
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
        yield f"{count} photos found, {meta.photos} were put there"
    elif meta and not broken and added(digest, 0) != meta.photo_digest:
        yield "the photos are not those that were put there last"
    if meta and last >= meta.next_row:
        yield f"row {last}: a number that was not given yet"


def _blobs(sql: sqlite3.Connection, name: str) -> Iterator[str]:
    """Every blob against the sum that its photo has of it, both ways."""
    for kind in schema.BLOBS:
        query = (
            f"SELECT p.id, p.row, p.{kind}, b.data FROM photos p NOT INDEXED "
            f"LEFT JOIN {kind} b ON b.row = p.row"
        )
        for photo_id, row, stored, data in sql.execute(query):
            what = f"{kind} of photo {photo_id!r}, row {row}"
            if stored is None:
                if data is not None or kind == "vectors":
                    yield f"{what}: there, but not in its entry" if data else f"{what}: missing"
            elif not isinstance(data, bytes) or blob_sum(data) != stored:
                yield f"{what}: {'missing' if data is None else 'changed'}"
            elif kind == "vectors" and (length := _length(data)) and abs(length - 1) > UNIT:
                yield f"{what}: length {length:.3f}; expected 1"


def _length(data: bytes) -> float:
    return float(np.linalg.norm(np.frombuffer(data[: len(data) // 2 * 2], "<f2").astype(float)))


def _landmarks(sql: sqlite3.Connection, name: str) -> Iterator[str]:
    read_landmarks(sql, name)
    yield from ()
