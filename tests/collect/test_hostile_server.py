"""Servers that attack: whatever they send, the client ends soon, says why, and writes nothing else.

They listen on this machine and answer by raw bytes. Each request has a second at most.
"""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.web_doubles import (
    CONTACT,
    JPEG,
    RawServer,
    StillClock,
    answered,
    names_in,
    only_this_machine,
)
from whichlandmark.collect import http_client
from whichlandmark.collect.http_client import PoliteClient, RefusedError, Sites
from whichlandmark.core.errors import NetworkError

Talk = Callable[[socket.socket, bytes], None]

GB = 10**9


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    only_this_machine(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The folder that is written to; nothing may be left in it, or come beside it."""
    made = tmp_path / "out"
    made.mkdir()
    yield made
    assert set(names_in(tmp_path)) <= {"out/commons.sqlite", "out/7.jpg"}


def client_at(server: RawServer, folder: Path, patience: float = 5.0) -> PoliteClient:
    """A client that tries twice. patience: seconds for an answer."""
    client = PoliteClient(CONTACT, sites=Sites.at(server.base), cache=folder / "commons.sqlite",
                          clock=StillClock())  # fmt: skip
    for kind in ("_api", "_media", "_files"):
        tries = 2 if patience > 1 else 1
        short = replace(getattr(client, kind), silence=patience, seconds=patience, tries=tries)
        setattr(client, kind, short)
    return client


def attacked(talk: Talk, folder: Path, told: str, patience: float = 5.0) -> None:
    """Ask the API, for a photo and for a range; all must end in seconds, with this message."""
    with RawServer(talk) as server, client_at(server, folder, patience) as client:
        begun = time.monotonic()
        with pytest.raises(NetworkError, match=told) as api:
            client.get_json(client.sites.commons, {"action": "query"}, what="members")
        with pytest.raises(NetworkError, match=told) as photo:
            client.download(f"{server.base}/a.jpg", folder / "7.jpg", max_bytes=10**5, what="photo")
        with (
            pytest.raises(NetworkError, match=told) as part,
            client.stream(f"{client.sites.gldv2}/x.tar", start=5, end=5000, what="part") as (
                _,
                data,
            ),
        ):
            list(data)
        assert time.monotonic() - begun < 8
        assert client.cache.answer(client.sites.commons, {"action": "query"}) is None
    for error in (api, photo, part):
        text = str(error.value)
        assert text.isprintable()
        assert len(text) < 500
    assert names_in(folder) == ["commons.sqlite"]


# Redirects


TARGETS = ["http://evil.example/x", "https://evil.example/", "file:///etc/passwd", "ftp://x/",
           "http://169.254.169.254/latest/meta-data", "//10.0.0.1/", "http://127.0.0.1:{other}/",
           "http://localhost:{port}/", "http://[::1]:{port}/", "https://127.0.0.1:{port}/",
           "http://me:pw@127.0.0.1:{port}/", "http://127.0.0.1:{port}@evil.example/",
           "javascript:alert(1)", "data:application/json,{{}}", "http://", "http://[",
           "\\\\evil\\x", "http://127.0.0.1.:{port}/", "gopher://127.0.0.1:{port}/",
           "http://0x7f000001:{port}/", "http://2130706433:{port}/", "http://127.1:{port}/",
           "/\\evil.example/" * 4000,
           "http://evil.example/" + "x" * 90_000]  # fmt: skip


@pytest.mark.parametrize("target", TARGETS, ids=[one[:40] for one in TARGETS])
def test_a_redirect_elsewhere_is_not_followed(target: str, folder: Path) -> None:
    with RawServer(answered("200 OK\nContent-Length: 2", b"{}")) as other:

        def talk(connection: socket.socket, request: bytes) -> None:
            port, beside = (f"{one.getsockname()[1]}" for one in (connection, other._listener))
            place = target.format(port=port, other=beside)
            answered(f"302 Found\nLocation: {place}\nContent-Length: 0")(connection, request)

        attacked(
            talk,
            folder,
            "not one of the hosts|redirects more than 5|no HTTP|HTTP 302|address that is none",
        )
        assert other.requests == []


def test_redirects_end(folder: Path) -> None:
    attacked(answered("307 Again\nLocation: ?again\nContent-Length: 0"), folder, "|".join(
        ["redirects more than 5 times", "not one of the hosts"]))  # fmt: skip


def test_a_redirect_within_the_store_stays_in_it(folder: Path) -> None:
    with RawServer(answered("302 F\nLocation: ../other-bucket/x\nContent-Length: 0")) as server:
        with (
            client_at(server, folder) as client,
            pytest.raises(RefusedError, match=r"redirects to .*other-bucket/x, which is not one"),
            client.stream(f"{client.sites.gldv2}/x.tar", what="x"),
        ):
            pass
        assert len(server.requests) == 1


# Size


def endless(head: str, piece: bytes, sent: list[int]) -> Talk:
    def talk(connection: socket.socket, request: bytes) -> None:
        answered(head)(connection, request)
        for _ in range(GB):
            connection.sendall(piece)
            sent.append(len(piece))

    return talk


def test_a_body_without_an_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "MAX_ANSWER_BYTES", 10**5)
    sent: list[int] = []
    piece = b"10000\r\n" + JPEG[:4] + b"x" * 65532 + b"\r\n"
    head = "200 OK\nTransfer-Encoding: chunked"
    attacked(endless(head, piece, sent), folder, "more than 100,000 bytes|whole file")
    assert sum(sent) < 30_000_000


def test_a_length_that_lies(folder: Path) -> None:
    for length, told in ((10 * GB, "sends more than|whole file"),
                         (10**30, "more than|no HTTP|whole"), (5000, "breaks off|whole file"),
                         (-1, "no HTTP")):  # fmt: skip
        head = f"200 OK\nContent-Length: {length}"
        attacked(answered(head, JPEG[:900]), folder, told)
    attacked(
        answered("200 OK\nContent-Length: 9\nContent-Length: 8", b"12345678"), folder, "no HTTP"
    )


def test_tiny_chunks_and_endless_ones(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "MAX_ANSWER_BYTES", 10**5)
    sent: list[int] = []
    crumbs = b"1;" + b"x" * 9000 + b"\r\n\xff\r\n"
    attacked(endless("200 OK\nTransfer-Encoding: chunked", crumbs * 20, sent), folder,
             "sends more than|whole file|no photo")  # fmt: skip
    for size in (b"FFFFFFFFFFFFFFFFFFFFFFFFF\r\n", b"-5\r\n", b"zz\r\n", b"x" * 200_000):
        attacked(answered("200 OK\nTransfer-Encoding: chunked", size), folder, "no HTTP|whole file")


def test_headers_without_an_end(folder: Path) -> None:
    sent: list[int] = []
    attacked(
        endless("200 OK\nX-A: 1", b"X-Flood: " + b"y" * 4000 + b"\r\n", sent), folder, "no HTTP|"
    )
    one = [b"HTTP/1.1 200 OK\r\nX-A: ", b"y" * 65536]

    def long_line(connection: socket.socket, request: bytes) -> None:
        connection.sendall(one[0])
        for _ in range(GB):
            connection.sendall(one[1])

    attacked(long_line, folder, "no HTTP")

    def early_hints(connection: socket.socket, request: bytes) -> None:
        for _ in range(GB):
            connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 99)

    attacked(early_hints, folder, "sends more than was asked for|answers too slowly")


# Packing


def bomb(unpacked: int) -> bytes:
    packer = zlib.compressobj(1, wbits=31)
    zeros = bytes(10**6)
    return b"".join([*(packer.compress(zeros) for _ in range(unpacked // 10**6)), packer.flush()])


def test_a_packed_bomb_is_not_unpacked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "MAX_ANSWER_BYTES", 10**6)
    data = bomb(100_000_000)
    head = f"200 OK\nContent-Encoding: gzip\nContent-Length: {len(data)}"
    tracemalloc.start()
    try:
        attacked(answered(head, data), folder, "larger than 1,000,000 bytes unpacked|packed|whole")
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("coding", ["gzip, gzip", "br", "zstd", "compress", "x" * 9000,
                                    "gzip\nContent-Encoding: gzip",
                                    "deflate, gzip, deflate, gzip"])  # fmt: skip
def test_other_packings_are_refused(coding: str, folder: Path) -> None:
    data = gzip.compress(gzip.compress(b"{}"))
    head = f"206 Part\nContent-Encoding: {coding}\nContent-Length: {len(data)}"
    attacked(answered(head.replace("206 Part", "200 OK"), data), folder, "packed|the whole file")
    ranged = f"{head}\nContent-Range: bytes 0-{len(data) - 1}/99"
    with (
        RawServer(answered(ranged, data)) as server,
        client_at(server, folder) as client,
        pytest.raises(RefusedError, match="packed"),
        client.stream(f"{client.sites.gldv2}/x", end=len(data), what="x"),
    ):
        pass


def test_something_behind_the_packed_end(folder: Path) -> None:
    data = gzip.compress(b"{}") + gzip.compress(b'{"evil": 1}')
    head = f"200 OK\nContent-Encoding: gzip\nContent-Length: {len(data)}"
    attacked(answered(head, data), folder, "bytes behind its end|packed|whole file")


# Time


def slowly(start: bytes, piece: bytes) -> Talk:
    def talk(connection: socket.socket, request: bytes) -> None:
        connection.sendall(start)
        while True:
            time.sleep(0.01)
            connection.sendall(piece)

    return talk


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"HTTP/1.1 206 Part\r\nContent-Range: bytes 5-4999/9999\r\nContent-Length: 4995\r\n\r\n",
         b"{"),
        (b"HTTP/1.1 200 OK\r\n", b"X"),
        (b"", b"H"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Wait\r\n\r\n"),
        (b"HTTP/1.1 500 Slow\r\nContent-Length: 9999\r\n\r\n", b"x"),
    ],
    ids=["body", "header", "status", "early answers", "error"],
)  # fmt: skip
def test_one_byte_now_and_then(start: bytes, piece: bytes, folder: Path) -> None:
    told = "answers too slowly|no HTTP|HTTP 206|cannot answer now"
    if piece == b"{":  # for the API and photos, an answer of its own
        attacked(
            slowly(start.replace(b"206 Part", b"200 OK"), piece), folder, told + "|whole file", 0.15
        )
        with (
            RawServer(slowly(start, piece)) as server,
            client_at(server, folder, 0.15) as client,
            client.stream(f"{client.sites.gldv2}/x", start=5, end=5000, what="x") as (_, data),
            pytest.raises(NetworkError, match="answers too slowly"),
        ):
            list(data)
    else:
        attacked(slowly(start, piece), folder, told, 0.15)


def test_silence(folder: Path) -> None:
    def silent(connection: socket.socket, request: bytes) -> None:
        connection.recv(1)  # until the client hangs up

    attacked(silent, folder, "answers too slowly", 0.15)


def test_closing_ends_a_silence(folder: Path) -> None:
    def silent(connection: socket.socket, request: bytes) -> None:
        reached.set()
        connection.recv(1)

    reached = threading.Event()
    with RawServer(silent) as server, client_at(server, folder, 30) as client:
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(client.get_json, client.sites.commons, {}, what="x")
            assert reached.wait(5)
            begun = time.monotonic()
            client.close()
            assert "the client was closed" in str(asked.exception(10))
        assert time.monotonic() - begun < 5


# No HTTP


GARBAGE = [b"", b"Hello\n", b"\x16\x03\x01\x02\x00" * 99, b"HTTP/1.1 99999 X\r\n\r\n", b"{}",
           b"HTTP/1.1 200 OK\r\nBad Header : x\r\n\r\n", bytes(5000),
           b"HTTP/1.1 200 OK\r\nA\x00B: c\r\nContent-Length: 2\r\n\r\n{}", b"ICY 200 OK\r\n\r\n",
           b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
           b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n{}"]  # fmt: skip


@pytest.mark.parametrize("data", GARBAGE, ids=[repr(one[:30]) for one in GARBAGE])
def test_what_is_no_http_is_told(data: bytes, folder: Path) -> None:
    attacked(lambda connection, request: connection.sendall(data), folder, "no HTTP|HTTP 101")


def test_names_that_a_server_gives_are_not_used(folder: Path) -> None:
    head = (
        f"200 OK\nContent-Type: image/jpeg; charset=../../x\nContent-Length: {len(JPEG)}\n"
        "Content-Disposition: attachment; filename=../../../escaped.jpg\nSet-Cookie: a=../b"
    )
    with RawServer(answered(head, JPEG)) as server, client_at(server, folder) as client:
        for path in ("../../x.jpg", "..%2f..%2fx.jpg", "%00.jpg", "a/b?c=../d#../e", "С.jpg"):
            media = client.download(f"{server.base}/{path}", folder / "7.jpg", max_bytes=10**6,
                                    what="x")  # fmt: skip
            assert media.bytes == len(JPEG)
    assert "7.jpg" in names_in(folder)


def test_an_answer_after_the_attack_is_taken(folder: Path) -> None:
    """An attack leaves no connection, lock or count behind."""
    fine = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
    answers = [b"junk", fine, fine.replace(b"Length: 2", b"Length: 9"), fine]

    def talk(connection: socket.socket, request: bytes) -> None:
        connection.sendall(answers.pop(0))

    with RawServer(talk) as server, client_at(server, folder) as client:
        for number in "12":
            assert client.get_json(client.sites.commons, {"a": number}, what="x") == {}
        assert client.counts["retries"] == 2
        assert json.loads(client.cache.answer(client.sites.commons, {"a": "1"}) or b"") == {}
