"""One HTTP request: to known hosts, redirects checked one by one, bounded, repeated if it fails."""

from __future__ import annotations

import logging
import ssl
import tempfile
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode
from urllib.request import getproxies

from ..core.disks import file_lock
from ..core.errors import BusyError, DataError, NetworkError, OptionError, install_command
from ..core.http_reading import Guard, TooMuchError, guard_reads, plain
from .http_answers import LaterError, RefusedError, refusal
from .http_limits import Pace

if TYPE_CHECKING:
    import httpx2

log = logging.getLogger("whichlandmark")

Made = TypeVar("Made")

Origin = tuple[str, str, int | None]  # scheme, host, port; None = the scheme's own port

MAX_REDIRECTS = 5

FIRST_WAIT, LONGEST_WAIT = 5.0, 120.0  # seconds before a request is repeated, doubled each time

TOLD_SECONDS = 20.0  # a wait from here on is told when it begins

CONNECT_TRIES = 3  # of a host that cannot be reached, and of an answer that is too slow

BROKEN_TRIES = 5  # of an answer that breaks off, or is no HTTP

CONNECT_SECONDS = 20.0

LONGEST_ADDRESS = 7_000  # letters; longer requests go into the body (POST)

MAX_REFUSAL_BYTES = 20_000  # read of the body of an answer that is no success


@dataclass(frozen=True)
class Kind:
    """How the requests of one kind are made.

    origins: (scheme, host, port) that may be asked. silence: seconds without a byte. seconds: of
    a whole answer, and more where many bytes come. tries: of a request that fails in passing.
    spacing: seconds from the beginning of one request to the next. connections: open at once.
    under: what an address must begin with.
    """

    name: str
    origins: frozenset[Origin]
    silence: float
    seconds: float
    tries: int
    spacing: float = 0.0
    connections: int = 2
    under: str = ""


class Requests:
    """Makes the requests of a client, for any thread.

    agent: makes the User-Agent, from the name of the library. transport: in place of the network.

    Raises OptionError when a library is not installed.
    """

    def __init__(
        self, agent: Callable[[str], str], pace: Pace, *, direct: bool,
        transport: httpx2.BaseTransport | None,
    ) -> None:  # fmt: skip
        try:
            import httpx2
            import tenacity
        except ImportError as error:
            raise OptionError(
                f"{error.name or 'httpx2'} is not installed; {install_command('collect')}"
            ) from None
        self._agent = agent(f"python-httpx2/{httpx2.__version__}")
        self._httpx, self._tenacity, self._transport = httpx2, tenacity, transport
        self._direct = direct
        self._pace, self._guard = pace, Guard()
        self._lock, self._counts = threading.Lock(), Counter[str]()
        self._libraries: dict[str, httpx2.Client] = {}
        self._turn: ExitStack | None = None  # of this machine, at Wikimedia
        self._roots: ssl.SSLContext | None = None
        self._answered = False  # any server, yet

    @property
    def counts(self) -> Counter[str]:
        """A copy of the counts so far."""
        with self._lock:
            return Counter({**self._counts, "waited_s": round(self._pace.waited)})

    def count(self, name: str, number: int = 1) -> None:
        """Add to a count."""
        with self._lock:
            self._counts[name] += number

    def close(self) -> None:
        """Close all connections; requests of other threads end with NetworkError."""
        self._pace.stop()
        with self._lock:
            libraries, self._libraries = self._libraries, {}
        for library in libraries.values():
            with suppress(Exception):  # in use by another thread, which ends by itself
                library.close()
        if self._turn is not None:
            self._turn.close()

    def repeat(self, kind: Kind, attempt: Callable[[], Made]) -> Made:
        """Make a request, again after longer and longer waits while it fails in passing."""

        def wait(state: Any) -> float:
            own = longer_wait(state.attempt_number)
            asked = state.outcome.exception().wait
            return own if asked is None else float(max(asked, own / 2 if own > FIRST_WAIT else 0))

        def stop(state: Any) -> bool:
            return bool(state.attempt_number >= min(kind.tries, state.outcome.exception().tries))

        def note(state: Any) -> None:
            self.count("retries")
            later, seconds = state.outcome.exception(), state.next_action.sleep
            if later.everyone:
                self._pace.pause(kind.name, seconds)
            if seconds >= TOLD_SECONDS:
                log.warning("%s; next try in %.0f seconds", later.error, seconds)

        retrying = self._tenacity.Retrying(
            sleep=self._pace.wait, wait=wait, before_sleep=note, reraise=True,
            retry=self._tenacity.retry_if_exception_type(LaterError),
            stop=stop,
        )  # fmt: skip
        try:
            return retrying(attempt)
        except LaterError as later:
            raise later.final(kind.name, retrying.statistics["attempt_number"]) from None

    @contextmanager
    def open(
        self, kind: Kind, url: str, what: str, *, params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[httpx2.Response]:  # fmt: skip
        """The answer to a request, before its body; its status is that of a success."""
        method, body = "GET", None
        if params is not None:
            query = urlencode(params)
            if len(url) + len(query) < LONGEST_ADDRESS:
                url = f"{url}?{query}"
            else:
                method, body = "POST", dict(params)
        address: httpx2.URL | None = None
        for _ in range(MAX_REDIRECTS + 1):
            address = self._allowed(kind, url, what, address)
            self._pace.begin(kind.name, kind.spacing)
            self.count(kind.name)
            self._guard.begin(kind.seconds)
            with ExitStack() as opened:
                with self._translated(address.host, what):
                    timeout = self._httpx.Timeout(kind.silence, connect=CONNECT_SECONDS)
                    response = opened.enter_context(self._library(kind).stream(
                        method, address, data=body, headers=headers, timeout=timeout))  # fmt: skip
                self._answered = True
                if response.status_code == 200 or (response.status_code == 206 and headers):
                    yield response
                    return
                if response.has_redirect_location:
                    url = response.headers["location"]
                    continue
                raise refusal(response, self._beginning(response, what), what, kind.name)
        raise RefusedError(
            f"{what}: {address and address.host} redirects more than {MAX_REDIRECTS} times"
        )

    def _beginning(self, response: httpx2.Response, what: str) -> str:
        """The first part of a body, as far as it can be read."""
        text = b""
        with suppress(LaterError), self._translated(response.url.host, what):
            for chunk in response.iter_raw():
                text += chunk
                if len(text) > MAX_REFUSAL_BYTES:
                    break
        if text.startswith(b"\x1f\x8b"):
            with suppress(zlib.error):
                text = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(text, MAX_REFUSAL_BYTES)
        return text[:MAX_REFUSAL_BYTES].decode(errors="replace")

    def chunks(self, response: httpx2.Response, most: int, what: str) -> Iterator[bytes]:
        """The body of an answer as it came, of at most so many bytes.

        Raises:
            RefusedError: when it is larger.
            LaterError: when it breaks off, or comes too slowly.
        """
        host, size = response.url.host, 0
        large = f"{what}: {host} sends more than {most:,} bytes"
        length = response.headers.get("content-length", "")
        if length.isdecimal() and (len(length) > 15 or int(length) > most):
            raise RefusedError(large)
        self._guard.body(most)
        with self._translated(host, what):
            for chunk in response.iter_raw():
                size += len(chunk)
                if size > most:
                    raise RefusedError(large)
                self._guard.check()
                self._pace.check()
                self.count("bytes", len(chunk))
                yield chunk

    @contextmanager
    def _translated(self, host: str, what: str) -> Iterator[None]:
        """Raise the errors of the library as NetworkError, or LaterError where they may pass."""
        httpx2 = self._httpx
        try:
            yield
        except TooMuchError as error:
            if not error.slow:
                raise RefusedError(f"{what}: {host} {error}") from None
            slow = NetworkError(f"{what}: {host} {error}")
            raise LaterError(slow, tries=CONNECT_TRIES, single=True) from None
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            reason = plain(str(error) or "no answer", 150)
            if "CERTIFICATE" in reason.upper():
                raise NetworkError(
                    f"{host} shows a certificate that this machine does not trust ({reason}); does "
                    "a proxy of your network answer in its place? SSL_CERT_FILE names more roots"
                ) from None
            proxied = not self._direct and {"https", "all"} & getproxies().keys()
            unreachable = NetworkError(
                f"{host} cannot be reached ({reason}): check that this machine is online"
                + (", and the proxy that HTTPS_PROXY or ALL_PROXY names" if proxied else "")
            )
            raise LaterError(unreachable, tries=CONNECT_TRIES if self._answered else 1) from None
        except httpx2.ProxyError as error:
            raise NetworkError(
                f"{host} cannot be reached through the proxy of HTTPS_PROXY or ALL_PROXY "
                f"({plain(str(error), 150)})"
            ) from None
        except httpx2.TransportError as error:
            if isinstance(error, httpx2.LocalProtocolError | httpx2.UnsupportedProtocol):
                raise RefusedError(f"{what}: {plain(str(error), 150)}") from None
            silent = isinstance(error, httpx2.TimeoutException)
            reason = "answers too slowly" if silent else "breaks off, or answers no HTTP"
            said = plain(str(error), 100) or type(error).__name__
            broken = NetworkError(f"{what}: {host} {reason} ({said})")
            tries = CONNECT_TRIES if silent else BROKEN_TRIES
            raise LaterError(broken, tries=tries, single=True) from None
        except httpx2.InvalidURL as error:  # of a redirect, which the library parses by itself
            raise RefusedError(
                f"{what}: {host} gives an address that is none ({plain(str(error), 150)})"
            ) from None

    def _allowed(self, kind: Kind, url: str, what: str, before: httpx2.URL | None) -> httpx2.URL:
        """The parsed address. Raises RefusedError unless it is one that this kind may ask.

        before: that redirects to it, None = none.
        """
        try:
            address = before.join(url) if before else self._httpx.URL(url)
            known = not address.userinfo and _origin_of(address) in kind.origins
        except (self._httpx.InvalidURL, ValueError):
            known = False
        if not known or not _is_under(address, kind.under):
            how = "redirects to" if before else "the address is"
            raise RefusedError(
                f"{what}: {how} {plain(url, 200)}, which is not one of the hosts that may be asked"
            )
        return address

    def _library(self, kind: Kind) -> httpx2.Client:
        with self._lock:
            self._pace.check()
            if kind.name not in self._libraries:
                if kind.name != "files" and not self._direct and not self._transport:
                    self._take_turn_of_machine()
                self._libraries[kind.name] = self._connected(kind)
            return self._libraries[kind.name]

    def _take_turn_of_machine(self) -> None:
        """Let no other process ask Wikimedia meanwhile, because it counts by address.

        Raises BusyError when another one does.
        """
        if self._turn is not None:
            return
        lock = Path(tempfile.gettempdir(), "whichlandmark-wikimedia.lock")
        turn = ExitStack()
        try:
            with suppress(DataError):  # the file is another user's
                turn.enter_context(file_lock(lock, wait=False))
        except BlockingIOError:
            raise BusyError(
                "another whichlandmark on this machine is asking Wikimedia, which allows one "
                "request at a time; give the same command again when that one has ended"
            ) from None
        self._turn = turn

    def _trusted(self) -> ssl.SSLContext:
        """Whose certificates are believed; a stand-in has none."""
        if self._roots is None:
            direct = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if self._direct else None
            self._roots = direct or self._httpx.create_ssl_context()
        return self._roots

    def _connected(self, kind: Kind) -> httpx2.Client:
        from http.cookiejar import CookieJar, DefaultCookiePolicy

        packed = "gzip, deflate" if kind.name == "api" else "identity"
        try:
            library = self._httpx.Client(
                headers={"User-Agent": self._agent, "Accept-Encoding": packed},
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
                limits=self._httpx.Limits(max_connections=kind.connections,
                                          max_keepalive_connections=kind.connections),
                transport=self._transport, follow_redirects=False,
                trust_env=not self._direct,  # the proxies of the environment, or none
                verify=self._trusted(),
            )  # fmt: skip
        except (ValueError, ImportError, OSError, ssl.SSLError, self._httpx.InvalidURL) as error:
            raise OptionError(
                "the proxy or the certificates that the environment names cannot be used "
                f"({plain(str(error), 150)}); see HTTPS_PROXY, ALL_PROXY and SSL_CERT_FILE"
            ) from None
        guard_reads(library, self._guard, self._pace.check)
        return library


def longer_wait(failures: int) -> float:
    """Seconds to wait after so many failures, where the server does not say."""
    return min(FIRST_WAIT * 2.0 ** (failures - 1), LONGEST_WAIT)


def origins(*urls: str) -> frozenset[Origin]:
    """The origins of addresses."""
    from httpx2 import URL

    return frozenset(_origin_of(URL(url)) for url in urls)


def _origin_of(address: httpx2.URL) -> Origin:
    return address.scheme, address.host, address.port


def _is_under(address: httpx2.URL, place: str) -> bool:
    return not place or (str(address).startswith(place) and ".." not in address.path.split("/"))


def encodings(response: httpx2.Response) -> list[str]:
    """The content encodings of an answer, in the order in which they were applied."""
    values = response.headers.get_list("content-encoding", split_commas=True)
    return [value.strip().lower() for value in values if value.strip()]
