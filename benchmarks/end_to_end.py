"""Compare the speed of `index`, from JPEG files to vectors, with its parts and with a plain loop.

    python benchmarks/end_to_end.py [--photos 500] [--rounds 3] [--size 224] [--features 60]
        [--backbone mobilenetv2_100] [--embedder FOLDER] [--runtime openvino]

Drawn JPEGs of 1600 × 1200, landscape and portrait; an exported backbone with random weights, unless
a folder is given (an int8 embedder, for example). Every round runs in turn:

- decode alone: files → the network's input, on all cores (a)
- network alone: that input → vectors, on all cores (b)
- index: files → a gallery on disk, one transaction per batch, without local features (`verify` 0)
- the plain loop: Pillow's full decoding, resizing, eager torch, in batches of 1 and of 32 (c)

Then, on fewer photos, `index` with local features, and the cost of each part of them. (a) and (b)
use the same cores, so both together cannot be faster than 1 / (1/a + 1/b), which is printed too.
Values are medians, with milliseconds of processor time, which other processes disturb less.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Pillow

from drawn_photos import write_photos
from whichlandmark.core.fingerprint import fingerprint, pack
from whichlandmark.core.hardware import cpu_count
from whichlandmark.core.images import content_hash, jpeg, read_image
from whichlandmark.core.storage import read_bytes
from whichlandmark.core.types import Embedder, Image, Photos
from whichlandmark.features.embedders.load import load_embedder
from whichlandmark.features.embedders.torch_embedder import TorchEmbedder
from whichlandmark.features.embedders.torch_network import Architecture, new_network
from whichlandmark.features.pipeline import InputSpec
from whichlandmark.features.preprocessing import Preprocessing
from whichlandmark.gallery.sqlite.store import SqliteGallery
from whichlandmark.recognition.folder.fill import fill_gallery
from whichlandmark.recognition.spatial_verification import MATCHING_SIDE, local_features

PLAIN = (1, 32)  # batch sizes of the plain loop
PLAIN_PHOTOS = 100  # few, because the plain loop is slow
Took = dict[str, list[tuple[float, float]]]  # name → wall seconds and processor seconds of a photo


def made_embedder(folder: Path, backbone: str, size: int) -> TorchEmbedder:
    """A torch embedder with random weights; its folder has the exported network too."""
    torch.manual_seed(0)
    net = new_network(Architecture(backbone=backbone, dim=None, gem_p=1.0))
    embedder = TorchEmbedder(net, Preprocessing(size=size), device="cpu")
    embedder.save(folder)
    return embedder


def decode_all(embedder: Embedder, paths: Sequence[str]) -> list[Image]:
    """Read, hash, decode and prepare photos as `index` does before the network."""
    spec = InputSpec.of(embedder)

    def one(path: str) -> Image:
        data = read_bytes(path)
        content_hash(data)
        image = read_image(data, short_side=spec.short_side, long_side=spec.long_side)
        return spec.prepare(image)

    with ThreadPoolExecutor(cpu_count()) as pool:
        return list(pool.map(one, paths))


def network(embedder: Embedder, images: Sequence[Image]) -> None:
    at_once = InputSpec.of(embedder).batch_size
    by_shape: dict[tuple[int, ...], list[Image]] = {}
    for image in images:
        by_shape.setdefault(image.shape, []).append(image)
    for group in by_shape.values():
        for start in range(0, len(group), at_once):
            embedder(group[start : start + at_once])


def index(embedder: Embedder, photos: Photos, folder: Path, *, features: bool) -> None:
    path = folder / "gallery.sqlite"
    with SqliteGallery.create(path, embedder.id, embedder.dim) as gallery:
        assert fill_gallery(embedder, photos, gallery, features=features) == []
        assert gallery.count() == len(photos)
    for part in folder.glob("gallery.sqlite*"):
        part.unlink()


def plain_loop(net: torch.nn.Module, made: Preprocessing, paths: Sequence[str], batch: int) -> None:
    """A simple script with Pillow and torch, in batches of equal shape."""
    mean, std = (np.array(v, dtype=np.float32) for v in (made.mean, made.std))
    waiting: dict[tuple[int, int], list[np.ndarray]] = {}

    def run(group: list[np.ndarray]) -> None:
        if group:
            net(torch.from_numpy(np.stack(group))).numpy()
        group.clear()

    with torch.inference_mode():
        for path in paths:
            picture = Pillow.open(path).convert("RGB")
            shape = made.target_shape(picture.height, picture.width)
            small = picture.resize(shape[::-1], Pillow.Resampling.BILINEAR)
            pixels = (np.asarray(small, dtype=np.float32) / 255 - mean) / std
            group = waiting.setdefault(shape, [])
            group.append(pixels.transpose(2, 0, 1))
            if len(group) == batch:
                run(group)
        for group in waiting.values():
            run(group)


def timed(works: dict[str, tuple[Callable[[], object], int]], rounds: int) -> Took:
    took: Took = {}
    for _ in range(rounds):
        for name, (work, count) in works.items():
            wall, busy = time.perf_counter(), time.process_time()
            work()
            spent = time.perf_counter() - wall, time.process_time() - busy
            took.setdefault(name, []).append((spent[0] / count, spent[1] / count))
    return took


def parts_of_features(paths: Sequence[str]) -> None:
    """Print milliseconds of each additional thing that `index` stores, on one thread."""
    images = [read_image(path, short_side=MATCHING_SIDE) for path in paths]
    prints = [fingerprint(image) for image in images]
    for name, work, things in (
        ("local features", local_features, images), ("fingerprint", fingerprint, images),
        ("packing it", pack, prints), ("thumbnail", jpeg, images),
    ):  # fmt: skip
        busy = time.process_time()
        for thing in things:
            work(thing)
        print(f"  {name:16} {1e3 * (time.process_time() - busy) / len(things):6.2f} ms a photo")


def print_rates(took: Took) -> dict[str, float]:
    """Prints photos a second; returns them."""
    rates = {name: 1 / statistics.median(w for w, _ in t) for name, t in took.items()}
    for name, spent in took.items():
        busy = 1e3 * statistics.median(c for _, c in spent)
        slowest, fastest = 1 / max(w for w, _ in spent), 1 / min(w for w, _ in spent)
        print(f"{name:36} {rates[name]:7.1f} photos/s ({slowest:.1f}–{fastest:.1f}), "
              f"{busy:6.2f} ms of processor a photo", flush=True)  # fmt: skip
    return rates


def summary(rates: dict[str, float]) -> None:
    ours, decode, net = rates["index"], rates["decode alone"], rates["network alone"]
    together = 1 / (1 / decode + 1 / net)
    print(f"index / the slower of decode alone and network alone: {ours / min(decode, net):.2f}")
    print(f"index / (1 / (1/decode + 1/network) = {together:.1f}, for both use all cores): "
          f"{ours / together:.2f}; above, that is {together / min(decode, net):.2f}")  # fmt: skip
    plain = max(rates[f"plain loop, {batch} at once"] for batch in PLAIN)
    print(f"index / the faster plain loop: {ours / plain:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--features", type=int, default=60)
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--embedder", type=Path)
    parser.add_argument("--runtime")
    parser.add_argument("--drawn", type=Path, help="folder of drawn photos, reused by the next run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        torch_one = made_embedder(folder / "embedder", options.backbone, options.size)
        source = options.embedder or folder / "embedder"
        embedder = load_embedder(source, device="cpu", runtime=options.runtime)
        files = write_photos(options.drawn or folder / "photos", options.photos)
        paths = [str(path) for path in files]
        photos = Photos.of_columns([path.name for path in files], paths, ["x"] * len(paths))
        few = photos.take(list(range(min(options.features, len(photos)))))
        slow = paths[:PLAIN_PHOTOS]
        images = decode_all(embedder, paths)
        embedder(images[:2])
        net = torch_one.net.eval()
        print(f"{len(photos)} JPEGs of 1600 × 1200, {embedder.name} at {options.size} px, "
              f"{cpu_count()} cores", flush=True)  # fmt: skip
        rates = print_rates(timed({
            "decode alone": (lambda: decode_all(embedder, paths), len(paths)),
            "network alone": (lambda: network(embedder, images), len(paths)),
            "index": (lambda: index(embedder, photos, folder, features=False), len(paths)),
            **{
                f"plain loop, {batch} at once": (
                    lambda batch=batch: plain_loop(net, torch_one.preprocessing, slow, batch),
                    len(slow))
                for batch in PLAIN
            },
            f"index with features ({len(few)} photos)": (
                lambda: index(embedder, few, folder, features=True), len(few)),
        }, options.rounds))  # fmt: skip
        summary(rates)
        print("what index keeps beside vectors, on one thread:")
        parts_of_features(few.paths.tolist())


if __name__ == "__main__":
    main()
