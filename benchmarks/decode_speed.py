"""Compare ways to decode and resize a JPEG for a network: speed, and pixels against a reference.

    python benchmarks/decode_speed.py [--photos 48] [--large 12] [--rounds 5]
        [--embedder FOLDER [--real FOLDER]]

Resizes drawn JPEGs of 1600 × 1200 and 4000 × 3000 to 224 and 384 px with Pillow (full decoding and
bilinear resizing, the reference), this package, OpenCV with full and reduced decoding, and
simplejpeg if installed. Prints photos a second on one and two threads, milliseconds of processor
time (less disturbed by other processes), and the difference of the pixels from the reference. With
--embedder (an exported folder) also the cosine of the vectors, and on real photos (--real, or
WHICHLANDMARK_REALPHOTOS) how small a photo may be decoded before the vectors change. Rounds are
interleaved; values are medians.
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
MIN_REAL_SIDE = 600  # pixels of the long side; smaller photos are left out


def plain(data: bytes, preprocessing: Preprocessing) -> Image:
    picture = Pillow.open(io.BytesIO(data)).convert("RGB")
    height, width = preprocessing.target_shape(picture.height, picture.width)
    return np.asarray(picture.resize((width, height), Pillow.Resampling.BILINEAR))


def ours(data: bytes, preprocessing: Preprocessing) -> Image:
    short, long = preprocessing.decode_sides
    return preprocessing.resize(read_image(data, short_side=short, long_side=long))


def opencv(data: bytes, preprocessing: Preprocessing) -> Image:
    return _area(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), preprocessing)


def opencv_reduced(data: bytes, preprocessing: Preprocessing) -> Image:
    with Pillow.open(io.BytesIO(data)) as header:
        least = max(header.size) / (1.5 * preprocessing.size)
    flags = [(8, cv2.IMREAD_REDUCED_COLOR_8), (4, cv2.IMREAD_REDUCED_COLOR_4),
             (2, cv2.IMREAD_REDUCED_COLOR_2), (1, cv2.IMREAD_COLOR)]  # fmt: skip
    flag = next(flag for scale, flag in flags if scale <= least)
    return _area(cv2.imdecode(np.frombuffer(data, np.uint8), flag), preprocessing)


def _area(image: Image, preprocessing: Preprocessing) -> Image:
    height, width = preprocessing.target_shape(*image.shape[:2])
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

    def simple(data: bytes, preprocessing: Preprocessing) -> Image:
        least = preprocessing.size * 3 // 2
        return preprocessing.resize(
            simplejpeg.decode_jpeg(data, min_height=least * 3 // 4, min_width=least)
        )

    return {**found, "simplejpeg, reduced": simple}


def timed(
    files: Sequence[bytes], preprocessing: Preprocessing, rounds: int
) -> dict[tuple[str, int], tuple[float, float]]:
    """(way, threads) → medians of photos a second and of milliseconds of processor time a photo."""
    seconds: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for name, way in ways().items():
            for threads in (1, 2):
                with ThreadPoolExecutor(threads) as pool:
                    wall, busy = time.perf_counter(), time.process_time()
                    list(pool.map(lambda data, way=way: way(data, preprocessing), files))
                    took = time.perf_counter() - wall, time.process_time() - busy
                seconds.setdefault((name, threads), []).append(took)
    return {
        key: (len(files) / statistics.median(w for w, _ in took),
              1e3 * statistics.median(c for _, c in took) / len(files))
        for key, took in seconds.items()
    }  # fmt: skip


def compared(
    files: Sequence[bytes], preprocessing: Preprocessing, embedder: Path | None
) -> dict[str, str]:
    """Way → difference of its pixels, and of its vectors, from the reference."""
    wanted = [plain(data, preprocessing) for data in files]
    vector_of = vectors_of(embedder) if embedder else None
    lines = {}
    for name, way in ways().items():
        found = [way(data, preprocessing) for data in files]
        off = np.mean(
            [np.abs(a.astype(int) - b).mean() for a, b in zip(wanted, found, strict=True)]
        )
        lines[name] = f"{off:5.2f} of 255"
        if vector_of:
            cosines = [
                float(vector_of(a, preprocessing) @ vector_of(b, preprocessing))
                for a, b in zip(wanted, found, strict=True)
            ]
            lines[name] += f", cosine {np.median(cosines):.4f} (least {min(cosines):.4f})"
    return lines


def vectors_of(folder: Path) -> Callable[[Image, Preprocessing], np.ndarray]:
    embedder = load_onnx(folder, runtime="onnxruntime")
    own = embedder.preprocessing

    def vector_of(image: Image, preprocessing: Preprocessing) -> np.ndarray:
        return embedder.network(
            replace(preprocessing, mean=own.mean, std=own.std).normalise(image)[None]
        )[0]

    return vector_of


def margins(folder: Path, embedder: Path) -> None:
    """Print cosines of real photos decoded at 1/2 and 1/4 scale with the fully decoded ones."""
    vector_of = vectors_of(embedder)
    paths = [path for path in sorted(folder.rglob("*.jpg"))
             if max(Pillow.open(path).size) >= MIN_REAL_SIDE][::3]  # fmt: skip
    print(f"{len(paths)} real photos of {MIN_REAL_SIDE} px or more, against whole ones: cosine")
    for scale in (2, 4):
        for margin in MARGINS:
            cosines = []
            for path in paths:
                data, long = path.read_bytes(), max(Pillow.open(path).size)
                small = read_image(data, long_side=long // scale - 4)
                assert max(small.shape) <= long // scale + 1
                size = max(64, int(max(small.shape[:2]) / margin))
                preprocessing = Preprocessing(size=size)
                a, b = plain(data, preprocessing), preprocessing.resize(small)
                if a.shape == b.shape:
                    cosines.append(float(vector_of(a, preprocessing) @ vector_of(b, preprocessing)))
            low, middle = np.percentile(cosines, [5, 50])
            print(f"  decoded at 1/{scale}, {margin:4} × what the network sees: "
                  f"median {middle:.4f}, 5 % below {low:.4f}", flush=True)  # fmt: skip


def cut_short(data: bytes) -> None:
    """Print which decoders refuse a file that ends too early."""
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
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        for long, short, count in ((1600, 1200, options.photos), (4000, 3000, options.large)):
            paths = write_photos(Path(folder) / f"{long}", count, long, short)
            files = [path.read_bytes() for path in paths]
            for size in (224, 384):
                preprocessing = Preprocessing(size=size)
                print(f"{count} JPEGs of {long} × {short}, {np.mean([len(f) for f in files]):,.0f} "
                      f"bytes each, to {size} px")  # fmt: skip
                speed, off = (
                    timed(files, preprocessing, options.rounds),
                    compared(files, preprocessing, options.embedder),
                )
                base = {t: speed["Pillow, whole (the reference)", t][0] for t in (1, 2)}
                for name in ways():
                    one, two = speed[name, 1], speed[name, 2]
                    print(
                        f"  {name:30} {one[0]:7.1f} and {two[0]:7.1f} photos/s on 1 and 2 threads"
                        f" ({one[0] / base[1]:4.2f} × {two[0] / base[2]:4.2f} ×), {one[1]:6.2f} ms"
                        f" of processor; pixels off {off[name]}", flush=True,
                    )  # fmt: skip
        cut_short(files[0])
    if options.real and options.embedder:
        margins(Path(options.real), options.embedder)


if __name__ == "__main__":
    main()
