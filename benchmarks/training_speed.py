"""Measure training speed: photos a second of the network, of the loader and of the whole loop.

    python benchmarks/training_speed.py [--batches 8] [--photos 512] [--device auto]

Photos are drawn here (720 × 540 JPEGs). "network" trains on one batch in memory; "loop" is the
training loop with its loader, from the files and from a cache of re-encoded photos. Both alternate,
and the ratio is the median over the rounds. On a GPU, ResNet-50 and ResNet-101 in bf16 are measured
too.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from embed_speed import make_photos
from whichlandmark.core.types import Photos
from whichlandmark.training.checkpoint import RunState
from whichlandmark.training.config import TrainConfig
from whichlandmark.training.trainer import Trainer

ROUNDS = 3


def landmarks_of(photos: Photos, count: int) -> Photos:
    names = [f"place {row % count}" for row in range(len(photos))]
    return Photos.of_columns(list(photos.ids), list(photos.paths), names)


def synced(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def timed(run: Trainer, pixels: Iterator[torch.Tensor], batches: list, state: RunState) -> float:
    """Photos a second at the median step, waiting for the loader included.

    The first step, in which the loader's processes start, is not counted.
    """
    seconds, size, ended = [], 0, synced(run.device)
    for step, part in enumerate(pixels):
        run.train_step(part, batches[step], state, len(batches))
        now, size = synced(run.device), len(part)
        seconds.append(now - ended)
        ended = now
    return size / statistics.median(seconds[1:])


def loader_alone(run: Trainer, batches: list, state: RunState) -> float:
    size, started = 0, 0.0
    for step, part in enumerate(run.load(batches, state)):
        if step == 1:
            started = time.perf_counter()
        size += len(part) if step else 0
    return size / (time.perf_counter() - started)


def measure(photos: Photos, config: TrainConfig, batches_wanted: int, at: Path) -> str:
    run = Trainer(config, at / "run", photos, None)
    state = run.resume()
    batches = run.data.batches(state)[:batches_wanted]
    loaded = next(iter(run.load(batches[:1], state)))
    memory, loop, loader = [], [], []
    for _ in range(ROUNDS):
        memory.append(timed(run, iter([loaded] * len(batches)), batches, state))
        loop.append(timed(run, iter(run.load(batches, state)), batches, state))
        loader.append(loader_alone(run, batches, state))
    ratio = statistics.median(b / a for a, b in zip(memory, loop, strict=True))
    a, b, c = map(statistics.median, (memory, loop, loader))
    return f"{a:9.1f}{b:9.1f}{ratio:7.0%}{c:9.1f}{c / a:7.1f}×"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--photos", type=int, default=512)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    gpu = options.device != "cpu" and torch.cuda.is_available()
    networks = ["resnet50", "resnet101"] if gpu else ["resnet18", "resnet50"]
    base = TrainConfig(
        dim=512, landmarks_per_batch=8, photos_per_landmark=4, subspaces=2, device=options.device,
        workers=16 if gpu else 1, precision="bf16" if gpu else "float32",
    )  # fmt: skip
    if gpu:
        base = replace(base, landmarks_per_batch=32, photos_per_landmark=8)
    print(f"{'GPU ' + torch.cuda.get_device_name() if gpu else 'no GPU'}; "
          f"{torch.get_num_threads()} threads; photos/s, medians of {ROUNDS}")  # fmt: skip
    print(f"{'':26}{'network':>9}{'loop':>9}{'share':>7}{'loader':>9}{'':>8}")
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        photos = landmarks_of(make_photos(at, options.photos, 720), 64 if gpu else 16)
        for network in networks:
            for side in (224,) if gpu else (128, 224):
                for cache in ("", str(at / f"cache{side}")):
                    name = f"{network} {side}{' cached' if cache else ''}"
                    if options.only not in name:
                        continue
                    config = replace(base, backbone=network, crop=side, size=side, cache=cache)
                    with tempfile.TemporaryDirectory() as place:
                        row = measure(photos, config, options.batches, Path(place))
                    print(f"{name:26}{row}", flush=True)


if __name__ == "__main__":
    main()
