"""Prefetch: read and decode photos in threads, yield them in order, within a memory budget.

The budget counts the bytes of every photo from decoding until its vector is computed. A thread
reserves the bytes of its photo once it knows the size, before it decodes. Reservations are granted
in table order, so later photos cannot block the one that is needed next; a photo larger than the
whole budget waits until no other photo holds memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition
from typing import Generic, TypeVar

from ..core.errors import ImageError

T = TypeVar("T")


class PipelineClosed(Exception):  # noqa: N818 (not an error: it ends waiting threads at shutdown)
    """Raised in waiting threads at shutdown: the consumer has stopped."""


class ByteBudget:
    """Memory budget shared by all photos that are being decoded or embedded.

    limit: bytes. Turns: reservations are numbered 0, 1, 2 … without a gap and granted in this
    order. used, peak: bytes reserved now, and the maximum so far.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = self.peak = 0
        self._changed = Condition()
        self._next_turn = 0
        self._finished_turns: set[int] = set()  # later turns: granted, or released without use
        self._closed = False

    def reserve(self, turn: int, size: int) -> None:
        """Wait for the turn and for free bytes. Raises PipelineClosed after `close`."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._fits(turn, size))
            if self._closed:
                raise PipelineClosed
            self.used += size
            self.peak = max(self.peak, self.used)
            self._finish_turn(turn)

    def release(self, turn: int, size: int) -> None:
        """Free bytes; a turn that was never reserved is skipped from now on."""
        with self._changed:
            self.used -= size
            self._finish_turn(turn)

    def close(self) -> None:
        """Raise PipelineClosed in all threads that wait now or later."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _fits(self, turn: int, size: int) -> bool:
        return turn == self._next_turn and (self.used == 0 or self.used + size <= self.limit)

    def _finish_turn(self, turn: int) -> None:
        if turn >= self._next_turn:
            self._finished_turns.add(turn)
        while self._next_turn in self._finished_turns:
            self._finished_turns.remove(self._next_turn)
            self._next_turn += 1
        self._changed.notify_all()


class Reservation:
    """The bytes that one photo holds of a budget."""

    def __init__(self, budget: ByteBudget, turn: int) -> None:
        self.budget, self.turn, self.size = budget, turn, 0

    def take(self, size: int) -> None:
        """Reserve bytes, before decoding starts. Raises PipelineClosed after `ByteBudget.close`."""
        self.budget.reserve(self.turn, size)
        self.size = size

    def shrink(self, size: int) -> None:
        """Release all but `size` bytes."""
        kept = min(size, self.size)
        self.budget.release(self.turn, self.size - kept)
        self.size = kept

    def release(self) -> None:
        """Release everything; also allowed when nothing was taken."""
        self.shrink(0)


@dataclass(frozen=True, eq=False)
class Read(Generic[T]):
    """The result of one photo, with its reservation; when it failed, None and the reason."""

    reservation: Reservation
    value: T | None
    failure: str = ""


@contextmanager
def read_ahead(
    paths: Sequence[str],
    work: Callable[[str, Reservation], T],
    budget: ByteBudget,
    *,
    threads: int,
    max_ahead: int,
) -> Iterator[Iterator[Read[T]]]:
    """Run `work` on each path in threads, at most `max_ahead` paths ahead of the consumer.

    work: takes its reservation before it decodes and shrinks it to the size of its result. An
      ImageError becomes a failed `Read`; other errors are raised at the consumer. On leaving the
      block, no further work starts and waiting threads end.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    def read(turn: int) -> Read[T]:
        reservation = Reservation(budget, turn)
        try:
            return Read(reservation, work(paths[turn], reservation))
        except ImageError as error:
            reservation.release()
            return Read(reservation, None, str(error))
        except BaseException:  # without the release all later turns would wait for this one
            reservation.release()
            raise

    def in_order() -> Iterator[Read[T]]:
        waiting: deque[Future[Read[T]]] = deque()
        for turn in range(len(paths)):
            waiting.append(pool.submit(read, turn))
            if len(waiting) >= max_ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    try:
        yield in_order()
    finally:
        budget.close()
        pool.shutdown(cancel_futures=True)


class BackgroundTask:
    """Runs one task in a thread while the caller prepares the next.

    A context manager: the running task is always finished on leaving the block.
    on_done: called in the caller's thread after each successful task, with the `size` given to
    `start`; not called for the last task when the block is left by an exception.
    """

    def __init__(self, on_done: Callable[[int], None]) -> None:
        self._on_done = on_done
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="background")
        self._running: tuple[Future[None], int] | None = None

    def start(self, task: Callable[[], None], size: int) -> None:
        """Start a task after the previous one has ended; raises the error of the previous one."""
        self.finish()
        self._running = self._pool.submit(task), size

    def finish(self) -> None:
        """Wait for the running task, and raise its error."""
        if self._running is None:
            return
        (task, size), self._running = self._running, None
        task.result()
        self._on_done(size)

    def __enter__(self) -> BackgroundTask:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            self._pool.shutdown()
