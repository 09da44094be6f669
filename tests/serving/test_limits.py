"""The request queue: order, timeouts, and cancellation without losing capacity."""

from __future__ import annotations

import asyncio
import random

import pytest

pytest.importorskip("fastapi")

from whichlandmark.serving.api_errors import ApiError
from whichlandmark.serving.limits import RequestQueue, Turns


async def held(
    queue: RequestQueue, photos: int, seconds: float, seen: list[int], name: int
) -> float:
    """Hold capacity for some time; append `name` to `seen` on admission. Returns seconds waited."""
    async with queue.hold(photos) as waited:
        seen.append(name)
        await asyncio.sleep(seconds)
        return waited


def test_waiting_requests_are_admitted_in_order() -> None:
    async def run() -> None:
        queue, seen = RequestQueue(4, 8, 5.0), []
        first = asyncio.create_task(held(queue, 3, 0.4, seen, 0))
        await asyncio.sleep(0.01)
        rest = []
        for name, photos in ((1, 4), (2, 1), (3, 2)):
            rest.append(asyncio.create_task(held(queue, photos, 0.05, seen, name)))
            await asyncio.sleep(0.01)
        assert (queue.held, queue.waiting) == (3, 3)  # request 2 would fit, but does not overtake 1
        assert not queue.full
        waited = await asyncio.gather(first, *rest)
        assert seen == [0, 1, 2, 3]
        assert waited[0] == pytest.approx(0, abs=0.1)
        assert all(seconds > 0.1 for seconds in waited[1:])
        assert (queue.held, queue.waiting) == (0, 0)

    asyncio.run(run())


def test_a_timed_out_request_gets_503_and_lets_the_next_in() -> None:
    async def run() -> None:
        queue, seen = RequestQueue(2, 8, 0.1), []
        long = asyncio.create_task(held(queue, 1, 0.4, seen, 0))
        await asyncio.sleep(0.01)
        large = asyncio.create_task(held(queue, 2, 0.0, seen, 1))
        await asyncio.sleep(0.05)
        small = asyncio.create_task(
            held(queue, 1, 0.0, seen, 2)
        )  # fits once request 1 has timed out
        with pytest.raises(ApiError) as refused:
            await large
        assert (refused.value.status, refused.value.code) == (503, "busy")
        await small
        assert seen == [0, 2]
        await long
        assert (queue.held, queue.waiting) == (0, 0)

    asyncio.run(run())


def test_a_full_queue_refuses_at_once() -> None:
    async def run() -> None:
        queue, seen = RequestQueue(1, 2, 5.0), []
        tasks = [asyncio.create_task(held(queue, 1, 0.1, seen, name)) for name in range(3)]
        await asyncio.sleep(0.01)
        assert queue.full
        with pytest.raises(ApiError):
            await held(queue, 1, 0.0, seen, 9)
        assert not any(task.done() for task in tasks)  # it did not wait for one
        await asyncio.gather(*tasks)
        assert not queue.full

    asyncio.run(run())


def test_capacity_is_not_lost_when_requests_are_cancelled_at_any_moment() -> None:
    async def run() -> None:
        draw = random.Random(5)
        queue, seen = RequestQueue(6, 20, 0.1), []
        most = 0

        async def one(name: int) -> None:
            nonlocal most
            await asyncio.sleep(draw.random())
            photos = draw.randint(1, 6)
            async with queue.hold(photos):
                most = max(most, queue.held)
                await asyncio.sleep(draw.random() * 0.07)
                seen.append(name)

        tasks = [asyncio.create_task(one(name)) for name in range(400)]
        for _ in range(60):
            await asyncio.sleep(0.016)
            draw.choice(tasks).cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        kinds = [type(error) for error in ended]
        assert set(kinds) == {type(None), ApiError, asyncio.CancelledError}
        assert len(seen) == kinds.count(type(None)) > 20
        assert (queue.held, queue.waiting) == (0, 0)
        assert most <= 6

    asyncio.run(run())


def test_a_request_cancelled_as_it_is_admitted_frees_its_slot() -> None:
    async def run() -> None:
        queue, seen = RequestQueue(1, 4, 5.0), []
        first = queue.hold(1)
        await first.__aenter__()
        second = asyncio.create_task(held(queue, 1, 0.0, seen, 1))
        await asyncio.sleep(0.01)
        await first.__aexit__(None, None, None)  # the second is admitted but has not run yet
        assert (queue.held, queue.waiting) == (1, 0)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        assert second.cancelled()
        assert seen == []
        assert (queue.held, queue.waiting) == (0, 0)
        await held(queue, 1, 0.0, seen, 2)

    asyncio.run(run())


def test_few_requests_begin_in_one_round_of_the_loop() -> None:
    """A health check that arrives with 300 others is answered after 16 of them, not after all."""

    async def run() -> None:
        turns, order = Turns(16), []

        async def other(number: int) -> None:
            await turns.wait()
            order.append(number)

        others = [asyncio.ensure_future(other(number)) for number in range(300)]
        for number in (17, 40):
            others[number].cancel()
        for _ in range(2):  # rounds in which the check is read from its connection
            await asyncio.sleep(0)
        assert 16 <= len(order) <= 48
        await asyncio.gather(*others, return_exceptions=True)
        assert order == [number for number in range(300) if number not in (17, 40)]
        await asyncio.wait_for(turns.wait(), 1)

    asyncio.run(run())
