"""The rows in the leaf pages of a SQLite file, read without SQLite, whatever else is damaged.

The file format: sqlite.org/fileformat2.html, sections 1.5 to 2.1. Only rows of tables are read
(pages of type 13). What does not parse is passed over: the reader's checksums say what is whole.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..files import read_at
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
