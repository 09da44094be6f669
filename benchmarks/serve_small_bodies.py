"""Send small but costly requests to a server, and measure whether it stalls or takes much memory.

    python benchmarks/serve_small_bodies.py [RECOGNIZER] [--repeat 3]

Starts a server process on a tiny gallery (or on a copy of RECOGNIZER) and sends it bodies of a few
megabytes with very many values, unknown keys, levels, digits, form fields or headers, and the
largest valid requests. Meanwhile another connection requests /livez every 5 ms. For each body it
prints the status, the seconds to the reply, the size of the reply, the highest latency of /livez
and the growth of the server's peak memory (RSS). Times are the best of --repeat runs, because
other processes stall a server too. Exit code 1 when /livez took longer than --slow ms.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image as Pillow

from served import memory, serving

MANY = 1_000_000
BOUNDARY = "b0undary"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
PART = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="%s"%s\r\n'


class Body(NamedTuple):
    """One request. content_type: of `data`."""

    method: str
    path: str
    data: bytes
    content_type: str = "application/json"


def photo(seed: int, side: int = 256) -> Pillow.Image:
    """A photo of random blocks, different for each seed."""
    blocks = np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    return Pillow.fromarray(blocks).resize((side, side), Pillow.Resampling.NEAREST)


def tiny_recognizer(folder: Path) -> Path:
    """A recognizer of four landmarks with two photos each, made in a second."""
    from whichlandmark.data.folders import read_folder
    from whichlandmark.recognition.indexing.index_photos import index_photos

    for number in range(12):
        name = f"place {number // 2}" if number < 8 else "street"
        path = folder / ("photos" if number < 8 else "bank") / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(number // 2).rotate(number % 2).save(path)
    index_photos(
        read_folder(folder / "photos"), read_folder(folder / "bank", labelled=False),
        folder / "tiny.wl", "sift", progress=lambda name: lambda *numbers: None,
    )  # fmt: skip
    return folder / "tiny.wl"


def keys(count: int) -> str:
    return ",".join(f'"k{number}":1' for number in range(count))


def form_bodies() -> dict[str, Callable[[], Body]]:
    """Multipart forms."""
    end = f"\r\n--{BOUNDARY}--\r\n"
    file = PART % ("photos", '; filename="a"') + "\r\n"

    def form(text: str) -> Body:
        return Body("POST", "/v1/recognize", text.encode(), FORM)

    return {
        "form, 100,000 fields": lambda: form((PART % ("x", "") + "\r\n1\r\n") * 100_000 + end),
        "form, 1,000,000 headers of a part": lambda: form(
            PART % ("photos", "") + "a:b\r\n" * MANY + "\r\n" + end
        ),
        "form, 8 MB header of a part": lambda: form(PART % ("photos", "") + "a:" + "b" * 8 * MANY),
        "form, a file of 4 MB of line breaks": lambda: form(file + "\r\n" * 2 * MANY + end),
        "form, a file of 4 MB of broken boundaries": lambda: form(
            file + f"\r\n--{BOUNDARY[:-1]}" * (4 * MANY // (len(BOUNDARY) + 3)) + end
        ),
        "form, 8 MB before the first part": lambda: form("x" * 8 * MANY + end),
    }


def json_bodies() -> dict[str, Callable[[], Body]]:
    """JSON bodies for every route that takes JSON."""

    def ask(text: str) -> Body:
        return Body("POST", "/v1/recognize", text.encode())

    def vision(text: str) -> Body:
        return Body("POST", "/v1/images:annotate", text.encode())

    def feedback(text: str) -> Body:
        return Body("POST", "/v1/feedback", text.encode())

    ones = ",".join("1" for _ in range(MANY))
    return {
        "photos: 1,000,000 numbers": lambda: ask(f'{{"photos":[{ones}]}}'),
        "photos: 300,000 empty objects": lambda: ask(
            f'{{"photos":[{",".join(["{}"] * 300_000)}]}}'
        ),
        "photos: 300,000 names": lambda: ask(
            '{"photos":[' + ",".join(['{"name":"a"}'] * 300_000) + "]}"
        ),
        "a photo with 300,000 unknown keys": lambda: ask(
            f'{{"photos":[{{"data":"",{keys(300_000)}}}]}}'
        ),
        "300,000 unknown keys": lambda: ask(f'{{"photos":[],{keys(300_000)}}}'),
        "the same key 1,000,000 times": lambda: ask(
            "{" + ",".join(['"photos":1'] * MANY) + "}"
        ),
        "1,000,000 levels": lambda: ask("[" * MANY),
        "1,000,000 levels of objects": lambda: ask('{"photos":' * MANY),
        "a number of 2,000,000 digits": lambda: ask(f'{{"matches":{"9" * 2 * MANY}}}'),
        "a name of 16 MB": lambda: ask(f'{{"photos":[{{"name":"{"a" * 16 * MANY}"}}]}}'),
        "a name of 2,000,000 escapes": lambda: ask(
            '{"photos":[{"data":"","name":"' + "\\u00e9" * 2 * MANY + '"}]}'
        ),
        "16 MB of blanks": lambda: ask(" " * 16 * MANY + "{}"),
        "16 MB that are no JSON": lambda: ask("x" * 16 * MANY),
        "feedback: 1,000,000 unknown keys": lambda: feedback(f"{{{keys(MANY)}}}"),
        "feedback: 1,000,000 numbers": lambda: feedback(f"[{ones}]"),
        "feedback: a note of 16 MB": lambda: feedback(
            f'{{"request_id":"r","right":true,"note":"{"a" * 16 * MANY}"}}'
        ),
        "rename: 300,000 unknown keys": lambda: Body(
            "PATCH", "/v1/landmarks/place%200", f"{{{keys(300_000)}}}".encode()
        ),
        "Cloud Vision: 1,000,000 numbers": lambda: vision(f'{{"requests":[{ones}]}}'),
        "Cloud Vision: 300,000 unknown keys": lambda: vision(
            f'{{"requests":[{{{keys(300_000)}}}]}}'
        ),
        "Cloud Vision: 100,000 features": lambda: vision(
            '{"requests":[{"features":[' + ",".join(['{"type":"FACES"}'] * 100_000) + "]}]}"
        ),
        "Cloud Vision: 1,000,000 levels": lambda: vision("[" * MANY),
    }  # fmt: skip


def honest_bodies() -> dict[str, Callable[[], Body]]:
    """The largest valid requests, which must be answered."""
    rng = np.random.default_rng(0)
    data = base64.b64encode(b"\xff\xd8\xff" + rng.bytes(2_600_000)).decode()

    def ask() -> Body:
        photos = [{"name": f"{number}.jpg", "data": data} for number in range(16)]
        return Body("POST", "/v1/recognize", json.dumps({"photos": photos}).encode())

    def vision() -> Body:
        one = {"image": {"content": data}, "features": [{"type": "LANDMARK_DETECTION"}]}
        return Body("POST", "/v1/images:annotate", json.dumps({"requests": [one] * 16}).encode())

    return {"honest: 16 photos, 55 MB of JSON": ask, "honest: Cloud Vision, 55 MB": vision}


@contextmanager
def watching(port: int) -> Iterator[list[float]]:
    """Request /livez every 5 ms while the block runs; yields the milliseconds of each."""
    took: list[float] = []
    ended = threading.Event()

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        while not ended.wait(0.005):
            began = time.perf_counter()
            connection.request("GET", "/livez")
            connection.getresponse().read()
            took.append(1000 * (time.perf_counter() - began))
        connection.close()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield took
    finally:
        ended.set()
        thread.join()


def sent(port: int, body: Body) -> tuple[str, int]:
    """Send a request; returns the status with its code, and the bytes of the reply."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(body.method, body.path, body.data, {"Content-Type": body.content_type})
        reply = connection.getresponse()
        text = reply.read()
    except OSError as error:
        return type(error).__name__, 0
    finally:
        connection.close()
    return str(reply.status), len(text)


def measure(name: str, body: Body | None, repeat: int, server: tuple[int, int]) -> float:
    """Send a body (None: only wait), print a line; returns the highest latency of /livez in ms."""
    pid, port = server
    before = memory(pid)
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # resets the peak memory
    slowest, seconds = [], []
    for _ in range(repeat):
        with watching(port) as took:
            time.sleep(0.05)
            began = time.perf_counter()
            status, size = sent(port, body) if body else (str(time.sleep(0.5)), 0)
            seconds.append(time.perf_counter() - began)
            time.sleep(0.05)
        slowest.append(max(took))
    worst = min(slowest)
    grown = memory(pid, "VmHWM") - before
    length = len(body.data) / 1e6 if body else 0.0
    print(
        f"{name:42} {length:6.1f} MB  {status:>6}  {min(seconds):7.2f} s  reply {size:7} B  "
        f"/livez worst {worst:7.0f} ms  peak memory +{grown:5.0f} MB", flush=True,
    )  # fmt: skip
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recognizer", type=Path, nargs="?")
    parser.add_argument("--repeat", type=int, default=3, help="how many times each body is sent")
    parser.add_argument("--only", default="", help="only bodies whose name contains this")
    parser.add_argument(
        "--slow", type=float, default=100.0, help="longest accepted reply of /livez, milliseconds"
    )
    options = parser.parse_args()
    made = {**json_bodies(), **form_bodies(), **honest_bodies()}
    worst = 0.0
    with tempfile.TemporaryDirectory() as place:
        recognizer = options.recognizer or tiny_recognizer(Path(place))
        with serving(recognizer) as server:
            at = server.pid, server.port
            for make in (*honest_bodies().values(), json_bodies()["16 MB of blanks"]):
                sent(server.port, make())  # warm-up: loads libraries, allocates buffers
            measure("nothing is sent", None, 4, at)
            for name, make in made.items():
                if options.only in name:
                    worst = max(worst, measure(name, make(), options.repeat, at))
    print(f"worst of all: /livez {worst:.0f} ms")
    sys.exit(1 if worst > options.slow else 0)


if __name__ == "__main__":
    main()
