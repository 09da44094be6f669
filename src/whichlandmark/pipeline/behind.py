"""One piece of work done in a thread while the next is got ready."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Behind:
    """Used in a with-statement. However that is left, the work under way is finished first.

    done: called by the caller's own thread, after each piece, with the `size` it was given with.
    """

    def __init__(self, done: Callable[[int], None]) -> None:
        self._done = done
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="behind")
        self._under_way: tuple[Future[None], int] | None = None

    def start(self, work: Callable[[], None], size: int) -> None:
        """Begin; waits for the piece before, and raises what that one raised."""
        self.finish()
        self._under_way = self._pool.submit(work), size

    def finish(self) -> None:
        """Wait for the work under way, and raise what it raised."""
        if self._under_way is None:
            return
        (work, size), self._under_way = self._under_way, None
        work.result()
        self._done(size)

    def __enter__(self) -> Behind:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            self._pool.shutdown()
