"""Work in threads: results in order, whatever the number of threads; errors and Ctrl-C end it."""

from __future__ import annotations

import threading
import time

import pytest

from whichlandmark.core import parallel
from whichlandmark.core.parallel import AHEAD, in_threads, map_in_threads


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_results_come_in_the_order_of_the_items(threads: int) -> None:
    def work(item: int) -> int:
        time.sleep(0.004 * (item % 3 == 0))  # later items are done first
        return item * item

    assert in_threads(work, range(20), threads=threads) == [item * item for item in range(20)]
    assert list(map_in_threads(work, iter(range(5)), threads=threads)) == [0, 1, 4, 9, 16]
    assert in_threads(work, [], threads=threads) == []


def test_all_cores_work_and_one_item_is_worked_on_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "cpu_count", lambda: 3)
    together = threading.Barrier(3, timeout=10)
    in_threads(lambda item: together.wait(), range(3))
    assert in_threads(lambda item: threading.current_thread(), [0]) == [threading.main_thread()]
    assert (
        in_threads(lambda item: threading.current_thread(), [0, 1], threads=1)
        == [threading.main_thread()] * 2
    )


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_ends_the_work(error: type[BaseException], threads: int) -> None:
    begun: list[int] = []

    def work(item: int) -> None:
        begun.append(item)
        if item == 4:
            raise error("item 4")

    with pytest.raises(error, match="item 4"):
        in_threads(work, range(1000), threads=threads)
    assert len(begun) <= 5 + AHEAD * threads
    assert not [one for one in threading.enumerate() if one.name.startswith("work")]


def test_a_consumer_that_stops_ends_the_work_and_few_results_wait() -> None:
    begun: list[int] = []
    results = map_in_threads(begun.append, range(1000), threads=2)
    next(results)
    time.sleep(0.05)
    assert len(begun) <= 2 * AHEAD
    results.close()
    assert len(begun) <= 2 * AHEAD
    assert not [one for one in threading.enumerate() if one.name.startswith("work")]
