"""How much is accepted: a bounded queue and a line before it, bytes being read, photos a minute."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from .api_errors import ApiError, busy

CALLERS = 10_000  # remembered at once

LONGEST_RETRY = 30  # seconds


class RequestQueue:
    """Photos accepted and not yet answered: at most `most`. Used in the event loop alone.

    Requests for which there is no room stand in line, at most `line` of them and `patience`
    seconds: to answer a little later costs less than to refuse and be asked again.
    """

    def __init__(self, most: int, line: int = 0, patience: float = 0.0) -> None:
        self.most, self.held = most, 0
        self.line, self.patience = line, patience
        self.pace = 0.1  # seconds that one photo takes, learned
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def waiting(self) -> int:
        """Requests in line."""
        return len(self._line)

    @property
    def full(self) -> bool:
        """Would a request for one more photo be refused at once?"""
        return self.held >= self.most and self.waiting >= self.line

    @property
    def retry(self) -> int:
        """Seconds until half of what waits should be answered."""
        return min(LONGEST_RETRY, max(1, math.ceil((self.held + self.waiting) * self.pace / 2)))

    @asynccontextmanager
    async def hold(self, photos: int) -> AsyncIterator[float]:
        """Room for so many photos while the block runs; gives the seconds stood in line.

        Raises ApiError 503 when there is no room, and none in line or not in time.
        """
        came = time.monotonic()
        await self._enter(photos)
        began, beside = time.monotonic(), self.held
        try:
            yield began - came
            took = (time.monotonic() - began) / max(1, beside)
            self.pace += 0.05 * (min(took, 10.0) - self.pace)
        finally:
            self._leave(photos)

    async def _enter(self, photos: int) -> None:
        if not self._line and self.held + photos <= self.most:
            self.held += photos
            return
        if self.waiting >= self.line:
            raise busy(self.retry)
        place = photos, asyncio.get_running_loop().create_future()
        self._line.append(place)
        try:
            async with asyncio.timeout(self.patience):
                await place[1]
        except BaseException as error:  # out of patience, or the request has ended
            let_in = place[1].done() and not place[1].cancelled()  # at that very moment
            with suppress(ValueError):
                self._line.remove(place)
            self._leave(photos if let_in else 0)
            if isinstance(error, TimeoutError):
                raise busy(self.retry) from None
            raise

    def _leave(self, photos: int) -> None:
        """Free room, and let in whoever is next in line."""
        self.held -= photos
        while self._line and self.held + self._line[0][0] <= self.most:
            wanted, turn = self._line.popleft()
            if not turn.done():
                self.held += wanted
                turn.set_result(None)


class BodyBudget:
    """Bytes of the requests that are being read: at most `most`. Used in the event loop alone."""

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0

    @contextmanager
    def hold(self, count: int) -> Iterator[None]:
        """Raises ApiError 503 when there is no room for so many bytes."""
        if self.held + count > self.most:
            raise busy(1)
        self.held += count
        try:
            yield
        finally:
            self.held -= count


class RateLimits:
    """Photos a minute of each caller, by a bucket that fills evenly: (token bucket)."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str, photos: int, rate: int) -> None:
        """Count photos of a caller; rate: a minute, 0 = as many as they like.

        A bucket holds a minute's photos, so that an idle caller may send them at once.
        Raises ApiError 429 with the seconds after which so many are allowed.
        """
        if rate <= 0:
            return
        now = self._clock()
        left, then = self._buckets.pop(caller, (float(rate), now))
        left = min(float(rate), left + (now - then) * rate / 60)
        wanted = min(photos, rate)  # more than a minute's photos wait for a full bucket
        allowed = left >= wanted
        self._buckets[caller] = (left - photos if allowed else left, now)
        while len(self._buckets) > CALLERS:
            self._buckets.popitem(last=False)
        if not allowed:
            retry = max(1, math.ceil((wanted - left) * 60 / rate))
            raise ApiError(429, "rate_limited", f"More than {rate} photos a minute.",
                           f"Ask again in {retry} s.", retry=retry)  # fmt: skip
