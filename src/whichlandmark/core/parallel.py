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

from .hardware import cpu_count

Item = TypeVar("Item")

Result = TypeVar("Result")

AHEAD = 2  # items of each thread that are running or done before the consumer has taken them


def map_in_threads(
    work: Callable[[Item], Result], items: Iterable[Item], *, threads: int | None = None
) -> Generator[Result]:
    """The result of `work` on each item, in their order, computed a few items ahead.

    An error is raised at its item. When the consumer stops, by an error or Ctrl-C, no further item
    is begun, and those that are running are waited for.

    threads: None = one for each core; 1 = the calling thread, when the result is asked for.
    """
    threads = threads or cpu_count()
    if threads == 1:
        yield from map(work, items)
        return
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
    with closing(map_in_threads(work, given, threads=1 if len(given) < 2 else threads)) as results:
        return list(results)
