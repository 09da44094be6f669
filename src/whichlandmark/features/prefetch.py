"""Prefetch: read and decode photos in threads, yield them in order, within a memory budget.

The budget counts the bytes of every photo between its file and its vector. A thread reserves its
photo's bytes when it knows the size and has not yet decoded it. Reservations are granted in the
order of the table, so later photos never hold up the one that is needed next; a photo larger than
the whole budget waits until it is alone.
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


class PipelineClosed(Exception):  # noqa: N818 (no error: it ends threads that wait at shutdown)
    """Raised in waiting threads at shutdown: the consumer has stopped."""


class ByteBudget:
    """Memory budget shared by all photos that are being decoded or embedded.

    limit: bytes. The turns of its reservations are numbered from 0 without a gap.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = self.most = 0  # bytes now, and at any time so far
        self._changed = Condition()
        self._next = 0  # the turn that is granted next
        self._passed: set[int] = set()  # later turns that were granted, or never will be
        self._closed = False

    def reserve(self, turn: int, size: int) -> None:
        """Wait for the turn and for free bytes. Raises PipelineClosed when the run has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._fits(turn, size))
            if self._closed:
                raise PipelineClosed
            self.used += size
            self.most = max(self.most, self.used)
            self._pass(turn)

    def release(self, turn: int, size: int) -> None:
        """Free bytes; a turn that was never used is passed on."""
        with self._changed:
            self.used -= size
            self._pass(turn)

    def close(self) -> None:
        """Wake all waiting threads, now and later, with PipelineClosed."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _fits(self, turn: int, size: int) -> bool:
        return turn == self._next and (self.used == 0 or self.used + size <= self.limit)

    def _pass(self, turn: int) -> None:
        if turn >= self._next:
            self._passed.add(turn)
        while self._next in self._passed:
            self._passed.remove(self._next)
            self._next += 1
        self._changed.notify_all()


class Reservation:
    """The bytes that one photo holds of a budget."""

    def __init__(self, budget: ByteBudget, turn: int) -> None:
        self.budget, self.turn, self.size = budget, turn, 0

    def take(self, size: int) -> None:
        """Before the first byte is decoded. Raises PipelineClosed when the run has ended."""
        self.budget.reserve(self.turn, size)
        self.size = size

    def shrink(self, size: int) -> None:
        """Keep only so many bytes from now on."""
        kept = min(size, self.size)
        self.budget.release(self.turn, self.size - kept)
        self.size = kept

    def release(self) -> None:
        """Free all of it; also when nothing was taken."""
        self.shrink(0)


@dataclass(frozen=True, eq=False)
class Read(Generic[T]):
    """What was made of one photo, with its reservation; or why it failed (`made` is None)."""

    reservation: Reservation
    made: T | None
    failure: str = ""


@contextmanager
def read_ahead(
    paths: Sequence[str],
    work: Callable[[str, Reservation], T],
    budget: ByteBudget,
    *,
    threads: int,
    ahead: int,
) -> Iterator[Iterator[Read[T]]]:
    """`work` on each path in threads, at most `ahead` of them before they are needed.

    work: takes its reservation before it decodes, and shrinks it to what it returns. An ImageError
      is handed over as a failure. However the block is left, no more work is started and no thread
      stays waiting.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    def one(turn: int) -> Read[T]:
        reservation = Reservation(budget, turn)
        try:
            return Read(reservation, work(paths[turn], reservation))
        except ImageError as error:
            reservation.release()
            return Read(reservation, None, str(error))
        except BaseException:  # else all later turns would wait for this one
            reservation.release()
            raise

    def in_order() -> Iterator[Read[T]]:
        waiting: deque[Future[Read[T]]] = deque()
        for turn in range(len(paths)):
            waiting.append(pool.submit(one, turn))
            if len(waiting) >= ahead:
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

    Used in a with-statement. However that is left, the running task is finished first.
    done: called in the caller's own thread after each task, with the `size` given to `start`.
    """

    def __init__(self, done: Callable[[int], None]) -> None:
        self._done = done
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="background")
        self._running: tuple[Future[None], int] | None = None

    def start(self, task: Callable[[], None], size: int) -> None:
        """Start a task; waits for the task before it, and raises what that one raised."""
        self.finish()
        self._running = self._pool.submit(task), size

    def finish(self) -> None:
        """Wait for the running task, and raise what it raised."""
        if self._running is None:
            return
        (task, size), self._running = self._running, None
        task.result()
        self._done(size)

    def __enter__(self) -> BackgroundTask:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            self._pool.shutdown()
