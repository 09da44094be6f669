"""Open the index of a gallery: from its index files if these are intact, else from the gallery."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.types import Vectors
from ..address import read_link
from ..base import Gallery
from ..checksums import Meta, digest_of
from . import GalleryIndex, SearchRows
from .exact import CandidateSource, nearest
from .ivf import IvfIndex
from .mapped import IndexFileError, JoinedRows, MappedRows, MappedTexts
from .parts import Manifest, OpenPart, read_manifest
from .projection import Projection
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
    if opened is not None:
        return opened.index, opened.search_rows
    return GalleryIndex.of(gallery.table()), None


def searched_on_server(folder: Path) -> bool:
    """Whether a database server searches the folder's gallery."""
    link = read_link(folder)
    return link is not None and link.search == "there"


@dataclass(frozen=True, eq=False)
class OpenIndex:
    """The index of a gallery from its index files. search_rows: its projected vectors."""

    index: GalleryIndex
    search_rows: SearchRows


def open_index_files(folder: Path, gallery: Meta) -> OpenIndex | None:
    """Open the index files of a gallery; None when there are none, or of another generation.

    Most data is read and verified when it is indexed, which may raise IndexFileError too.

    Args:
        folder: of the index files.
        gallery: the state that the files must have been made from.

    Raises:
        IndexFileError: when a file is missing, truncated or changed.
    """
    manifest = read_manifest(folder)
    if manifest is None or not matches_gallery(manifest, gallery) or not manifest.parts:
        return None
    parts = [OpenPart.of(part, folder) for part in manifest.parts]
    sums = np.concatenate([part.sums for part in parts])
    if (len(sums), digest_of(sums)) != (gallery.photos, gallery.photo_digest):
        raise IndexFileError(f"{folder}: holds other photos than the gallery")
    names = sorted({name for part in parts for name in part.landmarks()[0]})
    landmarks = _JoinedPhotos(parts, distractors=False)
    distractors = _JoinedPhotos(parts, distractors=True)
    index = GalleryIndex(
        names=np.array(names, dtype=object),
        codes=landmarks.codes(names),
        ids=landmarks.texts("ids"),
        paths=landmarks.texts("paths"),
        vectors=landmarks.stored_vectors(),
        distractor_ids=distractors.texts("ids"),
        distractor_vectors=distractors.stored_vectors(),
        distractor_paths=distractors.texts("paths"),
    )
    search_rows = SearchRows(
        manifest.key,
        landmarks.projected_vectors(),
        distractors.projected_vectors(),
        landmarks.candidate_source(),
        distractors.candidate_source(),
    )
    return OpenIndex(index, search_rows)


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


def projection_key(projection: Projection | None) -> str:
    """A hash that identifies a projection; "" = none."""
    if projection is None:
        return ""
    data = projection.mean.tobytes() + projection.axes.tobytes()
    return blake2b(data, digest_size=16).hexdigest()


class _JoinedPhotos:
    """The landmark photos, or the distractors, of all parts, by ascending row number."""

    def __init__(self, parts: Sequence[OpenPart], *, distractors: bool) -> None:
        self.parts, self.distractors = parts, distractors
        self.ranges = [
            (part.part.landmarks, len(part)) if distractors else (0, part.part.landmarks)
            for part in parts
        ]
        rows = [part.rows[start:stop] for part, start, stop in self.part_ranges()]
        self.starts = np.cumsum([0, *map(len, rows)])
        # place: row of the index → position in the concatenated parts; row_at: its inverse.
        self.place = np.argsort(np.concatenate(rows), kind="stable")
        self.row_at = np.empty_like(self.place)
        self.row_at[self.place] = np.arange(len(self.place))

    def part_ranges(self) -> list[tuple[OpenPart, int, int]]:
        """Each part with the range of its photos that belong here."""
        return [
            (part, start, stop) for part, (start, stop) in zip(self.parts, self.ranges, strict=True)
        ]

    def texts(self, name: str) -> Any:
        return self._joined(
            [
                MappedTexts(part.photos, name, start, stop)
                for part, start, stop in self.part_ranges()
            ]
        )

    def stored_vectors(self) -> Any:
        """Vectors as the gallery stores them."""
        return self._joined(
            [
                MappedRows(part.photos, "vectors", start, stop)
                for part, start, stop in self.part_ranges()
            ]
        )

    def projected_vectors(self) -> Any:
        """Vectors as they are searched."""
        return self._joined(
            [part.projected_vectors(start, stop) for part, start, stop in self.part_ranges()]
        )

    def codes(self, names: list[str]) -> NDArray[np.int64]:
        """Index of each photo's landmark in `names`."""
        code_of = {name: code for code, name in enumerate(names)}
        found = []
        for part, start, stop in self.part_ranges():
            part_names, codes = part.landmarks()
            new_codes = np.array([code_of[name] for name in part_names], dtype=np.int64)
            found.append(
                new_codes[codes[start:stop]] if part_names else np.empty(0, dtype=np.int64)
            )
        return np.concatenate(found)[self.place]

    def candidate_source(self) -> CandidateSource | None:
        """The inverted files of the parts; None where there are none, because all are compared."""
        found = [part.ivf_index(distractors=self.distractors) for part in self.parts]
        if not any(found):
            return None
        return found[0] if len(found) == 1 else _JoinedSources(self, found)

    def _joined(self, columns: list[Any]) -> Any:
        return columns[0] if len(columns) == 1 else JoinedRows(columns, self.place)


class _JoinedSources:
    """A `CandidateSource` over several parts; parts without inverted file are compared exactly."""

    def __init__(self, photos: _JoinedPhotos, indexes: Sequence[IvfIndex | None]) -> None:
        self._indexes = indexes
        self._row_at, self._starts = photos.row_at, photos.starts
        self._vectors = [
            part.projected_vectors(start, stop) for part, start, stop in photos.part_ranges()
        ]

    def candidates(self, queries: Vectors, least: int) -> NDArray[np.int64]:
        """As `CandidateSource.candidates`; rows are those of the whole index."""
        found = []
        for ivf, start, vectors in zip(
            self._indexes, self._starts[:-1], self._vectors, strict=True
        ):
            if len(vectors):
                rows = (
                    ivf.candidates(queries, least) if ivf
                    else nearest(queries, vectors, least).rows
                )  # fmt: skip
                found.append(np.where(rows < 0, -1, self._row_at[rows + start]))
        return np.concatenate(found, axis=1)
