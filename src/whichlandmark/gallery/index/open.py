"""Open the index of a gallery: from its index files if these are intact, else from the gallery."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.types import Vectors
from ..address import read_link
from ..checksums import Meta, digest_of
from ..protocol import Gallery
from . import GalleryIndex, SearchRows
from .exact import CandidateSource, nearest
from .mapped import IndexFileError, JoinedRows
from .parts import Manifest, OpenPart, read_manifest
from .remote import remote_index

INDEX_FOLDER = "segments"  # in a recognizer folder, for the index files

log = logging.getLogger("whichlandmark")


def open_index(folder: Path, gallery: Gallery) -> tuple[GalleryIndex, SearchRows | None]:
    """The index of a recognizer folder's gallery.

    Damaged index files cause a warning, outdated ones are ignored; the gallery is read then.

    Returns:
        The index, and its projected vectors; None = not prepared.

    Raises:
        GalleryError: when the gallery itself is damaged.
    """
    if searched_on_server(folder):
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
    """Whether a database server searches the folder's gallery."""
    link = read_link(folder)
    return link is not None and link.search == "there"


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
    if manifest is None or not matches_gallery(manifest, gallery) or not manifest.parts:
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


def matches_gallery(manifest: Manifest, gallery: Meta) -> bool:
    """Whether index files were made from exactly this state of the gallery."""
    return (manifest.embedder, manifest.dim, manifest.generation, manifest.count,
            manifest.digest) == (gallery.embedder, gallery.dim, gallery.generation,
                                 gallery.photos, gallery.photo_digest)  # fmt: skip


class _JoinedPhotos:
    """The landmark photos, or the distractors, of all parts, by ascending row number.

    A `CandidateSource`; parts without inverted file are compared exactly.
    """

    def __init__(self, parts: Sequence[OpenPart], *, distractors: bool) -> None:
        self._parts = [(part, *part.range(distractors)) for part in parts]
        self._indexes = [part.ivf(distractors) for part in parts]
        rows = [part.rows[start:stop] for part, start, stop in self._parts]
        self._starts = np.cumsum([0, *map(len, rows)])
        # place: row of the index → position in the concatenated parts; row_at: its inverse.
        self._place = np.argsort(np.concatenate(rows), kind="stable")
        self._row_at = np.argsort(self._place, kind="stable")

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
        for ivf, begin, (part, start, stop) in zip(
            self._indexes, self._starts[:-1], self._parts, strict=True
        ):
            if start < stop:
                rows = (
                    ivf.candidates(queries, least) if ivf
                    else nearest(queries, part.projected.between(start, stop), least).rows
                )  # fmt: skip
                found.append(np.where(rows < 0, -1, self._row_at[rows + begin]))
        return np.concatenate(found, axis=1)
