"""How many photos a second: decoding alone, the network alone, and `embed` as a whole.

    python benchmarks/embed_speed.py [--photos 256] [--size 720]

Photos are made here (noise and shapes, JPEG); the network is a ResNet-18 with random weights
at 256 px. Medians of 3.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Pillow

from whichlandmark.embedding import embed
from whichlandmark.images import read_image
from whichlandmark.net.embedder import NetEmbedder
from whichlandmark.net.network import Architecture, new_network
from whichlandmark.preprocessing import Preprocessing
from whichlandmark.types import Photo, Photos


def make_photos(folder: Path, count: int, size: int) -> Photos:
    rng = np.random.default_rng(0)
    rows = []
    for i in range(count):
        coarse = Pillow.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        path = folder / f"{i}.jpg"
        coarse.resize((size, size * 3 // 4), Pillow.Resampling.BICUBIC).save(path, quality=88)
        rows.append(Photo(str(i), path, "x"))
    return Photos.of(rows)


def rate(count: int, work: Callable[[], object]) -> float:
    work()
    times = []
    for _ in range(3):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return count / statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=256)
    parser.add_argument("--size", type=int, default=720)
    options = parser.parse_args()
    net = new_network(Architecture(backbone="resnet18", dim=256))
    embedder = NetEmbedder(net, Preprocessing(size=256), device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        photos = make_photos(Path(folder), options.photos, options.size)
        pixels = torch.rand(32, 3, 192, 256)

        def decode() -> None:
            for path in photos.paths:
                read_image(path, short_side=embedder.short_side)

        def network() -> None:
            with torch.inference_mode():
                embedder.net.eval()(pixels)

        print(f"{torch.get_num_threads()} threads, photos of {options.size} px")
        print(f"decode, one thread     {rate(len(photos), decode):8.1f} photos/s")
        print(f"network alone          {rate(32, network):8.1f} photos/s")
        whole = rate(len(photos), lambda: [part.rows for part in embed(embedder, photos)])
        print(f"embed (decode + net)   {whole:8.1f} photos/s")


if __name__ == "__main__":
    main()
