"""Connections without complete request headers are closed; slow answers and idle ones are not."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

pytestmark = pytest.mark.server

uvicorn = pytest.importorskip("uvicorn")

SECONDS = 0.4
SOON = 7 * SECONDS  # on a busy machine; without the timeout `closed_after` takes 3 s and more
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def slow_app(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await asyncio.sleep(2 * SECONDS)  # longer than the header timeout
    await send(
        {"type": "http.response.start", "status": 200, "headers": [[b"content-length", b"2"]]}
    )
    await send({"type": "http.response.body", "body": b"ok"})


@contextmanager
def served() -> Iterator[int]:
    from whichlandmark.serving.server import with_header_timeout

    config = uvicorn.Config(slow_app, http=with_header_timeout(SECONDS), lifespan="off", ws="none",
                            log_config=None, timeout_keep_alive=5)  # fmt: skip
    server = uvicorn.Server(config)
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def closed_after(connection: socket.socket, sent: bytes = b"", every: float = 0.1) -> float:
    """Seconds until the server closes the connection, to which bytes are sent one by one."""
    began = time.monotonic()
    connection.settimeout(every)
    for byte in [*sent, *[None] * 30]:
        try:
            if byte is not None:
                connection.sendall(bytes([byte]))
            if connection.recv(1) == b"":
                break
        except TimeoutError:
            continue
        except OSError:  # reset
            break
    return time.monotonic() - began


def test_silent_and_trickling_connections_are_closed() -> None:
    with served() as port:
        for sent in (b"", b"GET /", REQUEST):
            with closing(socket.create_connection(("127.0.0.1", port))) as one:
                assert SECONDS * 0.9 < closed_after(one, sent) < SOON


def test_a_slow_answer_arrives_and_the_connection_stays_open() -> None:
    with served() as port, closing(socket.create_connection(("127.0.0.1", port))) as one:
        one.settimeout(10)
        for _ in range(2):
            one.sendall(REQUEST)
            reply = b""
            while not reply.endswith(b"ok"):
                reply += one.recv(1000)
            assert reply.startswith(b"HTTP/1.1 200")
            time.sleep(2 * SECONDS)  # idle, longer than the header timeout
        assert closed_after(one, b"GET /") < SOON  # incomplete headers
