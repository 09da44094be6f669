"""Load limits: a bounded request queue, a byte budget for request bodies, and rate limits."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import NamedTuple

from .api_errors import ApiError, busy

MAX_TRACKED_CALLERS = 10_000  # beyond that, the least recent caller is forgotten

MAX_RETRY_SECONDS = 30


class RequestQueue:
    """Bounds the photos that are accepted and not yet answered. Use it from the event loop only.

    When it is full, further requests wait in order of arrival, because a short wait is cheaper than
    a client's retry.

    Args:
        capacity: photos that may be in work at once.
        max_waiting: requests that may wait for capacity.
        max_wait: seconds after which a waiting request is refused.
    """

    def __init__(self, capacity: int, max_waiting: int = 0, max_wait: float = 0.0) -> None:
        self.capacity, self.held = capacity, 0
        self.max_waiting, self.max_wait = max_waiting, max_wait
        self.seconds_per_photo = 0.1  # running average
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def waiting(self) -> int:
        """Number of requests that wait for capacity."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether a request with one photo would be refused at once."""
        return self.held >= self.capacity and self.waiting >= self.max_waiting

    @property
    def retry(self) -> int:
        """Estimated seconds until half of the photos in the queue are answered."""
        return min(
            MAX_RETRY_SECONDS,
            max(1, math.ceil((self.held + self.waiting) * self.seconds_per_photo / 2)),
        )

    @asynccontextmanager
    async def hold(self, photos: int) -> AsyncIterator[float]:
        """Reserve capacity for `photos` photos while the block runs.

        Yields:
            Seconds that the request waited.

        Raises:
            ApiError: 503 when too many requests wait, or when this one waited for `max_wait`.
        """
        arrived = time.monotonic()
        await self._acquire(photos)
        began, concurrent = time.monotonic(), self.held
        try:
            yield began - arrived
            took = (time.monotonic() - began) / max(1, concurrent)
            self.seconds_per_photo += 0.05 * (min(took, 10.0) - self.seconds_per_photo)
        finally:
            self._release(photos)

    async def _acquire(self, photos: int) -> None:
        if not self._waiting and self.held + photos <= self.capacity:
            self.held += photos
            return
        if self.waiting >= self.max_waiting:
            raise busy(self.retry)
        waiter = photos, asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(self.max_wait):
                await waiter[1]
        except BaseException as error:  # timed out, or the request was cancelled
            admitted = waiter[1].done() and not waiter[1].cancelled()  # at the same moment
            with suppress(ValueError):
                self._waiting.remove(waiter)
            self._release(photos if admitted else 0)
            if isinstance(error, TimeoutError):
                raise busy(self.retry) from None
            raise

    def _release(self, photos: int) -> None:
        """Free capacity and admit the waiting requests that fit, in order of arrival."""
        self.held -= photos
        while self._waiting and self.held + self._waiting[0][0] <= self.capacity:
            next_photos, admission = self._waiting.popleft()
            if not admission.done():
                self.held += next_photos
                admission.set_result(None)


class BodyBudget:
    """Bounds the bytes of all bodies that are being read. Use it from the event loop only."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.held = capacity, 0

    @contextmanager
    def hold(self, count: int) -> Iterator[None]:
        """Reserve `count` bytes while the block runs. Raises ApiError 503 when they do not fit."""
        if self.held + count > self.capacity:
            raise busy(1)
        self.held += count
        try:
            yield
        finally:
            self.held -= count


class Allowance(NamedTuple):
    """What is left of a caller's photos per minute. reset: seconds until all of them are free."""

    limit: int
    remaining: int
    reset: int


class RateLimits:
    """Limits the photos per minute of each caller with a token bucket."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allowance(self, caller: str, rate: int) -> Allowance:
        """What a caller may still send. rate: photos per minute, above 0."""
        tokens, updated = self._buckets.get(caller, (float(rate), self._clock()))
        tokens = min(float(rate), tokens + (self._clock() - updated) * rate / 60)
        return Allowance(rate, max(0, int(tokens)), math.ceil((rate - tokens) * 60 / rate))

    def take(self, caller: str, photos: int, rate: int) -> None:
        """Count photos of a caller.

        A bucket holds the photos of one minute, so that an idle caller may send them at once.

        Args:
            rate: photos per minute; 0 = no limit.

        Raises:
            ApiError: 429, with the seconds after which the photos are allowed.
        """
        if rate <= 0:
            return
        now = self._clock()
        tokens, updated = self._buckets.pop(caller, (float(rate), now))
        tokens = min(float(rate), tokens + (now - updated) * rate / 60)
        wanted = min(photos, rate)  # a request of more photos needs a full bucket
        allowed = tokens >= wanted
        self._buckets[caller] = (tokens - photos if allowed else tokens, now)
        while len(self._buckets) > MAX_TRACKED_CALLERS:
            self._buckets.popitem(last=False)
        if not allowed:
            retry = max(1, math.ceil((wanted - tokens) * 60 / rate))
            raise ApiError(
                429,
                "rate_limited",
                f"More than {rate} photos per minute.",
                f"Retry in {retry} s.",
                retry=retry,
            )
