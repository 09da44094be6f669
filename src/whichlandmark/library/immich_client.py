"""The requests to an Immich server: one host, bounded answers, repeated when they fail in passing.

The API key comes from a file, goes into one header, to one host, and into nothing else: no redirect
is followed, and no message or file has it. `immich_api` knows the shapes of requests and answers.
"""

from __future__ import annotations

import logging
import re
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import urlsplit

from ..core.errors import NetworkError, OptionError, install_command
from ..core.http_reading import (
    PIECE_SECONDS,
    Clock,
    Guard,
    SystemClock,
    TooMuchError,
    guard_reads,
    parse_any_json,
    plain,
    retry_after,
)
from .immich_key import ApiKey, is_local

if TYPE_CHECKING:
    import httpx2

log = logging.getLogger("whichlandmark")

Made = TypeVar("Made")

MAX_JSON_BYTES = 32_000_000  # a page of 1,000 assets has about 2 MB

MAX_PREVIEW_BYTES = 64_000_000  # Immich's previews have 0.1 to 2 MB

MAX_REFUSAL_BYTES = 20_000  # read of the body of an answer that is no success

CONNECTIONS = 2

SILENCE_SECONDS, ANSWER_SECONDS, CONNECT_SECONDS = 60.0, 120.0, 20.0

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds before a request is repeated, doubled each time

MAX_WAIT_SECONDS = 900.0  # that a server may ask for

TOLD_SECONDS = 20.0  # a wait from here on is told when it begins

TRIES, FAULT_TRIES = 8, 3  # of a request in all; of one that the server answers with HTTP 500

PASSING = {408, 425, 429, 502, 503, 504, *range(520, 528)}  # statuses that pass by themselves

GOES_ON = "nothing is lost: the same command goes on where it stopped"


class RefusedError(NetworkError):
    """The server answered, but not what was asked for; other requests may succeed all the same.

    status: of HTTP.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class _LaterError(Exception):
    """A request failed in a way that may pass. wait: seconds that the server asks for."""

    def __init__(self, error: NetworkError, tries: int, wait: float | None = None) -> None:
        super().__init__(str(error))
        self.error, self.tries, self.wait = error, tries, wait


class Connection:
    """The requests to one server, for any thread; close it with `close` or a with-statement.

    counts: by method and kind of path, as "GET thumbnail"; "retries", "bytes", "waited_s".
    needed: permissions that the key needs for what it is used for, for messages.
    """

    def __init__(
        self, address: str, key: ApiKey, *, needed: tuple[str, ...] = (),
        clock: Clock | None = None, transport: httpx2.BaseTransport | None = None,
    ) -> None:  # fmt: skip
        """Nothing is asked yet.

        Args:
            address: as `server_address` gives it.
            key: the API key.
            needed: permissions.
            clock: to wait by; None = the real one.
            transport: in place of the network.

        Raises:
            OptionError: when a library is missing, or the certificates that SSL_CERT_FILE names.
        """
        try:
            import httpx2
            import tenacity
        except ImportError as error:
            raise OptionError(
                f"{error.name or 'httpx2'} is not installed; {install_command('immich')}"
            ) from None
        self.address, self.host = address, urlsplit(address).hostname or ""
        self._key, self._needed = key, needed
        self._httpx, self._tenacity = httpx2, tenacity
        self._clock, self._guard = clock or SystemClock(), Guard()
        self._lock, self._counts, self._waited = threading.Lock(), Counter[str](), 0.0
        self._answered = self._greeted = False  # anything; the JSON of an Immich
        self._pause_until = float("-inf")
        self.started = ""  # the server's own time (Date) at its first answer
        self._library = self._connected(transport)

    def _connected(self, transport: httpx2.BaseTransport | None) -> httpx2.Client:
        from http.cookiejar import CookieJar, DefaultCookiePolicy

        import whichlandmark

        try:
            library = self._httpx.Client(
                headers={
                    "x-api-key": self._key.text, "Accept-Encoding": "identity",
                    "User-Agent": f"whichlandmark/{whichlandmark.__version__}",
                },
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
                limits=self._httpx.Limits(max_connections=CONNECTIONS,
                                          max_keepalive_connections=CONNECTIONS),
                timeout=self._httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS),
                transport=transport, follow_redirects=False, trust_env=not is_local(self.host),
                verify=self._trusted(),
            )  # fmt: skip
        except (ValueError, ImportError, OSError, ssl.SSLError, self._httpx.InvalidURL) as error:
            raise OptionError(
                "the proxy or the certificates that the environment names cannot be used "
                f"({plain(str(error), 150)}); see HTTPS_PROXY, ALL_PROXY and SSL_CERT_FILE"
            ) from None
        guard_reads(library, self._guard, lambda: None)
        return library

    def _trusted(self) -> ssl.SSLContext:
        """Whose certificates are believed; without https nobody shows one."""
        if self.address.startswith("http:"):
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return self._httpx.create_ssl_context()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._library.close()

    @property
    def counts(self) -> dict[str, int]:
        """The counts so far."""
        with self._lock:
            return {**dict(sorted(self._counts.items())), "waited_s": round(self._waited)}

    def json(
        self, method: str, path: str, what: str, *, kind: str, body: Any = None,
        params: Mapping[str, str] | None = None,
    ) -> Any:  # fmt: skip
        """The JSON that the server answers; None where it answers without a body.

        Args:
            method: of HTTP.
            path: below /api.
            what: is asked for, in a few words, for messages.
            kind: of the request, for the counts.
            body: JSON to send.
            params: of the query.

        Raises:
            RefusedError: when this request cannot be answered.
            NetworkError: when the server cannot be reached, is no Immich, or does not take the key.
        """

        def attempt() -> Any:
            with self._open(method, path, what, kind, body=body, params=params) as response:
                data = b"".join(self._chunks(response, MAX_JSON_BYTES, what))
            if response.status_code == 204 or not data:
                return None
            try:
                value, self._greeted = parse_any_json(data), True
                return value
            except ValueError as error:
                raise NetworkError(
                    f"{what}: {self.address}/api answers {error} where Immich answers JSON; is "
                    "--url the address of Immich, without a login page of a proxy before it?"
                ) from None

        return self._repeat(attempt)

    def file(self, path: str, what: str, *, kind: str, params: Mapping[str, str]) -> bytes:
        """The file that the server answers, of at most MAX_PREVIEW_BYTES. Raises as `json`."""

        def attempt() -> bytes:
            with self._open("GET", path, what, kind, params=params) as response:
                return b"".join(self._chunks(response, MAX_PREVIEW_BYTES, what))

        return self._repeat(attempt)

    def _repeat(self, attempt: Callable[[], Made]) -> Made:
        """Make a request, again after longer and longer waits while it fails in passing."""

        def wait(state: Any) -> float:
            own = min(FIRST_WAIT * 2.0 ** (state.attempt_number - 1), LONGEST_WAIT)
            asked = state.outcome.exception().wait
            return own if asked is None else float(max(asked, own))

        def note(state: Any) -> None:
            later, seconds = state.outcome.exception(), state.next_action.sleep
            with self._lock:
                self._counts["retries"] += 1
                if later.wait is not None:  # the other thread's requests wait too
                    self._pause_until = max(self._pause_until, self._clock.now() + seconds)
            if seconds >= TOLD_SECONDS:
                log.warning("%s; next try in %.0f seconds", later.error, seconds)

        def stop(state: Any) -> bool:
            return bool(state.attempt_number >= state.outcome.exception().tries)

        retrying = self._tenacity.Retrying(
            sleep=self._wait, wait=wait, before_sleep=note, stop=stop, reraise=True,
            retry=self._tenacity.retry_if_exception_type(_LaterError),
        )  # fmt: skip
        try:
            return retrying(attempt)
        except _LaterError as later:
            tried = retrying.statistics["attempt_number"] > 1
            end = f", also after waiting; {GOES_ON}" if tried else ""
            later.error.args = (f"{later.error}{end}",)
            raise later.error from None

    def _wait(self, seconds: float) -> None:
        end = self._clock.now() + seconds
        while (left := end - self._clock.now()) > 0:
            self._clock.sleep(min(left, PIECE_SECONDS))
        with self._lock:
            self._waited += seconds

    @contextmanager
    def _open(
        self, method: str, path: str, what: str, kind: str, *, body: Any = None,
        params: Mapping[str, str] | None = None,
    ) -> Iterator[httpx2.Response]:  # fmt: skip
        """The answer to a request, before its body; its status is that of a success."""
        if (pause := self._pause_until - self._clock.now()) > 0:
            self._wait(pause)
        with self._lock:
            self._counts[f"{method} {kind}"] += 1
        self._guard.begin(ANSWER_SECONDS)
        url = f"{self.address}/api{path}"
        with (
            self._translated(what),
            self._library.stream(method, url, json=body, params=params) as response,
        ):
            if not self._answered:
                self._answered, self.started = True, response.headers.get("date", "")
            if response.status_code not in (200, 201, 204):
                raise self._refusal(response, self._beginning(response), what)
            yield response

    def _chunks(self, response: httpx2.Response, most: int, what: str) -> Iterator[bytes]:
        large = f"{what}: {self.host} sends more than {most:,} bytes"
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise RefusedError(f"{what}: {self.host} sends the answer packed, which nobody asked")
        length = response.headers.get("content-length", "")
        if length.isdecimal() and (len(length) > 15 or int(length) > most):
            raise RefusedError(large)
        self._guard.body(most)
        size = 0
        for chunk in response.iter_raw():
            size += len(chunk)
            if size > most:
                raise RefusedError(large)
            self._guard.check()
            with self._lock:
                self._counts["bytes"] += len(chunk)
            yield chunk

    def _beginning(self, response: httpx2.Response) -> bytes:
        """The first part of a body, as far as it can be read."""
        text = b""
        with suppress(self._httpx.HTTPError, TooMuchError):
            for chunk in response.iter_raw():
                text += chunk
                if len(text) > MAX_REFUSAL_BYTES:
                    break
        return text[:MAX_REFUSAL_BYTES]

    def _said(self, body: bytes) -> str:
        """What the body of a refusal says, in one line, without the key."""
        try:
            value = parse_any_json(body)
            found = value.get("message", "") if isinstance(value, dict) else ""
            text = "; ".join(map(str, found)) if isinstance(found, list) else str(found)
        except ValueError:
            text = re.sub(r"<[^>]*>", " ", body.decode(errors="replace"))
        return plain(text.replace(self._key.text, "…"), 150)

    def _refusal(self, response: httpx2.Response, body: bytes, what: str) -> Exception:
        status, said = response.status_code, self._said(body)
        answer = f"HTTP {status}" + (f": {said}" if said else "")
        if 300 <= status < 400:
            target = plain(response.headers.get("location", "elsewhere"), 200)
            return NetworkError(
                f"{self.address} redirects to {target}, where the API key is not sent; if that is "
                "your Immich, give its address with --url"
            )
        if status == 401:
            return NetworkError(
                f"{self.host} does not take the API key in {self._key.file} ({answer}); Immich "
                "makes keys under Account Settings > API Keys"
            )
        if status == 403:
            return NetworkError(self._forbidden(said, answer, what))
        if status in PASSING or status == 500:
            limited = "asks for fewer requests" if status == 429 else "cannot answer now"
            told = f"{what}: {self.host} {limited} ({answer})"
            if status == 500:  # of this asset alone, perhaps
                return _LaterError(RefusedError(told, status), FAULT_TRIES)
            wait = retry_after(response)
            if wait is not None and wait > MAX_WAIT_SECONDS:
                return NetworkError(
                    f"{told}, for {wait / 60:,.0f} minutes (Retry-After), which is longer than a "
                    f"command waits; {GOES_ON}"
                )
            return _LaterError(NetworkError(told), TRIES, wait)
        if self._greeted and not body.lstrip().startswith(b"{"):  # Traefik, while Immich restarts
            told = f"{what}: {self.host} does not answer as Immich does ({answer})"
            return _LaterError(NetworkError(told), TRIES)
        return RefusedError(f"{what}: {self.host} refuses ({answer})", status)

    def _forbidden(self, said: str, answer: str, what: str) -> str:
        found = re.search(r"permission:?\s*([A-Za-z.]+)", said)
        needed = ", ".join(self._needed)
        where = f"Immich sets them under Account Settings > API Keys; needed are {needed}"
        if not found:
            return f"{what}: {self.host} refuses ({answer}); has the key all permissions? {where}"
        return f"{what}: the API key in {self._key.file} lacks the permission {found[1]}; {where}"

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        """Raise the errors of the library as NetworkError, or _LaterError where they may pass."""
        httpx2 = self._httpx
        try:
            yield
        except TooMuchError as error:
            found = NetworkError(f"{what}: {self.host} {error}")
            raise (_LaterError(found, FAULT_TRIES) if error.slow else found) from None
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            told, passes = self._unreachable(plain(str(error) or "no answer", 150))
            tries = TRIES if passes and self._answered else 1
            raise _LaterError(NetworkError(told), tries) from None
        except httpx2.TransportError as error:
            reason = plain(str(error), 100) or type(error).__name__
            slow = isinstance(error, httpx2.TimeoutException)
            how = "answers too slowly" if slow else "breaks off, or answers no HTTP"
            told = f"{what}: {self.host} {how} ({reason})"
            if self.address.startswith("http:") and not (slow or self._answered):
                told += f"; does it want https://{self.address.partition('://')[2]}?"
            raise _LaterError(
                NetworkError(told), TRIES if self._answered else FAULT_TRIES
            ) from None
        except httpx2.InvalidURL as error:
            raise OptionError(f"--url {self.address}: {plain(str(error), 150)}") from None

    def _unreachable(self, reason: str) -> tuple[str, bool]:
        """Why no connection is there, and whether that may pass."""
        if "CERTIFICATE" in reason.upper():
            return (
                f"{self.host} shows a certificate that this machine does not trust ({reason}); "
                "where it is your own, SSL_CERT_FILE=FILE names its issuer's certificate"
            ), False
        if "WRONG_VERSION" in reason.upper() or "record layer" in reason:
            plain_address = f"http://{self.address.partition('://')[2]}"
            return f"{self.host} answers without TLS ({reason}); try --url {plain_address}", False
        return f"{self.host} cannot be reached ({reason}): does Immich run at {self.address}?", True
