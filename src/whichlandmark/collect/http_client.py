"""PoliteClient: HTTP requests to Wikimedia and the store of Google Landmarks, within their rules.

APIs are asked one request at a time, photos come over two connections, and whoever says "later" is
waited for. Every answer is bounded in bytes and seconds; only known hosts are asked, by https.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from ..core.errors import NetworkError
from ..core.file_kinds import HEAD_BYTES, kind_of, photo_format
from ..core.files import atomic_file
from ..core.http_reading import Clock, SystemClock, parse_json, plain
from .answer_cache import MAX_ANSWER_BYTES, AnswerCache
from .http_answers import (
    LASTING,
    QUERY_SERVICE_LAG,
    ApiError,
    LaterError,
    RefusedError,
    StreamHead,
    api_error,
    refusal,
    stream_head,
    unpacked,
)
from .http_limits import API_SECONDS, MEDIA_CONNECTIONS, Pace, Sites, user_agent
from .http_requests import Kind, Requests, encodings, longer_wait, origins

if TYPE_CHECKING:
    import httpx2

__all__ = ["ApiError", "Clock", "Media", "PoliteClient", "RefusedError", "Sites", "Stream",
           "StreamHead"]  # fmt: skip


@dataclass(frozen=True)
class Media:
    """A file that was fetched."""

    sha256: str
    sha1: str
    bytes: int
    content_type: str


class Stream(NamedTuple):
    """Part of a file while it is fetched."""

    head: StreamHead
    chunks: Iterator[bytes]


class PoliteClient:
    """A client for one run, for any thread; close it with `close` or a with-statement.

    counts: requests to "api", of "media" and of "files" of Google Landmarks; answers that were
    "cached"; "retries"; "bytes" of bodies; "waited_s".
    """

    def __init__(
        self, contact: str | None, *, sites: Sites, cache: Path | None = None,
        refresh: bool = False, clock: Clock | None = None,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:  # fmt: skip
        """Open the cache; no server is contacted.

        Args:
            contact: a mail address or an https page of whoever runs this; None = only the store of
                Google Landmarks may be asked, which wants none.
            sites: the services.
            cache: file of the answers; None = in memory.
            refresh: ask again for what is cached.
            clock: to wait by; None = the real one.
            transport: in place of the network.

        Raises:
            OptionError: without a contact, or when a library is not installed.
            BusyError: when another process uses the cache.
            DataError: when it cannot be used.
        """
        self._pace = Pace(clock or SystemClock())
        self._requests = Requests(
            lambda library: user_agent(contact, library), self._pace, transport=transport,
            direct=sites != Sites.wikimedia(),
        )  # fmt: skip
        # The query service takes up to 60 seconds to answer.
        apis = (sites.commons, sites.wikidata, sites.sparql) if contact is not None else ()
        media = sites.media if contact is not None else ()
        self._api = Kind("api", origins(*apis), silence=70,
                         seconds=120, tries=8, spacing=API_SECONDS)  # fmt: skip
        self._media = Kind("media", origins(*media), silence=30, seconds=60, tries=5,
                           connections=MEDIA_CONNECTIONS)  # fmt: skip
        self._files = Kind("files", origins(sites.gldv2), silence=60, seconds=120, tries=8,
                           under=f"{sites.gldv2}/")  # fmt: skip
        self.sites, self._refresh = sites, refresh
        self._api_turn = threading.Lock()
        self._media_turns = threading.BoundedSemaphore(MEDIA_CONNECTIONS)
        self._asked: set[tuple[str, str]] = set()  # in this run, because of `refresh`
        self.cache = AnswerCache(cache)

    def __enter__(self) -> PoliteClient:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the cache and all connections; requests of other threads end with NetworkError."""
        self._requests.close()
        self.cache.close()

    @property
    def counts(self) -> Counter[str]:
        """A copy of the counts so far."""
        return self._requests.counts

    def get_json(self, url: str, params: Mapping[str, str], *, what: str) -> Any:
        """The JSON object that an API answers, from the cache where it is there.

        Args:
            url: of the API.
            params: of the request; `maxlag` is added for MediaWiki.
            what: is asked for, in a few words, for messages.

        Raises:
            ApiError: when the answer is an error that does not pass.
            RefusedError: when this request cannot be answered, but others may be.
            NetworkError: when the API cannot be reached, or refuses for now.
        """
        try:
            key = (url, urlencode(sorted(params.items())))
        except UnicodeEncodeError:
            raise RefusedError(f"{what}: the request holds bytes that are no text") from None
        if not self._refresh or key in self._asked:
            data = self.cache.answer(url, params)
            with suppress(ValueError):  # damaged: it is asked for again
                if data is not None:
                    value = parse_json(data)
                    self._requests.count("cached")
                    if error := api_error(value, None, what):
                        raise error
                    return value
        self._pace.take(self._api_turn)
        try:
            value, data = self._ask(url, params, what)
        finally:
            self._api_turn.release()
        if not _is_partial(value):
            self.cache.keep_answer(url, params, data)
            self._asked.add(key)
        if error := api_error(value, None, what):
            raise error
        return value

    def _ask(self, url: str, params: Mapping[str, str], what: str) -> tuple[dict[str, Any], bytes]:
        sent = {**params, "maxlag": "5"} if url.endswith("/api.php") else dict(params)

        def attempt() -> tuple[dict[str, Any], bytes]:
            with self._requests.open(self._api, url, what, params=sent) as response:
                host = response.url.host
                chunks = self._requests.chunks(response, MAX_ANSWER_BYTES, what)
                data = unpacked(chunks, encodings(response), MAX_ANSWER_BYTES, what)
            try:
                value = parse_json(data)
            except ValueError as error:
                if b"TimeoutException" in data[-20_000:]:  # the query service broke off
                    raise refusal(response, "TimeoutException", what, "api") from None
                raise LaterError(
                    NetworkError(f"{what}: {host} answers {error}, not JSON"), tries=5
                ) from None
            fault = api_error(value, response, what)
            if fault and not (isinstance(fault, ApiError) and fault.code in LASTING):
                if QUERY_SERVICE_LAG in str(value["error"])[:10_000]:
                    sent.pop("maxlag", None)
                raise fault
            return value, data

        return self._requests.repeat(self._api, attempt)

    def download(self, url: str, target: Path, *, max_bytes: int, what: str) -> Media:
        """Fetch a photo into a file, which is there when it is complete.

        Args:
            url: of the photo.
            target: the file; what is there is replaced. Nothing else is written to.
            max_bytes: the most that it may have.
            what: is fetched, in a few words, for messages.

        Raises:
            RefusedError: when this photo cannot be had, but others may be.
            NetworkError: when the server cannot be reached, or refuses for now.
            DataError: when the file cannot be written.
        """
        if len(target.name) <= 40:  # the name is whole in those of temporary files
            for left_over in target.parent.glob(f".{escape(target.name)}.????????"):
                with suppress(OSError):  # of a run that was killed
                    left_over.unlink()

        def attempt() -> Media:
            self._pace.take(self._media_turns)
            try:
                with (
                    self._requests.open(self._media, url, what) as response,
                    atomic_file(target) as file,
                ):
                    return self._save(response, file, max_bytes, what)
            finally:
                self._media_turns.release()

        return self._requests.repeat(self._media, attempt)

    def _save(self, response: httpx2.Response, path: Path, most: int, what: str) -> Media:
        _require_unpacked(response, what)
        sums, size, head = (hashlib.sha256(), hashlib.sha1(usedforsecurity=False)), 0, b""
        with open(path, "wb") as file:
            for chunk in self._requests.chunks(response, most, what):
                self._pace.spend(len(chunk))
                if size < HEAD_BYTES <= size + len(chunk):
                    _require_photo(head + chunk, what)
                head += chunk[: HEAD_BYTES - len(head)]
                for one in sums:
                    one.update(chunk)
                size += len(chunk)
                file.write(chunk)
        _require_photo(head, what)
        kind = plain(response.headers.get("content-type", ""), 100)
        return Media(sums[0].hexdigest(), sums[1].hexdigest(), size, kind)

    @contextmanager
    def stream(
        self, url: str, *, start: int = 0, end: int | None = None, etag: str = "", what: str
    ) -> Iterator[Stream]:
        """Fetch the bytes start … end − 1 of a file of Google Landmarks, or all from `start` on.

        What breaks off is fetched from there on, as long as the file is the same (by its ETag).

        Args:
            url: of the file.
            start: of the range.
            end: of the range; None = to the end of the file.
            etag: of the file of which the bytes before are there; a changed file is refused.
            what: is fetched, in a few words, for messages.

        Raises:
            RefusedError: when the file cannot be had, has changed, or the server does not give the
                range that was asked for.
            NetworkError: when the server cannot be reached, or refuses for now.
        """
        if start < 0 or (end is not None and end <= start):
            raise ValueError(f"start {start}, end {end}: no bytes")
        with ExitStack() as opened:

            def open_at(first: int, known: str) -> tuple[httpx2.Response, StreamHead]:
                headers = {}
                if first or end is not None:
                    headers["Range"] = f"bytes={first}-{'' if end is None else end - 1}"
                if known and headers:
                    headers["If-Range"] = known

                def attempt() -> tuple[httpx2.Response, StreamHead]:
                    opened.close()
                    manager = self._requests.open(self._files, url, what, headers=headers)
                    response = opened.enter_context(manager)
                    return response, stream_head(response, first, end, known, what)

                return self._requests.repeat(self._files, attempt)

            response, head = open_at(start, etag)

            def chunks() -> Iterator[bytes]:
                at, current, failures = start, response, 0
                while True:
                    try:
                        for chunk in self._requests.chunks(current, head.end - at, what):
                            at, failures = at + len(chunk), 0
                            yield chunk
                        if at < head.end:
                            raise LaterError(NetworkError(f"{what}: breaks off"))
                    except LaterError as later:
                        failures += 1
                        if not head.etag or failures == self._files.tries:
                            raise later.final("files", failures) from None
                    if at == head.end:
                        return
                    self._requests.count("retries")
                    self._pace.wait(longer_wait(failures))
                    current, _ = open_at(at, head.etag)

            yield Stream(head, chunks())


def _require_photo(head: bytes, what: str) -> None:
    if not photo_format(head):
        kind = (kind_of(head, raw=False) or "a file of no known kind") if head else "an empty file"
        raise RefusedError(f"{what}: no photo came, but {kind}")


def _require_unpacked(response: httpx2.Response, what: str) -> None:
    if packed := [name for name in encodings(response) if name != "identity"]:
        shown = plain(", ".join(packed), 60)
        raise RefusedError(f"{what}: the file comes packed as {shown!r}, which was not asked for")


def _is_partial(value: Mapping[str, Any]) -> bool:
    """Whether a search was cut short (the warning of `cirrussearch-timed-out`), so that the answer
    is of use, but not for the next run.
    """
    return "partial results" in str(value.get("warnings", ""))[:10_000]
