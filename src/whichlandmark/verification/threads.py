"""Linear algebra on one thread, for as long as anyone asks for it.

The products of two photos' descriptors are small: on a second thread they gain a millisecond on
idle cores, and lose ten where cores are shared, because threads wait for each other. The setting
belongs to the whole process, so the first who asks sets it and the last who leaves sets it back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any


class _Held:
    """How many hold the linear algebra at one thread, and how to let go."""

    def __init__(self) -> None:
        from threadpoolctl import ThreadpoolController

        self.lock = Lock()
        self.holders = 0
        self.controller = ThreadpoolController()
        self.limit: Any = None


@contextmanager
def one_thread() -> Iterator[None]:
    """Within it, NumPy's products use one thread; afterwards as many as before."""
    held = _held()
    with held.lock:
        if held.holders == 0:
            held.limit = held.controller.limit(limits=1, user_api="blas")
        held.holders += 1
    try:
        yield
    finally:
        with held.lock:
            held.holders -= 1
            if held.holders == 0:
                held.limit.restore_original_limits()


@cache
def _held() -> _Held:
    return _Held()
