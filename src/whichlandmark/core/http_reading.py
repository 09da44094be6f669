"""Answers of HTTP servers that nobody trusts: bounded in bytes and time; their JSON and waits.

What the clients of the web and of a photo library on the own network share.
"""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import httpx2

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


def guard_reads(client: Any, guard: Guard, check: Callable[[], None]) -> None:
    """Hold every read of an httpx2 client to the limits of its thread; `check` may end it, too.

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
                check()
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


def parse_json(data: bytes) -> dict[str, Any]:
    """The JSON object in an answer. Raises ValueError with a reason in a few words."""
    if not isinstance(value := parse_any_json(data), dict):
        raise ValueError(f"JSON, but no object ({type(value).__name__})")
    return value


def parse_any_json(data: bytes) -> Any:
    """The JSON value in an answer. Raises ValueError with a reason in a few words."""
    start = data.lstrip()[:1]
    if start == b"<":
        raise ValueError("a web page (HTML)")
    if not start:
        raise ValueError("nothing")
    try:
        value = json.loads(
            data.decode("utf-8-sig"), object_pairs_hook=_object, parse_constant=_no_number,
            parse_float=_finite,
        )  # fmt: skip
        if re.search(rb"\\u[dD][89a-fA-F]", data):  # a half of a pair of surrogates is no text
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeError:
        raise ValueError("text that is not UTF-8") from None
    except RecursionError:
        raise ValueError("JSON that is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"no JSON ({plain(str(error), 80)})") from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("an object has a key twice")
    return made


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    if math.isinf(number := float(text)):
        raise ValueError("a number is too large")
    return number


def retry_after(response: httpx2.Response) -> float | None:
    """Seconds that a server asks to wait; None = it does not say, or nothing that makes sense.

    A date is compared with the server's own, because the clock of this machine may be wrong.
    """
    text = response.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]+", text):
        return float(text) if len(text) < 12 else math.inf
    if not (then := _time(text)):
        return None
    seconds = then - (_time(response.headers.get("date", "")) or time.time())
    return seconds if seconds >= 0 else None


def _time(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def plain(text: str, most: int) -> str:
    """Text of a server in one line, without control characters, to be shown."""
    words = " ".join("".join(c if c.isprintable() else " " for c in text[: 20 * most]).split())
    return words if len(words) <= most else words[: most - 1] + "…"
