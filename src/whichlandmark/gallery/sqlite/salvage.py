"""A damaged gallery → a new file of everything in it that is whole, and a list of what was not."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...core.errors import BusyError, GalleryError
from ...core.files import whole_file
from ..checksums import Meta, added, blob_sum, landmark_sum, meta_sum, photo_sum
from . import schema
from .pages import rows_of
from .queries import COLUMNS, FIRST_BLOB

NEW_START = 2**32  # generation of a gallery whose own was lost: no other file has seen it


@dataclass(eq=False)
class Salvaged:
    """photos: kept. lost: what is gone, or kept without a part of it, → why."""

    photos: int = 0
    landmarks: int = 0
    lost: dict[str, str] = field(default_factory=dict)


@dataclass(eq=False)
class _Found:
    """What is whole in the old file. photos: row → fields with their sum at the end.

    broken: row → id, as far as it can be read, of photos whose entry is damaged.
    """

    meta: Meta | None = None
    photos: dict[int, list[Any]] = field(default_factory=dict)
    landmarks: dict[str, tuple[str, str, int]] = field(default_factory=dict)
    broken: dict[int, str] = field(default_factory=dict)


def rebuild(path: Path, embedder_id: str | None, dim: int | None) -> Salvaged:
    """Put a new file of everything whole in the place of `path`, at once.

    embedder_id, dim: of the folder's embedder, used where the file's own record is damaged.
    Raises GalleryError when there is nothing to keep, BusyError when somebody has it open.
    """
    if not path.is_file():
        raise GalleryError(f"{path}: no gallery there; make one with `whichlandmark index`")
    _merge_journal(path)
    found = _find(path)
    if found.meta is None and (embedder_id is None or dim is None):
        raise GalleryError(
            f"{path}: which embedder made it is damaged, and there is none in the folder to ask; "
            "index again into a new folder"
        )
    if not found.photos and (found.meta is None or found.meta.photos):
        raise GalleryError(f"{path}: not one photo in it is whole; index again into a new folder")
    old = found.meta or Meta(str(embedder_id), int(dim or 0), NEW_START, 1, 0, 0, 0, 0)
    with whole_file(path) as temporary:
        with closing(schema.connect(temporary)) as sql:
            salvaged = _write(sql, path, found, old)
        for ending in ("-wal", "-shm"):  # the old file's journal must not meet the new file
            Path(f"{path}{ending}").unlink(missing_ok=True)
    return salvaged


def _merge_journal(path: Path) -> None:
    """Bring the last changes into the file, where it opens at all; nobody else may have it open."""
    try:
        with closing(sqlite3.connect(path, timeout=1.0, isolation_level=None)) as sql:
            sql.execute("PRAGMA locking_mode = EXCLUSIVE")
            sql.execute("BEGIN EXCLUSIVE")
            sql.execute("COMMIT")
            sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except schema.ERRORS as error:
        if isinstance(schema.translated(error, str(path)), BusyError):
            raise BusyError(
                f"{path}: another process has it open; stop it, then try again"
            ) from None


def _find(path: Path) -> _Found:
    found = _Found()
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


def _write(sql: sqlite3.Connection, path: Path, found: _Found, old: Meta) -> Salvaged:
    salvaged = Salvaged()
    schema.make_tables(sql, old, meta_sum(old))
    sql.execute("PRAGMA foreign_keys = OFF")  # blobs come before their photos here
    sql.execute("BEGIN IMMEDIATE")
    whole = _write_blobs(sql, path, found.photos)
    digest = 0
    for row, fields in sorted(found.photos.items()):
        if whole.get(row, 0) & 1:
            digest = added(digest, _write_photo(sql, fields, whole[row], salvaged))
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
        _count_lost(salvaged, found.meta, len(found.photos) + len(found.broken))
    return salvaged


def _write_blobs(
    sql: sqlite3.Connection, path: Path, photos: dict[int, list[Any]]
) -> dict[int, int]:
    """Row → which of its blobs are whole, as bits in the order of BLOBS."""
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
    """One photo, without those of its blobs that are damaged; returns its sum."""
    kept = list(fields)
    for place, kind in enumerate(schema.BLOBS):
        if fields[FIRST_BLOB + place] is not None and not whole & 1 << place:
            kept[FIRST_BLOB + place] = None
            salvaged.lost[fields[1]] = f"kept, but its {kind} are damaged: index it again"
    kept[-1] = photo_sum(kept)
    sql.execute(f"INSERT INTO photos VALUES (?{', ?' * (len(kept) - 1)})", kept)
    return int(kept[-1])


def _write_meta(sql: sqlite3.Connection, found: _Found, old: Meta, photos: tuple[int, int]) -> None:
    digest = 0
    for landmark in found.landmarks.values():
        digest = added(digest, landmark[2])
    meta = old._replace(
        generation=old.generation + 1,
        next_row=max(old.next_row, 1 + max(found.photos, default=0)),
        photos=photos[0], photo_digest=photos[1],
        landmarks=len(found.landmarks), landmark_digest=digest, stale=0,
    )  # fmt: skip
    names = ", ".join(f"{name} = ?" for name in (*Meta._fields, "sum"))
    sql.execute(f"UPDATE meta SET {names}", (*meta, meta_sum(meta)))


def _count_lost(salvaged: Salvaged, meta: Meta, photos: int) -> None:
    """What left no readable name behind."""
    if (nameless := meta.photos - photos) > 0:
        salvaged.lost[f"{nameless} photos"] = "their entries are damaged, ids unknown: index again"
    if (nameless := meta.landmarks - salvaged.landmarks) > 0:
        salvaged.lost[f"{nameless} landmark records"] = "damaged: give landmarks.csv again"
