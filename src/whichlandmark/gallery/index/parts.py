"""Index parts and their manifest."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import DataError, OptionError
from ...core.files import read_json, write_json
from ...core.json_options import from_json, to_json
from ..records import GalleryTable
from .ivf import WORTHWHILE, IvfIndex, build_ivf
from .mapped import (
    BlockFile,
    IndexFileError,
    MappedRows,
    MappedTexts,
    StreamedArray,
    text_arrays,
    write_arrays,
)
from .projection import Projection

FORMAT = 1

NAME = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class PartFile:
    """A segment file: its name in the folder, and its seal."""

    name: str
    seal: str

    def open(self, folder: Path) -> BlockFile:
        """Raises SegmentError when it is not that file."""
        return BlockFile(folder / Path(self.name).name, self.seal)


@dataclass(frozen=True, kw_only=True)
class SearchEffort:
    """How cells are searched, and the recall that was measured with it."""

    probes: int
    refine: int
    recall: float


@dataclass(frozen=True, kw_only=True)
class IndexPart:
    """Some photos of a gallery: `landmarks` photos with a landmark, then `distractors`.

    photos: rows, checksums, texts, vectors as embedded; turned: vectors as searched, None = the
    same; cells: indexes of those, of landmark photos and distractors, None = too few.
    """

    landmarks: int
    distractors: int
    photos: PartFile
    turned: PartFile | None = None
    cells: PartFile | None = None
    effort: SearchEffort | None = None
    bank_effort: SearchEffort | None = None

    def files(self) -> Iterator[PartFile]:
        """All files of it."""
        yield from (one for one in (self.photos, self.turned, self.cells) if one)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """embedder … digest: of the gallery that the parts hold; key: of the change of axes behind
    `turned`; recall: what the cells were asked for.
    """

    embedder: str
    dim: int
    generation: int
    count: int
    digest: int
    last_row: int
    key: str
    recall: float
    parts: tuple[IndexPart, ...] = ()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """With a checksum of itself."""
    values = to_json(manifest)
    write_json(folder / NAME, {"format": FORMAT, "sum": _sum(values), **values})


def read_manifest(folder: Path) -> Manifest | None:
    """None when there is none. Raises SegmentError when it is damaged."""
    if not (folder / NAME).exists():
        return None
    try:
        values = read_json(folder / NAME)
        if values.pop("format") != FORMAT or values.pop("sum") != _sum(values):
            raise ValueError("of another format, or changed")
        parts = tuple(_part(part) for part in values.pop("parts"))
        return replace(from_json(Manifest, values), parts=parts)
    except (DataError, OptionError, KeyError, TypeError, ValueError) as error:
        raise IndexFileError(f"{folder / NAME}: damaged ({error})") from None


def _part(values: dict[str, Any]) -> IndexPart:
    kinds = {
        "photos": PartFile,
        "turned": PartFile,
        "cells": PartFile,
        "effort": SearchEffort,
        "bank_effort": SearchEffort,
    }
    made = {
        name: from_json(kinds[name], value) if name in kinds and value is not None else value
        for name, value in values.items()
    }
    return IndexPart(**made)


def _sum(values: dict[str, Any]) -> str:
    return blake2b(json.dumps(values, sort_keys=True).encode(), digest_size=16).hexdigest()


BLOCK = 16_384  # rows turned at a time


@dataclass(frozen=True, eq=False)
class OpenPart:
    """The open files of a part. Landmark photos stand before distractors."""

    part: IndexPart
    photos: BlockFile
    turned: BlockFile | None
    cells: BlockFile | None

    @classmethod
    def of(cls, part: IndexPart, folder: Path) -> OpenPart:
        """Raises SegmentError when a file is missing or another."""
        return cls(
            part, part.photos.open(folder),
            part.turned.open(folder) if part.turned else None,
            part.cells.open(folder) if part.cells else None,
        )  # fmt: skip

    def __len__(self) -> int:
        return self.part.landmarks + self.part.distractors

    @property
    def rows(self) -> NDArray[np.int64]:
        """(n,) row numbers, rising among landmark photos and among distractors."""
        return self.photos.whole("rows")

    @property
    def sums(self) -> NDArray[np.int64]:
        """(n,) checksums, as the gallery has them."""
        return self.photos.whole("sums")

    def landmarks(self) -> tuple[list[str], NDArray[np.int32]]:
        """Names, and (n,) codes into them, −1 = distractor."""
        names: list[str] = MappedTexts(self.photos, "names")[:].tolist()
        return names, self.photos.whole("codes")

    def searched(self, start: int, stop: int) -> MappedRows:
        """Vectors of rows start … stop as they are searched."""
        return MappedRows(self.turned or self.photos, "vectors", start, stop)

    def cells_of(self, *, bank: bool) -> IvfIndex | None:
        """The index of the landmark photos, or of the distractors."""
        effort = self.part.bank_effort if bank else self.part.effort
        if self.cells is None or effort is None:
            return None
        first, count = self.part.landmarks, len(self)
        rows = self.rows[first:count] if bank else self.rows[:first]
        data = self.cells.whole("bank" if bank else "landmarks")
        return IvfIndex.from_bytes(
            data, rows, probes=effort.probes, refine=effort.refine, recall=effort.recall
        )


def write_part(folder: Path, table: GalleryTable, sums: NDArray[np.int64]) -> IndexPart:
    """The photos of a table, with their checksums (N,), as a part without turned rows or cells."""
    bank = table.landmarks == ""
    order = np.argsort(bank, kind="stable")
    names, codes = np.unique(table.landmarks[~bank], return_inverse=True)
    all_codes = np.full(len(bank), -1, dtype=np.int32)
    all_codes[: len(codes)] = codes
    count = len(order)
    vectors = StreamedArray("<f2", (count, table.vectors.shape[1]),
                       _taken(table.vectors, order))  # fmt: skip
    file = _write(folder, "photos", {
        "rows": table.rows[order], "sums": sums[order], "codes": all_codes,
        **text_arrays("names", names.tolist()), **text_arrays("ids", table.ids[order].tolist()),
        **text_arrays("paths", table.paths[order].tolist()), "vectors": vectors,
    })  # fmt: skip
    return IndexPart(landmarks=len(codes), distractors=count - len(codes), photos=file)


def without(opened: OpenPart, folder: Path, gone: NDArray[np.int64]) -> IndexPart:
    """The same part without the rows of these numbers, in new files."""
    rows = opened.rows
    kept = np.flatnonzero(~np.isin(rows, gone))
    names, codes = opened.landmarks()
    photos, count = opened.photos, int((kept < opened.part.landmarks).sum())
    present, new_codes = np.unique(codes[kept[:count]], return_inverse=True)
    all_codes = np.full(len(kept), -1, dtype=np.int32)
    all_codes[:count] = new_codes
    raw = MappedRows(photos, "vectors")
    file = _write(folder, "photos", {
        "rows": rows[kept], "sums": opened.sums[kept], "codes": all_codes,
        **text_arrays("names", [names[code] for code in present]),
        **text_arrays("ids", MappedTexts(photos, "ids")[kept].tolist()),
        **text_arrays("paths", MappedTexts(photos, "paths")[kept].tolist()),
        "vectors": StreamedArray("<f2", (len(kept), raw.shape[1]), _taken(raw, kept)),
    })  # fmt: skip
    turned = None
    if opened.turned:
        old = MappedRows(opened.turned, "vectors")
        new = StreamedArray("<f2", (len(kept), old.shape[1]), _taken(old, kept))
        turned = _write(folder, "turned", {"vectors": new})
    part = replace(opened.part, landmarks=count, distractors=len(kept) - count, photos=file,
                   turned=turned, cells=None)  # fmt: skip
    left = {name: cells.without(gone) for name, cells in _all_cells(opened).items()}
    return replace(part, cells=_write_cells(folder, left) if left else None)


def with_turned(part: IndexPart, folder: Path, projection: Projection | None) -> IndexPart:
    """The part with its vectors as they are searched; without cells, which are of these."""
    plain = replace(part, turned=None, cells=None, effort=None, bank_effort=None)
    if projection is None:
        return plain
    raw = MappedRows(part.photos.open(folder), "vectors")
    rows = StreamedArray("<f2", (len(raw), len(projection.axes)), _turned(raw, projection))
    return replace(plain, turned=_write(folder, "turned", {"vectors": rows}))


def with_cells(part: IndexPart, folder: Path, recall: float) -> IndexPart:
    """The part with cells around its landmark photos and distractors, where there are many."""
    opened = OpenPart.of(replace(part, cells=None), folder)
    codes = opened.landmarks()[1][: part.landmarks].astype(np.int64)
    made: dict[str, IvfIndex] = {}
    for name, start, stop in (("landmarks", 0, part.landmarks),
                              ("bank", part.landmarks, len(opened))):  # fmt: skip
        if stop - start >= WORTHWHILE and recall < 1:
            made[name] = build_ivf(
                opened.searched(start, stop), codes if name == "landmarks" else None,
                numbers=opened.rows[start:stop], recall=recall,
            )  # fmt: skip
    if not made:
        return part
    efforts = {name: SearchEffort(probes=c.probes, refine=c.refine, recall=c.recall)
               for name, c in made.items()}  # fmt: skip
    return replace(part, cells=_write_cells(folder, made), effort=efforts.get("landmarks"),
                   bank_effort=efforts.get("bank"))  # fmt: skip


def _all_cells(opened: OpenPart) -> dict[str, IvfIndex]:
    both = {"landmarks": opened.cells_of(bank=False), "bank": opened.cells_of(bank=True)}
    return {name: cells for name, cells in both.items() if cells is not None}


def _write_cells(folder: Path, made: dict[str, IvfIndex]) -> PartFile:
    return _write(folder, "cells", {name: cells.to_bytes() for name, cells in made.items()})


def _write(folder: Path, kind: str, arrays: dict[str, NDArray[Any] | StreamedArray]) -> PartFile:
    """Under a name that no other file has: what readers have open stays as it is."""
    name = f"{kind}-{secrets.token_hex(8)}.wlseg"
    return PartFile(name=name, seal=write_arrays(folder / name, arrays))


def _taken(vectors: Any, rows: NDArray[np.int64]) -> Iterator[NDArray[Any]]:
    for start in range(0, len(rows), BLOCK):
        yield vectors[rows[start : start + BLOCK]]


def _turned(vectors: Any, projection: Projection) -> Iterator[NDArray[Any]]:
    for start in range(0, len(vectors), BLOCK):
        yield projection(vectors[start : start + BLOCK]).astype("<f2")
