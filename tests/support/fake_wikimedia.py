"""A fake Wikimedia on loopback: Commons, Wikidata, its query service and the files, with limits.

    with FakeWikimedia(small_city()) as server:
        sites = Sites.at(server.base)
        server.fault("maxlag", nth=2, on="commons")

{base}/commons/w/api.php, {base}/wikidata/w/api.php, {base}/sparql, {base}/wikipedia/commons/… (the
originals and thumbnails), {base}/wiki/Special:FilePath/NAME (a redirect to the original).

What it refuses, as Wikimedia does, and counts in `counts["refused …"]`:
    a User-Agent without a contact (mail address or web page in parentheses)     403
    more than 200 API requests in 60 s of its clock                              429, Retry-After
                                                                  in every second refusal only
    a third media connection at once                                             429
    more media bytes than 25 Mbit/s in 10 s of its clock                         429
    a thumbnail of another width than the standard ones                          400
    an address of more than 8,192 bytes                                          414
    more than 50 titles or ids, bounds of parameters, unknown modules            error, HTTP 200
    60 s of query time in 60 s, 30 failed queries in 60 s                        429, Retry-After
    a fourth query that does not wait for Retry-After                            403, banned 24 h
Read in MediaWiki's source: continuation (ApiContinuationManager, ApiQueryImageInfo), the wording of
the query service's refusals (ThrottlingFilter), short thumbnail names from 160 bytes on. Stricter
than what was read: an item that never existed fails the whole request (Wikibase's GetEntities calls
it missing, and fails only for an id that it cannot parse). Unproven: the text of other refusals.
Impolite API requests are answered and counted: `max_parallel_api`, `counts["parallel api"]`,
`counts["without gzip"]`, `counts["without maxlag"]`.

Faults, each switched on by `fault(name, nth=…, times=…, on=…, path=…, value=…)`:
    html            200 with a page in place of JSON or of a photo
    html-502        502 with a page (value: another status)
    429, 429-after  too many requests; with Retry-After: value seconds (default 7)
    ratelimited     200, error `ratelimited`
    maxlag          200, error `maxlag`, lagged value seconds (default 6), Retry-After 5
    error           200, error with the code `value` (default internal_api_error_DBQueryError)
    list, text      200 with JSON that is no object; with JSON cut off in the middle
    empty           200 without a body
    hangup          the connection ends without an answer
    reset           half the body, then the connection is reset
    truncated       half the body, then the connection ends (Content-Length says the whole)
    cut             half a photo, sent as if it were whole
    other-bytes     another photo than that of the sha1
    silence         no answer for value seconds of real time (default 60), or until the end
    slow            one byte each value seconds of real time (default 1)
    split           imageinfo of value files only (default half of the batch), the rest follows
    empty-first     no page at first, and a `continue`
    banned          of a query: 403, banned; of anything else: 403
    timeout         of a query: 500 with the log of a TimeoutException
    moved           a redirect to `value`
"""

from __future__ import annotations

import gzip
import json
import re
import socket
import threading
from collections import Counter, deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

from tests.support.fake_commons import TRANSFORM_LIMIT, CommonsApi
from tests.support.fake_connections import (
    Clock,
    Fault,
    Handler,
    RealClock,
    Reply,
    Request,
    Server,
    page,
)
from tests.support.fake_params import ApiError
from tests.support.fake_wikidata import (
    MalformedError,
    file_entities,
    get_entities,
    search_entities,
    search_items,
    sparql,
)
from tests.support.fake_world import STANDARD_WIDTHS, FakeFile, World

JSON = dict[str, Any]
CONTACT = re.compile(r"\([^()]*(\S@\S+\.\S|https?://\S)[^()]*\)")
PER_MINUTE, MEDIA_CONNECTIONS, MEDIA_RATE = 200, 2, 25e6 / 8  # the published limits
QUERY_SECONDS, FAILED_QUERIES = 60, 30


class FakeWikimedia:
    """The server. See the top of this file.

    clock: the one that the client waits by, for tests without waiting. per_minute: API requests.
    query_cost: seconds of query time of one query.
    """

    def __init__(
        self, world: World, *, clock: Clock | None = None, faults: Iterable[str | Fault] = (),
        per_minute: int = PER_MINUTE, query_cost: float = 1.0, port: int = 0,
    ) -> None:  # fmt: skip
        self.world, self.clock = world, clock or RealClock()
        self.per_minute, self.query_cost = per_minute, query_cost
        self.faults = [Fault(one) if isinstance(one, str) else one for one in faults]
        self.requests: list[Request] = []
        self.counts: Counter[str] = Counter()
        self.fetched: Counter[str] = Counter()  # path of a file → times that it was sent whole
        self.max_parallel_api = self.max_parallel_media = 0
        self.closing = threading.Event()
        self._lock, self._one = threading.Lock(), threading.Lock()
        self._active: Counter[str] = Counter()
        self._times: deque[float] = deque()
        self._media: deque[tuple[float, int]] = deque()
        self._queries: deque[tuple[float, float, bool]] = deque()  # time, seconds, failed
        self._wait_until, self._ignored, self._banned = 0.0, 0, 0.0
        self.sockets: set[socket.socket] = set()
        self._files: dict[str, tuple[FakeFile, int | None]] = {}
        self._http = Server(("127.0.0.1", port), type("Handler", (Handler,), {"fake": self}))
        self.base = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._commons = CommonsApi(world, self.base)
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    def __enter__(self) -> FakeWikimedia:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        for one in list(self.sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def fault(self, name: str, **options: Any) -> Fault:
        """Switch a fault on; see the table at the top of this file."""
        made = Fault(name, **options)
        self.faults.append(made)
        return made

    def forget(self) -> None:
        """Forget all requests and counts, not the faults."""
        self.requests.clear()
        self.counts.clear()
        self.fetched.clear()
        self.max_parallel_api = self.max_parallel_media = 0

    def is_idle(self) -> bool:
        """Is no request in progress?"""
        with self._lock:
            return not any(self._active.values())

    def busiest_minute(self) -> int:
        """The largest number of API requests in any 60 s."""
        times = [one.time for one in self.requests if one.kind != "media"]
        return max((sum(t <= other < t + 60 for other in times) for t in times), default=0)

    # One request.

    def begin(self, request: Request) -> None:
        api = request.kind != "media"
        with self._lock:
            kind = "api" if api else "media"
            self._active[kind] += 1
            self.requests.append(request)
            self.counts[request.kind] += 1
            if api:
                self.max_parallel_api = max(self.max_parallel_api, self._active["api"])
                self.counts["parallel api"] += self._active["api"] > 1
                packed = "gzip" in request.headers.get("accept-encoding", "")
                lag = "maxlag" in request.params or request.kind == "sparql"
                self.counts.update({"without gzip": not packed, "without maxlag": not lag})
            else:
                self.max_parallel_media = max(self.max_parallel_media, self._active["media"])

    def end(self, request: Request) -> None:
        with self._lock:
            self._active["api" if request.kind != "media" else "media"] -= 1

    def struck(self, request: Request) -> Fault | None:
        text = f"{unquote(request.path)} {' '.join(f'{k}={v}' for k, v in request.params.items())}"
        with self._lock:
            hits = [one for one in self.faults if one.strikes(request.kind, text)]
        for hit in hits:
            self.counts[f"fault {hit.name}"] += 1
        return hits[0] if hits else None

    def refusal(self, request: Request) -> Reply | None:
        """What the request is refused with, for its sender or its number."""
        agent = request.headers.get("user-agent", "")
        now = self.clock.now()
        if not CONTACT.search(agent):
            self.counts["refused agent"] += 1
            return page(403, "Please set a user-agent and respect our robot policy")
        if request.kind == "media":
            return self._media_refusal(now)
        with self._lock:
            while self._times and self._times[0] <= now - 60:
                self._times.popleft()
            if len(self._times) >= self.per_minute:
                self.counts["refused rate"] += 1
                wait = max(1, int(self._times[0] + 60 - now) + 1)
                told = self.counts["refused rate"] % 2 == 1
                return page(
                    429, "Too many requests", **({"Retry_After": str(wait)} if told else {})
                )
            self._times.append(now)
        return None

    def _media_refusal(self, now: float) -> Reply | None:
        with self._lock:
            if self._active["media"] > MEDIA_CONNECTIONS:
                self.counts["refused connection"] += 1
                return page(429, "Too many connections")
            while self._media and self._media[0][0] <= now - 10:
                self._media.popleft()
            if sum(count for _, count in self._media) > 10 * MEDIA_RATE:
                self.counts["refused bandwidth"] += 1
                return page(429, "Too much traffic", Retry_After="5")
        return None

    def answer(self, request: Request, fault: Fault | None) -> Reply:
        """The whole answer, unless a fault replaces it."""
        if fault is not None:
            reply = self._faulty(request, fault)
            if reply is not None:
                return reply
        if request.kind == "sparql":
            return self._sparql(request)
        if request.kind == "media":
            return self._file(request)
        try:
            with self._one:
                body = self._api(request, fault)
        except ApiError as error:
            body = {"error": error.error, "servedby": "mw-api-ext.fake"}
        return self._json(request, body)

    def _api(self, request: Request, fault: Fault | None) -> JSON:
        params, name = request.params, fault.name if fault else ""
        action, wiki = params.get("action", "help"), request.kind
        if params.get("format") != "json":
            raise ApiError("unknown_format", "this server speaks only format=json")
        if action == "query" and wiki == "commons":
            thumbs = TRANSFORM_LIMIT
            if name == "split" and fault is not None:
                limit = re.search(r"limit': '(\d+)", str(params))  # of any generator
                thumbs = fault.value or max(1, int(limit[1] if limit else 10) // 2)
            return self._commons.query(params, thumbs=thumbs, empty=name == "empty-first")
        if action == "query" and params.get("list") == "search":
            return search_items(self.world, params)
        if action == "wbgetentities":
            get = file_entities if wiki == "commons" else get_entities
            return get(self.world, params)
        if action == "wbsearchentities" and wiki == "wikidata":
            return search_entities(self.world, params)
        raise ApiError("badvalue", f'Unrecognized value for parameter "action": {action}.')

    def _json(self, request: Request, body: Any, **headers: str) -> Reply:
        second = request.params.get("formatversion") == "2"
        if isinstance(body, dict) and not second:
            body = _version_1(body)
        if isinstance(body, dict) and "error" in body:
            headers["MediaWiki-API-Error"] = body["error"]["code"]
        text = json.dumps(body, ensure_ascii=False).encode()
        kind = {"Content-Type": "application/json; charset=utf-8"}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if "gzip" in request.headers.get("accept-encoding", "") and len(text) > 1000:
            text, kind = gzip.compress(text, 1), {**kind, "Content-Encoding": "gzip"}
        return Reply(200, text, {**kind, **named})

    def _sparql(self, request: Request) -> Reply:
        now = self.clock.now()
        with self._lock:
            while self._queries and self._queries[0][0] <= now - 60:
                self._queries.popleft()
            if now < self._banned:
                return _banned()
            if now < self._wait_until:
                self._ignored += 1
                if self._ignored > 3:
                    self._banned = now + 86_400
                    return _banned()
                return self._throttled(now)
            spent = sum(seconds for _, seconds, _ in self._queries)
            failed = sum(bad for _, _, bad in self._queries)
            if spent >= QUERY_SECONDS or failed >= FAILED_QUERIES:
                self._wait_until, self._ignored = self._queries[0][0] + 60, 0
                return self._throttled(now)
            query = request.params.get("query", "")
            try:
                body = sparql(self.world, query)
            except MalformedError as error:
                self._queries.append((now, 0.1, True))
                text = f"SPARQL-QUERY: queryStr={query}\njava.util.concurrent.ExecutionException: "
                text += f"org.openrdf.query.MalformedQueryException: {error}"
                return Reply(400, text.encode(), {"Content-Type": "text/plain"})
            self._queries.append((now, self.query_cost, False))
        reply = self._json(request, {"head": body["head"], "results": body["results"]})
        reply.headers["Content-Type"] = "application/sparql-results+json;charset=utf-8"
        return reply

    def _throttled(self, now: float) -> Reply:
        wait = max(1, int(self._wait_until - now) + 1)
        self.counts["refused query"] += 1
        text = f"Error 429 Too Many Requests - Please retry in {wait} seconds."
        return page(429, text, Retry_After=str(wait))

    def _file(self, request: Request) -> Reply:
        path = unquote(request.path)
        if path.startswith("/wiki/Special:FilePath/"):
            name = path.removeprefix("/wiki/Special:FilePath/").replace(" ", "_")
            found = [one for one in self.world.files if one.key == name]
            if not found:
                return page(404)
            return Reply(302, b"", {"Location": self.base + found[0].place()})
        width = re.search(r"/thumb/.*/(?:lossy-)?(?:page\d+-)?(\d+)px-[^/]*$", path)
        if width and int(width[1]) not in STANDARD_WIDTHS:
            self.counts["refused width"] += 1
            return page(400, "Use thumbnail steps listed on https://w.wiki/GHai")
        file, wide = self._file_at(request.path)
        if file is None:
            return page(404)
        self.counts["thumbnail" if wide else "original"] += 1
        if wide is None and not file.exact and file.body is None:
            self.counts["large original"] += 1
        body = file.bytes_at(wide)
        kind = file.mime if wide is None or "png" in file.mime else "image/jpeg"
        with self._lock:
            self._media.append((self.clock.now(), len(body)))
        return Reply(200, body, {"Content-Type": kind, "ETag": f'"{file.sha1[:12]}"'})

    def _file_at(self, path: str) -> tuple[FakeFile | None, int | None]:
        if path not in self._files:
            for file in self.world.files:
                self._files[file.place()] = file, None
                for width in STANDARD_WIDTHS:
                    self._files[file.place(thumb=width)] = file, width
        return self._files.get(path, (None, None))

    # Faults that replace the answer, and those that spoil its way (`Handler`).

    def _faulty(self, request: Request, fault: Fault) -> Reply | None:
        value = fault.value
        if fault.name == "html":
            return page(200)
        if fault.name == "html-502":
            return page(value or 502)
        if fault.name in ("429", "429-after"):
            after = {"Retry_After": str(value or 7)} if fault.name == "429-after" else {}
            return page(429, "Too many requests", **after)
        if fault.name in ("banned", "timeout"):
            text = (
                b"SPARQL-QUERY: queryStr=\njava.util.concurrent.TimeoutException\n\tat java.base/"
            )
            plain = {"Content-Type": "text/plain"}
            return _banned() if fault.name == "banned" else Reply(500, text, plain)
        if fault.name == "moved":
            return Reply(302, b"", {"Location": str(value)})
        if fault.name == "empty":
            return Reply(200, b"", {"Content-Type": "application/json; charset=utf-8"})
        if fault.name in ("list", "text"):
            return Reply(200, b'["Eiffel"]' if fault.name == "list" else b'{"query":{"pages":[{"pa',
                         {"Content-Type": "application/json; charset=utf-8"})  # fmt: skip
        errors = {
            "maxlag": {"code": "maxlag", "info": f"Waiting for db: {value or 6} seconds lagged.",
                       "host": "10.0.0.1", "lag": value or 6, "type": "db"},
            "ratelimited": {"code": "ratelimited", "info": "You've exceeded your rate limit."},
            "error": {"code": value or "internal_api_error_DBQueryError", "info": "as asked for"},
        }  # fmt: skip
        if fault.name not in errors:
            return None
        lagged = {"Retry_After": "5", "X_Database_Lag": str(value or 6)}
        return self._json(request, {"error": errors[fault.name]},
                          **(lagged if fault.name == "maxlag" else {}))  # fmt: skip


def _banned() -> Reply:
    return page(403, "Error 403 You have been banned until 2026-12-24T08:00:00.000Z, please "
                 "respect throttling and retry-after headers.", Retry_After="86400")  # fmt: skip


def _version_1(value: Any, key: str = "") -> Any:
    """formatversion 1: pages are an object, true is "" and false is absent."""
    if isinstance(value, list):
        if key == "pages":
            named = enumerate(value)
            return {str(one.get("pageid", -1 - i)): _version_1(one) for i, one in named}
        return [_version_1(one) for one in value]
    if isinstance(value, dict):
        return {
            k: "" if v is True else _version_1(v, k) for k, v in value.items() if v is not False
        }
    return value
