"""Doubles for tests of the HTTP client: a clock that nobody waits for, answers made by a function,
a server that writes whatever bytes a test wants, and a wall around this machine.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from whichlandmark.collect.http_client import PoliteClient, Sites

CONTACT = "curator@museum.example"

JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 40 + b"\xff\xd9"  # as far as the client looks


class StillClock:
    """A clock that moves only when somebody sleeps. slept: the pauses of more than a second."""

    def __init__(self) -> None:
        self._now, self._lock = 1000.0, threading.Lock()

    def now(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        with self._lock:
            self._now += seconds


class Answers(httpx2.BaseTransport):
    """Answers requests by a function of the request and its number; keeps the requests."""

    def __init__(
        self, answer: Callable[[httpx2.Request, int], httpx2.Response], clock: StillClock
    ) -> None:
        self.answer, self.clock = answer, clock
        self.requests: list[httpx2.Request] = []
        self.times: list[float] = []
        self.active = self.most_active = 0
        self._lock = threading.Lock()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        with self._lock:
            self.requests.append(request)
            self.times.append(self.clock.now())
            number = len(self.requests)
            self.active += 1
            self.most_active = max(self.most_active, self.active)
        try:
            return self.answer(request, number)
        finally:
            with self._lock:
                self.active -= 1


def reply(status: int, headers: Any, body: bytes | dict[str, Any]) -> httpx2.Response:
    """An answer whose body is read like that of a server."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx2.Response(status, headers=headers, stream=httpx2.ByteStream(data))


def replies(*answers: Any) -> Callable[[httpx2.Request, int], httpx2.Response]:
    """A function that gives these answers one after another, the last one again and again.

    Each is an exception to raise, a dict (JSON), bytes (200), or (status, headers, body).
    """

    def answer(request: httpx2.Request, number: int) -> httpx2.Response:
        one = answers[min(number, len(answers)) - 1]
        if isinstance(one, BaseException):
            raise one
        return reply(*one) if isinstance(one, tuple) else reply(200, {}, one)

    return answer


@contextmanager
def client_of(
    answer: Callable[[httpx2.Request, int], httpx2.Response], **options: Any
) -> Iterator[tuple[PoliteClient, Answers]]:
    """A client of the real sites that never reaches them: `answer` does in their place."""
    clock = options.pop("clock", None) or StillClock()
    transport = Answers(answer, clock)
    sites = options.pop("sites", None) or Sites.wikimedia()
    with PoliteClient(CONTACT, sites=sites, clock=clock, transport=transport, **options) as client:
        yield client, transport


class RawServer:
    """A server on loopback that hands each connection, and the bytes of its request, to a function.

    The function runs in a thread of its own; it may write what it likes and return, or go on until
    the client hangs up, which raises OSError.
    """

    def __init__(self, talk: Callable[[socket.socket, bytes], None]) -> None:
        self._talk, self.requests, self.sent = talk, list[bytes](), 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> RawServer:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._listener.close()
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive(), "the client keeps its connection"

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(5)
            request = b""
            while b"\r\n\r\n" not in request:
                if not (more := connection.recv(65536)):
                    return
                request += more
            self.requests.append(request)
            self._talk(connection, request)


def answered(head: str, body: bytes = b"") -> Callable[[socket.socket, bytes], None]:
    """Writes one answer: its status line and headers (lines apart), then its body."""

    def talk(connection: socket.socket, request: bytes) -> None:
        lines = "\r\n".join(["HTTP/1.1 " + head.strip().replace("\n", "\r\n"), "", ""])
        connection.sendall(lines.encode() + body)

    return talk


def only_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a connection to any other machine, or a look-up of its name, fail the test."""
    look_up, connect = socket.getaddrinfo, socket.socket.connect

    def checked_look_up(host: Any, *given: Any, **named: Any) -> Any:
        assert host in (None, "127.0.0.1", "localhost", "::1"), f"a test asks for {host}"
        return look_up(host, *given, **named)

    def checked_connect(self: socket.socket, address: Any) -> None:
        place = address[0] if isinstance(address, tuple) else "127.0.0.1"
        assert place in ("127.0.0.1", "::1", "localhost"), f"a test contacts {place}"
        connect(self, address)

    monkeypatch.setattr(socket, "getaddrinfo", checked_look_up)
    monkeypatch.setattr(socket.socket, "connect", checked_connect)


def names_in(folder: Path) -> list[str]:
    """All files under a folder, hidden ones too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
