"""Photos that were read → passes → batches of vectors, back in the order of the table."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..types import Image, Vectors
from .ahead import Read
from .passes import Running
from .room import Claim
from .windows import Window


@dataclass(frozen=True, eq=False)
class Ready:
    """A photo that can go to the network. made: whatever else is wanted of it."""

    image: Image
    shape: Hashable
    made: Any


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of the table that follow one another: those that were embedded, (n,), their vectors
    (n, D), what was made of them, and row → reason of the others.
    """

    rows: NDArray[np.int64]
    vectors: Vectors
    made: list[Any]
    failed: dict[int, str]


@dataclass(eq=False)
class Gathering:
    """rows: of the table. size: rows of a batch. dim: of a vector. given: rows handed over."""

    rows: int
    size: int
    dim: int
    given: int = 0
    _waiting: dict[int, tuple[Image, Claim]] = field(default_factory=dict)  # for their pass
    _made: dict[int, Any] = field(default_factory=dict)
    _vectors: dict[int, Vectors] = field(default_factory=dict)
    _failed: dict[int, str] = field(default_factory=dict)

    def batches(
        self, reads: Iterable[Read[Ready]], window: Window, running: Running
    ) -> Iterator[Batch]:
        """Every row of the table, in order; what stays in memory meanwhile is bounded."""
        for row, read in enumerate(reads):
            self._start(running, self._take(row, read, window))
            del read  # its pixels belong to the pass now, which drops them when it is done
            self._start(running, window.reached(row))
            self._finish(running.done())
            yield from self._whole()
        self._start(running, window.rest())
        for done in running.done(all_of_them=True):
            self._finish([done])
            yield from self._whole()
        yield from self._whole()

    def _take(self, row: int, read: Read[Ready], window: Window) -> Iterable[list[int]]:
        if read.made is None:
            self._failed[row] = read.failure
            return ()
        self._waiting[row] = read.made.image, read.claim
        self._made[row] = read.made.made
        return window.add(row, read.made.shape, read.made.image.nbytes)

    def _start(self, running: Running, passes: Iterable[list[int]]) -> None:
        for rows in passes:
            images, claims = zip(*(self._waiting.pop(row) for row in rows), strict=True)
            running.start(rows, list(images), list(claims))

    def _finish(self, passes: Iterable[tuple[list[int], Vectors]]) -> None:
        for rows, vectors in passes:
            self._vectors.update(zip(rows, vectors, strict=True))

    def _whole(self) -> Iterator[Batch]:
        """The next batches of which every photo is embedded or has failed."""
        while self.given < self.rows:
            rows = range(self.given, min(self.given + self.size, self.rows))
            if not all(row in self._vectors or row in self._failed for row in rows):
                return
            self.given = rows.stop
            yield self._batch(rows)

    def _batch(self, rows: range) -> Batch:
        good = [row for row in rows if row in self._vectors]
        vectors = np.empty((len(good), self.dim), dtype=np.float32)
        for place, row in enumerate(good):
            vectors[place] = self._vectors.pop(row)
        made = [self._made.pop(row) for row in good]
        failed = {row: self._failed.pop(row) for row in rows if row in self._failed}
        return Batch(np.array(good, dtype=np.int64), vectors, made, failed)
