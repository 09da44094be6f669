"""Open the index of a gallery: from index files where they are whole, else from the gallery."""

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
from ..checksums import Meta, digest_of
from ..protocol import Gallery
from . import GalleryIndex, SearchRows
from .exact import CandidateSource, nearest
from .ivf import IvfIndex
from .mapped import IndexFileError, JoinedRows, MappedTexts
from .parts import Manifest, OpenPart, read_manifest
from .projection import Projection
from .remote import remote_index

SEGMENTS = "segments"


def open_index(folder: Path, gallery: Gallery) -> tuple[GalleryIndex, SearchRows | None]:
    """What is searched. Damaged or old segment files are told of, and passed over.

    Raises GalleryError when the gallery itself is damaged.
    """
    if searched_there(folder):
        return remote_index(gallery)
    ready = None
    for last in (False, True):  # a writer may have put other files in the place of those we began
        try:
            ready = open_segments(folder / SEGMENTS, gallery.state())
            break
        except IndexFileError as error:
            if last:
                warn_of_segments(error, folder)
    if ready is not None:
        return ready.index, ready.prepared
    return GalleryIndex.of(gallery.table()), None


def searched_there(folder: Path) -> bool:
    """Is the gallery on a server that searches it?"""
    link = read_link(folder)
    return link is not None and link.search == "there"


log = logging.getLogger("whichlandmark")


@dataclass(frozen=True, eq=False)
class OpenIndex:
    """A gallery from its segment files."""

    index: GalleryIndex
    prepared: SearchRows


def open_segments(folder: Path, gallery: Meta) -> OpenIndex | None:
    """The arrays of exactly this state of the gallery; None when there are none, or older ones.

    Raises SegmentError when a file is missing, cut or changed. What is read later is checked
    then, and may raise it too.
    """
    manifest = read_manifest(folder)
    if manifest is None or not is_of(manifest, gallery) or not manifest.parts:
        return None
    parts = [OpenPart.of(part, folder) for part in manifest.parts]
    sums = np.concatenate([part.sums for part in parts])
    if (len(sums), digest_of(sums)) != (gallery.photos, gallery.photo_digest):
        raise IndexFileError(f"{folder}: holds other photos than the gallery")
    names = sorted({name for part in parts for name in part.landmarks()[0]})
    landmarks = _Side(parts, bank=False)
    bank = _Side(parts, bank=True)
    index = GalleryIndex(
        names=_objects(names), codes=landmarks.codes(names),
        ids=landmarks.texts("ids"), paths=landmarks.texts("paths"),
        vectors=landmarks.raw(), bank_ids=bank.texts("ids"), bank=bank.raw(),
        bank_paths=bank.texts("paths"),
    )  # fmt: skip
    prepared = SearchRows(manifest.key, landmarks.searched(), bank.searched(), landmarks.cells(),
                        bank.cells())  # fmt: skip
    return OpenIndex(index, prepared)


def warn_of_segments(error: IndexFileError, folder: Path) -> None:
    """Say that the gallery of a recognizer folder is searched without its segment files."""
    log.warning(
        "%s; answers come from the gallery itself, slower, until `whichlandmark gallery rebuild "
        "%s` makes them again", error, folder,
    )  # fmt: skip


def is_of(manifest: Manifest, gallery: Meta) -> bool:
    """Was it made of exactly this state of the gallery?"""
    return (manifest.embedder, manifest.dim, manifest.generation, manifest.count,
            manifest.digest) == (gallery.embedder, gallery.dim, gallery.generation,
                                 gallery.photos, gallery.photo_digest)  # fmt: skip


def projection_key(projection: Projection | None) -> str:
    """A name for a change of axes; "" = none."""
    if projection is None:
        return ""
    data = projection.mean.tobytes() + projection.axes.tobytes()
    return blake2b(data, digest_size=16).hexdigest()


class _Side:
    """Landmark photos, or distractors, of all parts as one, by rising row number."""

    def __init__(self, parts: Sequence[OpenPart], *, bank: bool) -> None:
        self.parts, self.bank = parts, bank
        ends = [len(p) if bank else p.part.landmarks for p in parts]
        self.ranges = [(p.part.landmarks if bank else 0, e) for p, e in zip(parts, ends)]  # noqa: B905
        rows = [p.rows[a:b] for p, (a, b) in zip(parts, self.ranges, strict=True)]
        self.starts = np.cumsum([0, *map(len, rows)])
        self.place = np.argsort(np.concatenate(rows), kind="stable")  # row → place in the parts
        self.row_at = np.empty_like(self.place)
        self.row_at[self.place] = np.arange(len(self.place))

    def joined(self, columns: list[Any]) -> Any:
        return columns[0] if len(columns) == 1 else JoinedRows(columns, self.place)

    def texts(self, name: str) -> Any:
        return self.joined([MappedTexts(p.photos, name, a, b) for p, a, b in self._each()])

    def raw(self) -> Any:
        from .mapped import MappedRows

        return self.joined([MappedRows(p.photos, "vectors", a, b) for p, a, b in self._each()])

    def searched(self) -> Any:
        return self.joined([p.searched(a, b) for p, a, b in self._each()])

    def codes(self, names: list[str]) -> NDArray[np.int64]:
        code_of = {name: code for code, name in enumerate(names)}
        found = []
        for part, start, stop in self._each():
            own, codes = part.landmarks()
            known = np.array([code_of[name] for name in own], dtype=np.int64)
            found.append(known[codes[start:stop]] if len(own) else np.empty(0, dtype=np.int64))
        return np.concatenate(found)[self.place]

    def cells(self) -> CandidateSource | None:
        """None where there is nothing that is quicker than comparing all."""
        found = [part.cells_of(bank=self.bank) for part in self.parts]
        if not any(found):
            return None
        return found[0] if len(found) == 1 else _JoinedCells(self, found)

    def _each(self) -> list[tuple[OpenPart, int, int]]:
        return [(p, *r) for p, r in zip(self.parts, self.ranges, strict=True)]


class _JoinedCells:
    """The cells of several parts; a part without cells is compared whole."""

    def __init__(self, side: _Side, cells: Sequence[IvfIndex | None]) -> None:
        self._cells = cells
        self._row_at, self._starts = side.row_at, side.starts
        self._vectors = [part.searched(a, b) for part, a, b in side._each()]

    def candidates(self, queries: Vectors, least: int) -> NDArray[np.int64]:
        """As `Cells.candidates`, of all parts."""
        found = []
        for cells, start, own in zip(self._cells, self._starts[:-1], self._vectors, strict=True):
            if len(own):
                rows = (cells.candidates(queries, least) if cells
                        else nearest(queries, own, least).rows)  # fmt: skip
                found.append(np.where(rows < 0, -1, self._row_at[rows + start]))
        return np.concatenate(found, axis=1)


def _objects(texts: list[str]) -> NDArray[np.object_]:
    column = np.empty(len(texts), dtype=object)
    column[:] = texts
    return column
