"""Index parts (a base and at most one delta), each of several columns, and their manifest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.disks import unreadable
from ...core.errors import DataError
from ...core.files import read_json, write_json
from ..checksums import Meta
from ..records import GalleryTable
from .ivf import MIN_ROWS_FOR_IVF, IvfIndex, build_ivf
from .mapped import (
    Column,
    IndexFileError,
    JoinedRows,
    MappedRows,
    MappedTexts,
    write_column,
)
from .projection import Projection

FORMAT = 2

MANIFEST_NAME = "manifest.json"

BLOCK_ROWS = 16_384  # vectors copied or projected at once

IVF_COLUMNS = {False: "ivf", True: "distractor_ivf"}  # of landmark photos, of distractors


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some photos of a gallery, those with a landmark before the distractors.

    columns: "numbers", (3, n) row numbers, checksums and landmark codes (−1 = distractor);
    "starts", "texts": the names of landmarks, then all ids, then all paths (`MappedTexts`);
    "vectors" as stored; "projected", if there is a projection; "ivf", "distractor_ivf", where there
    are enough photos, with their search effort in `effort`.
    """

    columns: dict[str, Column]
    effort: dict[str, dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of manifest.json.

    gallery: the state that the parts hold (`gallery_state`); key: of the projection, "" = none;
    recall: the target of the inverted files; parts: the base, the delta.
    """

    gallery: dict[str, Any]
    key: str
    recall: float
    parts: list[Part]

    def columns(self) -> list[Column]:
        """The columns of all parts."""
        return [column for part in self.parts for column in part.columns.values()]


def gallery_state(meta: Meta) -> dict[str, Any]:
    """The part of a gallery's state that index files are made from."""
    names = ("embedder", "dim", "generation", "photos", "photo_digest")
    return {name: getattr(meta, name) for name in names}


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write manifest.json, with a checksum of its content."""
    values = asdict(manifest)
    write_json(folder / MANIFEST_NAME, {"format": FORMAT, "sum": _checksum(values), **values})


def read_manifest(folder: Path) -> Manifest | None:
    """Read manifest.json; None when there is none. Raises IndexFileError when it is damaged."""
    path = folder / MANIFEST_NAME
    if not path.exists():
        return None
    if fault := unreadable(path):
        raise IndexFileError(fault)
    try:
        values = read_json(path)
        if values.pop("format") != FORMAT:
            raise IndexFileError(f"{path}: written by another version of whichlandmark")
        if values.pop("sum") != _checksum(values):
            raise ValueError("changed")
        for part in values["parts"]:
            part["columns"] = {name: Column(**one) for name, one in part["columns"].items()}
        return Manifest(**{**values, "parts": [Part(**part) for part in values["parts"]]})
    except (DataError, KeyError, TypeError, ValueError) as error:
        raise IndexFileError(f"{path}: damaged ({error})") from None


def _checksum(values: dict[str, Any]) -> str:
    return blake2b(json.dumps(values, sort_keys=True).encode(), digest_size=16).hexdigest()


class OpenPart:
    """A part whose files are open. All but vectors is verified at once.

    rows, sums, codes: (n,) row numbers, ascending among landmark photos and among distractors, the
    checksums of the photos, and the indices of their landmarks in `names`; landmarks: number of
    photos with one; ids, paths, vectors, projected: one for each photo.

    Raises:
        IndexFileError: when a file is missing or damaged.
    """

    def __init__(self, part: Part, folder: Path) -> None:
        self.part = part
        self.columns = {name: MappedRows(folder, one) for name, one in part.columns.items()}
        self.rows, self.sums, self.codes = self.columns["numbers"][:]
        self.landmarks = int(np.count_nonzero(self.codes >= 0))
        texts = MappedTexts(self.columns["starts"][:], self.columns["texts"][:])
        paths = len(texts) - len(self.rows)
        ids = paths - len(self.rows)
        self.names: list[str] = texts[:ids].tolist()
        self.ids, self.paths = texts.between(ids, paths), texts.between(paths, len(texts))
        self.vectors = self.columns["vectors"]
        self.projected = self.columns.get("projected", self.vectors)

    def range(self, distractors: bool) -> tuple[int, int]:
        """Where the landmark photos, or the distractors, begin and end."""
        return (self.landmarks, len(self.rows)) if distractors else (0, self.landmarks)

    def ivf(self, distractors: bool) -> IvfIndex | None:
        """The inverted file of the landmark photos, or of the distractors, if there is one."""
        name = IVF_COLUMNS[distractors]
        if name not in self.columns:
            return None
        rows = self.rows[slice(*self.range(distractors))]
        return IvfIndex.from_bytes(self.columns[name][:], rows, self.part.effort[name])

    def table(self, kept: NDArray[np.int64]) -> GalleryTable:
        """The photos at these places, without hashes; their vectors are read when indexed."""
        names = np.array([*self.names, ""], dtype=object)
        return GalleryTable(
            ids=self.ids[kept], paths=self.paths[kept], landmarks=names[self.codes[kept]],
            hashes=np.empty(0, dtype=object), rows=self.rows[kept],
            vectors=JoinedRows([self.vectors], kept),  # type: ignore[arg-type]
        )  # fmt: skip


def write_part(folder: Path, table: GalleryTable, sums: NDArray[np.int64]) -> Part:
    """Write photos as a part without projected vectors and inverted files.

    Args:
        folder: of the index files.
        table: N photos; its vectors may be any `RowArray`.
        sums: (N,) their checksums.
    """
    order = np.lexsort((table.rows, table.landmarks == ""))
    names = sorted(set(table.landmarks) - {""})
    code_of = {name: code for code, name in enumerate(names)} | {"": -1}
    codes = np.array([code_of[name] for name in table.landmarks[order]], dtype=np.int64)
    starts, texts = MappedTexts.arrays(
        [*names, *table.ids[order].tolist(), *table.paths[order].tolist()]
    )
    columns = {
        "numbers": np.stack([table.rows[order], sums[order], codes]),
        "starts": starts,
        "texts": texts,
    }
    written = {name: write_column(folder, name, [one]) for name, one in columns.items()}
    written["vectors"] = _write_rows(folder, "vectors", JoinedRows([table.vectors], order))
    return Part(columns=written, effort={})


def part_without(opened: OpenPart, folder: Path, stale: NDArray[np.bool_]) -> Part:
    """Write the part again, in new files, without its photos where the mask is true."""
    kept = np.flatnonzero(~stale)
    part = write_part(folder, opened.table(kept), opened.sums[kept])
    if "projected" in opened.columns:
        rows = JoinedRows([opened.projected], kept)
        part.columns["projected"] = _write_rows(folder, "projected", rows)
    for distractors in IVF_COLUMNS:
        if ivf := opened.ivf(distractors):
            _add_ivf(part, folder, distractors, ivf.without(opened.rows[stale]))
    return part


def with_projection(part: Part, folder: Path, projection: Projection | None) -> Part:
    """The part with vectors of another projection, and so without inverted files."""
    derived = ("projected", *IVF_COLUMNS.values())
    columns = {name: one for name, one in part.columns.items() if name not in derived}
    if projection is not None:
        rows = MappedRows(folder, columns["vectors"])
        columns["projected"] = _write_rows(folder, "projected", rows, projection)
    return replace(part, columns=columns, effort={})


def with_ivf(part: Part, folder: Path, recall: float) -> Part:
    """The part with inverted files of its landmark photos and distractors, if there are enough."""
    part = replace(part, columns=dict(part.columns), effort={})
    opened = OpenPart(part, folder)
    for distractors in IVF_COLUMNS:
        start, stop = opened.range(distractors)
        if stop - start >= MIN_ROWS_FOR_IVF and recall < 1:
            ivf = build_ivf(
                opened.projected.between(start, stop),
                None if distractors else opened.codes[start:stop],
                numbers=opened.rows[start:stop],
                recall=recall,
            )
            _add_ivf(part, folder, distractors, ivf)
    return part


def _add_ivf(part: Part, folder: Path, distractors: bool, ivf: IvfIndex) -> None:
    name = IVF_COLUMNS[distractors]
    part.columns[name] = write_column(folder, name, [ivf.to_bytes()])
    part.effort[name] = ivf.effort()


def _write_rows(folder: Path, name: str, rows: Any, projection: Projection | None = None) -> Column:
    """Write (N, D) rows as float16, block by block, because they may exceed the memory."""

    def blocks() -> Iterator[NDArray[Any]]:
        for start in range(0, max(len(rows), 1), BLOCK_ROWS):
            block = rows[start : start + BLOCK_ROWS]
            yield (projection(block) if projection else block).astype(np.float16)

    return write_column(folder, name, blocks(), len(rows))
