"""Overwrites what SQLite leaves behind in the unused parts of its pages.

SQLite's secure_delete overwrites what is deleted. But when rows move between pages, copies of
them stay in the unused middle of the old page, and outlive the removal of the row itself.
These bytes mean nothing to SQLite (file format, section 1.6: the unallocated region), so zeros
may be written there, whole or in part, while no one else may write.
"""

from __future__ import annotations

import os
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from . import schema
from .checks import meta_sum
from .pages import kept_open
from .reading import read_meta

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
