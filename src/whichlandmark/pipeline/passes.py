"""Passes of a network in a thread of their own, beside the threads that decode.

One at a time: the runtimes spread a pass over the cores themselves, and embedders need not be
fit for several threads. A thread for each core with a network on one core each was as fast.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from ..types import Image, Vectors
from .room import Claim

MOST = 3  # passes under way or waiting: the thread never waits for the next


class Running:
    """Runs passes; who asks gets rows and their vectors back in the order of the passes."""

    def __init__(self, run: Callable[[Sequence[Image]], Vectors]) -> None:
        self._run = run
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._passes: deque[tuple[list[int], Future[Vectors]]] = deque()

    def start(self, rows: list[int], images: list[Image], claims: list[Claim]) -> None:
        """A pass of these images; their claims are given back when it is done."""

        def one() -> Vectors:
            try:
                return self._run(images)
            finally:
                images.clear()
                for claim in claims:
                    claim.give_back()

        self._passes.append((rows, self._pool.submit(one)))

    def done(self, *, all_of_them: bool = False) -> Iterator[tuple[list[int], Vectors]]:
        """What is done; waits for the oldest pass while there are as many as there may be."""
        while self._passes:
            rows, future = self._passes[0]
            if not (all_of_them or future.done() or len(self._passes) >= MOST):
                return
            self._passes.popleft()
            yield rows, future.result()

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._pool.shutdown(cancel_futures=True)
