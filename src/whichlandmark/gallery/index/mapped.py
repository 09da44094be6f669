"""Index files: arrays that are memory-mapped and verified block by block when first read.

Layout: MAGIC, length of the header, header (JSON: dtype, shape and offset of each array), the
arrays in blocks of BLOCK_BYTES, a checksum for each block. The seal is a checksum of the header and
the block checksums; the manifest holds it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ...core.disks import mapped, read_error
from ...core.errors import GalleryError
from ...core.files import atomic_file

MAGIC = b"WLSEG\x01\r\n"

BLOCK_BYTES = 65_536

CHECKSUM_BYTES = 8  # of a block

MAX_HEADER_BYTES = 1 << 20

MIN_TEXTS_READ_AT_ONCE = 256  # with fewer, each text is read on its own

Header = dict[str, Any]


class IndexFileError(GalleryError):
    """An index file is missing, truncated or changed; the gallery is read instead."""


@dataclass(frozen=True, eq=False)
class StreamedArray:
    """An array that is written in parts, because it may exceed the memory."""

    dtype: str
    shape: tuple[int, ...]
    parts: Iterable[NDArray[Any]]


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any] | StreamedArray]) -> str:
    """Atomically write arrays into a new file, and return its seal."""
    entries: Header = {}
    at = 0
    for name, array in arrays.items():
        dtype = np.dtype(array.dtype)
        size = dtype.itemsize * int(np.prod(array.shape))
        entries[name] = {"dtype": dtype.str, "shape": list(array.shape), "start": at}
        at += -(-size // BLOCK_BYTES) * BLOCK_BYTES
    header = json.dumps({"arrays": entries, "blocks": at // BLOCK_BYTES}).encode()
    sums = blake2b(header, digest_size=16)
    with atomic_file(path) as temporary, open(temporary, "wb") as file:
        file.write(MAGIC + len(header).to_bytes(8, "little") + header)
        file.write(bytes(_data_start(len(header)) - file.tell()))
        table = b"".join(_write_array(file, array) for array in arrays.values())
        sums.update(table)
        file.write(table)
    return sums.hexdigest()


def _data_start(header: int) -> int:
    return -(-(len(MAGIC) + 8 + header) // BLOCK_BYTES) * BLOCK_BYTES


def _write_array(file: IO[bytes], array: NDArray[Any] | StreamedArray) -> bytes:
    """Write an array, padded to full blocks, and return the checksums of its blocks."""
    sums, rest = [], b""
    for part in array.parts if isinstance(array, StreamedArray) else [array]:
        data = memoryview(rest + np.ascontiguousarray(part).tobytes())
        whole = len(data) // BLOCK_BYTES * BLOCK_BYTES
        sums += [_checksum(data[at : at + BLOCK_BYTES]) for at in range(0, whole, BLOCK_BYTES)]
        file.write(data[:whole])
        rest = bytes(data[whole:])
    if rest:
        last = rest + bytes(BLOCK_BYTES - len(rest))
        sums.append(_checksum(last))
        file.write(last)
    return b"".join(sums)


def _checksum(data: bytes | memoryview) -> bytes:
    return blake2b(data, digest_size=CHECKSUM_BYTES).digest()


class BlockFile:
    """An open index file.

    Args:
        path: of the file.
        seal: that `write_arrays` returned.

    Raises:
        IndexFileError: when the file is missing or does not match its seal.
    """

    def __init__(self, path: Path, seal: str) -> None:
        self.path = path
        try:
            with open(path, "rb") as file:
                self._map = mapped(file)
            header = self._header()
            self.entries: Header = header["arrays"]
            self._sums = self._table(header, seal)
        except PermissionError as error:
            raise IndexFileError(read_error(path, error)) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise IndexFileError(f"{path}: not an intact index file ({error})") from None
        self._checked = np.zeros(len(self._sums) // CHECKSUM_BYTES, dtype=bool)

    def _header(self) -> Header:
        if self._map[: len(MAGIC)] != MAGIC:
            raise ValueError("wrong first bytes")
        length = int.from_bytes(self._map[len(MAGIC) : len(MAGIC) + 8], "little")
        if length > MAX_HEADER_BYTES:
            raise ValueError(f"a header of {length} bytes")
        self._header_bytes = self._map[len(MAGIC) + 8 : len(MAGIC) + 8 + length]
        self._start = _data_start(length)
        header: Header = json.loads(self._header_bytes)
        return header

    def _table(self, header: Header, seal: str) -> bytes:
        """The checksums of the blocks, verified by the seal."""
        end = self._start + int(header["blocks"]) * BLOCK_BYTES
        table = self._map[end : end + int(header["blocks"]) * CHECKSUM_BYTES]
        if blake2b(self._header_bytes + table, digest_size=16).hexdigest() != seal:
            raise ValueError("changed or truncated")
        return table

    def check(self, blocks: NDArray[np.int64]) -> None:
        """Verify blocks that were not verified before. Raises IndexFileError if one is damaged."""
        for block in blocks[~self._checked[blocks]].tolist():
            at = self._start + block * BLOCK_BYTES
            stored = self._sums[block * CHECKSUM_BYTES : block * CHECKSUM_BYTES + CHECKSUM_BYTES]
            if _checksum(memoryview(self._map)[at : at + BLOCK_BYTES]) != stored:
                raise IndexFileError(f"{self.path}: damaged (block {block})")
            self._checked[block] = True

    def check_all(self) -> None:
        """Verify every block."""
        self.check(np.arange(len(self._checked)))

    def whole(self, name: str) -> NDArray[Any]:
        """A memory-mapped array, all of it verified."""
        entry, view = self.entries[name], self.view(name)
        first = entry["start"] // BLOCK_BYTES
        self.check(np.arange(first, first + -(-view.nbytes // BLOCK_BYTES)))
        return view

    def view(self, name: str) -> NDArray[Any]:
        """A memory-mapped array, not verified: `check` its blocks before using them."""
        try:
            entry = self.entries[name]
            dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
        except KeyError:
            raise IndexFileError(f"{self.path}: has no array {name!r}") from None
        count, at = int(np.prod(shape)), self._start + entry["start"]
        return np.frombuffer(self._map, dtype=dtype, count=count, offset=at).reshape(shape)


class MappedRows:
    """An (N, …) array in an index file; rows are verified when first indexed.

    Index with an integer, a slice, or an array of integers or booleans, as in NumPy.

    Args:
        blocks: the file.
        name: of the array.
        start: first row; only rows start … stop − 1 are visible.
        stop: None = all from start on.
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
        """As of a NumPy array."""
        return self._view.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """As of a NumPy array."""
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
            first = (self._first + (self._from + start) * self._width) // BLOCK_BYTES
            last = (self._first + (self._from + stop) * self._width - 1) // BLOCK_BYTES
            self._blocks.check(np.arange(first, last + 1))

    def _check_rows(self, rows: NDArray[np.int64]) -> None:
        if not len(rows):
            return
        starts = self._first + (self._from + rows) * self._width
        wide = -(-self._width // BLOCK_BYTES) + 1
        blocks = (starts // BLOCK_BYTES)[:, None] + np.arange(wide)
        used = blocks * BLOCK_BYTES < (starts + self._width)[:, None]
        self._blocks.check(np.unique(blocks[used]))


class JoinedRows:
    """Several arrays as one in another order: row i is row `place[i]` of their concatenation."""

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
    """N texts in an index file, decoded when indexed; start, stop: as of `MappedRows`."""

    dtype = np.dtype(object)

    def __init__(
        self, blocks: BlockFile, name: str, start: int = 0, stop: int | None = None
    ) -> None:
        ends = blocks.whole(f"{name}_ends")
        self._starts = np.concatenate([[0], ends])[start : None if stop is None else stop + 1]
        blocks.whole(f"{name}_text")  # verified now, so that reading an id cannot fail later
        self._bytes = MappedRows(blocks, f"{name}_text")
        self.shape = (len(self._starts) - 1,)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        starts, ends = np.asarray(self._starts[:-1][key]), np.asarray(self._starts[1:][key])
        runs = list(zip(starts.ravel().tolist(), ends.ravel().tolist(), strict=True))
        if len(runs) > MIN_TEXTS_READ_AT_ONCE:
            base = int(starts.min())
            span = bytes(self._bytes[base : int(ends.max())])
            data = [span[start - base : end - base] for start, end in runs]
        else:
            data = [bytes(self._bytes[start:end]) for start, end in runs]
        found = np.empty(len(runs), dtype=object)
        try:
            found[:] = [one.decode() for one in data]
        except UnicodeDecodeError as error:
            raise IndexFileError(f"a text is not valid UTF-8 ({error})") from None
        return found.reshape(starts.shape) if starts.ndim else found[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        whole: NDArray[Any] = self[:]
        return whole


def text_arrays(name: str, texts: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The two arrays that `MappedTexts` reads: end offsets, and UTF-8 bytes."""
    data = [text.encode() for text in texts]
    ends = np.cumsum([len(one) for one in data], dtype=np.int64)
    return {f"{name}_ends": ends, f"{name}_text": np.frombuffer(b"".join(data), dtype=np.uint8)}
