"""Batch decoded photos by shape, run the network in a thread, yield vectors in table order.

Which photos share a forward pass depends only on the order of the table and the sizes of the
photos, not on the speed of the decoding threads, because the last bits of a network's output may
depend on the other photos of the pass.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np

from ..core.types import Image, Rows, Vectors
from .prefetch import Read, Reservation

MAX_QUEUED_PASSES = 3  # running or waiting; with fewer the thread would idle between passes


@dataclass(frozen=True, eq=False)
class Decoded:
    """A photo that is ready for the network.

    shape: photos of equal shape can share a pass. computed: the result of `PerPhoto.compute`, with
    the content hash and the location.
    """

    image: Image
    shape: Hashable
    computed: Any


@dataclass(frozen=True, eq=False)
class Batch:
    """Results of consecutive rows of the table.

    rows: (n,) rows that were embedded. vectors: (n, D). computed: n values of `Decoded.computed`.
    failed: row → reason, for the other rows.
    """

    rows: Rows
    vectors: Vectors
    computed: list[Any]
    failed: dict[int, str]


@dataclass(eq=False)
class ShapeBatcher:
    """Collects photos by shape until a forward pass is full.

    batch_size: photos of a full pass. max_wait_rows: number of table rows after which a photo is
    embedded even if its pass is not full. max_waiting_bytes: upper limit of the bytes of all
    waiting photos. section_rows: no pass mixes photos of two sections of this many rows; 0 = the
    whole table is one section.
    """

    batch_size: int
    max_wait_rows: int
    max_waiting_bytes: int
    section_rows: int = 0
    _waiting: dict[Hashable, list[int]] = field(default_factory=dict)  # shapes: oldest row first
    _bytes_by_row: dict[int, int] = field(default_factory=dict)
    _waiting_bytes: int = 0

    def add(self, row: int, shape: Hashable, size: int) -> Iterator[list[int]]:
        """Add a photo of `size` bytes; yields the rows of each pass that is now full."""
        self._waiting.setdefault(shape, []).append(row)
        self._bytes_by_row[row] = size
        self._waiting_bytes += size
        if len(self._waiting[shape]) == self.batch_size:
            yield self._pop(shape)
        while self._waiting_bytes >= self.max_waiting_bytes:
            yield self._pop(next(iter(self._waiting)))

    def due(self, row: int) -> Iterator[list[int]]:
        """Yields the passes that must run after `row` was read (successfully or not)."""
        if self.section_rows and (row + 1) % self.section_rows == 0:
            yield from self.flush()
        while self._waiting:
            oldest = next(iter(self._waiting))
            if self._waiting[oldest][0] > row - self.max_wait_rows:
                return
            yield self._pop(oldest)

    def flush(self) -> Iterator[list[int]]:
        """Yields passes of all photos that are still waiting."""
        while self._waiting:
            yield self._pop(next(iter(self._waiting)))

    def _pop(self, shape: Hashable) -> list[int]:
        rows = self._waiting.pop(shape)
        self._waiting_bytes -= sum(self._bytes_by_row.pop(row) for row in rows)
        return rows


class ForwardThread:
    """Runs forward passes in a thread of its own; returns rows and vectors in order.

    One pass at a time, because the runtimes spread a pass over all cores themselves and embedders
    need not be thread-safe. One thread per core, each with a single-core network, was not faster.
    """

    def __init__(self, run: Callable[[Sequence[Image]], Vectors]) -> None:
        self._run = run
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._passes: deque[tuple[list[int], Future[Vectors]]] = deque()

    def start(self, rows: list[int], images: list[Image], reservations: list[Reservation]) -> None:
        """Queue a pass of these images; their reservations are released when it is done."""

        def forward() -> Vectors:
            try:
                return self._run(images)
            finally:
                images.clear()
                for reservation in reservations:
                    reservation.release()

        self._passes.append((rows, self._pool.submit(forward)))

    def finished(self, *, wait: bool = False) -> Iterator[tuple[list[int], Vectors]]:
        """Yields finished passes; blocks only while `MAX_QUEUED_PASSES` are queued.

        wait: wait for all queued passes instead.
        """
        while self._passes:
            rows, future = self._passes[0]
            if not (wait or future.done() or len(self._passes) >= MAX_QUEUED_PASSES):
                return
            self._passes.popleft()
            yield rows, future.result()

    def __enter__(self) -> ForwardThread:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)


@dataclass(eq=False)
class Reorderer:
    """Restores the order of the table after forward passes that were batched by shape.

    table_rows: number of rows of the table. batch_rows: rows of an output batch. dim: length of a
    vector. rows_done: rows that have been yielded.
    """

    table_rows: int
    batch_rows: int
    dim: int
    rows_done: int = 0
    _waiting: dict[int, tuple[Image, Reservation]] = field(default_factory=dict)  # for their pass
    _computed: dict[int, Any] = field(default_factory=dict)
    _vectors: dict[int, Vectors] = field(default_factory=dict)
    _failed: dict[int, str] = field(default_factory=dict)

    def batches(
        self, reads: Iterable[Read[Decoded]], batcher: ShapeBatcher, forward: ForwardThread
    ) -> Iterator[Batch]:
        """Yields all rows of the table in order; memory is bounded by the limits of `batcher`."""
        for row, read in enumerate(reads):
            if read.value is None:
                self._failed[row] = read.failure
            else:
                decoded = read.value
                self._waiting[row] = decoded.image, read.reservation
                self._computed[row] = decoded.computed
                self._start(forward, batcher.add(row, decoded.shape, decoded.image.nbytes))
                del decoded
            del read  # only the pass refers to the pixels now, so they are freed when it is done
            self._start(forward, batcher.due(row))
            self._collect(forward.finished())
            yield from self._complete_batches()
        self._start(forward, batcher.flush())
        for finished in forward.finished(wait=True):
            self._collect([finished])
            yield from self._complete_batches()
        yield from self._complete_batches()

    def _start(self, forward: ForwardThread, passes: Iterable[list[int]]) -> None:
        for rows in passes:
            images, reservations = zip(*(self._waiting.pop(row) for row in rows), strict=True)
            forward.start(rows, list(images), list(reservations))

    def _collect(self, passes: Iterable[tuple[list[int], Vectors]]) -> None:
        for rows, vectors in passes:
            self._vectors.update(zip(rows, vectors, strict=True))

    def _complete_batches(self) -> Iterator[Batch]:
        """The next batches in which every photo is embedded or has failed."""
        while self.rows_done < self.table_rows:
            rows = range(self.rows_done, min(self.rows_done + self.batch_rows, self.table_rows))
            if not all(row in self._vectors or row in self._failed for row in rows):
                return
            self.rows_done = rows.stop
            embedded = [row for row in rows if row in self._vectors]
            vectors = np.empty((len(embedded), self.dim), dtype=np.float32)
            for i, row in enumerate(embedded):
                vectors[i] = self._vectors.pop(row)
            computed = [self._computed.pop(row) for row in embedded]
            failed = {row: self._failed.pop(row) for row in rows if row in self._failed}
            yield Batch(np.array(embedded, dtype=np.int64), vectors, computed, failed)
