"""Columns of a gallery that stay on disk: rows of numbers, texts, and several parts as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .blocks import BLOCK, Blocks, SegmentError

MANY = 256  # texts from which the bytes of all are taken at once


class MappedRows:
    """(N, D) numbers in a segment file; indexing gives arrays, checked on their first reading.

    Takes what numpy takes for rows: a number, a slice, an array of row numbers of any shape.
    """

    def __init__(self, blocks: Blocks, name: str, start: int = 0, stop: int | None = None) -> None:
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


class Joined:
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


class Texts:
    """N texts in a segment file (or a run of them), decoded when they are asked for."""

    dtype = np.dtype(object)

    def __init__(self, blocks: Blocks, name: str, start: int = 0, stop: int | None = None) -> None:
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
            raise SegmentError(f"a text that is none ({error})") from None
        return found.reshape(starts.shape) if starts.ndim else found[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        whole: NDArray[Any] = self[:]
        return whole


def text_arrays(name: str, texts: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The two arrays that `Texts` reads."""
    data = [text.encode() for text in texts]
    ends = np.cumsum([len(one) for one in data], dtype=np.int64)
    return {f"{name}_ends": ends, f"{name}_text": np.frombuffer(b"".join(data), dtype=np.uint8)}
