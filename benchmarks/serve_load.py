"""Measure a server under load on loopback: photos a second, latency, overload, memory.

    python benchmarks/serve_load.py RECOGNIZER [PHOTOS] [--clients 64] [--seconds 180]

PHOTOS: a folder of real photos (or WHICHLANDMARK_REALPHOTOS). Clients send them over keep-alive
connections, the next request after each reply, and repeat a refused one after a short wait. The
reference answers the same photos in one process: decoded in threads, embedded and searched in
batches. Clients and server share the machine. Prints one row for each phase.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import statistics
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from served import Served, children, memory, serving
from whichlandmark.core.hardware import cpu_count, stop_busy_waiting

BOUNDARY = "l0ad"
WAIT = 0.25  # seconds that a refused client waits; less than Retry-After, as an impatient client
BATCH = 16


def body(data: bytes, path: str = "/v1/recognize") -> bytes:
    """A whole HTTP request."""
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="photos"; filename="q.jpg"\r\n\r\n'
    )
    form = head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(form)}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    ).encode() + form


@dataclass
class PhaseResults:
    """Of one phase: statuses, seconds of the answered, seconds of health probes."""

    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    health: list[float] = field(default_factory=list)
    took: float = 0.0  # until the last answer


async def reply(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    """Status, body, and does the connection stay open?"""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = int(head.split("content-length:")[1].split("\r\n")[0])
    return int(head[9:12]), await reader.readexactly(length), "connection: close" not in head


async def client(
    port: int, photos: list[bytes], offset: int, end: float, results: PhaseResults
) -> None:
    opened = None
    at = offset
    while time.monotonic() < end:
        try:
            reader, writer = opened or await asyncio.open_connection("127.0.0.1", port)
            began = time.monotonic()
            writer.write(photos[at % len(photos)])
            await writer.drain()
            status, _, stays = await reply(reader)
        except (OSError, asyncio.IncompleteReadError):
            results.statuses["broken"] += 1
            opened = None
            await asyncio.sleep(WAIT)
            continue
        opened = (reader, writer) if stays else None
        if not stays:
            writer.close()
        results.statuses[str(status)] += 1
        at += 1
        if status == 200:
            results.seconds.append(time.monotonic() - began)
        else:
            await asyncio.sleep(WAIT)
    if opened:
        opened[1].close()


async def probe(port: int, end: float, results: PhaseResults) -> None:
    """Ask for health every 50 ms, on a new connection each time."""
    while time.monotonic() < end:
        began = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        status, _, _ = await reply(reader)
        writer.close()
        results.health.append(time.monotonic() - began)
        results.statuses["health " + str(status)] += 1
        await asyncio.sleep(0.05)


async def phase(port: int, photos: list[bytes], clients: int, seconds: float) -> PhaseResults:
    began = time.monotonic()
    results, end = PhaseResults(), began + seconds
    await asyncio.gather(
        probe(port, end, results),
        *(client(port, photos, 7 * number, end, results) for number in range(clients)),
    )
    results.took = time.monotonic() - began
    return results


def row(name: str, results: PhaseResults, server: Served) -> float:
    """Print the row of a phase; returns its photos a second."""
    photos_per_second = results.statuses["200"] / results.took
    waits = sorted(results.seconds) or [0.0]
    probes = sorted(results.health) or [0.0]

    def at(values: list[float], share: float) -> float:
        return 1000 * values[min(len(values) - 1, int(share * len(values)))]

    own = memory(server.pid)
    workers = [memory(pid) for pid in children(server.pid)]
    counts = ", ".join(f"{status}: {count}" for status, count in sorted(results.statuses.items()))
    print(
        f"{name:<12} {photos_per_second:6.1f}/s  p50 {at(waits, 0.5):6.0f} ms  "
        f"p99 {at(waits, 0.99):6.0f} ms  health p99 {at(probes, 0.99):5.0f} ms  "
        f"server {own:5.0f} MB, workers {max(workers, default=0):4.0f} MB  {counts}", flush=True,
    )  # fmt: skip
    return photos_per_second


def in_process(recognizer: Path, photos: list[bytes], seconds: float) -> float:
    """Photos a second of the same work without a server."""
    from whichlandmark.recognition.folder.load import load

    opened = load(recognizer)
    done, began = 0, time.monotonic()
    with ThreadPoolExecutor(cpu_count()) as pool:

        def batch(start: int) -> list:
            chosen = [photos[(start + i) % len(photos)] for i in range(BATCH)]
            return [pool.submit(opened.read, data) for data in chosen]

        ahead = batch(0)
        while time.monotonic() - began < seconds:
            read = [future.result() for future in ahead]
            ahead = batch(done + BATCH)
            opened.answer(opened.embed(read))
            done += BATCH
    return done / (time.monotonic() - began)


def idle(port: int, photo: bytes, times: int = 21) -> float:
    """Median milliseconds of one 12-megapixel photo on an idle server."""

    async def ask() -> list[float]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        took = []
        for _ in range(times):
            began = time.monotonic()
            writer.write(photo)
            status, text, _ = await reply(reader)
            took.append(1000 * (time.monotonic() - began))
            assert status == 200, status
            assert "error" not in json.loads(text)["results"][0]
        writer.close()
        return took[1:]

    return statistics.median(asyncio.run(ask()))


def large(data: bytes) -> bytes:
    """A photo of 12 megapixels, as from a camera."""
    from PIL import Image as Pillow

    out = io.BytesIO()
    Pillow.open(io.BytesIO(data)).convert("RGB").resize((4000, 3000)).save(out, "JPEG", quality=88)
    return out.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recognizer", type=Path)
    parser.add_argument("photos", nargs="?", default=os.environ.get("WHICHLANDMARK_REALPHOTOS"))
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=180.0)
    options = parser.parse_args()
    if not options.photos:
        raise SystemExit("give a folder of photos, or set WHICHLANDMARK_REALPHOTOS")
    stop_busy_waiting()  # for the reference, as the command line does
    files = sorted(Path(options.photos).rglob("*.jpg"))[:400]
    plain = [file.read_bytes() for file in files]
    photos = [body(data) for data in plain]
    part = options.seconds / 6
    reference = in_process(options.recognizer, plain, part)
    print(f"{len(files)} photos; in process {reference:.1f}/s")
    with serving(options.recognizer) as server:
        alone = idle(server.port, body(large(plain[0])))
        print(f"idle, one photo of 12 megapixels: p50 {alone:.0f} ms")
        few = asyncio.run(phase(server.port, photos, 8, part))
        row("8 clients", few, server)
        asyncio.run(phase(server.port, photos, options.clients, part))  # warm-up
        before = memory(server.pid)
        full = asyncio.run(phase(server.port, photos, options.clients, options.seconds))
        grown = memory(server.pid) - before
        photos_per_second = row(f"{options.clients} clients", full, server)
        over = asyncio.run(phase(server.port, photos, 4 * options.clients, part))
        crowded = row(f"{4 * options.clients} clients", over, server)
        overload = asyncio.run(
            phase(server.port, photos, 8 * options.clients, part)
        )  # the queue is full
        refusing = row(f"{8 * options.clients} clients", overload, server)
    print(
        f"of in process {photos_per_second / reference:.0%}; "
        f"overloaded {crowded / max(photos_per_second, 1e-9):.0%} of that, "
        f"and {refusing / max(photos_per_second, 1e-9):.0%} where it refuses; "
        f"server grew {grown:+.0f} MB in {full.statuses['200']} photos of {options.clients} clients"
    )
    after = in_process(options.recognizer, plain, part)
    print(f"in process again {after:.1f}/s")


if __name__ == "__main__":
    main()
