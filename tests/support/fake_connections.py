"""The connections of the fake Wikimedia: requests, answers, and faults on the way between them."""

from __future__ import annotations

import select
import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

MAX_ADDRESS = 8_192  # bytes of a path with its parameters
PAGE = (
    b"<!DOCTYPE html>\n<html><head><title>Wikimedia Error</title></head><body>Sorry</body></html>"
)


class Clock(Protocol):
    def now(self) -> float: ...
    def sleep(self, seconds: float) -> None: ...


class RealClock:
    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@dataclass
class Fault:
    """A fault of the nth, nth + 1 … request (`times` of them, 0 = all) that fits `on` and `path`.

    on: "commons", "wikidata", "sparql", "media", "api" (the first three) or "" for any. path: a
    part of the decoded path and parameters.
    """

    name: str
    nth: int = 1
    times: int = 1
    on: str = ""
    path: str = ""
    value: Any = None
    seen: int = 0
    used: int = 0

    def strikes(self, kind: str, text: str) -> bool:
        wanted = self.on in ("", kind) or (self.on == "api" and kind != "media")
        if not wanted or self.path not in text:
            return False
        self.seen += 1
        hit = self.seen >= self.nth and (not self.times or self.seen < self.nth + self.times)
        self.used += hit
        return hit


@dataclass
class Request:
    """One request as it came. time: by the server's clock. status: what it was answered with."""

    kind: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]
    time: float
    status: int = 0
    bytes: int = 0


@dataclass
class Reply:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def page(status: int, text: str = "", **headers: str) -> Reply:
    body = PAGE if not text else f"<html><head><title>{text}</title></head></html>".encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, body, {"Content-Type": "text/html; charset=utf-8", **named})


class Fake(Protocol):
    """What a connection needs to know of the server."""

    clock: Clock
    closing: Any
    sockets: set[socket.socket]
    fetched: Any

    def begin(self, request: Request) -> None: ...
    def end(self, request: Request) -> None: ...
    def struck(self, request: Request) -> Fault | None: ...
    def refusal(self, request: Request) -> Reply | None: ...
    def answer(self, request: Request, fault: Fault | None) -> Reply: ...


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """A client that goes away is no news."""


KINDS = {"/commons/w/api.php": "commons", "/wikidata/w/api.php": "wikidata", "/sparql": "sparql"}


class Handler(BaseHTTPRequestHandler):
    """One connection, which may carry several requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    fake: Fake

    def setup(self) -> None:
        super().setup()
        self.fake.sockets.add(self.connection)

    def finish(self) -> None:
        self.fake.sockets.discard(self.connection)
        with suppress(OSError):
            super().finish()

    def log_message(self, *_: object) -> None:
        """Requests are in `requests`."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        request = Request(
            kind=KINDS.get(parts.path, "media"), path=parts.path,
            params=dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers.items()},
            time=self.fake.clock.now(),
        )  # fmt: skip
        self.fake.begin(request)
        self.open = True  # counted as in progress
        try:
            refused = page(414) if len(self.path) > MAX_ADDRESS else self.fake.refusal(request)
            fault = None if refused else self.fake.struck(request)
            reply = refused or self.fake.answer(request, fault)
            request.status, request.bytes = reply.status, len(reply.body)
            self._send(request, reply, fault)
        finally:
            self._done(request)

    def _done(self, request: Request) -> None:
        if self.open:
            self.open = False
            self.fake.end(request)

    def _send(self, request: Request, reply: Reply, fault: Fault | None) -> None:
        name = fault.name if fault else ""
        if name in ("hangup", "silence"):
            self.close_connection = True
            if name == "silence" and fault is not None:
                self._wait(fault.value or 60.0)
            return
        body = reply.body
        if name == "cut":
            body = body[: len(body) // 2]
        if name == "other-bytes":
            body = body[:-40] + bytes(40)
        head = f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}\r\n"
        headers = {"Server": "fake", **reply.headers, "Content-Length": str(len(body))}
        head += "".join(f"{key}: {value}\r\n" for key, value in headers.items()) + "\r\n"
        if name in ("reset", "truncated"):
            self.close_connection = True
            self.wfile.write(head.encode() + body[: len(body) // 2])
            if name == "reset":
                option = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
                with suppress(OSError):
                    self.rfile.close()
                    self.connection.close()
            return
        if name == "slow" and fault is not None:
            self.wfile.write(head.encode())
            for i in range(len(body)):
                if self._wait(fault.value or 1.0):
                    return
                self.wfile.write(body[i : i + 1])
            return
        if request.kind == "media" and reply.status == 200:
            self.fake.fetched[request.path] += 1
        last = body[-1:]
        self.wfile.write(head.encode() + body[:-1])
        self._done(request)  # before the client can know that it has everything
        self.wfile.write(last)

    def _wait(self, seconds: float) -> bool:
        """Wait until the time is over, the client goes away or the server ends; True = stop."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.fake.closing.wait(min(0.02, max(0.0, end - time.monotonic()))):
                return True
            readable, _, _ = select.select([self.connection], [], [], 0)
            if readable and not self.connection.recv(1, socket.MSG_PEEK):
                return True
        return False
