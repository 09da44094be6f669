"""Send malformed photos to a server: each must quickly get a typed error and harm no other request.

    python benchmarks/serve_malformed.py RECOGNIZER [--photos 10000] [--clients 4] [--seed 0]

Valid photos in all formats are cut, changed, spliced and given wrong sizes in headers; added are
decompression bombs and formats that are not accepted. Prints the numbers of replies by kind, the
slowest reply, the largest decode worker, and whether the server still answers a valid photo. Exit
code 1 when a reply does not fit the schema, is a 5xx other than 503, or took over --slow seconds.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import random
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from served import children, memory, serving

BOUNDARY = "malf0rmed"
CODES = {"unreadable", "unsupported_format", "too_large", "timeout", "worker_lost"}
Made = tuple[str, bytes]


def picture(rng: random.Random, height: int, width: int) -> Pillow.Image:
    noise = np.random.default_rng(rng.getrandbits(32)).integers(0, 255, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)  # fmt: skip  # noqa: E501
    return Pillow.fromarray(noise).resize((width, height))


def whole(rng: random.Random) -> Made:
    """A valid photo in one of the formats and modes."""
    image = picture(rng, rng.randint(1, 500), rng.randint(1, 500))
    form = rng.choice(["JPEG", "JPEG", "PNG", "WEBP", "GIF", "AVIF"])
    mode = rng.choice(["RGB", "L", "CMYK"] if form == "JPEG" else ["RGB", "RGBA", "L", "P"])
    if form in ("WEBP", "AVIF") and mode in ("L", "P"):
        mode = "RGB"
    options = {"progressive": rng.random() < 0.5} if form == "JPEG" else {}
    data = io.BytesIO()
    exif = Pillow.Exif()
    exif[0x0112] = rng.randint(0, 12)
    if form in ("JPEG", "PNG", "WEBP", "AVIF"):
        options["exif"] = exif  # type: ignore[assignment]
    image.convert(mode).save(data, form, **options)
    return form.lower(), data.getvalue()


def cut(rng: random.Random) -> Made:
    name, data = whole(rng)
    return f"{name} cut", data[: rng.randint(0, len(data))]


def flipped(rng: random.Random) -> Made:
    name, data = whole(rng)
    changed = bytearray(data)
    early = rng.random() < 0.5
    for _ in range(rng.choice([1, 2, 10, 200])):
        at = rng.randrange(min(len(changed), 700) if early else len(changed))
        changed[at] = rng.randrange(256)
    return f"{name} flipped", bytes(changed)


def spliced(rng: random.Random) -> Made:
    (one, first), (_, second) = whole(rng), whole(rng)
    return f"{one} spliced", first[: rng.randrange(len(first))] + second[
        rng.randrange(len(second)) :
    ]


def repeated(rng: random.Random) -> Made:
    name, data = whole(rng)
    start = rng.randrange(len(data))
    part = data[start : start + rng.randint(1, 400)]
    return f"{name} repeated", data[:start] + part * rng.randint(2, 300) + data[start:]


def lying(rng: random.Random) -> Made:
    """A PNG, GIF or JPEG whose header has other sizes than its data."""
    name, data = whole(rng)
    changed, side = bytearray(data), rng.choice([0, 1, 5_000, 20_000, 65_535, 2**31 - 1, 2**32 - 1])
    if name == "png":
        changed[16:20] = side.to_bytes(4, "big")
        changed[29:33] = zlib.crc32(changed[12:29]).to_bytes(4, "big")
    elif name == "gif":
        changed[6:8] = (side & 0xFFFF).to_bytes(2, "little")
    elif (at := max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))) > 0:
        changed[at + 5 : at + 7] = (side & 0xFFFF).to_bytes(2, "big")
    return f"{name} lying", bytes(changed)


def bomb(rng: random.Random) -> Made:
    """A small file with very many pixels, within or beyond the decoder's limits."""
    form = rng.choice(["PNG", "JPEG", "GIF", "WEBP"])
    high, wide = rng.choice([(7_000, 7_000), (20_000, 2_499), (30_000, 30), (7_500, 7_500)])
    if form == "WEBP":
        high, wide = min(high, 16_000), min(wide, 16_000)
    key = (form, high, wide)
    if key not in BOMBS:
        data = io.BytesIO()
        image = Pillow.new("1" if form == "PNG" else "L", (wide, high))
        options = {"method": 0} if form == "WEBP" else {}
        image.save(data, form, **options)
        BOMBS[key] = data.getvalue()
    return f"{form.lower()} bomb", BOMBS[key]


BOMBS: dict[tuple[str, int, int], bytes] = {}


def chunks(rng: random.Random) -> Made:
    """A PNG with too much text: 64 MB of zeroes in 64 KB, or many small chunks."""
    text = b"k\0\0" + zlib.compress(b"0" * 64_000_000, 9)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
        )

    data = io.BytesIO()
    picture(rng, 50, 50).save(data, "PNG")
    head, rest = data.getvalue()[:33], data.getvalue()[33:]
    many = chunk(b"zTXt", text) if rng.random() < 0.5 else chunk(b"tEXt", b"a\0b") * 20_000
    return "png text bomb", head + many + rest


def foreign(rng: random.Random) -> Made:
    form = rng.choice(["BMP", "TIFF", "ICO", "PPM", "PDF", "EPS", "TGA", "JPEG2000", "html", "svg", "zip"])  # fmt: skip  # noqa: E501
    data = io.BytesIO()
    texts = {"html": b"<html><script>", "svg": b"<svg xmlns='http://www.w3.org/2000/svg'>",
             "zip": b"PK\x03\x04" + bytes(200)}  # fmt: skip
    if form not in texts:
        picture(rng, 40, 40).save(data, form)
    return "foreign", texts.get(form) or data.getvalue()


def noise(rng: random.Random) -> Made:
    start = rng.choice([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a",
                        b"RIFF\0\0\0\0WEBPVP8 ", b"\0\0\0\x1cftypavif"])  # fmt: skip
    return "noise", start + rng.randbytes(rng.choice([0, 1, 10, 1000, 100_000]))


KINDS: list[tuple[Callable[[random.Random], Made], float]] = [
    (cut, 20), (flipped, 34), (spliced, 12), (repeated, 8), (lying, 10), (bomb, 1), (chunks, 1),
    (foreign, 6), (noise, 8),
]  # fmt: skip


def photos(count: int, seed: int) -> Iterator[Made]:
    """Yield this number of random malformed photos."""
    rng = random.Random(seed)
    makers, weights = zip(*KINDS, strict=True)
    for _ in range(count):
        yield rng.choices(makers, weights)[0](rng)


class Run:
    """Clients that send what `photos` yields, and the replies."""

    def __init__(self, port: int, source: Iterator[Made], slow: float) -> None:
        self.port, self.source, self.slow = port, source, slow
        self.lock = threading.Lock()
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.slowest: list[tuple[float, str]] = []

    def client(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while True:
            with self.lock:
                made = next(self.source, None)
            if made is None:
                connection.close()
                return
            took = 0.0
            try:
                status, text = sent(connection, made[1])
                fault = "" if status == 503 else judged(status, text, self.outcomes)
                took = json.loads(text).get("timings_ms", {}).get("total", 0.0) / 1000
            except (OSError, http.client.HTTPException) as error:
                fault = f"{type(error).__name__}: {error}"
                connection.close()
            with self.lock:
                self.slowest = sorted([*self.slowest, (took, made[0])], reverse=True)[:5]
                if fault or took > self.slow:
                    self.wrong.append(f"{made[0]}: {fault or f'{took:.2f} s'}")


def sent(connection: http.client.HTTPConnection, data: bytes) -> tuple[int, bytes]:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="photos"; filename="m"\r\n\r\n'
    body = head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    connection.request("POST", "/v1/recognize", body, kind)
    reply = connection.getresponse()
    return reply.status, reply.read()


def judged(status: int, text: bytes, outcomes: Counter[str]) -> str:
    """The fault of a reply; "" = none."""
    from whichlandmark.serving.answer_schemas import RecognizeReply
    from whichlandmark.serving.schemas import model_of

    if status != 200:
        return f"status {status}: {text[:100]!r}"
    model_of(RecognizeReply).model_validate_json(text)
    (result,) = json.loads(text)["results"]
    code = result["error"]["code"] if "error" in result else "answered"
    outcomes[code] += 1
    if code != "answered" and (code not in CODES or not result["error"]["message"]):
        return f"code {code}"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recognizer", type=Path)
    parser.add_argument("--photos", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--slow", type=float, default=1.0, help="longest accepted reply, seconds")
    options = parser.parse_args()
    with serving(options.recognizer) as server:
        run = Run(server.port, photos(options.photos, options.seed), options.slow)
        good = whole(random.Random(3))
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        assert sent(connection, good[1])[0] == 200  # the decode workers are running
        threads = [threading.Thread(target=run.client) for _ in range(options.clients)]
        began, largest, seen = time.perf_counter(), 0.0, set()
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            for pid in children(server.pid):
                largest = max(largest, memory(pid, "VmHWM"))
                seen.add(pid)
            time.sleep(0.05)
        took = time.perf_counter() - began
        connection.close()  # because the server closes idle connections
        alive = sent(connection, good[1])[0] == 200
        own = memory(server.pid)
    exceptions = [line for line in server.log if '"level": "error"' in line]
    print(f"{options.photos} photos in {took:.0f} s, {options.clients} clients")
    print(", ".join(f"{code}: {count}" for code, count in run.outcomes.most_common()))
    print("slowest " + ", ".join(f"{seconds:.2f} s ({name})" for seconds, name in run.slowest))
    print(
        f"largest decode worker {largest:.0f} MB (peak), {len(seen)} processes; server {own:.0f} MB"
    )
    print(
        f"wrong replies {len(run.wrong)}, exceptions {len(exceptions)}, a good photo after: {alive}"
    )
    for text in [*run.wrong, *exceptions][:20]:
        print("  " + text)
    sys.exit(1 if run.wrong or exceptions or not alive else 0)


if __name__ == "__main__":
    main()
