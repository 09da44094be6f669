"""Load limits: request queue, bytes of request bodies, photos a minute, wrong keys."""

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

# A body that takes room and gets fewer bytes in this time is ended when others need the room.
MOVED_BYTES, STALL_SECONDS = 32_000, 2.0

LARGE_BODY, LARGE_PART = 8_000_000, 0.75  # a larger body may fill so much of the room at most

WRONG_KEYS, WRONG_KEY_SECONDS = 20, 3.0  # of one address at once, and seconds until one more


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


class Turns:
    """Lets few requests begin or end in one round of the event loop. Use it from there only.

    Else hundreds that arrive, or hang up, at the same moment would keep a health check waiting for
    all of them.
    """

    def __init__(self, in_one_round: int = 16) -> None:
        self.in_one_round, self._left = in_one_round, in_one_round
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._planned = False

    async def wait(self) -> None:
        """Return in this round of the loop or in a later one, in order of arrival."""
        loop = asyncio.get_running_loop()
        if not self._planned:
            self._planned = True
            loop.call_soon(self._next_round, loop)
        if self._left > 0 and not self._waiting:
            self._left -= 1
            return
        turn = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _next_round(self, loop: asyncio.AbstractEventLoop) -> None:
        self._left, self._planned = self.in_one_round, False
        while self._waiting and self._left > 0:
            turn = self._waiting.popleft()
            if not turn.done():  # not cancelled
                turn.set_result(None)
                self._left -= 1
        if self._waiting:
            self._planned = True
            loop.call_soon(self._next_round, loop)


class BodyRoom:
    """The bytes of one body that are in memory. `BodyBudget.body` makes it."""

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self.caller, self.held = "", 0
        self.arrival: asyncio.Timeout | None = None  # of the read that waits for bytes, if one does
        self.ended = False  # by `end`
        self._moved = budget.clock(), 0  # when the body last moved on, and its bytes then

    async def take(self, caller: str, count: int) -> None:
        """Count bytes that have arrived. Raises ApiError 503 when no room becomes free for them."""
        if count:
            self.caller = self.caller or caller
            await self._budget.reserve(self, count)
            now = self._budget.clock()
            if self.held - self._moved[1] >= MOVED_BYTES:
                self._moved = now, self.held

    def stalled(self, now: float) -> bool:
        """Whether the body waits for bytes, and few have arrived lately."""
        waits = self.arrival is not None and self.held > 0
        return waits and now - self._moved[0] > STALL_SECONDS

    def end(self) -> None:
        """Let the read that waits for bytes time out now."""
        if self.arrival is not None and not self.arrival.expired():
            self.arrival.reschedule(asyncio.get_running_loop().time())
            self.ended = True


class BodyBudget:
    """Bounds the bytes of all bodies in memory, and of those of one caller. Event loop only.

    Bytes are counted as they come, so that a body that is announced and not sent takes no room.
    While room is short, bodies whose client has stalled are ended, and the others wait. A part of
    the room is kept for bodies as small as photos usually are.

    Args:
        capacity: bytes of all bodies.
        share: bytes of the bodies of one caller.
        max_wait: seconds after which a body that waits for room is refused.
    """

    def __init__(
        self, capacity: int, share: int, max_wait: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.capacity, self.share, self.max_wait, self.clock = capacity, share, max_wait, clock
        self.held = 0
        self._bodies: set[BodyRoom] = set()
        self._shares: dict[str, int] = {}
        self._waiting: deque[tuple[BodyRoom, int, asyncio.Future[None]]] = deque()

    @contextmanager
    def body(self) -> Iterator[BodyRoom]:
        """The room of one body, which is free again at the end of the block."""
        room = BodyRoom(self)
        self._bodies.add(room)
        try:
            yield room
        finally:
            self._bodies.remove(room)
            self._add(room, -room.held)
            self._admit()

    async def reserve(self, room: BodyRoom, count: int) -> None:
        """Wait for room for `count` more bytes. Raises ApiError 503 after `max_wait` seconds."""
        if self._fits(room, count):
            self._add(room, count)
            return
        admission = asyncio.get_running_loop().create_future()
        waiter = room, count, admission
        self._waiting.append(waiter)
        end = self.clock() + self.max_wait
        try:
            while not admission.done():
                left = end - self.clock()
                if left <= 0:
                    raise busy(1)
                self._end_stalled(room, count)
                await asyncio.wait([admission], timeout=min(left, STALL_SECONDS / 4))
        finally:
            with suppress(ValueError):
                self._waiting.remove(waiter)

    def _fits(self, room: BodyRoom, count: int) -> bool:
        part = LARGE_PART if room.held + count > LARGE_BODY else 1.0
        own = self._shares.get(room.caller, 0) + count
        return own <= part * self.share and self.held + count <= part * self.capacity

    def _add(self, room: BodyRoom, count: int) -> None:
        room.held += count
        self.held += count
        own = self._shares.pop(room.caller, 0) + count
        if own:
            self._shares[room.caller] = own

    def _admit(self) -> None:
        """Let those that wait go on, in order; one whose caller has no room keeps nobody else."""
        for waiter in list(self._waiting):
            room, count, admission = waiter
            if self._fits(room, count) and not admission.done():
                self._waiting.remove(waiter)
                self._add(room, count)
                admission.set_result(None)

    def _end_stalled(self, room: BodyRoom, count: int) -> None:
        """End the bodies that stall: those of a caller without room, else of all callers."""
        own_share = self._shares.get(room.caller, 0) + count > LARGE_PART * self.share
        now = self.clock()
        for other in self._bodies:
            if other.stalled(now) and (other.caller == room.caller or not own_share):
                other.end()


class WrongKeys:
    """Slows down an address that sends wrong keys, and nobody else.

    After `WRONG_KEYS` of them the address waits, and no key is looked at meanwhile except one that
    has been right there before: so the old key of one device does not shut out the others.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tries: OrderedDict[str, tuple[float, float]] = OrderedDict()  # left, when
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def check(self, address: str, digest: str) -> None:
        """Raises ApiError 429 while the address has to wait. digest: of the key that was sent."""
        left = self._left(address)
        if left < 1 and (address, digest) not in self._known:
            retry = max(1, math.ceil((1 - left) * WRONG_KEY_SECONDS))
            raise ApiError(
                429,
                "too_many_wrong_keys",
                "Too many wrong API keys came from this address.",
                f"Retry in {retry} s, with the right key.",
                retry=retry,
            )

    def count(self, address: str) -> None:
        """A wrong key came from an address."""
        left = self._left(address)
        self._tries.pop(address, None)
        self._tries[address] = max(0.0, left - 1), self._clock()
        while len(self._tries) > MAX_TRACKED_CALLERS:
            self._tries.popitem(last=False)

    def remember(self, address: str, digest: str) -> None:
        """A right key came from an address."""
        self._known[address, digest] = None
        self._known.move_to_end((address, digest))
        while len(self._known) > MAX_TRACKED_CALLERS:
            self._known.popitem(last=False)

    def _left(self, address: str) -> float:
        left, updated = self._tries.get(address, (float(WRONG_KEYS), self._clock()))
        return min(float(WRONG_KEYS), left + (self._clock() - updated) / WRONG_KEY_SECONDS)


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
