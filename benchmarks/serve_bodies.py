"""Send idle, slow, huge and broken-off request bodies, and measure what honest callers notice.

    python benchmarks/serve_bodies.py [RECOGNIZER] [--seconds 15] [--photo PHOTO]

Starts a server process on a tiny gallery (or on a copy of RECOGNIZER) and opens many connections
to it, from the loopback addresses 127.1.0.1, 127.1.0.2, … (one for each connection, or one for
all). Meanwhile an honest caller on 127.0.0.1 sends a photo twice a second, and another requests
/livez every 10 ms. For each kind of body it prints the statuses that honest photos got and their
highest latency, the highest latency of /livez, the highest memory of the server and its decoding
processes together (RSS), and the statuses that the bodies got. Exit code 1 when /livez took longer
than --slow ms, memory exceeded --memory MB, or an honest photo was not answered with 200.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import io
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from serve_small_bodies import photo, tiny_recognizer, watching
from served import children, memory, serving

BOUNDARY = "b0undary"
HUGE = 60_000_000
FORM = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="photos"; filename="a.jpg"\r\n\r\n'
).encode()
END = f"\r\n--{BOUNDARY}--\r\n".encode()
HEAD = "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n{length}\r\n\r\n"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"


class Attack(NamedTuple):
    """Connections that are open at the same time. one: all from one address."""

    name: str
    connections: int
    send: Callable[[asyncio.StreamWriter, float], Awaitable[None]]
    one: bool = False


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def head(length: int | None, path: str = "/v1/recognize", kind: str = MULTIPART) -> bytes:
    text = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return HEAD.format(path=path, kind=kind, length=text).encode()


async def idle(writer: asyncio.StreamWriter, end: float) -> None:
    writer.write(head(None) + chunk(FORM))
    await asyncio.sleep(max(0.0, end - time.monotonic()))


async def slow(writer: asyncio.StreamWriter, end: float) -> None:
    writer.write(head(None) + chunk(FORM))
    while time.monotonic() < end:
        writer.write(chunk(b"x"))
        await writer.drain()
        await asyncio.sleep(1)


async def announced(writer: asyncio.StreamWriter, end: float) -> None:
    writer.write(head(HUGE) + FORM)
    await asyncio.sleep(max(0.0, end - time.monotonic()))


async def half_sent(writer: asyncio.StreamWriter, end: float) -> None:
    await _send(writer, head(HUGE) + FORM + b"\xff\xd8\xff", HUGE // 2)
    await asyncio.sleep(max(0.0, end - time.monotonic()))


async def huge(writer: asyncio.StreamWriter, end: float) -> None:
    start = FORM + b"\xff\xd8\xff"
    await _send(writer, head(HUGE + len(start) + len(END)) + start, HUGE)
    writer.write(END)
    await writer.drain()
    await asyncio.sleep(max(0.0, end - time.monotonic()))


async def huge_json(writer: asyncio.StreamWriter, end: float) -> None:
    start, last = b'{"photos":[{"data":"', b'"}]}'
    await _send(writer, head(HUGE + len(start) + len(last), kind="application/json") + start, HUGE)
    writer.write(last)
    await writer.drain()
    await asyncio.sleep(max(0.0, end - time.monotonic()))


async def broken_off(writer: asyncio.StreamWriter, end: float) -> None:
    """A whole body, and no wait for the reply."""
    start = FORM + b"\xff\xd8\xff"
    await _send(writer, head(HUGE + len(start) + len(END)) + start, HUGE)
    writer.write(END)
    await writer.drain()


async def _send(writer: asyncio.StreamWriter, start: bytes, count: int) -> None:
    writer.write(start)
    piece = b"A" * 250_000
    for _ in range(count // len(piece)):
        writer.write(piece)
        await writer.drain()


QUIET = Attack("nothing else", 0, idle)

ATTACKS = (
    Attack("500 idle, chunked", 500, idle),
    Attack("500 slow, 1 byte/s", 500, slow),
    Attack("200 announce 60 MB and stop", 200, announced),
    Attack("200 stop after 30 MB", 200, half_sent),
    Attack("20 stop after 30 MB, one caller", 20, half_sent, one=True),
    Attack("24 of 60 MB", 24, huge),
    Attack("24 of 60 MB, one caller", 24, huge, one=True),
    Attack("24 of 60 MB of JSON", 24, huge_json),
    Attack("24 of 60 MB, hung up", 24, broken_off),
)


async def attack(port: int, kind: Attack, end: float) -> Counter[str]:
    """Open the connections; one that ends is opened again. Returns the statuses they got."""
    statuses: Counter[str] = Counter()

    async def one(number: int) -> None:
        place = 1 if kind.one else number + 1
        while time.monotonic() < end:
            writer: asyncio.StreamWriter | None = None
            try:
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", port, local_addr=(f"127.1.{place // 250}.{place % 250 + 1}", 0)
                )
                sending = asyncio.ensure_future(kind.send(writer, end))
                replied = asyncio.ensure_future(reader.readline())
                await asyncio.wait(
                    (sending, replied), return_when=asyncio.FIRST_COMPLETED,
                    timeout=max(0.1, end - time.monotonic()),
                )  # fmt: skip
                line = replied.result() if replied.done() and not replied.exception() else b""
                statuses[line[9:12].decode() or "-"] += 1
                for task in (sending, replied):
                    task.cancel()
                await asyncio.gather(sending, replied, return_exceptions=True)
            except OSError:
                statuses["refused"] += 1
            finally:
                if writer is not None:
                    writer.transport.abort()
            await asyncio.sleep(0.2)

    tasks = [asyncio.ensure_future(one(number)) for number in range(kind.connections)]
    await asyncio.sleep(max(0.0, end - time.monotonic()) + 1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return statuses


@contextmanager
def repeated(action: Callable[[], None], every: float) -> Iterator[None]:
    """Call something in a thread, again and again, while the block runs."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(every):
            action()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def run_attack(port: int, name: str, seconds: float) -> Counter[str]:
    kind = next(one for one in (QUIET, *ATTACKS) if one.name == name)
    return asyncio.run(attack(port, kind, time.monotonic() + seconds))


def measure(server: tuple[int, int], kind: Attack, body: bytes, seconds: float) -> dict[str, float]:
    """Run one attack, print a line; returns the figures that are limited."""
    pid, port = server
    megabytes, honest, waited = [0.0], Counter[str](), [0.0]

    def weigh() -> None:
        megabytes.append(sum(memory(one) for one in (pid, *children(pid))))

    def ask() -> None:
        began = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("POST", "/v1/recognize", body, {"Content-Type": MULTIPART})
            reply = connection.getresponse()
            reply.read()
            honest[str(reply.status)] += 1
        except OSError as error:
            honest[type(error).__name__] += 1
        finally:
            connection.close()
        waited.append(time.perf_counter() - began)

    # In a process of its own, because its work would delay the clients that are timed here.
    with (
        ProcessPoolExecutor(1) as other, watching(port) as took, repeated(weigh, 0.1),
        repeated(ask, 0.5),
    ):  # fmt: skip
        statuses = other.submit(run_attack, port, kind.name, seconds).result()
    print(
        f"{kind.name:32} /livez worst {max(took):6.0f} ms  memory {max(megabytes):5.0f} MB  "
        f"honest photos {dict(honest)} worst {max(waited):5.1f} s  bodies {dict(statuses)}",
        flush=True,
    )
    failed = sum(count for status, count in honest.items() if status != "200")
    return {"livez": max(took), "memory": max(megabytes), "failed": failed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recognizer", type=Path, nargs="?")
    parser.add_argument("--photo", type=Path, help="that the honest caller sends")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each kind of body")
    parser.add_argument("--only", default="", help="only bodies whose name contains this")
    parser.add_argument("--slow", type=float, default=100.0, help="/livez, milliseconds")
    parser.add_argument("--memory", type=float, default=1000.0, help="all processes, MB")
    options = parser.parse_args()
    if options.photo:
        data = options.photo.read_bytes()
    else:
        written = io.BytesIO()
        photo(3, 1600).save(written, "JPEG", quality=95)
        data = written.getvalue()
    found = []
    with tempfile.TemporaryDirectory() as place:
        recognizer = options.recognizer or tiny_recognizer(Path(place))
        with serving(recognizer) as server:
            at = server.pid, server.port
            body = FORM + data + END
            for kind in (QUIET, *ATTACKS):
                if options.only in kind.name or kind is QUIET:
                    found.append(measure(at, kind, body, options.seconds))
    worst = {name: max(one[name] for one in found) for name in found[0]}
    print(f"worst: /livez {worst['livez']:.0f} ms, memory {worst['memory']:.0f} MB, "
          f"{worst['failed']:.0f} honest photos without an answer")  # fmt: skip
    bad = worst["livez"] > options.slow or worst["memory"] > options.memory or worst["failed"]
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
