"""SQLite pages by hand: read rows of leaf pages, and overwrite removed bytes in unused space."""

from __future__ import annotations

import os
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from ...core.files import read_at
from ..checksums import meta_sum
from . import schema
from .queries import read_meta
from .schema import PAGE

LEAF = 13

HEADER = 100  # bytes before the first page's own

LARGEST = 64_000_000  # bytes of one row

_kept_open: dict[tuple[int, int], int] = {}

_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}  # serial type → bytes


def kept_open(path: Path) -> int:
    """A file descriptor of a gallery's file that is never closed before the process ends.

    Closing any descriptor of a file gives up all of this process's locks on it (POSIX), and with
    them those of every open connection of SQLite. It is used again for the same file.
    """
    status = os.stat(path)
    key = (status.st_dev, status.st_ino)
    if key not in _kept_open:
        mode = os.O_RDWR if os.access(path, os.W_OK) else os.O_RDONLY
        _kept_open[key] = os.open(path, mode | getattr(os, "O_BINARY", 0))  # Windows: no CR-LF
    return _kept_open[key]


def rows_of(path: Path) -> Iterator[tuple[int, list[Any]]]:
    """(row number, values) of every row of every table; values: int, float, str, bytes, None.

    A column that is the row number itself stands as None, as in the file.
    """
    file, number = kept_open(path), 1
    while page := _page(file, number):
        for cell in _cells(page, HEADER if number == 1 else 0):
            try:
                yield _row(file, page, cell)
            except (IndexError, ValueError, struct.error):
                continue
        number += 1


def _page(file: int, number: int) -> bytes:
    return read_at(file, PAGE, (number - 1) * PAGE) if number else b""


def _cells(page: bytes, start: int) -> list[int]:
    """Where the rows of a leaf page begin; none on another page."""
    if len(page) != PAGE or page[start] != LEAF:
        return []
    count = struct.unpack_from(">H", page, start + 3)[0]
    first = start + 8
    count = min(count, (PAGE - first) // 2)
    return list(dict.fromkeys(struct.unpack_from(f">{count}H", page, first)))


def _row(file: int, page: bytes, at: int) -> tuple[int, list[Any]]:
    size, at = _varint(page, at)
    row, at = _varint(page, at)
    if not 0 < size <= LARGEST:
        raise ValueError("no row")
    most = PAGE - 35
    if size <= most:
        payload = page[at : at + size]
    else:
        least = (PAGE - 12) * 32 // 255 - 23
        local = least + (size - least) % (PAGE - 4)
        local = local if local <= most else least
        payload = page[at : at + local] + _overflow(file, page, at + local, size - local)
    if len(payload) != size:
        raise ValueError("a cut row")
    return row, _values(payload)


def _overflow(file: int, page: bytes, at: int, size: int) -> bytes:
    """The rest of a long row: a chain of pages, each beginning with the number of the next."""
    parts: list[bytes] = []
    while size > 0:
        (number,) = struct.unpack_from(">I", page, at)
        page, at = _page(file, number), 0
        if len(page) != PAGE:
            raise ValueError("a broken chain")
        parts.append(page[4 : 4 + size])
        size -= PAGE - 4
    return b"".join(parts)


def _values(payload: bytes) -> list[Any]:
    end, at = _varint(payload, 0)
    kinds = []
    while at < end:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    values: list[Any] = []
    for kind in kinds:
        value, at = _value(payload, at, kind)
        values.append(value)
    if at != len(payload):
        raise ValueError("not the length of its values")
    return values


def _value(payload: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind == 0:
        return None, at
    if kind in (8, 9):
        return kind - 8, at
    if kind == 7:
        return struct.unpack_from(">d", payload, at)[0], at + 8
    if kind in (10, 11):
        raise ValueError("a kind of value that no file has")
    size = _INTEGERS[kind] if kind < 7 else (kind - 12) // 2
    data = payload[at : at + size]
    if len(data) != size:
        raise ValueError("a cut value")
    if kind < 7:
        return int.from_bytes(data, "big", signed=True), at + size
    return (data.decode() if kind % 2 else data), at + size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """1 to 9 bytes, the highest bit of the first 8 says that more follow → (number, next place)."""
    value = 0
    for place in range(at, at + 8):
        value = value << 7 | data[place] & 0x7F
        if data[place] < 0x80:
            return value, place + 1
    value = value << 8 | data[at + 8]
    return value - 2**64 if value >= 2**63 else value, at + 9


FIRST = 100  # bytes before the B-tree of page 1

HEADS = {2: 12, 5: 12, 10: 8, 13: 8}  # kind of B-tree page → bytes of its head

ABOVE = (2, 5)  # kinds whose cells begin with the number of a page below


def scrub(path: Path) -> None:
    """Overwrite what was left behind, if something was removed since the last time.

    Does nothing while somebody writes, or reads an older generation (changes stand in the journal
    then): the gallery remembers that it is still to do. Raises GalleryError, or one of
    schema.ERRORS.
    """
    journal = Path(f"{path}-wal")
    with closing(schema.connect(path)) as sql:
        sql.execute("PRAGMA busy_timeout = 0")
        try:
            sql.execute("BEGIN IMMEDIATE")  # nobody writes now, and so nobody moves the journal
        except sqlite3.OperationalError:
            return
        try:
            meta = read_meta(sql, str(path))
            if not meta.stale or (journal.exists() and os.path.getsize(journal)):
                return
            descriptor = kept_open(path)
            query = "SELECT rootpage FROM sqlite_master WHERE rootpage > 0"
            for offset, length in _unused(descriptor, [1, *(row[0] for row in sql.execute(query))]):
                os.pwrite(descriptor, bytes(length), offset)
            os.fsync(descriptor)
            # This commit also makes every other connection forget the pages that it remembers.
            meta = meta._replace(stale=0)
            sql.execute("UPDATE meta SET stale = 0, sum = ?", (meta_sum(meta),))
            sql.execute("COMMIT")
            sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            if sql.in_transaction:
                sql.execute("ROLLBACK")


def _unused(descriptor: int, roots: list[int]) -> Iterator[tuple[int, int]]:
    """(place in the file, bytes) of what is unused in the pages of some B-trees and not zero.

    Other pages have no unused parts (the rest of long rows), or are zero altogether (free).
    """
    waiting, seen = list(roots), set(roots)
    while waiting:
        place = (waiting.pop() - 1) * schema.PAGE
        page = os.pread(descriptor, schema.PAGE, place)
        start = 0 if place else FIRST
        if len(page) != schema.PAGE or page[start] not in HEADS:
            continue
        for first, end in _gaps(page, start):
            if page.count(0, first, end) != end - first:
                yield place + first, end - first
        if page[start] in ABOVE:
            below = set(_below(page, start)) - seen
            seen |= below
            waiting += sorted(below)


def _below(page: bytes, start: int) -> Iterator[int]:
    """The numbers of the pages under one."""
    (cells,) = struct.unpack_from(">H", page, start + 3)
    yield struct.unpack_from(">I", page, start + 8)[0]
    for cell in _pointers(page, start, cells):
        if cell <= len(page) - 4:
            yield struct.unpack_from(">I", page, cell)[0]


def _pointers(page: bytes, start: int, cells: int) -> tuple[int, ...]:
    """Where the cells of a page begin."""
    first = start + HEADS[page[start]]
    return struct.unpack_from(f">{min(cells, (len(page) - first) // 2)}H", page, first)


def _gaps(page: bytes, start: int) -> list[tuple[int, int]]:
    """The unused parts of a B-tree page: between its pointers and its cells, and its free blocks.

    None of a page that is not as it should be.
    """
    free, cells, content = struct.unpack_from(">HHH", page, start + 1)
    first = start + HEADS[page[start]] + 2 * cells
    content = content or 65536
    if not first <= content <= len(page):
        return []
    if cells and min(_pointers(page, start, cells)) < content:
        return []
    gaps = [(first, content)]
    while free:
        if not content <= free <= len(page) - 4:
            return []
        following, size = struct.unpack_from(">HH", page, free)
        if size < 4 or free + size > len(page) or (following and following < free + size):
            return []
        gaps.append((free + 4, free + size))
        free = following
    return gaps
