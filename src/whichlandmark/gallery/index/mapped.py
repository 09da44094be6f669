"""Memory-mapped columns with block checksums."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import GalleryError
from ...core.files import whole_file

MAGIC = b"WLSEG\x01\r\n"

BLOCK = 65_536  # bytes

SUM = 8  # bytes of a block's checksum

LONGEST_HEADER = 1 << 20

Header = dict[str, Any]


class IndexFileError(GalleryError):
    """A segment file is missing, cut or changed. The gallery is read instead."""


@dataclass(frozen=True, eq=False)
class StreamedArray:
    """An array that is written part by part: its dtype, its shape, and its parts in order."""

    dtype: str
    shape: tuple[int, ...]
    parts: Iterable[NDArray[Any]]


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any] | StreamedArray]) -> str:
    """Write arrays into a new file; returns its seal. Whole or not at all."""
    entries: Header = {}
    at = 0
    for name, array in arrays.items():
        dtype = np.dtype(array.dtype)
        size = dtype.itemsize * int(np.prod(array.shape))
        entries[name] = {"dtype": dtype.str, "shape": list(array.shape), "start": at}
        at += -(-size // BLOCK) * BLOCK
    header = json.dumps({"arrays": entries, "blocks": at // BLOCK}).encode()
    sums = blake2b(header, digest_size=16)
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        file.write(MAGIC + len(header).to_bytes(8, "little") + header)
        file.write(bytes(_data_start(len(header)) - file.tell()))
        table = b"".join(_write_array(file, array) for array in arrays.values())
        sums.update(table)
        file.write(table)
    return sums.hexdigest()


def _data_start(header: int) -> int:
    return -(-(len(MAGIC) + 8 + header) // BLOCK) * BLOCK


def _write_array(file: IO[bytes], array: NDArray[Any] | StreamedArray) -> bytes:
    """Write one array in whole blocks; returns their checksums."""
    sums, rest = [], b""
    for part in array.parts if isinstance(array, StreamedArray) else [array]:
        data = memoryview(rest + np.ascontiguousarray(part).tobytes())
        whole = len(data) // BLOCK * BLOCK
        sums += [_sum(data[at : at + BLOCK]) for at in range(0, whole, BLOCK)]
        file.write(data[:whole])
        rest = bytes(data[whole:])
    if rest:
        last = rest + bytes(BLOCK - len(rest))
        sums.append(_sum(last))
        file.write(last)
    return b"".join(sums)


def _sum(data: bytes | memoryview) -> bytes:
    return blake2b(data, digest_size=SUM).digest()


class BlockFile:
    """An open segment file. Bytes are compared with their checksum when they are first read."""

    def __init__(self, path: Path, seal: str) -> None:
        self.path = path
        try:
            with open(path, "rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            header = self._header()
            self.entries: Header = header["arrays"]
            self._sums = self._table(header, seal)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise IndexFileError(f"{path}: not a whole segment file ({error})") from None
        self._seen = np.zeros(len(self._sums) // SUM, dtype=bool)

    def _header(self) -> Header:
        if self._map[: len(MAGIC)] != MAGIC:
            raise ValueError("it does not begin as one")
        length = int.from_bytes(self._map[len(MAGIC) : len(MAGIC) + 8], "little")
        if length > LONGEST_HEADER:
            raise ValueError(f"a header of {length} bytes")
        self._raw = self._map[len(MAGIC) + 8 : len(MAGIC) + 8 + length]
        self._start = _data_start(length)
        header: Header = json.loads(self._raw)
        return header

    def _table(self, header: Header, seal: str) -> bytes:
        """The checksums of the blocks, themselves compared with the seal."""
        end = self._start + int(header["blocks"]) * BLOCK
        table = self._map[end : end + int(header["blocks"]) * SUM]
        if blake2b(self._raw + table, digest_size=16).hexdigest() != seal:
            raise ValueError("changed, or cut short")
        return table

    def check(self, blocks: NDArray[np.int64]) -> None:
        """Compare blocks that were not read before. Raises SegmentError when one is changed."""
        for block in blocks[~self._seen[blocks]].tolist():
            at = self._start + block * BLOCK
            stored = self._sums[block * SUM : block * SUM + SUM]
            if _sum(memoryview(self._map)[at : at + BLOCK]) != stored:
                raise IndexFileError(f"{self.path}: damaged (block {block})")
            self._seen[block] = True

    def check_all(self) -> None:
        """Compare every block."""
        self.check(np.arange(len(self._seen)))

    def whole(self, name: str) -> NDArray[Any]:
        """An array, all of it checked; it stays mapped."""
        entry, view = self.entries[name], self.view(name)
        first = entry["start"] // BLOCK
        self.check(np.arange(first, first + -(-view.nbytes // BLOCK)))
        return view

    def view(self, name: str) -> NDArray[Any]:
        """An array, mapped and not checked: `check` the blocks before they are used."""
        try:
            entry = self.entries[name]
            dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
        except KeyError:
            raise IndexFileError(f"{self.path}: holds no {name!r}") from None
        count, at = int(np.prod(shape)), self._start + entry["start"]
        return np.frombuffer(self._map, dtype=dtype, count=count, offset=at).reshape(shape)


MANY = 256  # texts from which the bytes of all are taken at once


class MappedRows:
    """(N, D) numbers in a segment file; indexing gives arrays, checked on their first reading.

    Takes what numpy takes for rows: a number, a slice, an array of row numbers of any shape.
    """

    def __init__(
        self, blocks: BlockFile, name: str, start: int = 0, stop: int | None = None
    ) -> None:
        self._blocks, self._name = blocks, name
        whole = blocks.view(name)
        self._from = start
        self._view = whole[start : len(whole) if stop is None else stop]
        self._first = blocks.entries[name]["start"]
        self._width = whole.dtype.itemsize * int(np.prod(whole.shape[1:]))

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an array."""
        return self._view.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """As of an array."""
        return self._view.dtype

    def __len__(self) -> int:
        return len(self._view)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step == 1:
                self._check_range(start, max(start, stop))
                return self._view[key]
            key = np.arange(start, stop, step)
        rows = np.asarray(key)
        if rows.dtype == bool:
            rows = np.flatnonzero(rows)
        rows = np.where(rows < 0, rows + len(self), rows)
        self._check_rows(rows.ravel())
        return np.asarray(self._view[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self[:], dtype=dtype)

    def _check_range(self, start: int, stop: int) -> None:
        if stop > start:
            first = (self._first + (self._from + start) * self._width) // BLOCK
            last = (self._first + (self._from + stop) * self._width - 1) // BLOCK
            self._blocks.check(np.arange(first, last + 1))

    def _check_rows(self, rows: NDArray[np.int64]) -> None:
        if not len(rows):
            return
        starts = self._first + (self._from + rows) * self._width
        wide = -(-self._width // BLOCK) + 1
        blocks = (starts // BLOCK)[:, None] + np.arange(wide)
        used = blocks * BLOCK < (starts + self._width)[:, None]
        self._blocks.check(np.unique(blocks[used]))


class JoinedRows:
    """Rows of several columns as one: row i is row `place[i]` of the columns in a row."""

    def __init__(self, parts: Sequence[Any], place: NDArray[np.int64]) -> None:
        self._parts, self._place = parts, place
        self._starts = np.cumsum([0, *map(len, parts)])
        self.shape = (len(place), *parts[0].shape[1:])
        self.dtype = parts[0].dtype

    def __len__(self) -> int:
        return len(self._place)

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

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self[:], dtype=dtype)


class MappedTexts:
    """N texts in a segment file (or a run of them), decoded when they are asked for."""

    dtype = np.dtype(object)

    def __init__(
        self, blocks: BlockFile, name: str, start: int = 0, stop: int | None = None
    ) -> None:
        ends = blocks.whole(f"{name}_ends")
        self._starts = np.concatenate([[0], ends])[start : None if stop is None else stop + 1]
        blocks.whole(f"{name}_text")  # few bytes; what is found can then always be named
        self._bytes = MappedRows(blocks, f"{name}_text")
        self.shape = (len(self._starts) - 1,)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        starts, ends = np.asarray(self._starts[:-1][key]), np.asarray(self._starts[1:][key])
        runs = list(zip(starts.ravel().tolist(), ends.ravel().tolist(), strict=True))
        if len(runs) > MANY:  # one reading for all of them
            base = int(starts.min())
            held = bytes(self._bytes[base : int(ends.max())])
            data = [held[start - base : end - base] for start, end in runs]
        else:
            data = [bytes(self._bytes[start:end]) for start, end in runs]
        found = np.empty(len(runs), dtype=object)
        try:
            found[:] = [one.decode() for one in data]
        except UnicodeDecodeError as error:
            raise IndexFileError(f"a text that is none ({error})") from None
        return found.reshape(starts.shape) if starts.ndim else found[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        whole: NDArray[Any] = self[:]
        return whole


def text_arrays(name: str, texts: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The two arrays that `Texts` reads."""
    data = [text.encode() for text in texts]
    ends = np.cumsum([len(one) for one in data], dtype=np.int64)
    return {f"{name}_ends": ends, f"{name}_text": np.frombuffer(b"".join(data), dtype=np.uint8)}
