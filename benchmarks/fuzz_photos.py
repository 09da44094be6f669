"""Decode mutated photos: each must give pixels or one of the package's own errors, and quickly.

    python benchmarks/fuzz_photos.py [--count 20000] [--seed 0] [--slow 2.0]

Valid photos of every format, mode and kind of metadata are cut, changed, spliced, given other sizes
in their headers, and their chunks are repeated, moved and rewritten with right checksums. Each goes
through `read_image`, `photo_size` and `location_of`. Prints what came of them, the slowest call and
the peak memory. Exit code 1 when anything but an ImageError was raised, pixels were not (H, W, 3)
uint8, a position was impossible, or a call took over --slow seconds.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import resource
import struct
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow
from PIL import PngImagePlugin

from whichlandmark.core.errors import ImageError
from whichlandmark.core.images import photo_size, read_image
from whichlandmark.core.photo_files import location_of

Bases = list[tuple[str, bytes]]

XMP = b'<x:xmpmeta><d tiff:Orientation="6" exif:GPSLatitude="48,51.5N" exif:GPSLongitude="2,17E"/>'


def picture(height: int, width: int) -> Pillow.Image:
    noise = np.random.default_rng(height).integers(0, 255, (height // 8 + 1, width // 8 + 1, 3))
    return Pillow.fromarray(noise.astype(np.uint8)).resize((width, height))


def exif() -> Pillow.Exif:
    tags = Pillow.Exif()
    tags.update({0x0112: 6, 0x010F: "Maker", 0x0132: "2026:01:01 00:00:00"})
    tags.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 29.9), 3: "E", 4: (2.0, 17.0, 40.2)})
    return tags


def bases() -> Bases:
    """Valid photos: every format and mode, with and without metadata, still and moving."""
    made: Bases = []
    image, profile = picture(90, 120), bytes(range(256)) * 4

    def add(name: str, form: str, mode: str = "RGB", **options: Any) -> None:
        data = io.BytesIO()
        image.convert(mode).save(data, form, **options)
        made.append((name, data.getvalue()))

    for mode in ("RGB", "L", "CMYK"):
        for progressive in (False, True):
            add(f"jpeg {mode}", "JPEG", mode, progressive=progressive, exif=exif())
    add("jpeg metadata", "JPEG", exif=exif(), icc_profile=profile, xmp=XMP, comment=b"x" * 500)
    add("jpeg restart", "JPEG", restart_marker_rows=1, subsampling=0)
    for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"):
        if mode == "I;16":
            deep = Pillow.fromarray(np.arange(90 * 120, dtype=np.uint16).reshape(90, 120))
            data = io.BytesIO()
            deep.save(data, "PNG", exif=exif())
            made.append(("png 16 bits", data.getvalue()))
        else:
            add(f"png {mode}", "PNG", mode, exif=exif())
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Comment", "x" * 5000, zip=True)
    texts.add_itxt("XML:com.adobe.xmp", XMP.decode(), zip=True)
    add("png metadata", "PNG", pnginfo=texts, icc_profile=profile)
    add("png palette", "PNG", "P", transparency=3)
    frames = [picture(90 + i, 120).crop((0, 0, 120, 90)) for i in range(1, 4)]
    for form in ("PNG", "GIF", "WEBP", "AVIF"):
        add(f"{form.lower()} moving", form, save_all=True, append_images=frames, duration=40)
    add("mpo", "MPO", save_all=True, append_images=frames)
    add("gif", "GIF", comment=b"y" * 700, interlace=True)
    for lossless in (False, True):
        add("webp", "WEBP", "RGBA", lossless=lossless, exif=exif(), xmp=XMP, icc_profile=profile)
    add("avif", "AVIF", exif=exif(), xmp=XMP, quality=50)
    return made


def cut(rng: random.Random, data: bytes, others: Bases) -> bytes:
    return data[: rng.randint(0, len(data))]


def bits(rng: random.Random, data: bytes, others: Bases) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def head_bytes(rng: random.Random, data: bytes, others: Bases) -> bytes:
    """Change bytes of the first 400, where headers and metadata are."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        changed[rng.randrange(min(400, len(changed)))] = rng.choice(
            (0, 1, 127, 255, rng.randrange(256))
        )
    return bytes(changed)


def splice(rng: random.Random, data: bytes, others: Bases) -> bytes:
    other = rng.choice(others)[1]
    start, length = rng.randrange(len(other)), rng.randint(1, 3000)
    at = rng.randrange(len(data))
    return data[:at] + other[start : start + length] + data[at + rng.choice((0, length)) :]


def remove(rng: random.Random, data: bytes, others: Bases) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.randint(1, 500) :]


def repeat(rng: random.Random, data: bytes, others: Bases) -> bytes:
    at, length = rng.randrange(len(data)), rng.randint(1, 400)
    return data[:at] + data[at : at + length] * rng.choice((2, 10, 300)) + data[at + length :]


def append(rng: random.Random, data: bytes, others: Bases) -> bytes:
    return data + rng.choice((b"\0" * 5000, rng.choice(others)[1], rng.randbytes(3000)))


def sizes(rng: random.Random, data: bytes, others: Bases) -> bytes:
    """Other widths and heights in the header, with a right checksum."""
    sides = [rng.choice((0, 1, 7, 119, 121, 5000, 9000, 20_000, 65_535, 2**31)) for _ in range(2)]
    changed = bytearray(data)
    if data[:4] == b"\x89PNG":
        changed[16:24] = struct.pack(">II", *sides)
        changed[29:33] = struct.pack(">I", zlib.crc32(changed[12:29]))
    elif data[:3] == b"\xff\xd8\xff":
        at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
        changed[at + 5 : at + 9] = struct.pack(">HH", *(side & 0xFFFF for side in sides))
    elif data[:3] == b"GIF":
        changed[6:10] = struct.pack("<HH", *(side & 0xFFFF for side in sides))
    elif (at := data.find(b"ispe")) > 0:
        changed[at + 8 : at + 16] = struct.pack(">II", *sides)
    elif data[12:16] == b"VP8X":
        packed = [struct.pack("<I", (side - 1) & 0xFFFFFF)[:3] for side in sides]
        changed[24:30] = b"".join(packed)
    return bytes(changed)


def chunks(rng: random.Random, data: bytes, others: Bases) -> bytes:
    """Change, move, repeat or drop the chunks of a PNG or the segments of a JPEG."""
    if data[:4] == b"\x89PNG":
        return _png_chunks(rng, data)
    if data[:3] == b"\xff\xd8\xff":
        return _jpeg_segments(rng, data)
    return head_bytes(rng, data, others)


def _png_chunks(rng: random.Random, data: bytes) -> bytes:
    parts, at = [], 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        parts.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    for _ in range(rng.randint(1, 3)):
        where = rng.randrange(len(parts))
        kind, body = parts[where]
        how = rng.randrange(6)
        if how == 0:
            parts.insert(rng.randrange(len(parts)), parts.pop(where))
        elif how == 1:
            parts[where:where] = [(kind, body)] * rng.choice((1, 3, 500))
        elif how == 2 and len(parts) > 1:
            parts.pop(where)
        elif how == 3:
            text = zlib.compress(b"\0" * rng.choice((10, 2_000_000, 70_000_000)))
            name = rng.choice((b"XML:com.adobe.xmp", b"Raw profile type exif", b"Comment"))
            new = rng.choice(((b"zTXt", name + b"\0\0" + text), (b"iCCP", name + b"\0\0" + text),
                              (b"iTXt", name + b"\0\1\0\0\0" + text)))  # fmt: skip
            parts.insert(where, new)
        elif body:
            parts[where] = kind, bits(rng, body, [])
        else:
            parts[where] = (
                rng.choice((b"tRNS", b"PLTE", b"eXIf", b"acTL", b"fcTL")),
                rng.randbytes(30),
            )
    packed = data[:8]
    for kind, body in parts:
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        packed += struct.pack(">I", len(body)) + kind + body + checksum
    return packed


def _jpeg_segments(rng: random.Random, data: bytes) -> bytes:
    parts, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        length = 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        parts.append(data[at : at + length])
        at += length
    for _ in range(rng.randint(1, 3)):
        where = rng.randrange(len(parts)) if parts else 0
        how = rng.randrange(4)
        if not parts:
            break
        if how == 0:
            parts.insert(rng.randrange(len(parts)), parts.pop(where))
        elif how == 1:
            parts[where:where] = [parts[where]] * rng.choice((1, 3, 500))
        elif how == 2:
            parts.pop(where)
        else:
            parts[where] = parts[where][:4] + bits(rng, parts[where][4:] or b"\0", [])
    scan = data[at:-2] * rng.choice((1, 1, 3, 90, 200)) + data[-2:]
    return data[:2] + b"".join(parts) + scan


MUTATIONS: tuple[Callable[[random.Random, bytes, Bases], bytes], ...] = (
    cut, bits, head_bytes, splice, remove, repeat, append, sizes, chunks,
)  # fmt: skip


def check(data: bytes, path: Path, short_side: int) -> tuple[str, list[str], float]:
    """What came of a photo, the faults, and the seconds of the slowest of the three calls."""
    path.write_bytes(data)
    outcome, faults, slowest = "error", [], 0.0
    calls: tuple[Callable[[], Any], ...] = (
        lambda: read_image(data, short_side=short_side, name="photo"),
        lambda: photo_size(path, short_side=short_side),
        lambda: location_of(data),
    )
    for number, call in enumerate(calls):
        began, result = time.perf_counter(), None
        try:
            result = call()
        except ImageError:
            pass
        except BaseException as error:
            faults.append(f"call {number}: {type(error).__name__}: {error}")
        slowest = max(slowest, time.perf_counter() - began)
        if number == 0 and result is not None:
            outcome = "pixels"
            if result.ndim != 3 or result.shape[2] != 3 or result.dtype != np.uint8:
                faults.append(f"pixels of shape {result.shape}, {result.dtype}")
        if number == 2 and result and not (abs(result[0]) <= 90 and abs(result[1]) <= 180):
            faults.append(f"position {result}")
    return outcome, faults, slowest


def run(count: int, seed: int, slow: float = 2.0, keep: Path | None = None) -> dict[str, Any]:
    """Fuzz. keep: a folder for the photos with faults."""
    rng, photos = random.Random(seed), bases()
    outcomes: Counter[str] = Counter()
    faults: list[str] = []
    slowest = (0.0, "")
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            name, data = rng.choice(photos)
            how = rng.choice(MUTATIONS)
            mutated = how(rng, data, photos)
            if rng.random() < 0.2:
                mutated = rng.choice(MUTATIONS)(rng, mutated or b"\0", photos)
            side = rng.choice((0, 0, 30, 96, 480))
            outcome, found, seconds = check(mutated, Path(folder) / "a.jpg", side)
            outcomes[outcome] += 1
            label = f"photo {number} ({name}, {how.__name__})"
            slowest = max(slowest, (seconds, label))
            if seconds > slow:
                found.append(f"took {seconds:.1f} s")
            faults += [f"{label}: {fault}" for fault in found]
            if found and keep:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{seed}_{number}").write_bytes(mutated)
    return {
        "photos": count, "seed": seed, **outcomes, "faults": faults,
        "slowest_seconds": round(slowest[0], 3), "slowest": slowest[1],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--slow", type=float, default=2.0, help="seconds that a call may take")
    parser.add_argument("--keep", type=Path, help="folder for the photos with faults")
    options = parser.parse_args()
    report = run(options.count, options.seed, options.slow, options.keep)
    print(json.dumps(report, indent=2))
    return 1 if report["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
