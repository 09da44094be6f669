"""ASGI middleware: request id, security headers, body limits, request log, typed errors."""

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

from .api_errors import ApiError, busy, too_large, wrong_host
from .auth import allowed_hosts, host_name
from .engine import Engine
from .options import ServeOptions, tile_origin

log = logging.getLogger("whichlandmark.serving")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

GOOGLE_PATH = "/images:annotate"

QUEUED_PATHS = (
    "/v1/recognize",
    "/v1/explain",
    "/v1/embed",
    "/v1/similar",
    "/v1/images:annotate",
)  # requests that use the request queue

_UNLOGGED_ROUTES = ("/livez", "/readyz", "/metrics")  # polled; only their errors are logged

# A refused body is read up to these limits, because clients read the refusal only afterwards.
DRAIN_BYTES, DRAIN_SECONDS = 64_000_000, 2.0

KNOWN_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class RequestMiddleware:
    """Wraps the app. Bodies are counted while they arrive; no more than the limit is buffered."""

    def __init__(self, app: ASGIApp, engine: Engine) -> None:
        self.app, self.engine = app, engine
        self.hosts = allowed_hosts(engine.options)
        self.headers = security_headers(engine.options)
        self._ids = random.Random()  # not cryptographic, because request ids are no secrets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request; pass lifespan events through."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, began = Headers(scope=scope), time.monotonic()
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else f"{self._ids.getrandbits(64):016x}"
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        body = _CountedBody(receive, self.engine.options)
        response = _ResponseSender(send, self.headers, request_id)
        try:
            await self._dispatch(scope, headers, body, response)
        except Exception as error:
            if not isinstance(error, ApiError):
                log.exception("the server failed", extra={"request_id": request_id})
                error = ApiError(
                    500,
                    "internal",
                    "Internal server error.",
                    "Report the request id to the operator.",
                )
            if not response.status:
                await respond(error, request_id, scope["path"])(scope, receive, response)
        finally:
            self._record(
                scope, response.status or 499, body.size, 1000 * (time.monotonic() - began)
            )

    async def _dispatch(
        self, scope: Scope, headers: Headers, body: _CountedBody, response: _ResponseSender
    ) -> None:
        refused: ApiError | None = None
        host = host_name(headers.get("host", ""))
        if self.hosts is not None and host not in self.hosts:
            refused = wrong_host(host)
        expected = headers.get("content-length", "")
        length = int(expected) if re.fullmatch(r"\d{1,18}", expected) else 0
        max_body = self.engine.options.max_body
        if length > max_body:
            refused = refused or too_large(max_body)
        if refused:
            await respond(refused, response.request_id, scope["path"])(scope, body, response)
            return
        if self.engine.full and scope["method"] == "POST" and scope["path"] in QUEUED_PATHS:
            await (
                body.drain()
            )  # reject before parsing, so that overload does not slow accepted requests
            error = busy(self.engine.queue.retry)
            await respond(error, response.request_id, scope["path"])(scope, body, response)
            return
        chunked = "transfer-encoding" in headers
        if not (length or chunked):
            await self.app(scope, body, response)
            return
        try:
            with self.engine.body_budget.hold(length or max_body):
                await self.app(scope, body, response)
        except ApiError as error:
            if response.status:
                raise
            await body.drain()
            await respond(error, response.request_id, scope["path"])(scope, body, response)

    def _record(self, scope: MutableMapping[str, Any], status: int, size: int, ms: float) -> None:
        unrouted = scope["path"] if scope["path"] in QUEUED_PATHS else "-"
        route = getattr(scope.get("route"), "path_format", None) or unrouted
        method = scope["method"] if scope["method"] in KNOWN_METHODS else "-"
        self.engine.counters.requests.labels(route, method, str(status)).inc()
        self.engine.counters.seconds.labels(route).observe(ms / 1000)
        if route in _UNLOGGED_ROUTES and status < 400:
            return
        state = scope.get("state", {})
        fields = {"request_id": state.get("request_id"), "method": method, "route": route,
                  "status": status, "ms": round(ms, 1), "bytes": size,
                  "key": state.get("key", ""), "photos": state.get("photos", 0)}  # fmt: skip
        log.info("request", extra=fields)


class _CountedBody:
    """ASGI `receive` that counts the bytes of the body and enforces size and time limits."""

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
            raise ApiError(
                408,
                "too_slow",
                "The request body did not arrive in time.",
                f"The limit is {self._options.body_seconds:g} s.",
            ) from None
        self.size += len(message.get("body", b""))
        self.ended = message["type"] != "http.request" or not message.get("more_body", False)
        if self.size > self._options.max_body:
            raise too_large(self._options.max_body)
        return message

    async def drain(self) -> None:
        """Read and discard the rest, because closing with unread bytes could drop the response."""
        self._deadline = min(self._deadline, time.monotonic() + DRAIN_SECONDS)
        try:
            while not self.ended and self.size < DRAIN_BYTES:
                await self()
        except ApiError:
            pass


class _ResponseSender:
    """ASGI `send` that adds the common headers and remembers the status."""

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
    """The JSON response for an error, in the format of Google Cloud Vision on its path."""
    headers = {} if error.retry is None else {"Retry-After": str(error.retry)}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    body = error.to_google_json() if path.endswith(GOOGLE_PATH) else error.to_json(request_id)
    return JSONResponse(body, error.status, headers)


def security_headers(options: ServeOptions) -> dict[str, str]:
    """Headers of every response: scripts from this server only, no framing, no caching."""
    image_sources = "img-src 'self' data: blob:"
    if options.tiles:
        image_sources += f" {tile_origin(options.tiles)}"
    policy = (
        "default-src 'self'",
        image_sources,
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
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
