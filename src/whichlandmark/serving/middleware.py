"""Around every request: an id, security headers, bounded bodies, a log line, typed errors."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .api_errors import ApiError, busy, too_large
from .auth import allowed_hosts, host_name
from .engine import Engine
from .options import ServeOptions, tile_origin

log = logging.getLogger("whichlandmark.serving")

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

GOOGLE_PATH = "/images:annotate"

PHOTOS = ("/v1/recognize", "/v1/explain", "/v1/images:annotate")  # what waits in the queue

_HEALTH = ("/livez", "/readyz", "/metrics")

DRAIN_BYTES, DRAIN_SECONDS = 64_000_000, 2.0  # of a refused body, so that the refusal is read


class RequestMiddleware:
    """ASGI middleware. Bodies are counted as they come; what is too much is never held."""

    def __init__(self, app: ASGIApp, engine: Engine) -> None:
        self.app, self.engine = app, engine
        self.hosts = allowed_hosts(engine.options)
        self.headers = security_headers(engine.options)
        self._ids = random.Random()  # seeded by the system; names of requests are no secrets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; the server's own start and stop go through."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, began = Headers(scope=scope), time.monotonic()
        given = headers.get("x-request-id", "")
        request_id = given if _ID.fullmatch(given) else f"{self._ids.getrandbits(64):016x}"
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        body = _Body(receive, self.engine.options)
        answer = _Answer(send, self.headers, request_id)
        try:
            await self._let_in(scope, headers, body, answer)
        except Exception as error:
            if not isinstance(error, ApiError):
                log.exception("the server failed", extra={"request_id": request_id})
                error = ApiError(500, "internal", "The server failed.",
                                 "Tell the operator the request id.")  # fmt: skip
            if not answer.status:
                await respond(error, request_id, scope["path"])(scope, receive, answer)
        finally:
            self._tell(scope, answer.status or 499, body.size, 1000 * (time.monotonic() - began))

    async def _let_in(self, scope: Scope, headers: Headers, body: _Body, answer: _Answer) -> None:
        refused: ApiError | None = None
        if self.hosts is not None and host_name(headers.get("host", "")) not in self.hosts:
            refused = ApiError(421, "wrong_host", "This server is not called by that name.",
                               "Use localhost, or start it with --name.")  # fmt: skip
        expected = headers.get("content-length", "")
        length = int(expected) if re.fullmatch(r"\d{1,18}", expected) else 0
        most = self.engine.options.max_body
        if length > most:
            refused = refused or too_large(most)
        if refused:
            await respond(refused, answer.request_id, scope["path"])(scope, body, answer)
            return
        if self.engine.full and scope["method"] == "POST" and scope["path"] in PHOTOS:
            await body.drain()  # at the door: a crowd that is refused costs those inside little
            error = busy(self.engine.queue.retry)
            await respond(error, answer.request_id, scope["path"])(scope, body, answer)
            return
        chunked = "transfer-encoding" in headers
        if not (length or chunked):
            await self.app(scope, body, answer)
            return
        try:
            with self.engine.room.hold(length or most):
                await self.app(scope, body, answer)
        except ApiError as error:
            if answer.status:
                raise
            await body.drain()
            await respond(error, answer.request_id, scope["path"])(scope, body, answer)

    def _tell(self, scope: MutableMapping[str, Any], status: int, size: int, ms: float) -> None:
        at_the_door = scope["path"] if scope["path"] in PHOTOS else "-"
        route = getattr(scope.get("route"), "path_format", None) or at_the_door
        method = scope["method"] if scope["method"] in METHODS else "-"
        self.engine.counters.requests.labels(route, method, str(status)).inc()
        self.engine.counters.seconds.labels(route).observe(ms / 1000)
        if route in _HEALTH and status < 400:
            return
        state = scope.get("state", {})
        fields = {"request_id": state.get("request_id"), "method": method, "route": route,
                  "status": status, "ms": round(ms, 1), "bytes": size,
                  "key": state.get("key", ""), "photos": state.get("photos", 0)}  # fmt: skip
        log.info("request", extra=fields)


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class _Body:
    """`receive`, counted and timed."""

    def __init__(self, receive: Receive, options: ServeOptions) -> None:
        self._receive, self._options = receive, options
        self.size, self.ended = 0, False
        self._deadline = time.monotonic() + options.body_seconds

    async def __call__(self) -> Message:
        if self.ended:
            return await self._receive()
        try:
            async with asyncio.timeout(max(0.0, self._deadline - time.monotonic())):
                message = await self._receive()
        except TimeoutError:
            raise ApiError(408, "too_slow", "The request was not sent in time.",
                           f"It has {self._options.body_seconds:g} s.") from None  # fmt: skip
        self.size += len(message.get("body", b""))
        self.ended = message["type"] != "http.request" or not message.get("more_body", False)
        if self.size > self._options.max_body:
            raise too_large(self._options.max_body)
        return message

    async def drain(self) -> None:
        """Read and forget the rest: closing on unread bytes would take the refusal away."""
        self._deadline = min(self._deadline, time.monotonic() + DRAIN_SECONDS)
        try:
            while not self.ended and self.size < DRAIN_BYTES:
                await self()
        except ApiError:
            pass


class _Answer:
    """`send`, with the headers that every answer has."""

    def __init__(self, send: Send, headers: dict[str, str], request_id: str) -> None:
        self._send, self._headers, self.request_id = send, headers, request_id
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self.request_id
            for name, value in self._headers.items():
                headers.setdefault(name, value)
        await self._send(message)


def respond(error: ApiError, request_id: str, path: str = "") -> JSONResponse:
    """A refusal, as JSON; in Google's form where its clients ask."""
    headers = {} if error.retry is None else {"Retry-After": str(error.retry)}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    body = error.google() if path.endswith(GOOGLE_PATH) else error.body(request_id)
    return JSONResponse(body, error.status, headers)


def security_headers(options: ServeOptions) -> dict[str, str]:
    """No code but our files, no other site, no frame, nothing kept on the way."""
    pictures = "img-src 'self' data: blob:"
    if options.tiles:
        pictures += f" {tile_origin(options.tiles)}"
    policy = ("default-src 'self'", pictures, "object-src 'none'", "base-uri 'none'",
              "form-action 'none'", "frame-ancestors 'none'")  # fmt: skip
    return {
        "Content-Security-Policy": "; ".join(policy),
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "geolocation=(), microphone=(), camera=()",
        "Cache-Control": "no-store",
    }
