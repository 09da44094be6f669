"""Rebuild a damaged gallery file from everything in it that is intact.

The pages are read without SQLite, because it does not reach what is below a damaged page. The file
format: https://www.sqlite.org/fileformat2.html
"""

from __future__ import annotations

import io
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...core.errors import BusyError, GalleryError
from ...core.files import atomic_file
from ..checksums import (
    BLOBS,
    FIRST_BLOB,
    ID,
    Meta,
    PhotoRow,
    add_checksum,
    blob_sum,
    landmark_sum,
    meta_sum,
    photo_sum,
)
from . import schema
from .schema import PAGE_BYTES
from .store import WRITE_PHOTO, SqliteTables

FILE_HEADER_BYTES = 100  # before the B-tree of page 1

LEAF_PAGE = 13  # page type of table rows

MAX_ROW_BYTES = 64_000_000

_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}  # serial type → bytes

GENERATION_IF_LOST = 2**32  # larger than that of any index file made from the damaged gallery


@dataclass(eq=False)
class Salvaged:
    """The result of a rebuild.

    photos, landmarks: photos and landmark records that were kept; lost: photo id, or description →
    what was lost and what to do about it.
    """

    photos: int = 0
    landmarks: int = 0
    lost: dict[str, str] = field(default_factory=dict)


@dataclass(eq=False)
class _Readable:
    """The intact rows of the damaged file.

    photos: row number → fields, the checksum last; landmarks: name → (name, record, checksum);
    broken: row number → id, as far as it can be read, of photos with a damaged entry.
    """

    meta: Meta | None = None
    photos: dict[int, PhotoRow] = field(default_factory=dict)
    landmarks: dict[str, tuple[str, str, int]] = field(default_factory=dict)
    broken: dict[int, str] = field(default_factory=dict)


def rebuild(path: Path, embedder_id: str | None, dim: int | None) -> Salvaged:
    """Atomically replace a gallery file by a new one with everything intact.

    Args:
        path: the gallery file.
        embedder_id: of the folder's embedder, used when the file's header is damaged.
        dim: dimensions of that embedder.

    Raises:
        GalleryError: when nothing is intact.
        BusyError: when another process has the file open.
    """
    if not path.is_file():
        raise GalleryError(f"{path}: no gallery there; make one with `whichlandmark index`")
    _merge_journal(path)
    found = _read_intact_rows(path)
    if found.meta is None and (embedder_id is None or dim is None):
        raise GalleryError(
            f"{path}: the name of its embedder is damaged, and the folder holds no embedder; "
            "index again into a new folder"
        )
    if not found.photos and (found.meta is None or found.meta.photos):
        raise GalleryError(f"{path}: no photo in it is intact; index again into a new folder")
    old = found.meta or Meta(str(embedder_id), int(dim or 0), GENERATION_IF_LOST, 1, 0, 0, 0, 0)
    with atomic_file(path) as temporary:
        with closing(schema.connect(temporary)) as sql:
            salvaged = _write(sql, path, found, old)
        for ending in ("-wal", "-shm"):  # because the old journal would damage the new file
            Path(f"{path}{ending}").unlink(missing_ok=True)
    return salvaged


def _merge_journal(path: Path) -> None:
    """Move changes from the journal into the file, if SQLite can open it.

    Raises BusyError when another process has it open.
    """
    try:
        with closing(sqlite3.connect(path, timeout=1.0, isolation_level=None)) as sql:
            sql.execute("PRAGMA locking_mode = EXCLUSIVE")
            sql.execute("BEGIN EXCLUSIVE")
            sql.execute("COMMIT")
            sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except schema.SQLITE_ERRORS as error:
        if isinstance(schema.gallery_error(error, str(path)), BusyError):
            raise BusyError(
                f"{path}: another process has it open; stop it, then try again"
            ) from None


def _read_intact_rows(path: Path) -> _Readable:
    found = _Readable()
    for row, values in rows_of(path):
        with suppress(TypeError, UnicodeEncodeError):
            if len(values) in (13, 14, 15):  # written before source, before licence_url, or since
                source, licence_url = (*values[13:], "", "")[:2]
                entry = (row, *values[1:8], licence_url, source, *values[8:13])
                found.broken[row] = str(values[1])
                if photo_sum(entry) == entry[-1]:
                    found.photos.setdefault(row, entry)
            elif len(values) == len(Meta._fields) + 2:
                meta = Meta(*values[1:-1])
                found.meta = meta if meta_sum(meta) == values[-1] else found.meta
            elif len(values) == 3 and landmark_sum(values[0], values[1]) == values[2]:
                found.landmarks[values[0]] = (values[0], values[1], values[2])
    for row in found.photos:
        found.broken.pop(row, None)
    return found


def _write(sql: sqlite3.Connection, path: Path, found: _Readable, old: Meta) -> Salvaged:
    salvaged = Salvaged(landmarks=len(found.landmarks))
    tables = SqliteTables(sql, str(path))
    schema.make_tables(sql, old, meta_sum(old))
    sql.execute("PRAGMA foreign_keys = OFF")  # because blobs are written before their photos
    sql.execute("BEGIN IMMEDIATE")
    whole = _write_blobs(sql, path, found.photos)
    digest = 0
    for row, entry in sorted(found.photos.items()):
        if whole.get(row, 0) & 1:
            kept = _without_damaged(entry, whole[row], salvaged)
            sql.execute(WRITE_PHOTO, kept)
            digest, salvaged.photos = add_checksum(digest, kept[-1]), salvaged.photos + 1
        else:
            salvaged.lost[entry[ID]] = "its vector is damaged: index it again"
            for kind in BLOBS:
                sql.execute(f"DELETE FROM {kind} WHERE row = ?", (row,))
    tables.write_records(list(found.landmarks.values()))
    meta = old._replace(
        generation=old.generation + 1,
        next_row=max(old.next_row, 1 + max(found.photos, default=0)),
        photos=salvaged.photos, photo_digest=digest, landmarks=salvaged.landmarks,
        landmark_digest=add_checksum(sum(one[2] for one in found.landmarks.values()), 0), stale=0,
    )  # fmt: skip
    tables.write_header((*meta, meta_sum(meta)))
    sql.execute("COMMIT")
    for photo_id in found.broken.values():
        salvaged.lost[photo_id] = "its entry is damaged: index it again"
    if found.meta:
        # Count also lost photos and records of which not even the id could be read.
        photos = len(found.photos) + len(found.broken)
        if (nameless := found.meta.photos - photos) > 0:
            salvaged.lost[f"{nameless} photos"] = "damaged, their ids are unknown: index again"
        if (nameless := found.meta.landmarks - salvaged.landmarks) > 0:
            salvaged.lost[f"{nameless} landmark records"] = "damaged: give landmarks.csv again"
    return salvaged


def _write_blobs(
    sql: sqlite3.Connection, path: Path, photos: dict[int, PhotoRow]
) -> dict[int, int]:
    """Copy the intact blobs; row number → bit i is set when its blob BLOBS[i] is intact."""
    whole: dict[int, int] = {}
    for row, values in rows_of(path):
        if len(values) != 2 or not isinstance(values[1], bytes) or row not in photos:
            continue
        stored = blob_sum(values[1])
        for place, kind in enumerate(BLOBS):
            if photos[row][FIRST_BLOB + place] == stored and not whole.get(row, 0) & 1 << place:
                sql.execute(f"INSERT INTO {kind} VALUES (?, ?)", (row, values[1]))
                whole[row] = whole.get(row, 0) | 1 << place
                break
    return whole


def _without_damaged(entry: PhotoRow, whole: int, salvaged: Salvaged) -> PhotoRow:
    """The entry of a photo without its damaged blobs."""
    kept = list(entry)
    for place, kind in enumerate(BLOBS):
        if kept[FIRST_BLOB + place] is not None and not whole & 1 << place:
            kept[FIRST_BLOB + place] = None
            salvaged.lost[entry[ID]] = f"kept, but its {kind} are damaged: index it again"
    return (*kept[:-1], photo_sum(kept))


def rows_of(path: Path) -> Iterator[tuple[int, list[Any]]]:
    """Yield (row number, values) of every readable row of every table, without SQLite.

    Values are int, float, str, bytes or None. A column that is the row number itself is None,
    because SQLite stores it so.
    """
    with path.open("rb", buffering=0) as file:
        number = 1
        while page := _page(file, number):
            for cell in _leaf_cells(page, FILE_HEADER_BYTES if number == 1 else 0):
                try:
                    yield _row(file, page, cell)
                except (IndexError, ValueError, struct.error):
                    continue
            number += 1


def _page(file: io.FileIO, number: int) -> bytes:
    if not number:
        return b""
    file.seek((number - 1) * PAGE_BYTES)
    return file.read(PAGE_BYTES)


def _leaf_cells(page: bytes, start: int) -> list[int]:
    """Offsets of the rows of a leaf page; empty for other pages."""
    if len(page) != PAGE_BYTES or page[start] != LEAF_PAGE:
        return []
    count = struct.unpack_from(">H", page, start + 3)[0]
    first = start + 8
    count = min(count, (PAGE_BYTES - first) // 2)
    return list(dict.fromkeys(struct.unpack_from(f">{count}H", page, first)))


def _row(file: io.FileIO, page: bytes, at: int) -> tuple[int, list[Any]]:
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


def _overflow(file: io.FileIO, page: bytes, at: int, size: int) -> bytes:
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
