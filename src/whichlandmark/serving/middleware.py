"""ASGI middleware: request id, security headers, body limits, request log, typed errors."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .api_errors import ApiError, busy, too_large, wrong_host
from .auth import allowed_hosts, host_allowed, host_name
from .engine import Engine
from .limits import BodyRoom
from .options import ServeOptions, tile_origin
from .proto_json import google_error, google_status, is_google_path
from .proxies import (
    TrustedProxies,
    caller_of,
    enter_root_path,
    forwarded_without_keys,
    peer_of,
    relative_redirect,
    route_path,
)

log = logging.getLogger("whichlandmark.serving")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

QUEUED_PATHS = (
    "/v1/recognize",
    "/v1/explain",
    "/v1/embed",
    "/v1/similar",
    "/v1/images:annotate",
)  # requests that use the request queue

HEALTH_PATHS = ("/livez", "/readyz")  # answered before others that arrive at the same time

_UNLOGGED_ROUTES = (*HEALTH_PATHS, "/metrics")  # polled; only their errors are logged

# A refused body is read up to these limits, because clients read the refusal only afterwards.
DRAIN_BYTES, DRAIN_SECONDS = 64_000_000, 2.0

KNOWN_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class RequestMiddleware:
    """Wraps the app. Bodies are counted while they arrive; no more than the limit is buffered."""

    def __init__(self, app: ASGIApp, engine: Engine) -> None:
        self.app, self.engine = app, engine
        self.hosts = allowed_hosts(engine.options)
        self.proxies = TrustedProxies.parse(engine.options.proxies)
        self.headers = security_headers(engine.options)
        self._ids = random.Random()  # not cryptographic, because request ids are no secrets
        self._strangers_told = False  # whether the log has told of an untrusted proxy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request; pass lifespan events through."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.monotonic()
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else f"{self._ids.getrandbits(64):016x}"
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        response = _ResponseSender(send, self.headers, scope)
        with self.engine.body_budget.body() as room:
            body = _CountedBody(receive, self.engine, scope, room, response)
            refused = await self._answer(scope, body, response)
        if refused and not response.status:
            if body.expected and not body.reading:
                response.close = True  # the client waits for leave to send the body
            elif not body.unread:
                await body.drain()
                response.close = not body.ended
            await respond(refused, request_id, route_path(scope))(scope, receive, response)
        status = 499 if body.gone else response.status or 499
        self._record(scope, status, body.size, 1000 * (time.monotonic() - began))

    async def _answer(
        self, scope: Scope, body: _CountedBody, response: _ResponseSender
    ) -> ApiError | None:
        """Let the app answer. Returns the error to answer with instead, without its traceback."""
        try:
            await self._dispatch(scope, body, response)
        except ClientDisconnect:
            body.gone = True
        except ApiError as error:
            return error.with_traceback(None)  # whose frames hold what has been read of the body
        except Exception:
            request_id = scope["state"]["request_id"]
            log.exception("the server failed", extra={"request_id": request_id})
            hint = "Report the request id to the operator."
            return ApiError(500, "internal", "Internal server error.", hint)
        return None

    async def _dispatch(self, scope: Scope, body: _CountedBody, response: _ResponseSender) -> None:
        """Raises ApiError for what is refused before it reaches a route."""
        if scope["path"] not in HEALTH_PATHS:
            await self.engine.turns.wait()
        body.unread = True  # a refusal here is sent at once, because no route has read a byte
        headers, options = Headers(scope=scope), self.engine.options
        self._meet_proxies(scope)
        length = content_length(headers)
        host = Headers(scope=scope).get("host", "")
        if not host_allowed(options, self.hosts, host):
            raise wrong_host(host_name(host))
        if length > options.max_body:
            raise too_large(options.max_body)
        if options.root_path and (location := enter_root_path(scope, options.root_path)):
            await Response(status_code=308, headers={"Location": location})(scope, body, response)
            return
        body.unread = False
        path = route_path(scope)
        queued = scope["method"] == "POST" and (path in QUEUED_PATHS or is_google_path(path))
        if queued and self.engine.full:  # reject before parsing, so that overload does not slow
            raise busy(self.engine.queue.retry)  # accepted requests
        if not length and "transfer-encoding" not in headers:
            await body.prefetch()
        task = asyncio.ensure_future(self.app(scope, body, response))
        watcher = asyncio.ensure_future(body.watch())
        try:
            await asyncio.wait((task, watcher), return_when=asyncio.FIRST_COMPLETED)
            if body.gone and queued:  # changes of the gallery are finished, answers are not
                task.cancel()
                await asyncio.wait((task,))
            if not task.cancelled():
                await task
        finally:
            task.cancel()
            watcher.cancel()

    def _meet_proxies(self, scope: Scope) -> None:
        """Believe a trusted proxy. Raises ApiError for another one before a server without keys."""
        if peer_of(scope) in self.proxies:
            self.proxies.believe(scope)
            return
        refused = forwarded_without_keys(scope)
        if refused and not self._strangers_told:
            self._strangers_told = True
            log.warning(
                "a proxy that is not trusted forwards requests, so that %s; serve with "
                "--trusted-proxy ADDRESS if it is yours",
                "they are refused, because there are no keys" if self.engine.keys is None
                else "all of its clients count as one address",
            )  # fmt: skip
        if refused and self.engine.keys is None:
            raise refused

    def _record(self, scope: MutableMapping[str, Any], status: int, size: int, ms: float) -> None:
        path = route_path(scope)
        unrouted = path if path in QUEUED_PATHS else "-"
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
        if self.engine.options.log_addresses:
            fields["address"] = peer_of(scope)
        log.info("request", extra=fields)


def content_length(headers: Headers) -> int:
    """The bytes that a request announces; 0 = none. Raises ApiError for what is no number."""
    given = {part.strip(" \t") for text in headers.getlist("content-length")
             for part in text.split(",")}  # fmt: skip
    if not given:
        return 0
    (first, *others) = given
    if others or "transfer-encoding" in headers or not re.fullmatch(r"[0-9]{1,4000}", first):
        raise ApiError(
            400,
            "invalid",
            "Content-Length: expected the number of bytes of the body, once, and no "
            "Transfer-Encoding beside it.",
            "HTTP libraries set this header themselves.",
        )
    return int(first)


class _CountedBody:
    """ASGI `receive` that counts the bytes of the body and enforces size and time limits.

    Attributes:
        expected: whether the client waits with the body until it is asked for.
        reading: whether the body has been asked for.
        unread: a refusal is to be sent without reading the body.
        gone: whether the client hung up before it had the whole reply.
    """

    def __init__(
        self, receive: Receive, engine: Engine, scope: Scope, room: BodyRoom,
        response: _ResponseSender,
    ) -> None:  # fmt: skip
        self._receive, self._scope, self._turns = receive, scope, engine.turns
        self._options = options = engine.options
        self._room, self._response = room, response
        self.size, self.ended = 0, False
        self.expected = Headers(scope=scope).get("expect", "").lower() == "100-continue"
        self.reading = self.unread = self.gone = False
        self._deadline = time.monotonic() + options.body_seconds
        self._first: Message | None = None
        self._arrived = asyncio.Event()

    async def __call__(self) -> Message:
        self.reading = True
        if self._first is not None:
            message, self._first = self._first, None
            return message
        if self.ended:
            return await self._receive()
        try:
            async with asyncio.timeout(max(0.0, self._deadline - time.monotonic())) as arrival:
                self._room.arrival = arrival
                message = await self._receive()
        except TimeoutError:
            raise self._too_slow() from None
        finally:
            self._room.arrival = None
        count = len(message.get("body", b""))
        self.size += count
        self.ended = message["type"] != "http.request" or not message.get("more_body", False)
        if message["type"] == "http.disconnect":
            self.gone = not self._response.complete
            await self._turns.wait()
        if self.ended:
            self._arrived.set()
        if self.size > self._options.max_body:
            raise too_large(self._options.max_body)
        state = self._scope["state"]
        await self._room.take(state.get("caller") or caller_of(peer_of(self._scope)), count)
        return message

    def _too_slow(self) -> ApiError:
        hint = f"The limit is {self._options.body_seconds:g} s."
        if self._room.ended:
            hint = "Other requests needed the room that it took. Send it again, from a faster line."
        return ApiError(408, "too_slow", "The request body did not arrive in time.", hint)

    async def prefetch(self) -> None:
        """Take the message of a request without a body, so that `watch` can wait for the next."""
        message = await self()
        self._first, self.reading = message, False

    async def watch(self) -> None:
        """Wait until the client hangs up or the reply is complete, once the body has arrived."""
        await self._arrived.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = not self._response.complete

    async def drain(self) -> None:
        """Read and discard the rest, because closing with unread bytes could drop the response."""
        end = min(self._deadline, time.monotonic() + DRAIN_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, end - time.monotonic())):
                while not self.ended and self.size < DRAIN_BYTES:
                    message = await self._receive()
                    self.size += len(message.get("body", b""))
                    self.ended = not message.get("more_body", False)
                    self.gone |= message["type"] == "http.disconnect"


class _ResponseSender:
    """ASGI `send` that adds the common headers and remembers the status.

    Attributes:
        complete: whether all of the reply has been handed to the connection.
        close: let the connection be closed after the reply.
    """

    def __init__(self, send: Send, headers: dict[str, str], scope: Scope) -> None:
        self._send, self._headers, self._scope = send, headers, scope
        self.status, self.complete, self.close = 0, False, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self._scope["state"]["request_id"]
            for name, value in self._headers.items():
                headers.setdefault(name, value)
            if 300 <= self.status < 400 and "location" in headers:
                headers["location"] = relative_redirect(headers["location"], self._scope)
            if self.close or self.status == 408:
                headers["Connection"] = "close"
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.complete = True


def respond(error: ApiError, request_id: str, path: str = "") -> JSONResponse:
    """The JSON response for an error, in the format of Google Cloud Vision on its path."""
    headers = {} if error.retry is None else {"Retry-After": str(error.retry)}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if is_google_path(path):
        return JSONResponse(google_error(error, request_id), google_status(error), headers)
    return JSONResponse(error.to_json(request_id), error.status, headers)


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
