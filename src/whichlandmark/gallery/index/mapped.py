"""Columns of the index: `.npy` files, memory-mapped, verified block by block when first read."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.disks import mapped, read_error
from ...core.errors import GalleryError
from ...core.files import atomic_file

BLOCK_BYTES = 65_536

CHECKSUM_DIGITS = 16  # of a block, hexadecimal


class IndexFileError(GalleryError):
    """An index file is missing, truncated or changed; the gallery is read instead."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """An array in a `.npy` file.

    file: its name; dtype, shape: of the array; start: the file's byte at which the array begins,
    so that its header need not be believed; sums: CHECKSUM_DIGITS of each block of the file.
    """

    file: str
    dtype: str
    shape: list[int]
    start: int
    sums: str


def write_column(
    folder: Path, name: str, blocks: Iterable[NDArray[Any]], rows: int | None = None
) -> Column:
    """Write arrays that follow each other into one file, which gets a new name.

    The name is new because readers may have the old file open.

    Args:
        folder: of the index files.
        name: of the column.
        blocks: at least one, equal but for the number of rows.
        rows: of all blocks together; None = there is only one.
    """
    rest = iter(blocks)
    first = next(rest)
    shape = [len(first) if rows is None else rows, *first.shape[1:]]
    dtype = first.dtype.newbyteorder("<").str
    file = f"{name}-{secrets.token_hex(8)}.npy"
    header = {"descr": dtype, "fortran_order": False, "shape": tuple(shape)}
    with atomic_file(folder / file) as temporary, open(temporary, "wb+") as out:
        np.lib.format.write_array_header_1_0(out, header)
        start = out.tell()
        out.write(np.ascontiguousarray(first, dtype).data)
        for block in rest:
            out.write(np.ascontiguousarray(block, dtype).data)
        out.seek(0)
        sums = "".join(map(_checksum, iter(partial(out.read, BLOCK_BYTES), b"")))
    return Column(file=file, dtype=dtype, shape=shape, start=start, sums=sums)


def _checksum(data: bytes | memoryview) -> str:
    return blake2b(data, digest_size=CHECKSUM_DIGITS // 2).hexdigest()


class _ReadWhenIndexed:
    """What columns have in common with a NumPy array; `[:]` reads all of one."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        whole: Any = self
        return np.array(whole[:], dtype=dtype)


class MappedRows(_ReadWhenIndexed):
    """The (N, …) array of a column; rows are verified when first indexed.

    Index with an integer, a slice, or an array of integers or booleans, as in NumPy.

    Raises:
        IndexFileError: when the file is missing or of another length, and on indexing when a block
            differs from its checksum.
    """

    def __init__(self, folder: Path, column: Column) -> None:
        self.path = folder / Path(column.file).name
        try:
            with open(self.path, "rb") as file:
                self._bytes = memoryview(mapped(file))
            count = int(np.prod(column.shape))
            array = np.frombuffer(self._bytes, column.dtype, count, column.start)
            if column.start + array.nbytes != len(self._bytes):
                raise ValueError("of another length")
        except PermissionError as error:
            raise IndexFileError(read_error(self.path, error)) from None
        except (OSError, ValueError) as error:
            raise IndexFileError(f"{self.path}: not an intact index file ({error})") from None
        self.dtype, self.shape = array.dtype, tuple(column.shape)
        self._view, self._start = array.reshape(self.shape), column.start
        self._width = array.itemsize * int(np.prod(column.shape[1:]))
        self._sums, self._checked = (
            column.sums,
            np.zeros(len(column.sums) // CHECKSUM_DIGITS, dtype=bool),
        )

    def between(self, start: int, stop: int) -> MappedRows:
        """Rows start … stop − 1."""
        part = copy(self)
        part._view, part._start = self._view[start:stop], self._start + start * self._width
        part.shape = part._view.shape
        return part

    def __getitem__(self, key: Any) -> NDArray[Any]:
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step == 1:
                if stop > start and self._width:
                    first, end = (self._start + row * self._width for row in (start, stop))
                    self.check(np.arange(first // BLOCK_BYTES, (end - 1) // BLOCK_BYTES + 1))
                return self._view[key]
            key = np.arange(start, stop, step)
        rows = np.asarray(key)
        if rows.dtype == bool:
            rows = np.flatnonzero(rows)
        rows = np.where(rows < 0, rows + len(self), rows)
        starts = self._start + rows.ravel() * self._width
        blocks = (starts // BLOCK_BYTES)[:, None] + np.arange(-(-self._width // BLOCK_BYTES) + 1)
        touched = np.zeros_like(self._checked)  # not np.unique, which imports numpy.ma
        touched[blocks[blocks * BLOCK_BYTES < (starts + self._width)[:, None]]] = True
        self.check(np.flatnonzero(touched))
        return np.asarray(self._view[rows])

    def check(self, blocks: NDArray[np.int64] | None = None) -> None:
        """Verify blocks of the file, None = all, that were not verified before."""
        wanted = np.arange(len(self._checked)) if blocks is None else blocks
        for block in wanted[~self._checked[wanted]].tolist():
            data = self._bytes[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES]
            digits = slice(block * CHECKSUM_DIGITS, (block + 1) * CHECKSUM_DIGITS)
            if _checksum(data) != self._sums[digits]:
                raise IndexFileError(f"{self.path}: damaged (block {block})")
            self._checked[block] = True


class JoinedRows(_ReadWhenIndexed):
    """Several arrays as one in another order: row i is row `place[i]` of their concatenation."""

    def __init__(self, parts: Sequence[Any], place: NDArray[np.int64]) -> None:
        self._parts, self._place = parts, place
        self._starts = np.cumsum([0, *map(len, parts)])
        self.shape = (len(place), *parts[0].shape[1:])
        self.dtype = parts[0].dtype

    def __getitem__(self, key: Any) -> Any:
        places = self._place[key]
        flat = np.atleast_1d(places).ravel()
        found = np.empty((len(flat), *self.shape[1:]), dtype=self.dtype)
        for part, start in zip(self._parts, self._starts[:-1], strict=True):
            own = np.flatnonzero((flat >= start) & (flat < start + len(part)))
            if len(own):
                found[own] = part[flat[own] - start]
        shaped = found.reshape(*places.shape, *self.shape[1:])
        return shaped if places.ndim or len(self.shape) > 1 else shaped[()]


class MappedTexts(_ReadWhenIndexed):
    """N texts, decoded when indexed.

    Args:
        starts: (N + 1,) where each text begins in `data`, and where the last one ends.
        data: their UTF-8 bytes.
    """

    dtype = np.dtype(object)

    def __init__(self, starts: NDArray[np.int64], data: NDArray[np.uint8]) -> None:
        self._starts, self._data = starts, data
        self.shape = (len(starts) - 1,)

    @staticmethod
    def arrays(texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """The `starts` and `data` of texts."""
        data = [text.encode() for text in texts]
        starts = np.cumsum([0, *map(len, data)], dtype=np.int64)
        return starts, np.frombuffer(b"".join(data), dtype=np.uint8)

    def between(self, start: int, stop: int) -> MappedTexts:
        """Texts start … stop − 1."""
        return MappedTexts(self._starts[start : stop + 1], self._data)

    def __getitem__(self, key: Any) -> Any:
        starts, ends = np.asarray(self._starts[:-1][key]), np.asarray(self._starts[1:][key])
        data = self._data.data
        found = np.empty(starts.size, dtype=object)
        found[:] = [
            str(data[start:end], "utf-8")
            for start, end in zip(starts.ravel().tolist(), ends.ravel().tolist(), strict=True)
        ]
        return found.reshape(starts.shape) if starts.ndim else found[0]
