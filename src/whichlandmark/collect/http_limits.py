"""What the HTTP client may do: whom it may ask, how often, how many bytes, and for how long.

Sources of the figures: Wikimedia's access policy (200 requests a minute with a contact in the
User-Agent, media over two connections at 25 Mbit/s), API:Etiquette (requests one after another).
"""

from __future__ import annotations

import os
import re
import threading
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from ..core.errors import NetworkError, OptionError
from ..core.http_reading import PIECE_SECONDS, Clock

API_VARIABLE = "WHICHLANDMARK_COMMONS_URL"  # a stand-in for all services, on this machine

API_SECONDS = 60 / 190  # from one request to the next: below 200 a minute

MEDIA_CONNECTIONS = 2

MEDIA_BYTES_PER_SECOND = 25e6 / 8 * 0.9  # below 25 Mbit/s

MEDIA_BURST_SECONDS = 1.0  # after a pause, this much of it may come at once


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
