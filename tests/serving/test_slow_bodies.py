"""Bodies take room as they come, a share for each caller; lengths; clients that hang up."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from select import select
from typing import Any
from urllib.request import urlopen

import pytest

from tests.support.served_world import copied, front, jpeg, made
from whichlandmark.serving.api_errors import ApiError
from whichlandmark.serving.engine import Engine
from whichlandmark.serving.options import ServeOptions
from whichlandmark.serving.server import create_app, with_header_timeout

uvicorn = pytest.importorskip("uvicorn")

pytestmark = pytest.mark.server

BOUNDARY = "b0undary"
START = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="photos"; filename="a"\r\n\r\n'
FORM = START.encode() + jpeg(front(1, 9)) + f"\r\n--{BOUNDARY}--\r\n".encode()
CHUNKED = "Transfer-Encoding: chunked"
SMALL = {"max_bytes": 100_000, "max_body": 150_000, "body_share": 200_000, "body_bytes": 400_000}


def head(*headers: str, path: str = "/v1/recognize") -> bytes:
    lines = (f"POST {path} HTTP/1.1", "Host: localhost",
             f"Content-Type: multipart/form-data; boundary={BOUNDARY}", *headers)  # fmt: skip
    return "\r\n".join((*lines, "", "")).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@contextmanager
def served(folder: Path, **options: Any) -> Iterator[tuple[int, Engine]]:
    """The app on a real port, in a thread; its engine."""
    engine = Engine(folder, ServeOptions(workers=1, **options))
    config = uvicorn.Config(create_app(engine), http=with_header_timeout(10), ws="none",
                            log_config=None, access_log=False)  # fmt: skip
    server = uvicorn.Server(config)
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(1024)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield listening.getsockname()[1], engine
        finally:
            server.should_exit = True
            thread.join()


def connected(port: int, source: int = 1) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 20, (f"127.0.0.{source}", 0))


def reply_of(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """Status and JSON of a reply."""
    with connection.makefile("rb") as file:
        status = int(file.readline().split()[1])
        length = 0
        while (line := file.readline().strip()) != b"":
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return status, json.loads(file.read(length))


def asked(port: int, source: int = 1) -> tuple[int, dict[str, Any]]:
    with closing(connected(port, source)) as one:
        one.sendall(head(f"Content-Length: {len(FORM)}") + FORM)
        return reply_of(one)


def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def statuses(caplog: pytest.LogCaptureFixture, route: str) -> list[int]:
    return [one.status for one in caplog.records if getattr(one, "route", "") == route]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Engine]]:
    with served(copied(tmp_path_factory.mktemp("slow"))) as port_and_engine:
        yield port_and_engine


@pytest.fixture
def port(running: tuple[int, Engine]) -> int:
    return running[0]


@pytest.fixture
def engine(running: tuple[int, Engine]) -> Engine:
    return running[1]


@pytest.mark.parametrize("length", [CHUNKED, "Content-Length: 60000000"])
def test_bodies_that_do_not_come_take_no_room(port: int, length: str) -> None:
    """Each chunked one used to reserve 64 MB, so that eight of them shut everybody out."""
    idle = [connected(port, 2) for _ in range(60)]
    try:
        for one in idle:
            start = chunk(START.encode()) if length is CHUNKED else START.encode()
            one.sendall(head(length) + start)
        time.sleep(0.3)
        for source in (1, 2):
            status, reply = asked(port, source)
            assert (status, reply["results"][0]["landmark"]) == (200, "place 1")
    finally:
        for one in idle:
            one.close()


def test_one_caller_fills_no_more_than_its_share() -> None:
    with served(made(), **SMALL, line_seconds=0.3) as (port, engine):
        held = [connected(port, 2) for _ in range(10)]
        for one in held:
            one.sendall(head(CHUNKED) + chunk(START.encode() + b"x" * 90_000))
        until(lambda: len(select(held, [], [], 0)[0]) == 8)
        for one in select(held, [], [], 0)[0]:
            status, reply = reply_of(one)
            assert (status, reply["error"]["code"]) == (503, "busy")
        assert engine.body_budget.held <= SMALL["body_share"]
        assert asked(port, 3)[0] == 200
        for one in held:
            one.close()
        until(lambda: engine.body_budget.held == 0)
        assert asked(port, 2)[0] == 200


def test_stalled_bodies_make_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three callers that stop in the middle fill all the room; a fourth is answered."""
    monkeypatch.setattr("whichlandmark.serving.limits.STALL_SECONDS", 0.3)
    with served(made(), **SMALL, line_seconds=5.0) as (port, engine):
        held = [connected(port, source) for source in (2, 2, 3, 3)]
        for one in held:
            one.sendall(head(CHUNKED) + chunk(START.encode() + b"x" * 99_000))
        until(lambda: engine.body_budget.held > 390_000)
        assert asked(port, 4)[0] == 200
        ended = [reply_of(one) for one in held]
        assert {(status, reply["error"]["code"]) for status, reply in ended} == {(408, "too_slow")}
        assert "room" in ended[0][1]["error"]["hint"]
        assert held[0].recv(1) == b""  # the connection is closed
        for one in held:
            one.close()


def test_room_is_waited_for_in_order() -> None:
    from whichlandmark.serving.limits import BodyBudget

    async def run() -> None:
        budget, order = BodyBudget(100, 60, 1.0), []

        async def take(caller: str, count: int, seconds: float) -> None:
            with budget.body() as room:
                await room.take(caller, count)
                order.append((caller, count))
                await asyncio.sleep(seconds)

        bodies = ("a", 50, 0.2), ("a", 20, 0), ("b", 40, 0.1), ("c", 30, 0), ("d", 5, 0)
        tasks = [asyncio.ensure_future(take(*one)) for one in bodies]
        await asyncio.gather(*tasks)
        assert order == [("a", 50), ("b", 40), ("d", 5), ("c", 30), ("a", 20)]
        assert budget.held == 0
        with budget.body() as room:
            await room.take("a", 60)
            with budget.body() as other, pytest.raises(ApiError, match="capacity"):
                await other.take("a", 1)

    asyncio.run(run())


@pytest.mark.parametrize("text", [
    "99999999999999999999", "9223372036854775808", "1000000000000000000", "64000001",
    "00000000000000000064000001",
])  # fmt: skip
def test_a_length_of_any_size_is_read(engine: Engine, text: str) -> None:
    status, error = _with_length(engine, (("content-length", text),))
    assert (status, error["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("given", [
    ("+5",), ("-5",), ("0x10",), ("5.0",), ("1_0",), ("5 5",), ("٣",), ("",), ("5", "6"), ("5, 6",),
    ("5", "chunked"),
])  # fmt: skip
def test_a_length_that_is_no_number_is_refused(engine: Engine, given: tuple[str, ...]) -> None:
    names = ("transfer-encoding" if text == "chunked" else "content-length" for text in given)
    status, error = _with_length(engine, tuple(zip(names, given, strict=True)))
    assert (status, error["code"]) == (400, "invalid")
    assert "Content-Length" in error["message"]


@pytest.mark.parametrize("given", [("5",), (" 5 ",), ("005",), ("5", "5"), ("5,5",)])
def test_a_length_that_is_repeated_is_read_once(engine: Engine, given: tuple[str, ...]) -> None:
    status, error = _with_length(engine, tuple(("content-length", text) for text in given))
    assert (status, error["code"]) == (400, "invalid")  # of the form
    assert "multipart" in error["message"]


def _with_length(
    engine: Engine, headers: tuple[tuple[str, str], ...]
) -> tuple[int, dict[str, Any]]:
    """What the middleware answers to the headers themselves, without a parser of HTTP before it."""
    sent: list[Any] = []

    async def run() -> None:
        bodies = [{"type": "http.request", "body": b"12345"}]

        async def receive() -> Any:
            return bodies.pop() if bodies else await asyncio.sleep(60)

        async def send(message: Any) -> None:
            sent.append(message)

        raw = [(name.encode(), value.encode()) for name, value in headers]
        kind = (b"content-type", b"multipart/form-data; boundary=x")
        scope = {"type": "http", "method": "POST", "path": "/v1/recognize", "query_string": b"",
                 "headers": [(b"host", b"localhost"), kind, *raw], "client": ("127.0.0.1", 9),
                 "raw_path": b"/v1/recognize", "http_version": "1.1", "scheme": "http",
                 "root_path": "", "server": ("127.0.0.1", 80)}  # fmt: skip
        await create_app(engine)(scope, receive, send)

    asyncio.run(run())
    return sent[0]["status"], json.loads(sent[1]["body"])["error"]


@pytest.mark.parametrize("stage", ["headers", "chunked", "body", "queue", "inference", "gallery"])
def test_a_client_that_hangs_up_is_499_at_info(
    port: int, stage: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    asked_for: list[object] = []

    async def slow(self: Engine, *_: object) -> Any:
        asked_for.append(self)
        if stage == "inference":
            await asyncio.sleep(60)
        async with self.queue.hold(1):
            await asyncio.sleep(60)

    monkeypatch.setattr(Engine, "recognize", slow)
    whole = head(f"Content-Length: {len(FORM)}") + FORM
    first, route = {
        "headers": (head("Content-Length: 500"), "/v1/recognize"),
        "chunked": (head(CHUNKED) + chunk(START.encode()), "/v1/recognize"),
        "body": (whole[:-50], "/v1/recognize"),
        "queue": (whole, "/v1/recognize"),
        "inference": (whole, "/v1/recognize"),
        "gallery": (
            head(f"Content-Length: {len(FORM)}", path="/v1/landmarks/place%207/photos")
            + FORM[:-20], "/v1/landmarks/{name}/photos",
        ),
    }[stage]  # fmt: skip
    with closing(connected(port)) as one:
        one.sendall(first)
        if stage in ("queue", "inference"):
            until(lambda: bool(asked_for))
        time.sleep(0.2)
    until(lambda: statuses(caplog, route) == [499], 5.0)
    assert [one.levelname for one in caplog.records if one.name == "whichlandmark.serving"] == [
        "INFO"
    ]
    assert not [one for one in caplog.records if one.exc_info or one.levelno >= logging.WARNING]


def test_a_client_that_hangs_up_frees_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(made(), queue=16, max_photos=16) as (port, engine):
        pixels = engine.pool.pixels
        pending: list[Any] = []

        def never(*arguments: Any, **options: Any) -> Any:
            pending.append(pixels(*arguments, **options))
            return pending[-1].__class__()

        monkeypatch.setattr(engine.pool, "pixels", never)
        with closing(connected(port)) as one:
            one.sendall(head(f"Content-Length: {len(FORM)}") + FORM)
            until(lambda: engine.queue.held == 1)
        until(lambda: engine.queue.held == 0)
        assert engine.body_budget.held == 0


def test_a_change_of_the_gallery_is_finished_when_its_client_hangs_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with served(copied(tmp_path)) as (port, engine):
        add, running = engine.editor.add, threading.Event()

        def slow(*arguments: Any, **options: Any) -> Any:
            running.set()
            time.sleep(0.5)
            return add(*arguments, **options)

        engine.editor.add = slow
        with closing(connected(port)) as one:
            path = "/v1/landmarks/place%207/photos"
            form = FORM.replace(jpeg(front(1, 9)), jpeg(front(7, 1)))
            one.sendall(head(f"Content-Length: {len(form)}", path=path) + form)
            assert running.wait(10)
        until(lambda: statuses(caplog, "/v1/landmarks/{name}/photos") == [499])
        with urlopen(f"http://127.0.0.1:{port}/v1/landmarks/place%207/photos") as reply:
            assert json.load(reply)["total"] == 1
