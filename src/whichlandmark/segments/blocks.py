"""Arrays in one immutable file, with a checksum for every 64 KiB: mapped, and checked where read.

File: 8 bytes of magic, the length of the header, the header as JSON (name → dtype, shape and
where it starts), the arrays (each from a block of its own), the checksums of all blocks. The
*seal* is one checksum over header and block checksums; who keeps it can tell any other file.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import GalleryError
from ..files import whole_file

MAGIC = b"WLSEG\x01\r\n"
BLOCK = 65_536  # bytes
SUM = 8  # bytes of a block's checksum
LONGEST_HEADER = 1 << 20
Header = dict[str, Any]


class SegmentError(GalleryError):
    """A segment file is missing, cut or changed. The gallery is read instead."""


@dataclass(frozen=True, eq=False)
class Streamed:
    """An array that is written part by part: its dtype, its shape, and its parts in order."""

    dtype: str
    shape: tuple[int, ...]
    parts: Iterable[NDArray[Any]]


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any] | Streamed]) -> str:
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


def _write_array(file: IO[bytes], array: NDArray[Any] | Streamed) -> bytes:
    """Write one array in whole blocks; returns their checksums."""
    sums, rest = [], b""
    for part in array.parts if isinstance(array, Streamed) else [array]:
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


class Blocks:
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
            raise SegmentError(f"{path}: not a whole segment file ({error})") from None
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
                raise SegmentError(f"{self.path}: damaged (block {block})")
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
            raise SegmentError(f"{self.path}: holds no {name!r}") from None
        count, at = int(np.prod(shape)), self._start + entry["start"]
        return np.frombuffer(self._map, dtype=dtype, count=count, offset=at).reshape(shape)
