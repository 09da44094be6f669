"""The index files of a recognizer folder: opened if they are intact, and kept up to date.

Nearly all photos are in the base, later ones in one small delta, which is written again each time.
Files that hold removed or relabelled photos are written again without them, so that no data of
removed photos is left. When the delta grows, all photos are written into a new base. The manifest
is written last, so an interrupted run changes nothing; the next run deletes its files.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.disks import file_lock
from ...core.types import Vectors
from ..address import Link, is_search_index, open_search_index, read_link
from ..base import Gallery
from ..checksums import Meta, digest_of
from ..records import GalleryTable
from . import GalleryIndex, SearchRows
from .exact import CandidateSource, HalfRows, nearest
from .mapped import IndexFileError, JoinedRows, MappedRows
from .parts import (
    MANIFEST_NAME,
    Manifest,
    OpenPart,
    Part,
    gallery_state,
    part_without,
    read_manifest,
    with_ivf,
    with_projection,
    write_manifest,
    write_part,
)
from .projection import Projection, projection_key
from .remote import remote_index

INDEX_FOLDER = "segments"  # in a recognizer folder, for the index files

MIN_PHOTOS_FOR_INDEX_FILES = 5_000  # a smaller gallery is read quickly enough without

MAX_DELTA_SHARE = 0.25  # of all photos; with more in the delta, all are written into a new base

log = logging.getLogger("whichlandmark")


def open_index(
    folder: Path, gallery: Gallery, *, search_index: bool = True
) -> tuple[GalleryIndex, SearchRows | None]:
    """The index of a recognizer folder's gallery. search_index: use that of the folder, if any.

    Damaged index files cause a warning, outdated ones are ignored; the gallery is read then.

    Returns:
        The index, and its projected vectors; None = not prepared.

    Raises:
        GalleryError: when the gallery itself is damaged.
    """
    link = read_link(folder) or Link()
    if search_index and is_search_index(link.search):
        return remote_index(gallery, open_search_index(link.search))
    if link.search != "here" and link.address is not None:
        return remote_index(gallery)
    opened = None
    for last_try in (False, True):  # two, because a writer may replace files during the first
        try:
            opened = open_index_files(folder / INDEX_FOLDER, gallery.state())
            break
        except IndexFileError as error:
            if last_try:
                warn_index_files_unusable(error, folder)
    return opened or (GalleryIndex.of(gallery.table()), None)


def searched_on_server(folder: Path) -> bool:
    """Whether the gallery's server or a search index searches the folder's gallery."""
    return (read_link(folder) or Link()).search != "here"


def open_index_files(folder: Path, gallery: Meta) -> tuple[GalleryIndex, SearchRows] | None:
    """Open the index files of a gallery; None when there are none, or of another generation.

    Vectors are read and verified when they are indexed, which may raise IndexFileError too.

    Args:
        folder: of the index files.
        gallery: the state that the files must have been made from.

    Raises:
        IndexFileError: when a file is missing, truncated or changed.
    """
    manifest = read_manifest(folder)
    if manifest is None or manifest.gallery != gallery_state(gallery) or not manifest.parts:
        return None
    parts = [OpenPart(part, folder) for part in manifest.parts]
    sums = np.concatenate([part.sums for part in parts])
    if (len(sums), digest_of(sums)) != (gallery.photos, gallery.photo_digest):
        raise IndexFileError(f"{folder}: holds other photos than the gallery")
    names = sorted({name for part in parts for name in part.names})
    landmarks = _JoinedPhotos(parts, distractors=False)
    distractors = _JoinedPhotos(parts, distractors=True)
    index = GalleryIndex(
        names=np.array(names, dtype=object),
        codes=landmarks.codes(names),
        ids=landmarks.column("ids"),
        paths=landmarks.column("paths"),
        vectors=landmarks.column("vectors"),
        distractor_ids=distractors.column("ids"),
        distractor_vectors=distractors.column("vectors"),
        distractor_paths=distractors.column("paths"),
    )
    return index, SearchRows(
        manifest.key,
        landmarks.column("projected"),
        distractors.column("projected"),
        landmarks.candidate_source(),
        distractors.candidate_source(),
    )


def warn_index_files_unusable(error: IndexFileError, folder: Path) -> None:
    """Log a warning that a gallery is searched without its index files."""
    log.warning(
        "%s; the gallery is searched without index files, which is slower, until %s",
        error,
        "they can be read"
        if "may not be read" in str(error)
        else f"`whichlandmark gallery rebuild {folder}` makes them again",
    )


class _JoinedPhotos:
    """The landmark photos, or the distractors, of all parts, by ascending row number.

    A `CandidateSource`; parts without inverted file are compared exactly.
    """

    def __init__(self, parts: Sequence[OpenPart], *, distractors: bool) -> None:
        self._parts = [(part, *part.range(distractors)) for part in parts]
        self._indexes = [part.ivf(distractors) for part in parts]
        self._vectors = [
            HalfRows(part.projected.between(start, stop)) for part, start, stop in self._parts
        ]
        rows = [part.rows[start:stop] for part, start, stop in self._parts]
        self._starts = np.cumsum([0, *map(len, rows)])
        # place: row of the index → position in the concatenated parts; row_at: its inverse.
        self._place = np.argsort(np.concatenate(rows), kind="stable")
        self._row_at = np.empty_like(self._place)
        self._row_at[self._place] = np.arange(len(self._place))

    def column(self, name: str) -> Any:
        """A column of `OpenPart`."""
        columns = [getattr(part, name).between(start, stop) for part, start, stop in self._parts]
        return columns[0] if len(columns) == 1 else JoinedRows(columns, self._place)

    def codes(self, names: list[str]) -> NDArray[np.int64]:
        """Index of each photo's landmark in `names`."""
        code_of = {name: code for code, name in enumerate(names)}
        found = [
            np.array([*(code_of[name] for name in part.names), -1])[part.codes[start:stop]]
            for part, start, stop in self._parts
        ]
        return np.concatenate(found)[self._place]

    def candidate_source(self) -> CandidateSource | None:
        """What proposes search candidates; None without inverted files."""
        if not any(self._indexes):
            return None
        return self._indexes[0] if len(self._indexes) == 1 else self

    def candidates(self, queries: Vectors, least: int) -> NDArray[np.int64]:
        """As `CandidateSource.candidates`; rows are those of the whole index."""
        found = []
        for ivf, start, vectors in zip(self._indexes, self._starts, self._vectors, strict=False):
            if len(vectors):
                rows = (ivf.candidates(queries, least) if ivf
                        else nearest(queries, vectors, least).rows)  # fmt: skip
                found.append(np.where(rows < 0, -1, self._row_at[rows + start]))
        return np.concatenate(found, axis=1)


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
        GalleryError: when the gallery itself is damaged, or changed while it was read.
        DataError: when the disk is full.
    """
    wanted = wanted or IndexNeeds()
    # Locked, because two processes would delete each other's files.
    with file_lock(folder.with_name(f".{folder.name}.lock")):
        state = gallery.state()
        if state.photos < wanted.min_photos:
            delete_index_files(folder)
            return None
        projection, key = wanted.projection, projection_key(wanted.projection)
        parts, old = _current_parts(folder, gallery, state)
        for at, part in enumerate(parts):
            if old is None or (old.key, old.recall) != (key, wanted.recall) or (
                ("projected" in part.columns) != (projection is not None)
            ):  # fmt: skip
                part = with_projection(part, folder, projection)
            parts[at] = part if part.effort else with_ivf(part, folder, wanted.recall)
        manifest = Manifest(
            gallery=gallery_state(state), key=key, recall=wanted.recall, parts=parts
        )
        if manifest != old:
            write_manifest(folder, manifest)
        _delete_other_files(folder, manifest)
        return manifest


def delete_index_files(folder: Path) -> None:
    """Delete the index files; they can be made again from the gallery."""
    if folder.is_dir():
        (folder / MANIFEST_NAME).unlink(missing_ok=True)
        _delete_other_files(folder, None)
        if not any(folder.iterdir()):
            folder.rmdir()


def _delete_other_files(folder: Path, manifest: Manifest | None) -> None:
    """Delete index files that the manifest does not name: of killed runs and earlier versions."""
    named = {column.file for column in manifest.columns()} if manifest else set()
    for path in folder.iterdir():
        ours = any(part in path.name for part in (".npy", ".wlseg", ".manifest.json."))
        if ours and path.name not in named:
            path.unlink(missing_ok=True)


def _current_parts(
    folder: Path, gallery: Gallery, state: Meta
) -> tuple[list[Part], Manifest | None]:
    """Parts with all photos of the gallery, and the old manifest if its parts were reused."""
    # Read before the photos: one that is changed meanwhile then differs from its checksum here.
    rows, sums = gallery.sums()
    try:
        old = read_manifest(folder)
        if old is not None and old.gallery == gallery_state(state):
            check_index_files(folder)
            return old.parts[:], old
        if old is not None and old.gallery["embedder"] == state.embedder:  # and so `dim`
            parts = _changed_parts(folder, gallery, old, rows, sums)
            if parts is not None:
                return parts, old
    except IndexFileError as error:
        log.warning("%s; the index files are made again", error)
    table = gallery.table()
    if not np.array_equal(rows, table.rows):
        raise IndexFileError(f"{gallery.name}: changed while it was read; run the command again")
    return [write_part(folder, table, sums)], None


def _changed_parts(
    folder: Path, gallery: Gallery, old: Manifest, rows: NDArray[np.int64], sums: NDArray[np.int64]
) -> list[Part] | None:
    """The old parts updated to the gallery; None if writing a new base is better.

    rows, sums: of the gallery's photos.
    """
    opened = [OpenPart(part, folder) for part in old.parts]
    stale = []  # of each part, which photos were removed from the gallery or changed in it
    for part in opened:
        place = np.minimum(np.searchsorted(rows, part.rows), max(len(rows) - 1, 0))
        stale.append((rows[place] != part.rows) | (sums[place] != part.sums))
    later = np.setdiff1d(rows, opened[0].rows[~stale[0]]) if opened else rows
    if len(later) > MAX_DELTA_SHARE * len(rows):
        return None
    base = part_without(opened[0], folder, stale[0]) if stale[0].any() else old.parts[0]
    if not len(later):
        return [base]
    if len(opened) > 1 and not stale[1].any() and len(later) == len(opened[1].rows):
        return [base, old.parts[1]]
    return [base, write_part(folder, _photos(gallery, later), sums[np.searchsorted(rows, later)])]


def _photos(gallery: Gallery, rows: NDArray[np.int64]) -> GalleryTable:
    """The photos with these row numbers, without hashes."""
    ids = gallery.ids_of(rows)
    stamps = gallery.stamps(set(ids.tolist()))
    if len(stamps) < len(rows):
        raise IndexFileError(f"{gallery.name}: changed while it was read")
    paths, landmarks = np.empty(len(ids), dtype=object), np.empty(len(ids), dtype=object)
    paths[:], landmarks[:] = [stamps[one][0] for one in ids], [stamps[one][2] for one in ids]
    return GalleryTable(ids, paths, landmarks, ids[:0], gallery.vectors_of(rows), rows)


def check_index_files(folder: Path) -> None:
    """Verify every block of every index file. Raises IndexFileError."""
    manifest = read_manifest(folder)
    for column in manifest.columns() if manifest else ():
        MappedRows(folder, column).check()


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
