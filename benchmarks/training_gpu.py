"""Measure a GPU in ten minutes: photos a second, memory and falling loss of the recipes in bf16.

    python benchmarks/training_gpu.py DIR [--minutes 10] [--tiny]

Draws a world of 2,000 landmarks at 288 px (large_world.py: seconds on 16 cores), then trains each
recipe on it from random weights, `seed` in float32 and bf16 and `strong` in bf16, each for an equal
share of the minutes that are left, through the loader. Prints a table and writes DIR/gpu.json
after each row, so that an interrupted run leaves what it measured. --tiny: 16 landmarks, a small
network and 6 steps, on the CPU, which the tests run.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from large_world import LargeWorld, draw_large_world
from whichlandmark.core.files import write_json
from whichlandmark.core.hardware import cpu_count
from whichlandmark.core.json_options import from_json
from whichlandmark.data.table import read_photos
from whichlandmark.training.config import TrainConfig, recipe
from whichlandmark.training.trainer import Trainer

ROWS = (("seed", "float32"), ("seed", "bf16"), ("strong", "bf16"))
TINY_STEPS = 6
WARM_UP = 3  # steps that are not timed: the loader's processes start, cuDNN chooses its kernels


def config_of(name: str, precision: str, *, tiny: bool) -> TrainConfig:
    """A recipe from random weights; tiny: with a small network, photos and batches."""
    config: TrainConfig = from_json(TrainConfig, recipe(name))
    workers = 0 if tiny else max(1, cpu_count() - 1)
    config = replace(config, weights="random", precision=precision, workers=workers)  # type: ignore[arg-type]
    if not tiny:
        return config
    return replace(
        config, backbone="test_resnet", dim=32, size=64, crop=64, first_crop=0,
        landmarks_per_batch=4, photos_per_landmark=4, accumulate=1, device="cpu",
        lr=config.lr * 10,
    )  # fmt: skip


def measure(
    folder: Path, name: str, precision: str, *, seconds: float, tiny: bool
) -> dict[str, Any]:
    """Train for so many seconds; what it did, as one row."""
    config = config_of(name, precision, tiny=tiny)
    photos = read_photos(folder / "train.csv")
    gallery, queries = photos.split(test=0.1, seed=0)
    losses, took = [], []
    with tempfile.TemporaryDirectory() as out:
        run = Trainer(config, Path(out), gallery, (gallery, queries))
        gpu = run.device.type == "cuda"
        if gpu:
            torch.cuda.reset_peak_memory_stats()
        began = time.perf_counter()
        state = run.resume()
        embedding = len(gallery) / (time.perf_counter() - began)
        end = time.perf_counter() + seconds
        while not losses or (len(losses) < TINY_STEPS if tiny else time.perf_counter() < end):
            batches = run.data.batches(state)
            before = time.perf_counter()
            for step, pixels in enumerate(run.load(batches, state)):
                state.step = step
                losses.append(run.train_step(pixels, batches[step], state, len(batches))[0])
                took.append(time.perf_counter() - before)  # the loss is a number: it has waited
                before = time.perf_counter()
                if before > end or (tiny and len(losses) >= TINY_STEPS):
                    break
            state.next_epoch()
    tenth = max(1, len(losses) // 10)
    peak = torch.cuda.max_memory_allocated() / 2**30 if gpu else resource_gib()
    return {
        "recipe": name, "precision": precision, "backbone": config.backbone, "crop": config.crop,
        "batch": config.landmarks_per_batch * config.photos_per_landmark, "steps": len(losses),
        "photos_per_second": len(batches[0]) / statistics.median(took[WARM_UP:] or took),
        "photos_embedded_per_second": embedding, "peak_gib": peak,
        "first_loss": statistics.mean(losses[:tenth]),
        "last_loss": statistics.mean(losses[-tenth:]),
    }  # fmt: skip


def resource_gib() -> float:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    end = time.perf_counter() + 60 * options.minutes - 30  # the last row must be written
    if not (torch.cuda.is_available() or options.tiny):
        raise SystemExit("no GPU here; --tiny runs the same steps on a CPU")
    world = LargeWorld(size=288)
    if options.tiny:
        world = LargeWorld(landmarks=16, unseen=2, scenes=2, size=64)
    seconds = draw_large_world(options.folder, world, workers=1 if options.tiny else cpu_count())
    device = "CPU" if options.tiny else torch.cuda.get_device_name()
    print(f"{device}; drawn in {seconds:.0f} s")
    rows: list[dict[str, Any]] = []
    for number, (name, precision) in enumerate(ROWS):
        share = max(10.0, (end - time.perf_counter()) / (len(ROWS) - number))
        # The first embedding of all photos, which takes part of the share, is timed too.
        rows.append(
            measure(options.folder, name, precision, seconds=0.7 * share, tiny=options.tiny)
        )
        write_json(options.folder / "gpu.json", {"device": device, "rows": rows})
        row = rows[-1]
        print(
            f"{name} {precision}: {row['photos_per_second']:.0f} photos/s trained, "
            f"{row['photos_embedded_per_second']:.0f} embedded, peak {row['peak_gib']:.1f} GiB, "
            f"loss {row['first_loss']:.3f} → {row['last_loss']:.3f} in {row['steps']} steps",
            flush=True,
        )


if __name__ == "__main__":
    main()
