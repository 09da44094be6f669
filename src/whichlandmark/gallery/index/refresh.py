"""Update the index files of a gallery with as little work as possible.

New photos become a small part. Files that hold removed or relabelled photos are written again
without them, so that no data of removed photos is left. When small parts add up, all photos are
written into one part. The manifest is written last, so an interrupted run changes nothing; the next
run deletes its files.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.disks import file_lock
from ..base import Gallery
from ..checksums import Meta, digest_of
from ..records import GalleryTable
from .mapped import IndexFileError
from .open import INDEX_FOLDER, matches_gallery, open_index_files, projection_key
from .parts import (
    MANIFEST_NAME,
    IndexPart,
    Manifest,
    OpenPart,
    part_without_rows,
    read_manifest,
    with_ivf,
    with_projected_rows,
    write_manifest,
    write_part,
)
from .projection import Projection

MIN_PHOTOS_FOR_INDEX_FILES = 5_000  # a smaller gallery is read quickly enough without

MAX_PARTS = 8  # with more, all photos are written into one part again

MAX_LATER_SHARE = 0.25  # of all photos outside the first part; with more, as above

COLUMNS = ("ids", "paths", "landmarks", "hashes", "vectors", "rows")  # of a GalleryTable

log = logging.getLogger("whichlandmark")


@dataclass(frozen=True, eq=False)
class IndexNeeds:
    """What the index files must provide.

    projection: applied to all vectors before search, None = none; recall: target of the inverted
    files, 1 = none, search exactly; min_photos: a smaller gallery gets no index files.
    """

    projection: Projection | None = None
    recall: float = 0.99
    min_photos: int = MIN_PHOTOS_FOR_INDEX_FILES


def refresh(folder: Path, gallery: Gallery, wanted: IndexNeeds | None = None) -> Manifest | None:
    """Bring the index files up to date with a gallery.

    Args:
        folder: of the index files.
        gallery: to index.
        wanted: what the files must provide; None = the defaults.

    Returns:
        The new manifest; None when the gallery is too small for index files.

    Raises:
        GalleryError: when the gallery itself is damaged.
        DataError: when the disk is full.
    """
    # Locked, because two processes would delete each other's files.
    with file_lock(folder.with_name(f".{folder.name}.lock")):
        return _refresh(folder, gallery, wanted or IndexNeeds())


def _refresh(folder: Path, gallery: Gallery, wanted: IndexNeeds) -> Manifest | None:
    state = gallery.state()
    if state.photos < wanted.min_photos:
        delete_index_files(folder)
        return None
    projection = wanted.projection
    key = projection_key(projection)
    parts, old = _current_parts(folder, gallery, state)
    if old is None or (old.key, old.recall) != (key, wanted.recall):
        parts = [with_projected_rows(part, folder, projection) for part in parts]
    if projection is not None:
        parts = [
            part if part.turned else with_projected_rows(part, folder, projection) for part in parts
        ]
    parts = [part if part.cells else with_ivf(part, folder, wanted.recall) for part in parts]
    manifest = Manifest(
        embedder=state.embedder, dim=state.dim, generation=state.generation, count=state.photos,
        digest=state.photo_digest, last_row=state.next_row - 1, key=key, recall=wanted.recall,
        parts=tuple(parts),
    )  # fmt: skip
    if manifest != old:
        write_manifest(folder, manifest)
    _delete_unnamed_files(folder, manifest)
    return manifest


def delete_index_files(folder: Path) -> None:
    """Delete the index files; they can be made again from the gallery."""
    if folder.is_dir():
        _delete_unnamed_files(folder, None)
        if not any(folder.iterdir()):
            folder.rmdir()


def _current_parts(
    folder: Path, gallery: Gallery, state: Meta
) -> tuple[list[IndexPart], Manifest | None]:
    """Parts with all photos of the gallery, and the old manifest if its parts were reused."""
    try:
        old = read_manifest(folder)
        if old is not None and (old.embedder, old.dim) == (state.embedder, state.dim):
            if matches_gallery(old, state):
                check_index_files(folder)
                return list(old.parts), old
            parts = _changed_parts(folder, gallery, state, old)
            if parts is not None:
                return parts, old
    except IndexFileError as error:
        log.warning("%s; the index files are made again", error)
    table = gallery.table()
    rows, sums = gallery.sums()
    if not np.array_equal(rows, table.rows):
        raise IndexFileError(f"{gallery.name}: changed while it was read; run the command again")
    return [write_part(folder, table, sums)], None


def check_index_files(folder: Path) -> None:
    """Verify every block of every index file. Raises IndexFileError."""
    manifest = read_manifest(folder)
    for part in manifest.parts if manifest else ():
        for file in part.files():
            file.open(folder).check_all()


def _changed_parts(
    folder: Path, gallery: Gallery, state: Meta, old: Manifest
) -> list[IndexPart] | None:
    """The old parts updated to the gallery; None if writing one new part is better."""
    new = gallery.table(after=old.last_row)
    rows, sums = gallery.sums()
    parts, stale = list(old.parts), np.empty(0, dtype=np.int64)
    if digest_of(np.append(sums[rows > old.last_row], old.digest)) != state.photo_digest:
        stale = _stale_rows(parts, folder, rows, sums)
        parts = _without_rows(parts, folder, stale)
        changed = _changed_photos(gallery, rows, stale, old.last_row)
        both: dict[str, Any] = {
            name: np.concatenate([getattr(new, name), getattr(changed, name)]) for name in COLUMNS
        }
        new = _table_rows(replace(new, **both), np.argsort(both["rows"], kind="stable"))
    later = sum(part.landmarks + part.distractors for part in parts[1:]) + len(new.ids)
    if not parts or len(parts) >= MAX_PARTS or later > MAX_LATER_SHARE * state.photos:
        return None
    if not len(new.ids):
        return parts
    return [*parts, write_part(folder, new, sums[np.searchsorted(rows, new.rows)])]


def _stale_rows(
    parts: list[IndexPart], folder: Path, rows: NDArray[np.int64], sums: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Row numbers of photos that were removed from the gallery or changed in it."""
    stale = []
    for part in parts:
        opened = OpenPart.of(part, folder)
        place = np.minimum(np.searchsorted(rows, opened.rows), max(len(rows) - 1, 0))
        same = (rows[place] == opened.rows) & (sums[place] == opened.sums)
        stale.append(opened.rows[~same])
    return np.sort(np.concatenate(stale))


def _without_rows(
    parts: list[IndexPart], folder: Path, stale: NDArray[np.int64]
) -> list[IndexPart]:
    """The parts without stale photos; a part with none left is dropped."""
    kept = []
    for part in parts:
        opened = OpenPart.of(part, folder)
        is_stale = np.isin(opened.rows, stale)
        if not is_stale.any():
            kept.append(part)
        elif not is_stale.all():
            kept.append(part_without_rows(opened, folder, stale))
    return kept


def _changed_photos(
    gallery: Gallery, rows: NDArray[np.int64], stale: NDArray[np.int64], last_row: int
) -> GalleryTable:
    """The stale photos that are still in the gallery, with the same row numbers as before."""
    changed = np.intersect1d(stale, rows)
    if not len(changed):
        return gallery.table(after=int(rows[-1]) if len(rows) else 0)  # an empty table
    table = gallery.table(after=int(changed[0]) - 1)
    kept = np.isin(table.rows, changed) & (table.rows <= last_row)
    return _table_rows(table, np.flatnonzero(kept))


def _table_rows(table: GalleryTable, indices: NDArray[np.int64]) -> GalleryTable:
    columns: dict[str, Any] = {name: getattr(table, name)[indices] for name in COLUMNS}
    return replace(table, **columns)


def _delete_unnamed_files(folder: Path, manifest: Manifest | None) -> None:
    """Delete all index files that the manifest does not name; None = all, and the manifest."""
    named = {file.name for part in manifest.parts for file in part.files()} if manifest else set()
    for path in folder.glob("*.wlseg"):
        if path.name not in named:
            path.unlink(missing_ok=True)
    if manifest is None:
        (folder / MANIFEST_NAME).unlink(missing_ok=True)


def index_file_fault(folder: Path, gallery: Gallery) -> str | None:
    """Verify all index files of a recognizer folder.

    Returns:
        One line about the first fault; None if they are intact or do not exist.
    """
    try:
        check_index_files(folder / INDEX_FOLDER)
    except IndexFileError as error:
        return f"{error}; `whichlandmark gallery rebuild` makes the index files again"
    index_folder = folder / INDEX_FOLDER
    if index_folder.exists() and open_index_files(index_folder, gallery.state()) is None:
        return f"{index_folder}: made from an older state of the gallery; not used"
    return None
