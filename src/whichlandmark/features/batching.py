"""Batch decoded photos by shape, run the network in a thread, put the vectors back in order.

Which photos share a forward pass is decided by the table's order and the photos' sizes alone, never
by which thread was quicker, because the last bits of a network's numbers may depend on the other
photos of the pass.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.types import Image, Vectors
from .prefetch import Read, Reservation

MAX_PASSES = 3  # running or waiting: the thread never waits for the next


@dataclass(frozen=True, eq=False)
class Decoded:
    """A photo that can go to the network. made: whatever else was computed from it."""

    image: Image
    shape: Hashable
    made: Any


@dataclass(frozen=True, eq=False)
class Batch:
    """Consecutive rows of the table: those that were embedded, (n,), their vectors (n, D), what was
    made of them, and row → reason of the others.
    """

    rows: NDArray[np.int64]
    vectors: Vectors
    made: list[Any]
    failed: dict[int, str]


@dataclass(eq=False)
class ShapeBatcher:
    """Collects photos until enough of one shape fill a forward pass.

    at_once: photos of a full pass. stretch: rows of the table that a photo waits at most for its
    pass to fill. most_bytes: those of all waiting photos stay below it. section: no pass holds
    photos of two sections, which begin at multiples of so many rows; 0 = the table is one.
    """

    at_once: int
    stretch: int
    most_bytes: int
    section: int = 0
    _waiting: dict[Hashable, list[int]] = field(default_factory=dict)  # shapes: oldest row first
    _bytes: dict[int, int] = field(default_factory=dict)  # by row
    _held: int = 0

    def add(self, row: int, shape: Hashable, size: int) -> Iterator[list[int]]:
        """Add a photo of `size` bytes; yields the rows of each pass that is to run now."""
        self._waiting.setdefault(shape, []).append(row)
        self._bytes[row] = size
        self._held += size
        if len(self._waiting[shape]) == self.at_once:
            yield self._pop(shape)
        while self._held >= self.most_bytes:
            yield self._pop(next(iter(self._waiting)))

    def reached(self, row: int) -> Iterator[list[int]]:
        """The table was read up to `row`, failed photos included: passes that wait no longer."""
        if self.section and (row + 1) % self.section == 0:
            yield from self.rest()
        while self._waiting:
            oldest = next(iter(self._waiting))
            if self._waiting[oldest][0] > row - self.stretch:
                return
            yield self._pop(oldest)

    def rest(self) -> Iterator[list[int]]:
        """The passes of all photos that still wait."""
        while self._waiting:
            yield self._pop(next(iter(self._waiting)))

    def _pop(self, shape: Hashable) -> list[int]:
        rows = self._waiting.pop(shape)
        self._held -= sum(self._bytes.pop(row) for row in rows)
        return rows


class ForwardThread:
    """Runs forward passes in one thread of its own; returns rows and vectors in their order.

    One pass at a time, because the runtimes spread a pass over the cores themselves, and embedders
    need not be thread-safe. A thread per core with a network on one core each was as fast.
    """

    def __init__(self, run: Callable[[Sequence[Image]], Vectors]) -> None:
        self._run = run
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._passes: deque[tuple[list[int], Future[Vectors]]] = deque()

    def start(self, rows: list[int], images: list[Image], reservations: list[Reservation]) -> None:
        """Queue a pass of these images; their reservations are released when it is done."""

        def one() -> Vectors:
            try:
                return self._run(images)
            finally:
                images.clear()
                for reservation in reservations:
                    reservation.release()

        self._passes.append((rows, self._pool.submit(one)))

    def done(self, *, all_of_them: bool = False) -> Iterator[tuple[list[int], Vectors]]:
        """Finished passes; waits for the oldest while `MAX_PASSES` are queued."""
        while self._passes:
            rows, future = self._passes[0]
            if not (all_of_them or future.done() or len(self._passes) >= MAX_PASSES):
                return
            self._passes.popleft()
            yield rows, future.result()

    def __enter__(self) -> ForwardThread:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._pool.shutdown(cancel_futures=True)


@dataclass(eq=False)
class Reorderer:
    """Puts the results of forward passes back in the order of the table.

    rows: of the table. size: rows of a batch. dim: of a vector. given: rows handed over so far.
    """

    rows: int
    size: int
    dim: int
    given: int = 0
    _waiting: dict[int, tuple[Image, Reservation]] = field(default_factory=dict)  # for their pass
    _made: dict[int, Any] = field(default_factory=dict)
    _vectors: dict[int, Vectors] = field(default_factory=dict)
    _failed: dict[int, str] = field(default_factory=dict)

    def batches(
        self, reads: Iterable[Read[Decoded]], batcher: ShapeBatcher, forward: ForwardThread
    ) -> Iterator[Batch]:
        """Every row of the table, in order; what stays in memory meanwhile is bounded."""
        for row, read in enumerate(reads):
            if read.made is None:
                self._failed[row] = read.failure
            else:
                self._waiting[row] = read.made.image, read.reservation
                self._made[row] = read.made.made
                passes = batcher.add(row, read.made.shape, read.made.image.nbytes)
                self._start(forward, passes)
            del read  # its pixels belong to the pass now, which drops them when it is done
            self._start(forward, batcher.reached(row))
            self._collect(forward.done())
            yield from self._complete()
        self._start(forward, batcher.rest())
        for done in forward.done(all_of_them=True):
            self._collect([done])
            yield from self._complete()
        yield from self._complete()

    def _start(self, forward: ForwardThread, passes: Iterable[list[int]]) -> None:
        for rows in passes:
            images, reservations = zip(*(self._waiting.pop(row) for row in rows), strict=True)
            forward.start(rows, list(images), list(reservations))

    def _collect(self, passes: Iterable[tuple[list[int], Vectors]]) -> None:
        for rows, vectors in passes:
            self._vectors.update(zip(rows, vectors, strict=True))

    def _complete(self) -> Iterator[Batch]:
        """The next batches of which every photo is embedded or has failed."""
        while self.given < self.rows:
            rows = range(self.given, min(self.given + self.size, self.rows))
            if not all(row in self._vectors or row in self._failed for row in rows):
                return
            self.given = rows.stop
            good = [row for row in rows if row in self._vectors]
            vectors = np.empty((len(good), self.dim), dtype=np.float32)
            for place, row in enumerate(good):
                vectors[place] = self._vectors.pop(row)
            made = [self._made.pop(row) for row in good]
            failed = {row: self._failed.pop(row) for row in rows if row in self._failed}
            yield Batch(np.array(good, dtype=np.int64), vectors, made, failed)
