"""Access to the pages of a SQLite file: read rows of a damaged file, erase deleted bytes.

The file format: https://www.sqlite.org/fileformat2.html
"""

from __future__ import annotations

import os
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from ...core.disks import flush
from ...core.files import read_at
from ..checksums import meta_sum
from . import schema
from .queries import read_meta
from .schema import PAGE_BYTES

FILE_HEADER_BYTES = 100  # before the B-tree of page 1

PAGE_HEADER_BYTES = {2: 12, 5: 12, 10: 8, 13: 8}  # page type → bytes of its header

INTERIOR_PAGES = (2, 5)  # page types whose cells begin with the number of a child page

LEAF_PAGE = 13  # page type of table rows

MAX_ROW_BYTES = 64_000_000

_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}  # serial type → bytes

_descriptors: dict[tuple[int, int], int] = {}  # (device, inode) → descriptor


def shared_descriptor(path: Path) -> int:
    """The process's one file descriptor of a gallery file, which is never closed.

    Closing any descriptor of a file releases all locks of this process on it (POSIX), and so the
    locks of every open SQLite connection.
    """
    status = os.stat(path)
    key = (status.st_dev, status.st_ino)
    if key not in _descriptors:
        mode = os.O_RDWR if os.access(path, os.W_OK) else os.O_RDONLY
        # O_BINARY, because Windows would translate line ends.
        _descriptors[key] = os.open(path, mode | getattr(os, "O_BINARY", 0))
    return _descriptors[key]


def rows_of(path: Path) -> Iterator[tuple[int, list[Any]]]:
    """Yield (row number, values) of every readable row of every table, without SQLite.

    Values are int, float, str, bytes or None. A column that is the row number itself is None,
    because SQLite stores it so.
    """
    file, number = shared_descriptor(path), 1
    while page := _page(file, number):
        for cell in _leaf_cells(page, FILE_HEADER_BYTES if number == 1 else 0):
            try:
                yield _row(file, page, cell)
            except (IndexError, ValueError, struct.error):
                continue
        number += 1


def _page(file: int, number: int) -> bytes:
    return read_at(file, PAGE_BYTES, (number - 1) * PAGE_BYTES) if number else b""


def _leaf_cells(page: bytes, start: int) -> list[int]:
    """Offsets of the rows of a leaf page; empty for other pages."""
    if len(page) != PAGE_BYTES or page[start] != LEAF_PAGE:
        return []
    count = struct.unpack_from(">H", page, start + 3)[0]
    first = start + 8
    count = min(count, (PAGE_BYTES - first) // 2)
    return list(dict.fromkeys(struct.unpack_from(f">{count}H", page, first)))


def _row(file: int, page: bytes, at: int) -> tuple[int, list[Any]]:
    size, at = _varint(page, at)
    row, at = _varint(page, at)
    if not 0 < size <= MAX_ROW_BYTES:
        raise ValueError(f"a row of {size} bytes")
    max_local = PAGE_BYTES - 35  # bytes of a row that are stored on the page itself
    if size <= max_local:
        payload = page[at : at + size]
    else:
        min_local = (PAGE_BYTES - 12) * 32 // 255 - 23
        local = min_local + (size - min_local) % (PAGE_BYTES - 4)
        local = local if local <= max_local else min_local
        payload = page[at : at + local] + _overflow(file, page, at + local, size - local)
    if len(payload) != size:
        raise ValueError("a truncated row")
    return row, _values(payload)


def _overflow(file: int, page: bytes, at: int, size: int) -> bytes:
    """The rest of a long row: a chain of overflow pages that begin with the next page's number."""
    parts: list[bytes] = []
    while size > 0:
        (number,) = struct.unpack_from(">I", page, at)
        page, at = _page(file, number), 0
        if len(page) != PAGE_BYTES:
            raise ValueError("a broken chain of overflow pages")
        parts.append(page[4 : 4 + size])
        size -= PAGE_BYTES - 4
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
        raise ValueError("a row longer than its values")
    return values


def _value(payload: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind == 0:
        return None, at
    if kind in (8, 9):
        return kind - 8, at
    if kind == 7:
        return struct.unpack_from(">d", payload, at)[0], at + 8
    if kind in (10, 11):
        raise ValueError(f"serial type {kind}, which is reserved")
    size = _INTEGER_BYTES[kind] if kind < 7 else (kind - 12) // 2
    data = payload[at : at + size]
    if len(data) != size:
        raise ValueError("a truncated value")
    if kind < 7:
        return int.from_bytes(data, "big", signed=True), at + size
    return (data.decode() if kind % 2 else data), at + size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Decode a variable-length integer of 1 to 9 bytes → (number, offset after it).

    The highest bit of each of the first 8 bytes is set when another byte follows.
    """
    value = 0
    for place in range(at, at + 8):
        value = value << 7 | data[place] & 0x7F
        if data[place] < 0x80:
            return value, place + 1
    value = value << 8 | data[at + 8]
    return value - 2**64 if value >= 2**63 else value, at + 9


def erase_deleted(path: Path) -> None:
    """Overwrite the bytes of deleted rows with zeros, if rows were deleted since the last call.

    Does nothing while another connection writes, or reads an older generation and so keeps changes
    in the journal; `Meta.stale` stays 1 then, for a later call.

    Raises:
        GalleryError: for a damaged header; or one of schema.SQLITE_ERRORS.
    """
    journal = Path(f"{path}-wal")
    with closing(schema.connect(path)) as sql:
        sql.execute("PRAGMA busy_timeout = 0")
        try:
            sql.execute("BEGIN IMMEDIATE")  # so that no other connection writes or checkpoints
        except sqlite3.OperationalError:
            return
        try:
            meta = read_meta(sql, str(path))
            if not meta.stale or (journal.exists() and os.path.getsize(journal)):
                return
            descriptor = shared_descriptor(path)
            query = "SELECT rootpage FROM sqlite_master WHERE rootpage > 0"
            for offset, length in _unused_ranges(
                descriptor, [1, *(row[0] for row in sql.execute(query))]
            ):
                os.pwrite(descriptor, bytes(length), offset)
            flush(descriptor)
            # This commit also makes every other connection drop its page cache.
            meta = meta._replace(stale=0)
            sql.execute("UPDATE meta SET stale = 0, sum = ?", (meta_sum(meta),))
            sql.execute("COMMIT")
            sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            if sql.in_transaction:
                sql.execute("ROLLBACK")


def _unused_ranges(descriptor: int, roots: list[int]) -> Iterator[tuple[int, int]]:
    """Yield (offset, bytes) of the unused and not yet zero ranges in the pages of some B-trees.

    Other pages need no erasing: overflow pages have no unused parts, and SQLite's secure_delete
    overwrites free pages.
    """
    pending, seen = list(roots), set(roots)
    while pending:
        place = (pending.pop() - 1) * schema.PAGE_BYTES
        page = os.pread(descriptor, schema.PAGE_BYTES, place)
        start = 0 if place else FILE_HEADER_BYTES
        if len(page) != schema.PAGE_BYTES or page[start] not in PAGE_HEADER_BYTES:
            continue
        for first, end in _gaps(page, start):
            if page.count(0, first, end) != end - first:
                yield place + first, end - first
        if page[start] in INTERIOR_PAGES:
            below = set(_child_pages(page, start)) - seen
            seen |= below
            pending += sorted(below)


def _child_pages(page: bytes, start: int) -> Iterator[int]:
    """Page numbers of the children of an interior page."""
    (cells,) = struct.unpack_from(">H", page, start + 3)
    yield struct.unpack_from(">I", page, start + 8)[0]
    for cell in _cell_offsets(page, start, cells):
        if cell <= len(page) - 4:
            yield struct.unpack_from(">I", page, cell)[0]


def _cell_offsets(page: bytes, start: int, cells: int) -> tuple[int, ...]:
    """Offsets of the cells of a page."""
    first = start + PAGE_HEADER_BYTES[page[start]]
    return struct.unpack_from(f">{min(cells, (len(page) - first) // 2)}H", page, first)


def _gaps(page: bytes, start: int) -> list[tuple[int, int]]:
    """Unused ranges (start, end) of a B-tree page: its free blocks, and the space before its cells.

    Empty for a damaged page, because erasing might destroy rows that can still be rebuilt.
    """
    free, cells, content = struct.unpack_from(">HHH", page, start + 1)
    first = start + PAGE_HEADER_BYTES[page[start]] + 2 * cells
    content = content or 65536
    if not first <= content <= len(page):
        return []
    if cells and min(_cell_offsets(page, start, cells)) < content:
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
