"""Rebuild a damaged gallery file from everything in it that is intact."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...core.errors import BusyError, GalleryError
from ...core.files import atomic_file
from ..checksums import Meta, add_checksum, blob_sum, landmark_sum, meta_sum, photo_sum
from . import schema
from .pages import rows_of
from .queries import COLUMNS, FIRST_BLOB

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
    photos: dict[int, list[Any]] = field(default_factory=dict)
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
            if len(values) == COLUMNS.count(",") + 1:
                fields = [row, *values[1:]]
                found.broken[row] = str(values[1])
                if photo_sum(fields) == fields[-1]:
                    found.photos.setdefault(row, fields)
            elif len(values) == len(Meta._fields) + 2:
                meta = Meta(*values[1:-1])
                found.meta = meta if meta_sum(meta) == values[-1] else found.meta
            elif len(values) == 3 and landmark_sum(values[0], values[1]) == values[2]:
                found.landmarks[values[0]] = (values[0], values[1], values[2])
    for row in found.photos:
        found.broken.pop(row, None)
    return found


def _write(sql: sqlite3.Connection, path: Path, found: _Readable, old: Meta) -> Salvaged:
    salvaged = Salvaged()
    schema.make_tables(sql, old, meta_sum(old))
    sql.execute("PRAGMA foreign_keys = OFF")  # because blobs are written before their photos
    sql.execute("BEGIN IMMEDIATE")
    whole = _write_blobs(sql, path, found.photos)
    digest = 0
    for row, fields in sorted(found.photos.items()):
        if whole.get(row, 0) & 1:
            digest = add_checksum(digest, _write_photo(sql, fields, whole[row], salvaged))
            salvaged.photos += 1
        else:
            salvaged.lost[fields[1]] = "its vector is damaged: index it again"
            for kind in schema.BLOBS:
                sql.execute(f"DELETE FROM {kind} WHERE row = ?", (row,))
    sql.executemany("INSERT INTO landmarks VALUES (?, ?, ?)", found.landmarks.values())
    salvaged.landmarks = len(found.landmarks)
    _write_meta(sql, found, old, (salvaged.photos, digest))
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
    sql: sqlite3.Connection, path: Path, photos: dict[int, list[Any]]
) -> dict[int, int]:
    """Copy the intact blobs; row number → bit i is set when its blob BLOBS[i] is intact."""
    whole: dict[int, int] = {}
    for row, data in _blobs(path):
        if (fields := photos.get(row)) is None:
            continue
        stored = blob_sum(data)
        for place, kind in enumerate(schema.BLOBS):
            if fields[FIRST_BLOB + place] == stored and not whole.get(row, 0) & 1 << place:
                sql.execute(f"INSERT INTO {kind} VALUES (?, ?)", (row, data))
                whole[row] = whole.get(row, 0) | 1 << place
                break
    return whole


def _blobs(path: Path) -> Iterator[tuple[int, bytes]]:
    return (
        (row, values[1]) for row, values in rows_of(path)
        if len(values) == 2 and isinstance(values[1], bytes)
    )  # fmt: skip


def _write_photo(sql: sqlite3.Connection, fields: list[Any], whole: int, salvaged: Salvaged) -> int:
    """Write a photo without its damaged blobs, and return its checksum."""
    kept = list(fields)
    for place, kind in enumerate(schema.BLOBS):
        if fields[FIRST_BLOB + place] is not None and not whole & 1 << place:
            kept[FIRST_BLOB + place] = None
            salvaged.lost[fields[1]] = f"kept, but its {kind} are damaged: index it again"
    kept[-1] = photo_sum(kept)
    sql.execute(f"INSERT INTO photos VALUES (?{', ?' * (len(kept) - 1)})", kept)
    return int(kept[-1])


def _write_meta(
    sql: sqlite3.Connection, found: _Readable, old: Meta, photos: tuple[int, int]
) -> None:
    digest = 0
    for landmark in found.landmarks.values():
        digest = add_checksum(digest, landmark[2])
    meta = old._replace(
        generation=old.generation + 1,
        next_row=max(old.next_row, 1 + max(found.photos, default=0)),
        photos=photos[0], photo_digest=photos[1],
        landmarks=len(found.landmarks), landmark_digest=digest, stale=0,
    )  # fmt: skip
    names = ", ".join(f"{name} = ?" for name in (*Meta._fields, "sum"))
    sql.execute(f"UPDATE meta SET {names}", (*meta, meta_sum(meta)))
