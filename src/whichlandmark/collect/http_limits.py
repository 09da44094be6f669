"""What the HTTP client may do: whom it may ask, how often, how many bytes, and for how long.

Sources of the figures: Wikimedia's access policy (200 requests a minute with a contact in the
User-Agent, media over two connections at 25 Mbit/s), API:Etiquette (requests one after another).
"""

from __future__ import annotations

import os
import re
import threading
import time
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Protocol
from urllib.parse import urlsplit

from ..core.errors import NetworkError, OptionError

API_VARIABLE = "WHICHLANDMARK_COMMONS_URL"  # a stand-in for all services, on this machine

API_SECONDS = 60 / 190  # from one request to the next: below 200 a minute

MEDIA_CONNECTIONS = 2

MEDIA_BYTES_PER_SECOND = 25e6 / 8 * 0.9  # below 25 Mbit/s

MEDIA_BURST_SECONDS = 1.0  # after a pause, this much of it may come at once

SLOWEST_BYTES_PER_SECOND = 4_000  # of a whole answer, beyond its first seconds

HEADER_BYTES = 400_000  # of an answer before its body, so that endless 1xx answers end


PIECE_SECONDS = 0.5  # of a wait, after which it is asked whether the client was closed


class Clock(Protocol):
    """Time to wait by; tests pass a simulated one."""

    def now(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The real time."""

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@dataclass(frozen=True)
class Sites:
    """Where the services are. media: the origins that photos may come from."""

    commons: str
    wikidata: str
    sparql: str
    media: tuple[str, ...]
    gldv2: str

    @classmethod
    def wikimedia(cls) -> Sites:
        """The real ones."""
        return cls(
            commons="https://commons.wikimedia.org/w/api.php",
            wikidata="https://www.wikidata.org/w/api.php",
            sparql="https://query.wikidata.org/sparql",
            media=(
                "https://upload.wikimedia.org",
                "https://thumb.wikimedia.org",
                "https://commons.wikimedia.org",  # Special:FilePath
            ),
            gldv2="https://s3.amazonaws.com/google-landmark",
        )

    @classmethod
    def at(cls, base: str) -> Sites:
        """All of them at one stand-in, whose address has no path."""
        base = base.rstrip("/")
        return cls(
            commons=f"{base}/commons/w/api.php",
            wikidata=f"{base}/wikidata/w/api.php",
            sparql=f"{base}/sparql",
            media=(base,),
            gldv2=f"{base}/google-landmark",
        )

    @classmethod
    def given(cls, api: str | None) -> Sites:
        """The stand-in at `api`, else at $WHICHLANDMARK_COMMONS_URL, else the real ones.

        Raises OptionError unless the stand-in is on this machine.
        """
        base = os.environ.get(API_VARIABLE, "") if api is None else api
        if api is None and not base:
            return cls.wikimedia()
        try:
            parts = urlsplit(base)
            here = parts.hostname == "localhost" or ip_address(parts.hostname or "").is_loopback
            bare = not (parts.path.strip("/") or parts.query or parts.fragment or "@" in base)
            usable = here and bare and parts.scheme in ("http", "https") and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            given_by = f"${API_VARIABLE}" if api is None else "--api"
            raise OptionError(
                f"{given_by} {base[:200]!r}: expected the address of a stand-in on this machine, "
                "as http://127.0.0.1:8080; without one, Wikimedia itself is asked"
            )
        return cls.at(base)


def user_agent(contact: str | None, library: str) -> str:
    """The User-Agent that Wikimedia's policy asks for. Raises OptionError for a wrong contact.

    contact: a mail address, or an https page of the person who runs the program; None = no host
    that wants one is asked.
    """
    import whichlandmark

    if contact is None:
        return f"whichlandmark/{whichlandmark.__version__} {library}"
    given = contact.strip()
    mail = re.fullmatch(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+",
                        given)  # fmt: skip
    page = re.fullmatch(r"https://[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+(:\d+)?(/[\x21-\x27\x2a-\x7e]*)?",
                        given)  # fmt: skip
    if len(given) > 200 or not (mail or page):
        found = f"{given[:100]!r} given" if given else "none given"
        raise OptionError(
            f"--contact: {found}; expected your mail address or an https page of yours, which goes "
            "into the User-Agent of each request: Wikimedia blocks programs whose operator it "
            "cannot reach"
        )
    return f"whichlandmark/{whichlandmark.__version__} ({given}) {library}"


class Pace:
    """Waits by a clock, which another thread can end, and the limits of requests and bytes."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.waited = 0.0  # seconds, of all threads
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._next: dict[str, float] = {}  # kind of request → when it may begin
        self._bytes_due = float("-inf")  # when the bytes read so far were allowed

    def stop(self) -> None:
        """End the waits of all threads, with a NetworkError."""
        self._stopped.set()

    def check(self) -> None:
        """Raise NetworkError when the client was closed."""
        if self._stopped.is_set():
            raise NetworkError("the client was closed; the same command goes on where it stopped")

    def wait(self, seconds: float) -> None:
        """Wait; in short pieces, so that `stop` is heard."""
        end = self.clock.now() + seconds
        self.check()
        while (left := end - self.clock.now()) > 0:
            piece = min(left, PIECE_SECONDS)
            self.clock.sleep(piece)
            with self._lock:
                self.waited += piece
            self.check()

    def begin(self, kind: str, seconds: float = 0.0) -> None:
        """Wait until a request of this kind may begin; the next one follows `seconds` later."""
        while True:
            with self._lock:
                now = self.clock.now()
                ahead = self._next.get(kind, now) - now
                if ahead <= 0:
                    self._next[kind] = now + seconds
                    return
            self.wait(ahead)

    def pause(self, kind: str, seconds: float) -> None:
        """Let no request of this kind begin for so long, from any thread."""
        with self._lock:
            until = self.clock.now() + seconds
            self._next[kind] = max(until, self._next.get(kind, until))

    def spend(self, count: int) -> None:
        """Wait until so many bytes more are within the rate of all media."""
        with self._lock:
            now = self.clock.now()
            due = max(self._bytes_due, now - MEDIA_BURST_SECONDS) + count / MEDIA_BYTES_PER_SECOND
            self._bytes_due = due
        if due > now:
            self.wait(due - now)

    def take(self, turn: Any) -> None:
        """Acquire a lock or semaphore, unless `stop` comes first."""
        while not turn.acquire(timeout=PIECE_SECONDS):
            self.check()


class TooMuchError(Exception):
    """An answer breaks a limit; never leaves the client. slow: that of time."""

    def __init__(self, reason: str, *, slow: bool = False) -> None:
        super().__init__(reason)
        self.slow = slow


class Guard(threading.local):
    """The limits of the answer that this thread reads: seconds and bytes, its header included.

    The time is that of the machine, not of the client's clock, because sockets wait by it.
    """

    seconds = 60.0
    most = HEADER_BYTES
    started = 0.0
    read = 0

    def begin(self, seconds: float) -> None:
        self.seconds, self.most, self.read = seconds, HEADER_BYTES, 0
        self.started = time.monotonic()

    def body(self, most: int) -> None:
        """Allow a body of so many bytes, and as many around its chunks."""
        self.most = self.read + 2 * most + HEADER_BYTES

    def check(self) -> float:
        """Seconds until the answer is too slow. Raises TooMuchError when a limit is broken."""
        if self.read > self.most:
            raise TooMuchError("sends more than was asked for")
        allowed = self.seconds + self.read / SLOWEST_BYTES_PER_SECOND
        left = allowed - (time.monotonic() - self.started)
        if left <= 0:
            raise TooMuchError("answers too slowly", slow=True)
        return left


def guard_reads(client: Any, guard: Guard, pace: Pace) -> None:
    """Hold every read of an httpx2 client to the limits of its thread, and end it at `Pace.stop`.

    The library limits single reads only, so a server that sends a byte of a header now and then,
    or endless 1xx answers, would hold it forever. It has no public place for this: the reads are
    reached through its connection pools. Where a later version names them otherwise, the limits
    hold from the body on.
    """
    from httpcore2 import NetworkBackend, NetworkStream, ReadTimeout

    class Stream(NetworkStream):
        def __init__(self, inner: NetworkStream) -> None:
            self._inner = inner

        def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            silent_from = time.monotonic() + (timeout or guard.check())
            while True:
                pace.check()
                patience = min(guard.check(), max(silent_from - time.monotonic(), 0.001))
                try:
                    data = self._inner.read(max_bytes, min(patience, PIECE_SECONDS))
                    break
                except ReadTimeout:
                    if patience <= PIECE_SECONDS and time.monotonic() >= silent_from:
                        raise
            guard.read += len(data)
            guard.check()
            return data

        def write(self, buffer: bytes, timeout: float | None = None) -> None:
            self._inner.write(buffer, timeout)

        def close(self) -> None:
            self._inner.close()

        def start_tls(self, *given: Any, **named: Any) -> NetworkStream:
            return Stream(self._inner.start_tls(*given, **named))

        def get_extra_info(self, info: str) -> Any:
            return self._inner.get_extra_info(info)

    class Backend(NetworkBackend):
        def __init__(self, inner: NetworkBackend) -> None:
            self._inner = inner

        def connect_tcp(self, *given: Any, **named: Any) -> NetworkStream:
            return Stream(self._inner.connect_tcp(*given, **named))

        def sleep(self, seconds: float) -> None:
            self._inner.sleep(seconds)

    for transport in (client._transport, *client._mounts.values()):
        pool = getattr(transport, "_pool", None)
        if hasattr(pool, "_network_backend"):
            pool._network_backend = Backend(pool._network_backend)  # type: ignore[union-attr]
