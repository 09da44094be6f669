"""How much is accepted: a bounded queue, bytes being read, photos a minute of one caller."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .problems import ApiError, busy

CALLERS = 10_000  # remembered at once
LONGEST_RETRY = 30  # seconds


class Queue:
    """Photos accepted and not yet answered: at most `most`. Used in the event loop alone."""

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0
        self.pace = 0.1  # seconds that one photo takes, learned

    @property
    def full(self) -> bool:
        """Would one more photo be refused?"""
        return self.held >= self.most

    @property
    def retry(self) -> int:
        """Seconds until half of what waits should be answered."""
        return min(LONGEST_RETRY, max(1, math.ceil(self.held * self.pace / 2)))

    @contextmanager
    def hold(self, photos: int) -> Iterator[None]:
        """Room for so many photos while the block runs. Raises ApiError 503 when there is none."""
        if self.held + photos > self.most:
            raise busy(self.retry)
        self.held += photos
        began, beside = time.monotonic(), self.held
        try:
            yield
            took = (time.monotonic() - began) / max(1, beside)
            self.pace += 0.05 * (min(took, 10.0) - self.pace)
        finally:
            self.held -= photos


class Room:
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


class Rates:
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
