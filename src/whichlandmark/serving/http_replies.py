"""What the replies of all routes share: CORS, rate limits, HEAD, OPTIONS, ETag and 304, gzip.

Two layers of ASGI: `CrossOrigin` is outside of everything, so that pages of other sites can read
refusals too; `Replies` stands directly before the routes.
"""

from __future__ import annotations

import gzip
import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

import anyio.to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .api_errors import cross_site
from .limits import Allowance
from .middleware import respond
from .options import allows_origin

EXPOSED_HEADERS = (
    "X-Request-Id", "Retry-After", "ETag", "RateLimit", "RateLimit-Policy", "RateLimit-Limit",
    "RateLimit-Remaining", "RateLimit-Reset", "WWW-Authenticate", "Allow",
)  # fmt: skip

PREFLIGHT_SECONDS = 7200  # that a browser remembers a preflight; Chromium's most

WINDOW_SECONDS = 60  # of rate limits

# Route → Cache-Control of its replies, which browsers keep, but ask on each use whether they
# changed. Other replies are not kept at all.
KEPT = (
    ("/v1/config", "no-cache"), ("/openapi.json", "no-cache"),
    ("/v1/landmarks", "private, no-cache"), ("/v1/distractors", "private, no-cache"),
    ("/v1/photos/", "private, no-cache"),
)  # fmt: skip

MIN_GZIP_BYTES = 1000  # a smaller body fits one packet anyway

MAX_BUFFERED_BYTES = 8_000_000  # a larger body is sent as it comes, without ETag and gzip

THREAD_BYTES = 50_000  # more are compressed in a thread, because that takes milliseconds

MAX_COMPRESSED_KEPT = 32  # replies for everyone, such as the page, that are kept compressed

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")


class CrossOrigin:
    """Answers preflights; adds the headers of CORS and of rate limits to every reply.

    origins: such as "https://app.example", or "*" for all.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self.app, self.origins = app, tuple(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request; pass lifespan events through."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        state, headers = scope.setdefault("state", {}), Headers(scope=scope)
        origin = headers.get("origin")

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = MutableHeaders(scope=message)
                sent.update(self._headers(origin))
                if self.origins and "*" not in self.origins:
                    sent.add_vary_header("Origin")
                if allowance := state.get("allowance"):
                    sent.update(rate_limit_headers(allowance))
            await send(message)

        if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await self._preflight(origin, headers)(scope, receive, send_with_headers)
        else:
            await self.app(scope, receive, send_with_headers)

    def _headers(self, origin: str | None) -> dict[str, str]:
        """Headers that let a page of this origin read the reply."""
        if origin is None or not allows_origin(self.origins, origin):
            return {}
        return {
            "Access-Control-Allow-Origin": "*" if "*" in self.origins else origin,
            "Access-Control-Expose-Headers": ", ".join(EXPOSED_HEADERS),
        }

    def _preflight(self, origin: str | None, headers: Headers) -> Response:
        """The answer to a browser that asks whether a page of another site may send a request."""
        if not allows_origin(self.origins, origin):
            return respond(cross_site(origin), "")
        asked = headers.get("access-control-request-headers", "").split(",")
        names = [name.strip() for name in asked if _TOKEN.fullmatch(name.strip())]
        return Response(
            status_code=204,
            headers={
                "Access-Control-Allow-Methods": "GET, HEAD, POST, PATCH, DELETE, OPTIONS",
                "Access-Control-Allow-Headers": ", ".join(names[:50]),
                "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
                "Vary": "Access-Control-Request-Headers",
            },
        )


def rate_limit_headers(allowance: Allowance) -> dict[str, str]:
    """What is left of a rate limit, in photos.

    The fields of the IETF draft, in its present form (RateLimit, RateLimit-Policy) and in that of
    its first versions, which more clients read.
    """
    limit, remaining, reset = allowance
    return {
        "RateLimit-Limit": str(limit), "RateLimit-Remaining": str(remaining),
        "RateLimit-Reset": str(reset),
        "RateLimit-Policy": f'"photos";q={limit};w={WINDOW_SECONDS}',
        "RateLimit": f'"photos";r={remaining};t={reset}',
    }  # fmt: skip


class Replies:
    """HEAD as GET without the body, OPTIONS, `Allow`, ETag and 304, gzip. routes: of the app."""

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        self.app, self.routes = app, routes
        self._compressed: OrderedDict[str, bytes] = OrderedDict()  # by ETag

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request; pass lifespan events through."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        method, asked = scope["method"], dict(scope)  # as it is before a route changes its path
        if method == "OPTIONS" and (methods := self._allowed_methods(asked)):
            await Response(status_code=204, headers={"Allow": methods})(scope, receive, send)
            return

        async def send_allowed(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 405:
                MutableHeaders(scope=message)["Allow"] = self._allowed_methods(asked)
            await send(message)

        reply = _Reply(scope, send_allowed, self._compressed, head=method == "HEAD")
        if method == "HEAD":
            scope["method"] = "GET"
        try:
            await self.app(scope, receive, reply)
        finally:
            scope["method"] = method

    def _allowed_methods(self, scope: Scope) -> str:
        """Value of `Allow` for the path of a request; "" = no route has this path."""
        found: set[str] = set()
        for route in self.routes:
            if route.matches(scope)[0] is not Match.NONE:
                found |= getattr(route, "methods", None) or {"GET"}  # files have no methods
        if "GET" in found:
            found.add("HEAD")
        return ", ".join(sorted({*found, "OPTIONS"})) if found else ""


class _Reply:
    """ASGI `send` of one request: holds the reply back until it is known whole."""

    def __init__(
        self, scope: Scope, send: Send, compressed: OrderedDict[str, bytes], *, head: bool
    ) -> None:
        self._scope, self._send, self._head = scope, send, head
        self._asked, self._compressed = Headers(scope=scope), compressed
        self._start: Message = {}
        self._chunks: list[bytes] = []
        self._whole = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            headers = MutableHeaders(scope=message)
            self._set_cache_control(headers)
            if "etag" in headers:  # weak, because it is also that of the compressed body
                headers["ETag"] = f"W/{headers['etag'].removeprefix('W/')}"
            if message["status"] == 304:  # of a file
                headers.add_vary_header("Accept-Encoding")
            length = headers.get("content-length", "")
            self._whole = length.isdigit() and int(length) <= MAX_BUFFERED_BYTES
            if not self._whole:
                await self._send(message)
            return
        if message["type"] != "http.response.body" or not self._whole:
            await self._send({**message, "body": b""} if self._head else message)
            return
        self._chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            await self._send_whole(b"".join(self._chunks))

    def _set_cache_control(self, headers: MutableHeaders) -> None:
        path = getattr(self._scope.get("route"), "path_format", "")
        for begin, value in KEPT:
            if path.startswith(begin) and self._start["status"] == 200:
                headers.setdefault("Cache-Control", value)
                return

    async def _send_whole(self, body: bytes) -> None:
        headers = MutableHeaders(scope=self._start)
        kept = "cache-control" in headers and "no-store" not in headers["cache-control"]
        tag = ""
        if self._scope["method"] == "GET" and kept and self._start["status"] == 200:
            tag = headers.get("etag") or f'W/"{blake2b(body, digest_size=12).hexdigest()}"'
            headers["ETag"] = tag
        packable = self._scope["method"] == "GET" and is_packable(headers, body)
        if packable:
            headers.add_vary_header("Accept-Encoding")
        if tag and is_current(self._asked, tag):
            self._start["status"] = 304
            for name in ("content-length", "content-type", "last-modified", "accept-ranges"):
                if name in headers:
                    del headers[name]
            body = b""
        elif packable and accepts_gzip(self._asked.get("accept-encoding", "")):
            body = await self._packed(body, headers, tag)
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": b"" if self._head else body})

    async def _packed(self, body: bytes, headers: MutableHeaders, tag: str) -> bytes:
        """The compressed body; what everyone gets is kept compressed."""
        packed = self._compressed.get(tag, b"") if tag else b""
        if not packed:
            if len(body) > THREAD_BYTES:
                packed = await anyio.to_thread.run_sync(_compress, body)
            else:
                packed = _compress(body)
            if tag and "private" not in headers["cache-control"]:
                self._compressed[tag] = packed
                while len(self._compressed) > MAX_COMPRESSED_KEPT:
                    self._compressed.popitem(last=False)
        headers["Content-Encoding"] = "gzip"
        headers["Content-Length"] = str(len(packed))
        return packed


def _compress(body: bytes) -> bytes:
    return gzip.compress(body, 6, mtime=0)


def is_packable(headers: Headers, body: bytes) -> bool:
    """Whether a reply gets smaller by gzip: a text of some length that is sent whole."""
    whole = "content-encoding" not in headers and "content-range" not in headers
    text = headers.get("content-type", "").startswith(("application/json", "text/"))
    return whole and text and len(body) >= MIN_GZIP_BYTES


def is_current(asked: Headers, tag: str) -> bool:
    """Whether the client has this reply already, as If-None-Match says; weak comparison."""
    known = _listed(asked.getlist("if-none-match"))
    return "*" in known or tag.removeprefix("W/") in [one.removeprefix("W/") for one in known]


def accepts_gzip(header: str) -> bool:
    """Whether Accept-Encoding names gzip, or everything, and not with a quality of 0."""
    weights: dict[str, float] = {}
    for one in _listed([header]):
        name, _, options = one.partition(";")
        quality = re.fullmatch(r"\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*", options)
        weights[name.strip().lower()] = float(quality[1]) if quality else float(not options)
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def _listed(values: Iterable[Any]) -> list[str]:
    """The parts of a header that is a list."""
    return [part.strip() for value in values for part in value.split(",") if part.strip()]
