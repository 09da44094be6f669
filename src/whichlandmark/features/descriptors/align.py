"""Vectors from files, matched to photo tables: queries and database by id, distractors in chunks.

Every row is checked and given unit length. Memory does not grow with the file: a table's vectors
beyond `MAX_ARRAY_BYTES` are kept in a temporary file, and distractors pass by in chunks.
"""

from __future__ import annotations

import mmap
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...core.errors import DataError
from ...core.types import Photos, RowArray, Rows, Vectors
from .open import SUFFIXES, open_descriptors, split_name
from .stored import DescriptorFile

MAX_ARRAY_BYTES = 1_000_000_000  # of a table's vectors in memory

UNIT_TOLERANCE = 1e-3  # rows whose length differs from 1 by more are said to be normalised

MAX_NAMED = 3  # ids in a message


@dataclass(frozen=True, eq=False)
class AlignedVectors:
    """The vectors of a photo table, in its order.

    Attributes:
        vectors: (N, D) float32 of unit length; a row of zeros where there is none.
        present: (N,) False = the file has no vector of this photo, or one of zeros.
        facts: what the file says of itself: "embedder", "licence" ….
        notes: what was done: vectors taken as columns, ids matched by name, rows left out.
    """

    vectors: RowArray
    present: NDArray[np.bool_]
    facts: dict[str, str]
    notes: list[str] = field(default_factory=list)


def aligned(
    path: str | Path, photos: Photos, role: Literal["queries", "database"]
) -> AlignedVectors:
    """Read the vectors of a table's photos from a file, matched by id.

    Without ids, the vectors are taken in the order of the table if there are as many. Ids may be
    paths, or names with endings, where they are so for all photos: `jpg/all_souls_000000.jpg` is
    `all_souls_000000`.

    Raises:
        DataError: When no photo of the table has a vector, an id occurs twice, the counts of
            vectors without ids do not agree, or a vector holds NaN.
    """
    with open_descriptors(path, role) as file:
        in_columns = file.in_columns(photos=len(photos))
        rows, dim = file.shape[::-1] if in_columns else file.shape
        notes = _noted_columns(file, in_columns)
        target, matched = _matched(file, photos, rows, role)
        notes += matched
        vectors, present = _table(len(photos), dim), np.zeros(len(photos), dtype=bool)
        zeros: list[str] = []
        changed = 0
        for start, part in file.chunks(in_columns=in_columns):
            place = target[start : start + len(part)]
            wanted = place >= 0
            unit, lengths = _unit(file, start, part, wanted)
            empty = wanted & (lengths == 0)
            zeros += [str(photos.ids[row]) for row in place[empty]]
            changed += int((abs(lengths[wanted & ~empty] - 1) > UNIT_TOLERANCE).sum())
            kept = place[wanted & ~empty]
            vectors[kept], present[kept] = unit[wanted & ~empty], True
            _release(vectors)
        facts = dict(file.facts)
    if zeros:
        notes.append(f"{file.name}: {_some(zeros)} a vector of zeros, and count as missing")
    if changed:
        notes.append(
            f"{file.name}: {changed} vectors did not have length 1 and were given it, because "
            "similarity is their cosine"
        )
    if lacking := photos.ids[~present].tolist():
        notes.append(f"{file.name}: {_some(lacking)} no vector")
    return AlignedVectors(vectors, present, facts, notes)


@dataclass(frozen=True, eq=False)
class Selection:
    """Which photos are distractors, by their ids.

    database: ids of the database, whose photos are none. only: sorted ids of those that are, as the
    whole id or as its last part, as in `yfcc100m-000001.tar/0a1b2c`; None = all.
    """

    database: Container[str] = ()
    only: NDArray[np.bytes_] | None = None

    def mask(self, ids: Sequence[str]) -> NDArray[np.bool_]:
        """(n,) True = the photo is a distractor."""
        chosen = np.array([each not in self.database for each in ids], dtype=bool)
        if self.only is None:
            return chosen
        named = np.zeros(len(ids), dtype=bool)
        for part in (_whole, _last_part, _stem):
            keys = np.array([part(each).encode() for each in ids], dtype=np.bytes_)
            at = np.minimum(np.searchsorted(self.only, keys), max(0, len(self.only) - 1))
            named |= (self.only[at] == keys) if len(self.only) else False
        return np.asarray(chosen & named)


ALL = Selection()

Named = tuple[list[str], Vectors]


def descriptor_chunks(
    path: str | Path,
    dim: int,
    *,
    selection: Selection = ALL,
    embedder: str = "",
    notes: list[str],
) -> Iterator[Named]:
    """Ids and (n, dim) float32 unit rows of further photos, in chunks, from a file or a folder.

    Rows of zeros are left out. Where there are no ids, they are the file's name and the row. What
    was done is added to `notes` when the last chunk was taken.

    embedder: the id of the one that made the other vectors; "" = not known.

    Raises DataError for vectors of another length or embedder, NaN, or a folder without files.
    """
    zeros = changed = left_out = taken = 0
    without_ids: list[str] = []
    for part in _files(path):
        with open_descriptors(part, "distractors") as file:
            in_columns = file.in_columns(dim=dim)
            columns = file.shape[0] if in_columns else file.shape[1]
            if columns != dim:
                raise DataError(
                    f"{file.name}: vectors of {columns} numbers; expected {dim}, as those of the "
                    "queries: they are of another embedder"
                )
            require_same_embedder({file.name: file.facts.get("embedder", ""), "others": embedder})
            notes += _noted_columns(file, in_columns)
            keep = None if file.ids is None else selection.mask(file.ids)
            if keep is None and selection.only is not None:
                without_ids.append(file.name)
            for start, vectors in file.chunks(in_columns=in_columns):
                used = np.ones(len(vectors), dtype=bool)
                if keep is not None:
                    used = keep[start : start + len(vectors)]
                    left_out += int((~used).sum())
                unit, lengths = _unit(file, start, vectors, used)
                zeros += int((used & (lengths == 0)).sum())
                used = used & (lengths > 0)
                changed += int((abs(lengths[used] - 1) > UNIT_TOLERANCE).sum())
                taken += int(used.sum())
                yield _ids_of(file, start + np.flatnonzero(used)), unit[used]
    notes += [
        text
        for count, text in (
            (zeros, f"{path}: {zeros} vectors of zeros are left out"),
            (changed, f"{path}: {changed} vectors did not have length 1 and were given it"),
            (left_out, f"{path}: {left_out} vectors are left out, because their ids are in the "
                       f"database or not in the list of distractors; {taken} are used"),
            (without_ids, f"{path}: no ids in {', '.join(without_ids[:MAX_NAMED])}, so all vectors "
                          "are used as distractors"),
        )
        if count
    ]  # fmt: skip


def require_same_embedder(made_by: dict[str, str]) -> None:
    """Raises DataError where files say that their vectors are of several embedders.

    made_by: file → the embedder's id; "" = it does not say.
    """
    known = {name: embedder for name, embedder in made_by.items() if embedder}
    if len(set(known.values())) > 1:
        said = ", ".join(f"{name} of {embedder}" for name, embedder in known.items())
        raise DataError(f"vectors of several embedders cannot be compared: {said}")


def _ids_of(file: DescriptorFile, rows: Rows) -> list[str]:
    if file.ids is None:
        return [f"{Path(file.name).name}#{row}" for row in rows.tolist()]
    return [file.ids[row] for row in rows.tolist()]


def holds_descriptors(path: str | Path) -> bool:
    """Is it a file of vectors, or a folder with such files?"""
    file, _ = split_name(path)
    if not file.is_dir():
        return file.suffix.lower() in SUFFIXES
    with os.scandir(file) as found:
        return any(each.name.lower().endswith(SUFFIXES) and each.is_file() for each in found)


def _files(path: str | Path) -> list[str]:
    file, _ = split_name(path)
    if not file.is_dir():
        return [str(path)]
    found = sorted(each for each in file.iterdir() if each.suffix.lower() in SUFFIXES)
    if not found:
        raise DataError(f"{path}: no file of vectors ({', '.join(SUFFIXES)}) in this folder")
    return [str(each) for each in found if each.is_file()]


def _matched(file: DescriptorFile, photos: Photos, rows: int, role: str) -> tuple[Rows, list[str]]:
    """Per vector the row of its photo in the table, -1 = none; and what was done."""
    if file.ids is None:
        if rows != len(photos):
            raise DataError(
                f"{file.name}: {file.shape[0]} × {file.shape[1]} numbers without ids, for "
                f"{len(photos)} {role}; expected as many vectors, in the order of the table, or "
                "their ids beside them, one a line in NAME.ids.txt"
            )
        return np.arange(rows), [
            f"{file.name}: no ids; vectors are taken in the order of the {role}"
        ]
    notes: list[str] = []
    keys, named = file.ids, {str(photo_id): row for row, photo_id in enumerate(photos.ids)}
    for of in _KEYS:
        table = {of(photo_id): row for photo_id, row in named.items()}
        given = [of(each) for each in file.ids]
        unique = len(table) == len(named) and len(set(given)) == len(set(file.ids))
        if unique and sum(key in table for key in given) > sum(key in named for key in keys):
            notes = [f"{file.name}: ids are matched without folders and endings"]
            keys, named = given, table
    if twice := [key for key, count in Counter(keys).items() if count > 1 and key in named]:
        at = [row for row, key in enumerate(keys) if key == twice[0]][:2]
        raise DataError(
            f"{file.name}: id {twice[0]!r} occurs twice (rows {at[0]} and {at[1]}), and "
            f"{len(twice) - 1} more ids do; expected one vector for each photo"
        )
    target = np.array([named.get(key, -1) for key in keys], dtype=np.int64)
    if (target < 0).all():
        raise DataError(
            f"{file.name}: none of its {len(keys)} ids is a photo of the {role}: it has "
            f"{file.ids[0]!r} …, expected such as {photos.ids[0]!r}"
        )
    if others := int((target < 0).sum()):
        notes.append(f"{file.name}: {others} vectors of other photos than the {role} are left out")
    return target, notes


def _whole(photo_id: str) -> str:
    return photo_id


def _last_part(photo_id: str) -> str:
    return photo_id.replace("\\", "/").rpartition("/")[2]


def _stem(photo_id: str) -> str:
    name = _last_part(photo_id)
    return name.rpartition(".")[0] or name


_KEYS: tuple[Callable[[str], str], ...] = (_last_part, _stem)


def _noted_columns(file: DescriptorFile, in_columns: bool) -> list[str]:
    if not in_columns:
        return []
    rows, columns = file.shape
    return [f"{file.name}: its {rows} × {columns} numbers are read as {columns} vectors in columns"]


def _unit(
    file: DescriptorFile,
    start: int,
    vectors: NDArray[np.float64],
    used: NDArray[np.bool_],
) -> tuple[Vectors, NDArray[np.float64]]:
    """Rows of unit length, zeros as they are; and the lengths that they had.

    Raises DataError for NaN and infinite numbers in a row that is used.
    """
    lengths = np.linalg.norm(vectors, axis=1)
    wrong = np.flatnonzero(used & ~np.isfinite(lengths))
    if len(wrong):
        row = start + int(wrong[0])
        which = f" ({file.ids[row]})" if file.ids is not None else ""
        raise DataError(
            f"{file.name}: row {row}{which} holds NaN or infinite numbers, so that no similarity "
            "can be computed; make the vectors again"
        )
    with np.errstate(invalid="ignore"):  # of rows that are not used
        unit = vectors / np.where(lengths > 0, lengths, 1)[:, None]
    return unit.astype(np.float32), lengths


def _table(rows: int, dim: int) -> Any:
    shape = (rows, dim)
    if 4 * rows * dim > MAX_ARRAY_BYTES:
        with tempfile.TemporaryFile() as file:  # the array keeps it until it is not used any more
            return np.memmap(file, dtype=np.float32, mode="w+", shape=shape)
    return np.zeros(shape, dtype=np.float32)


def _release(vectors: Any) -> None:
    """Let the pages of a temporary file that were written leave the process; they stay in the file.

    Only where that is so for a shared map: on Linux.
    """
    mapped: mmap.mmap | None = getattr(vectors, "_mmap", None)
    if mapped is not None and sys.platform == "linux":
        mapped.madvise(mmap.MADV_DONTNEED)


def _some(ids: list[str]) -> str:
    more = " …" if len(ids) > MAX_NAMED else ""
    have = "have" if len(ids) > 1 else "has"
    return f"{len(ids)} photos ({', '.join(ids[:MAX_NAMED])}{more}) {have}"
