"""Shape batches, the byte budget, prefetch and forward passes, each tested alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from whichlandmark.core.errors import GalleryError, ImageError
from whichlandmark.core.types import Image
from whichlandmark.features.batching import ForwardThread, ShapeBatcher
from whichlandmark.features.prefetch import (
    BackgroundTask,
    ByteBudget,
    PipelineClosed,
    Reservation,
    read_ahead,
)

TIMEOUT = 10.0  # seconds


def passes_of(
    batcher: ShapeBatcher, shapes: list[str], sizes: list[int]
) -> list[tuple[int, list[int]]]:
    """(row after which it was started, rows) of every pass of a whole table."""
    passes = []
    for row, (shape, size) in enumerate(zip(shapes, sizes, strict=True)):
        if shape:  # "" = a photo that failed
            passes += [(row, rows) for rows in batcher.add(row, shape, size)]
        passes += [(row, rows) for rows in batcher.due(row)]
    return passes + [(len(shapes), rows) for rows in batcher.flush()]


@pytest.mark.parametrize("seed", range(20))
def test_every_photo_is_in_one_batch_of_its_shape_within_the_allowed_delay(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shapes = [
        str(s) for s in rng.choice(["", "a", "b", "c", "d"], 300, p=[0.1, 0.5, 0.3, 0.09, 0.01])
    ]
    sizes = rng.integers(1, 100, 300).tolist()
    batcher = ShapeBatcher(batch_size=4, max_wait_rows=32, max_waiting_bytes=700)
    found = passes_of(batcher, shapes, sizes)
    assert sorted(row for _, rows in found for row in rows) == [
        r for r, s in enumerate(shapes) if s
    ]
    for started, rows in found:
        assert len({shapes[row] for row in rows}) == 1
        assert rows == sorted(rows)
        assert len(rows) <= 4
        assert started - rows[0] <= 32
    started_at = {row: started for started, rows in found for row in rows}
    for now in range(300):  # the waiting bytes after each row, summed independently
        waiting = sum(sizes[row] for row, started in started_at.items() if row <= now < started)
        assert waiting < 700


def test_photos_share_a_batch_only_within_the_window() -> None:
    shapes = ["tall", *["wide"] * 9, "tall", *["wide"] * 30]
    near = passes_of(
        ShapeBatcher(batch_size=2, max_wait_rows=16, max_waiting_bytes=10**9), shapes, [1] * 41
    )
    assert [0, 10] in [rows for _, rows in near]
    far = passes_of(
        ShapeBatcher(batch_size=2, max_wait_rows=5, max_waiting_bytes=10**9), shapes, [1] * 41
    )
    assert (5, [0]) in far


def test_a_batch_is_started_when_its_bytes_are_full() -> None:
    found = passes_of(
        ShapeBatcher(batch_size=8, max_wait_rows=64, max_waiting_bytes=100),
        ["a"] * 4,
        [150, 60, 60, 1],
    )
    assert [rows for _, rows in found] == [[0], [1, 2], [3]]


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_the_byte_budget_admits_photos_in_order() -> None:
    budget, admitted = ByteBudget(100), []
    reservations = [Reservation(budget, turn) for turn in range(4)]
    sizes = [70, 50, 10, 500]

    def enter(turn: int) -> None:
        reservations[turn].take(sizes[turn])
        admitted.append(turn)

    threads = [in_thread(lambda turn=turn: enter(turn)) for turn in (3, 2, 1)]
    time.sleep(0.05)
    assert admitted == []  # it is the turn of photo 0
    enter(0)
    time.sleep(0.05)
    assert admitted == [0]  # 10 would fit beside 70, but photo 1 comes first
    reservations[0].shrink(40)
    threads[2].join(TIMEOUT)
    threads[1].join(TIMEOUT)
    assert admitted == [0, 1, 2]
    reservations[0].release()
    reservations[1].release()
    time.sleep(0.05)
    assert admitted == [0, 1, 2]  # larger than the budget: only when it is alone
    reservations[2].release()
    threads[0].join(TIMEOUT)
    assert (admitted, budget.used) == ([0, 1, 2, 3], 500)


def test_released_turns_are_skipped_and_close_wakes_all_waiting_threads() -> None:
    budget = ByteBudget(10)
    Reservation(budget, 1).release()
    Reservation(budget, 0).release()
    Reservation(budget, 2).take(10)
    raised: list[type[BaseException]] = []

    def wait() -> None:
        try:
            Reservation(budget, 3).take(1)
        except PipelineClosed as error:
            raised.append(type(error))

    thread = in_thread(wait)
    budget.close()
    thread.join(TIMEOUT)
    assert raised == [PipelineClosed]


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_prefetch_keeps_the_order_and_its_limit(threads: int) -> None:
    budget, started, consumed = ByteBudget(40), [0], [0]
    lock = threading.Lock()

    def work(path: str, reservation: Reservation) -> int:
        with lock:
            started[0] += 1
            assert started[0] - consumed[0] <= 12 + threads
        reservation.take(10)
        number = int(path)
        time.sleep(0.001 * (number % 5))
        if number % 7 == 3:
            raise ImageError(f"{path} is bad")
        reservation.shrink(2)
        return number

    with read_ahead(
        [str(n) for n in range(60)], work, budget, threads=threads, max_ahead=12
    ) as reads:
        for n, read in enumerate(reads):
            consumed[0] = n + 1
            assert (read.value, read.failure) == ((None, f"{n} is bad") if n % 7 == 3 else (n, ""))
            read.reservation.release()
    assert budget.used == 0
    assert 10 <= budget.peak <= 40


def test_leaving_prefetch_early_does_not_block() -> None:
    budget = ByteBudget(10)  # for one photo, which is never released

    def work(path: str, reservation: Reservation) -> str:
        reservation.take(10)
        return path

    with read_ahead(["a"] * 50, work, budget, threads=4, max_ahead=8) as reads:
        assert next(reads).value == "a"
    assert not [t for t in threading.enumerate() if t.name.startswith("decode")]


def test_an_error_in_a_thread_is_raised_when_its_photo_is_next() -> None:
    def work(path: str, reservation: Reservation) -> str:
        if path == "b":
            raise MemoryError("no more")
        return path

    with read_ahead(["a", "b", "c"], work, ByteBudget(1), threads=2, max_ahead=2) as reads:
        assert next(reads).value == "a"
        with pytest.raises(MemoryError, match="no more"):
            next(reads)


def test_a_failed_forward_pass_releases_its_bytes_and_raises() -> None:
    def fail(images: object) -> np.ndarray:
        raise RuntimeError("out of order")

    budget, image = ByteBudget(10), np.zeros((1, 1, 3), np.uint8)
    reservation = Reservation(budget, 0)
    reservation.take(7)
    with ForwardThread(fail) as running:
        running.start([0], [image], [reservation])
        with pytest.raises(RuntimeError, match="out of order"):
            list(running.finished(wait=True))
    assert budget.used == 0


def test_forward_passes_run_in_the_background_and_return_in_order() -> None:
    go = threading.Event()

    def run(images: list[Image]) -> np.ndarray:
        assert go.wait(TIMEOUT)
        return np.array([[image[0, 0, 0]] for image in images], dtype=np.float32)

    with ForwardThread(run) as running:
        for n in range(2):
            running.start([n], [np.full((1, 1, 3), n, np.uint8)], [])
            assert list(running.finished()) == []  # not finished, and the queue is not full
        go.set()
        found = list(running.finished(wait=True))
    assert [(rows, vectors.tolist()) for rows, vectors in found] == [([0], [[0]]), ([1], [[1]])]


def test_the_background_task_is_finished_and_its_error_raised() -> None:
    reported: list[int] = []
    begun, finished = threading.Event(), []

    def slow() -> None:
        begun.set()
        time.sleep(0.05)
        finished.append("slow")

    def run(*works: Callable[[], None], interrupted: bool = False) -> None:
        with BackgroundTask(reported.append) as task:
            for size, work in enumerate(works, 1):
                task.start(work, size)
            if interrupted:
                assert begun.wait(TIMEOUT)
                raise KeyboardInterrupt

    def fault() -> None:
        raise GalleryError("disk full")

    with pytest.raises(KeyboardInterrupt):
        run(slow, interrupted=True)
    assert (finished, reported) == (["slow"], [])  # finished, but not reported
    with pytest.raises(GalleryError, match="disk full"):
        run(slow, fault, slow)
    assert (finished, reported) == (["slow", "slow"], [1])
    with pytest.raises(GalleryError, match="disk full"):
        run(fault)
    assert reported == [1]
