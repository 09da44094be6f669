"""Work on many items in threads, with results in the order of the items.

For work whose time is spent in OpenCV, BLAS, LAPACK or FAISS, which other threads need not wait
for. Results depend neither on the number of threads nor on which item is done first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

from .hardware import cpu_count, one_blas_thread

Item = TypeVar("Item")

Result = TypeVar("Result")

AHEAD = 2  # items of each thread that are running or done before the consumer has taken them


def map_in_threads(
    work: Callable[[Item], Result], items: Iterable[Item], *, threads: int | None = None
) -> Generator[Result]:
    """The result of `work` on each item, in their order, computed a few items ahead.

    An error is raised at its item. When the consumer stops, by an error or Ctrl-C, no further item
    is begun, and those that are running are waited for. Meanwhile BLAS has one thread, because
    more would wait for each other, and sums of several differ in their last bits.

    threads: None = one for each core; 1 = the calling thread, when the result is asked for.
    """
    with one_blas_thread():
        threads = threads or cpu_count()
        yield from map(work, items) if threads == 1 else _map(work, items, threads)


def _map(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Generator[Result]:
    pool = ThreadPoolExecutor(threads, thread_name_prefix="work")
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def in_threads(
    work: Callable[[Item], Result], items: Iterable[Item], *, threads: int | None = None
) -> list[Result]:
    """As `map_in_threads`, with all results. One item alone is worked on in the calling thread."""
    given = list(items)
    if len(given) < 2:
        return [work(item) for item in given]
    with closing(map_in_threads(work, given, threads=threads)) as results:
        return list(results)
