"""Index parts, each with its files, and the manifest that lists them.

A part holds some photos of a gallery: one file with rows, texts and stored vectors, one with
projected vectors, one with inverted files.
"""

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

from ...core.disks import unreadable
from ...core.errors import DataError, OptionError
from ...core.files import read_json, write_json
from ...core.json_options import from_json, to_json
from ..records import GalleryTable
from .ivf import MIN_ROWS_FOR_IVF, IvfIndex, build_ivf
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

MANIFEST_NAME = "manifest.json"

BLOCK_ROWS = 16_384  # vectors copied or projected at once


@dataclass(frozen=True, kw_only=True)
class PartFile:
    """An index file: its name in the folder, and its seal (`mapped.write_arrays`)."""

    name: str
    seal: str

    def open(self, folder: Path) -> BlockFile:
        """Open the file. Raises IndexFileError when it is missing or does not match the seal."""
        return BlockFile(folder / Path(self.name).name, self.seal)


@dataclass(frozen=True, kw_only=True)
class SearchEffort:
    """Search effort of an inverted file, and its measured recall; see `ivf.IvfIndex`."""

    probes: int
    refine: int
    recall: float


@dataclass(frozen=True, kw_only=True)
class IndexPart:
    """Some photos of a gallery, those with a landmark before the distractors.

    landmarks, distractors: numbers of photos; photos: file of row numbers, checksums, texts and
    stored vectors; turned: file of projected vectors, None = no projection; cells: file of the
    inverted files of landmark photos and distractors, None = too few photos; effort, bank_effort:
    their search effort.
    """

    landmarks: int
    distractors: int
    photos: PartFile
    turned: PartFile | None = None
    cells: PartFile | None = None
    effort: SearchEffort | None = None
    bank_effort: SearchEffort | None = None

    def files(self) -> Iterator[PartFile]:
        """The existing files of the part."""
        yield from (one for one in (self.photos, self.turned, self.cells) if one)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of manifest.json.

    embedder, dim, generation, count, digest: of the gallery that the parts hold; last_row: its
    highest row number given so far; key: of the projection, "" = none; recall: the target of the
    inverted files.
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
    """Write manifest.json, with a checksum of its content."""
    values = to_json(manifest)
    write_json(folder / MANIFEST_NAME, {"format": FORMAT, "sum": _checksum(values), **values})


def read_manifest(folder: Path) -> Manifest | None:
    """Read manifest.json; None when there is none. Raises IndexFileError when it is damaged."""
    if not (folder / MANIFEST_NAME).exists():
        return None
    if fault := unreadable(folder / MANIFEST_NAME):
        raise IndexFileError(fault)
    try:
        values = read_json(folder / MANIFEST_NAME)
        if values.pop("format") != FORMAT or values.pop("sum") != _checksum(values):
            raise ValueError("of another format, or changed")
        parts = tuple(_part(part) for part in values.pop("parts"))
        return replace(from_json(Manifest, values), parts=parts)
    except (DataError, OptionError, KeyError, TypeError, ValueError) as error:
        raise IndexFileError(f"{folder / MANIFEST_NAME}: damaged ({error})") from None


def _part(values: dict[str, Any]) -> IndexPart:
    kinds = {
        "photos": PartFile,
        "turned": PartFile,
        "cells": PartFile,
        "effort": SearchEffort,
        "bank_effort": SearchEffort,
    }
    fields = {
        name: from_json(kinds[name], value) if name in kinds and value is not None else value
        for name, value in values.items()
    }
    return IndexPart(**fields)


def _checksum(values: dict[str, Any]) -> str:
    return blake2b(json.dumps(values, sort_keys=True).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, eq=False)
class OpenPart:
    """The open files of a part, whose landmark photos come before its distractors."""

    part: IndexPart
    photos: BlockFile
    turned: BlockFile | None
    cells: BlockFile | None

    @classmethod
    def of(cls, part: IndexPart, folder: Path) -> OpenPart:
        """Open the files. Raises IndexFileError when one is missing or does not match its seal."""
        return cls(
            part, part.photos.open(folder),
            part.turned.open(folder) if part.turned else None,
            part.cells.open(folder) if part.cells else None,
        )  # fmt: skip

    def __len__(self) -> int:
        return self.part.landmarks + self.part.distractors

    @property
    def rows(self) -> NDArray[np.int64]:
        """(n,) row numbers, ascending among landmark photos and among distractors."""
        return self.photos.whole("rows")

    @property
    def sums(self) -> NDArray[np.int64]:
        """(n,) checksums of the photos, as in the gallery."""
        return self.photos.whole("sums")

    def landmarks(self) -> tuple[list[str], NDArray[np.int32]]:
        """Landmark names, and (n,) indices into them, −1 = distractor."""
        names: list[str] = MappedTexts(self.photos, "names")[:].tolist()
        return names, self.photos.whole("codes")

    def projected_vectors(self, start: int, stop: int) -> MappedRows:
        """The vectors of rows start … stop − 1 as they are searched."""
        return MappedRows(self.turned or self.photos, "vectors", start, stop)

    def ivf_index(self, *, distractors: bool) -> IvfIndex | None:
        """The inverted file of the landmark photos, or of the distractors, if there is one."""
        effort = self.part.bank_effort if distractors else self.part.effort
        if self.cells is None or effort is None:
            return None
        landmarks = self.part.landmarks
        rows = self.rows[landmarks:] if distractors else self.rows[:landmarks]
        data = self.cells.whole("bank" if distractors else "landmarks")
        return IvfIndex.from_bytes(
            data, rows, probes=effort.probes, refine=effort.refine, recall=effort.recall
        )


def write_part(folder: Path, table: GalleryTable, sums: NDArray[np.int64]) -> IndexPart:
    """Write photos as a part without projected vectors and inverted files.

    Args:
        folder: of the index files.
        table: N photos.
        sums: (N,) their checksums.
    """
    distractor = table.landmarks == ""
    order = np.argsort(distractor, kind="stable")
    names, codes = np.unique(table.landmarks[~distractor], return_inverse=True)
    all_codes = np.full(len(order), -1, dtype=np.int32)
    all_codes[: len(codes)] = codes
    count = len(order)
    vectors = StreamedArray("<f2", (count, table.vectors.shape[1]),
                       _blocks_of_rows(table.vectors, order))  # fmt: skip
    file = _write_file(folder, "photos", {
        "rows": table.rows[order], "sums": sums[order], "codes": all_codes,
        **text_arrays("names", names.tolist()), **text_arrays("ids", table.ids[order].tolist()),
        **text_arrays("paths", table.paths[order].tolist()), "vectors": vectors,
    })  # fmt: skip
    return IndexPart(landmarks=len(codes), distractors=count - len(codes), photos=file)


def part_without_rows(opened: OpenPart, folder: Path, removed: NDArray[np.int64]) -> IndexPart:
    """Write the part again, in new files, without the photos with these row numbers."""
    rows = opened.rows
    kept = np.flatnonzero(~np.isin(rows, removed))
    names, codes = opened.landmarks()
    photos, count = opened.photos, int((kept < opened.part.landmarks).sum())
    present, new_codes = np.unique(codes[kept[:count]], return_inverse=True)
    all_codes = np.full(len(kept), -1, dtype=np.int32)
    all_codes[:count] = new_codes
    raw = MappedRows(photos, "vectors")
    file = _write_file(folder, "photos", {
        "rows": rows[kept], "sums": opened.sums[kept], "codes": all_codes,
        **text_arrays("names", [names[code] for code in present]),
        **text_arrays("ids", MappedTexts(photos, "ids")[kept].tolist()),
        **text_arrays("paths", MappedTexts(photos, "paths")[kept].tolist()),
        "vectors": StreamedArray("<f2", (len(kept), raw.shape[1]), _blocks_of_rows(raw, kept)),
    })  # fmt: skip
    turned = None
    if opened.turned:
        old = MappedRows(opened.turned, "vectors")
        new = StreamedArray("<f2", (len(kept), old.shape[1]), _blocks_of_rows(old, kept))
        turned = _write_file(folder, "turned", {"vectors": new})
    part = replace(opened.part, landmarks=count, distractors=len(kept) - count, photos=file,
                   turned=turned, cells=None)  # fmt: skip
    indexes = {name: ivf.without(removed) for name, ivf in _open_ivf(opened).items()}
    return replace(part, cells=_write_ivf(folder, indexes) if indexes else None)


def with_projected_rows(part: IndexPart, folder: Path, projection: Projection | None) -> IndexPart:
    """The part with vectors of another projection, and so without inverted files."""
    plain = replace(part, turned=None, cells=None, effort=None, bank_effort=None)
    if projection is None:
        return plain
    raw = MappedRows(part.photos.open(folder), "vectors")
    blocks = (
        projection(raw[start : start + BLOCK_ROWS]).astype("<f2")
        for start in range(0, len(raw), BLOCK_ROWS)
    )
    rows = StreamedArray("<f2", (len(raw), len(projection.axes)), blocks)
    return replace(plain, turned=_write_file(folder, "turned", {"vectors": rows}))


def with_ivf(part: IndexPart, folder: Path, recall: float) -> IndexPart:
    """The part with inverted files of its landmark photos and distractors, if there are enough."""
    opened = OpenPart.of(replace(part, cells=None), folder)
    codes = opened.landmarks()[1][: part.landmarks].astype(np.int64)
    indexes: dict[str, IvfIndex] = {}
    for name, start, stop in (("landmarks", 0, part.landmarks),
                              ("bank", part.landmarks, len(opened))):  # fmt: skip
        if stop - start >= MIN_ROWS_FOR_IVF and recall < 1:
            indexes[name] = build_ivf(
                opened.projected_vectors(start, stop),
                codes if name == "landmarks" else None,
                numbers=opened.rows[start:stop],
                recall=recall,
            )
    if not indexes:
        return part
    efforts = {
        name: SearchEffort(probes=ivf.probes, refine=ivf.refine, recall=ivf.recall)
        for name, ivf in indexes.items()
    }
    return replace(
        part,
        cells=_write_ivf(folder, indexes),
        effort=efforts.get("landmarks"),
        bank_effort=efforts.get("bank"),
    )


def _open_ivf(opened: OpenPart) -> dict[str, IvfIndex]:
    """The existing inverted files of a part, by their names in the file."""
    both = {
        "landmarks": opened.ivf_index(distractors=False),
        "bank": opened.ivf_index(distractors=True),
    }
    return {name: ivf for name, ivf in both.items() if ivf is not None}


def _write_ivf(folder: Path, indexes: dict[str, IvfIndex]) -> PartFile:
    return _write_file(folder, "cells", {name: ivf.to_bytes() for name, ivf in indexes.items()})


def _write_file(
    folder: Path, kind: str, arrays: dict[str, NDArray[Any] | StreamedArray]
) -> PartFile:
    """Write an index file under a new name, because readers may have the old files open."""
    name = f"{kind}-{secrets.token_hex(8)}.wlseg"
    return PartFile(name=name, seal=write_arrays(folder / name, arrays))


def _blocks_of_rows(vectors: Any, rows: NDArray[np.int64]) -> Iterator[NDArray[Any]]:
    for start in range(0, len(rows), BLOCK_ROWS):
        yield vectors[rows[start : start + BLOCK_ROWS]]
