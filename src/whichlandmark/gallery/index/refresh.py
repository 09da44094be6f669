"""A gallery that has changed → segment files that hold it again, with as little work as will do.

New photos become a small part of their own. Photos that were removed or relabelled are taken out
of the files they are in: these are written anew, so that nothing of them is left. Where small
parts add up, everything is put into one part again. The manifest goes last: whatever was
interrupted is as if it had not been begun, and the next run clears it away.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.files import file_lock
from ..checksums import Meta, digest_of
from ..protocol import Gallery
from ..records import GalleryTable
from .mapped import IndexFileError
from .open import SEGMENTS, is_of, open_segments, projection_key
from .parts import (
    NAME,
    IndexPart,
    Manifest,
    OpenPart,
    read_manifest,
    with_cells,
    with_turned,
    without,
    write_manifest,
    write_part,
)
from .projection import Projection

FEWEST_ROWS = 5_000  # photos up to which the gallery itself is read in no time

MOST_PARTS = 8

TOO_MANY_NEW = 0.25  # share of all photos in later parts, from which all go into one part

COLUMNS = ("ids", "paths", "landmarks", "hashes", "vectors", "rows")

log = logging.getLogger("whichlandmark")


@dataclass(frozen=True, eq=False)
class IndexNeeds:
    """projection: the change of axes that rows are searched after; recall: what cells are to find
    of the 10 nearest, 1 = all: no cells; small: galleries of fewer photos have no segment files.
    """

    projection: Projection | None = None
    recall: float = 0.99
    small: int = FEWEST_ROWS


def refresh(folder: Path, gallery: Gallery, wanted: IndexNeeds | None = None) -> Manifest | None:
    """Bring the segment files in `folder` up to date; None when the gallery is small.

    Raises GalleryError when the gallery itself is damaged, DataError when the disk is full.
    """
    with file_lock(folder.with_name(f".{folder.name}.lock")):  # two would clear each other's files
        return _refresh(folder, gallery, wanted or IndexNeeds())


def _refresh(folder: Path, gallery: Gallery, wanted: IndexNeeds) -> Manifest | None:
    state = gallery.state()
    if state.photos < wanted.small:
        throw_away(folder)
        return None
    key = projection_key(wanted.projection)
    parts, old = _current_parts(folder, gallery, state)
    if old is None or (old.key, old.recall) != (key, wanted.recall):
        parts = [with_turned(part, folder, wanted.projection) for part in parts]
    parts = [_finished(part, folder, wanted) for part in parts]
    manifest = Manifest(
        embedder=state.embedder, dim=state.dim, generation=state.generation, count=state.photos,
        digest=state.photo_digest, last_row=state.next_row - 1, key=key, recall=wanted.recall,
        parts=tuple(parts),
    )  # fmt: skip
    if manifest != old:
        write_manifest(folder, manifest)
    _clear(folder, manifest)
    return manifest


def throw_away(folder: Path) -> None:
    """Delete the segment files. Nothing is lost by it."""
    if folder.is_dir():
        _clear(folder, None)
        if not any(folder.iterdir()):
            folder.rmdir()


def _current_parts(
    folder: Path, gallery: Gallery, state: Meta
) -> tuple[list[IndexPart], Manifest | None]:
    """Parts that hold the gallery as it is; the old manifest where its key still counts."""
    try:
        old = read_manifest(folder)
        if old is not None and (old.embedder, old.dim) == (state.embedder, state.dim):
            if is_of(old, state):
                check_segments(folder)
                return list(old.parts), old
            parts = _changed_parts(folder, gallery, state, old)
            if parts is not None:
                return parts, old
    except IndexFileError as error:
        log.warning("%s; made again", error)
    table = gallery.table()
    rows, sums = gallery.sums()
    if not np.array_equal(rows, table.rows):
        raise IndexFileError(f"{gallery.name}: changed while it was read; run the command again")
    return [write_part(folder, table, sums)], None


def check_segments(folder: Path) -> None:
    """Compare every block of every file with its checksum. Raises SegmentError."""
    manifest = read_manifest(folder)
    for part in manifest.parts if manifest else ():
        for file in part.files():
            file.open(folder).check_all()


def _changed_parts(
    folder: Path, gallery: Gallery, state: Meta, old: Manifest
) -> list[IndexPart] | None:
    """The old parts with what has changed since; None where all is better made anew."""
    new = gallery.table(after=old.last_row)
    rows, sums = gallery.sums()
    parts, gone = list(old.parts), np.empty(0, dtype=np.int64)
    if digest_of(np.append(sums[rows > old.last_row], old.digest)) != state.photo_digest:
        gone = _gone(parts, folder, rows, sums)
        parts = _without(parts, folder, gone)
        new = _joined(new, _again(gallery, rows, gone, old.last_row))
    held = sum(part.landmarks + part.distractors for part in parts)
    first = parts[0].landmarks + parts[0].distractors if parts else 0
    later = held - first + len(new.ids)
    if not parts or len(parts) >= MOST_PARTS or later > TOO_MANY_NEW * state.photos:
        return None
    own = sums[np.searchsorted(rows, new.rows)]
    return [*parts, write_part(folder, new, own)] if len(new.ids) else parts


def _gone(
    parts: list[IndexPart], folder: Path, rows: NDArray[np.int64], sums: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Row numbers that the gallery no longer has, or has with another checksum."""
    gone = []
    for part in parts:
        opened = OpenPart.of(part, folder)
        place = np.minimum(np.searchsorted(rows, opened.rows), max(len(rows) - 1, 0))
        same = (rows[place] == opened.rows) & (sums[place] == opened.sums)
        gone.append(opened.rows[~same])
    return np.sort(np.concatenate(gone))


def _without(parts: list[IndexPart], folder: Path, gone: NDArray[np.int64]) -> list[IndexPart]:
    left = []
    for part in parts:
        opened = OpenPart.of(part, folder)
        hit = np.isin(opened.rows, gone)
        if not hit.any():
            left.append(part)
        elif not hit.all():
            left.append(without(opened, folder, gone))
    return left


def _again(
    gallery: Gallery, rows: NDArray[np.int64], gone: NDArray[np.int64], last_row: int
) -> GalleryTable:
    """Photos that are still there but changed: under their old row numbers."""
    changed = np.intersect1d(gone, rows)
    if not len(changed):
        return gallery.table(after=int(rows[-1]) if len(rows) else 0)  # none
    table = gallery.table(after=int(changed[0]) - 1)
    kept = np.isin(table.rows, changed) & (table.rows <= last_row)
    return _taken(table, np.flatnonzero(kept))


def _taken(table: GalleryTable, kept: NDArray[np.int64]) -> GalleryTable:
    taken: dict[str, Any] = {name: getattr(table, name)[kept] for name in COLUMNS}
    return replace(table, **taken)


def _joined(one: GalleryTable, other: GalleryTable) -> GalleryTable:
    """Both tables, by rising row number."""
    both: dict[str, Any] = {
        name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in COLUMNS
    }
    return _taken(replace(one, **both), np.argsort(both["rows"], kind="stable"))


def _finished(part: IndexPart, folder: Path, wanted: IndexNeeds) -> IndexPart:
    """With turned rows and cells, where they are not there yet."""
    if wanted.projection is not None and part.turned is None:
        part = with_turned(part, folder, wanted.projection)
    return part if part.cells else with_cells(part, folder, wanted.recall)


def _clear(folder: Path, manifest: Manifest | None) -> None:
    """Delete every segment file that the manifest does not name, and the manifest if None."""
    named = {file.name for part in manifest.parts for file in part.files()} if manifest else set()
    for path in folder.glob("*.wlseg"):
        if path.name not in named:
            path.unlink(missing_ok=True)
    if manifest is None:
        (folder / NAME).unlink(missing_ok=True)


def segment_fault(folder: Path, gallery: Gallery) -> str | None:
    """What is wrong with the segment files, every block of them read; None = nothing, or none."""
    try:
        check_segments(folder / SEGMENTS)
    except IndexFileError as error:
        return f"{error}; `whichlandmark gallery rebuild` makes the segment files again"
    if (folder / SEGMENTS).exists() and open_segments(folder / SEGMENTS, gallery.state()) is None:
        return f"{folder / SEGMENTS}: of an older state of the gallery; not used"
    return None
