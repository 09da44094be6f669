"""From a JPEG to the pixels that a network sees: how fast, and how good?

    python benchmarks/decode_speed.py [--photos 48] [--large 12] [--rounds 5]
        [--embedder FOLDER [--real FOLDER]]

Drawn JPEGs of 1600 × 1200 and 4000 × 3000 to 224 and 384 px: Pillow's whole decode and a bilinear
resize (the reference), ours, OpenCV whole and reduced, simplejpeg where it is installed. Photos a
second on one and two threads, milliseconds of processor time (others on the machine disturb it
less), and how far the pixels are from the reference. With --embedder (an exported folder) also
the cosine of vectors, and on real photos (--real, or WHICHLANDMARK_REALPHOTOS) how near to the
wanted size a photo may be decoded. Interleaved rounds, medians.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Pillow

from drawn_photos import write_photos
from whichlandmark.core.errors import ImageError
from whichlandmark.core.images import read_image
from whichlandmark.core.types import Image
from whichlandmark.features.embedders.load import load_onnx
from whichlandmark.features.preprocessing import Preprocessing

Way = Callable[[bytes, Preprocessing], Image]
MARGINS = (1.0, 1.25, 1.5, 2.0)
LEAST_REAL = 600  # pixels: smaller photos are not decoded smaller


def plain(data: bytes, made: Preprocessing) -> Image:
    picture = Pillow.open(io.BytesIO(data)).convert("RGB")
    height, width = made.target_shape(picture.height, picture.width)
    return np.asarray(picture.resize((width, height), Pillow.Resampling.BILINEAR))


def ours(data: bytes, made: Preprocessing) -> Image:
    short, long = made.decode_sides
    return made.resize(read_image(data, short_side=short, long_side=long))


def opencv(data: bytes, made: Preprocessing) -> Image:
    return _area(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), made)


def opencv_reduced(data: bytes, made: Preprocessing) -> Image:
    with Pillow.open(io.BytesIO(data)) as header:
        least = max(header.size) / (1.5 * made.size)
    flags = [(8, cv2.IMREAD_REDUCED_COLOR_8), (4, cv2.IMREAD_REDUCED_COLOR_4),
             (2, cv2.IMREAD_REDUCED_COLOR_2), (1, cv2.IMREAD_COLOR)]  # fmt: skip
    flag = next(flag for scale, flag in flags if scale <= least)
    return _area(cv2.imdecode(np.frombuffer(data, np.uint8), flag), made)


def _area(image: Image, made: Preprocessing) -> Image:
    height, width = made.target_shape(*image.shape[:2])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(small[..., ::-1])


def ways() -> dict[str, Way]:
    found: dict[str, Way] = {
        "Pillow, whole (the reference)": plain, "ours": ours, "OpenCV, whole": opencv,
        "OpenCV, reduced": opencv_reduced,
    }  # fmt: skip
    try:
        simplejpeg = importlib.import_module("simplejpeg")
    except ImportError:
        return found

    def simple(data: bytes, made: Preprocessing) -> Image:
        least = made.size * 3 // 2
        return made.resize(simplejpeg.decode_jpeg(data, min_height=least * 3 // 4, min_width=least))

    return {**found, "simplejpeg, reduced": simple}


def timed(
    files: Sequence[bytes], made: Preprocessing, rounds: int
) -> dict[tuple[str, int], tuple[float, float]]:
    """(way, threads) → photos a second, milliseconds of processor time a photo; medians."""
    seconds: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for name, way in ways().items():
            for threads in (1, 2):
                with ThreadPoolExecutor(threads) as pool:
                    wall, busy = time.perf_counter(), time.process_time()
                    list(pool.map(lambda data, way=way: way(data, made), files))
                    took = time.perf_counter() - wall, time.process_time() - busy
                seconds.setdefault((name, threads), []).append(took)
    return {
        key: (len(files) / statistics.median(w for w, _ in took),
              1e3 * statistics.median(c for _, c in took) / len(files))
        for key, took in seconds.items()
    }  # fmt: skip


def compared(files: Sequence[bytes], made: Preprocessing, embedder: Path | None) -> dict[str, str]:
    """Way → how far its pixels, and its vectors, are from the reference's."""
    wanted = [plain(data, made) for data in files]
    look = vectors_of(embedder) if embedder else None
    told = {}
    for name, way in ways().items():
        found = [way(data, made) for data in files]
        off = np.mean(
            [np.abs(a.astype(int) - b).mean() for a, b in zip(wanted, found, strict=True)]
        )
        told[name] = f"{off:5.2f} of 255"
        if look:
            cosines = [
                float(look(a, made) @ look(b, made)) for a, b in zip(wanted, found, strict=True)
            ]
            told[name] += f", cosine {np.median(cosines):.4f} (least {min(cosines):.4f})"
    return told


def vectors_of(folder: Path) -> Callable[[Image, Preprocessing], np.ndarray]:
    embedder = load_onnx(folder, runtime="onnxruntime")
    own = embedder.preprocessing

    def look(image: Image, made: Preprocessing) -> np.ndarray:
        return embedder.network(replace(made, mean=own.mean, std=own.std).normalise(image)[None])[0]

    return look


def margins(folder: Path, embedder: Path) -> None:
    """Cosine of real photos decoded at a half and a quarter with those decoded whole."""
    look = vectors_of(embedder)
    paths = [path for path in sorted(folder.rglob("*.jpg"))
             if max(Pillow.open(path).size) >= LEAST_REAL][::3]  # fmt: skip
    print(f"{len(paths)} real photos of {LEAST_REAL} px or more, against whole ones: cosine")
    for scale in (2, 4):
        for margin in MARGINS:
            cosines = []
            for path in paths:
                data, long = path.read_bytes(), max(Pillow.open(path).size)
                small = read_image(data, long_side=long // scale - 4)
                assert max(small.shape) <= long // scale + 1
                size = max(64, int(max(small.shape[:2]) / margin))
                made = Preprocessing(size=size)
                a, b = plain(data, made), made.resize(small)
                if a.shape == b.shape:
                    cosines.append(float(look(a, made) @ look(b, made)))
            low, middle = np.percentile(cosines, [5, 50])
            print(f"  decoded at 1/{scale}, {margin:4} × what the network sees: "
                  f"median {middle:.4f}, 5 % below {low:.4f}", flush=True)  # fmt: skip


def cut_short(data: bytes) -> None:
    """Who notices that a file ends too early?"""
    for share in (0.5, 0.9, 0.99):
        part = data[: int(len(data) * share)]
        accepted = cv2.imdecode(np.frombuffer(part, np.uint8), cv2.IMREAD_COLOR) is not None
        try:
            read_image(part)
            refused = False
        except ImageError:
            refused = True
        print(f"{share:.0%} of a file: ours {'refuses' if refused else 'accepts'}, "
              f"OpenCV {'accepts' if accepted else 'refuses'}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=48)
    parser.add_argument("--large", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--embedder", type=Path)
    parser.add_argument("--real", type=Path, default=os.environ.get("WHICHLANDMARK_REALPHOTOS"))
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        for long, short, count in ((1600, 1200, asked.photos), (4000, 3000, asked.large)):
            paths = write_photos(Path(folder) / f"{long}", count, long, short)
            files = [path.read_bytes() for path in paths]
            for size in (224, 384):
                made = Preprocessing(size=size)
                print(f"{count} JPEGs of {long} × {short}, {np.mean([len(f) for f in files]):,.0f} "
                      f"bytes each, to {size} px")  # fmt: skip
                speed, off = timed(files, made, asked.rounds), compared(files, made, asked.embedder)
                base = {t: speed["Pillow, whole (the reference)", t][0] for t in (1, 2)}
                for name in ways():
                    one, two = speed[name, 1], speed[name, 2]
                    print(
                        f"  {name:30} {one[0]:7.1f} and {two[0]:7.1f} photos/s on 1 and 2 threads"
                        f" ({one[0] / base[1]:4.2f} × {two[0] / base[2]:4.2f} ×), {one[1]:6.2f} ms"
                        f" of processor; pixels off {off[name]}", flush=True,
                    )  # fmt: skip
        cut_short(files[0])
    if asked.real and asked.embedder:
        margins(Path(asked.real), asked.embedder)


if __name__ == "__main__":
    main()
