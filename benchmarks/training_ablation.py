"""Measure what each part of the training adds: same photos, same epochs, three seeds.

    python benchmarks/training_ablation.py DIR [--seeds 3] [--epochs 8] [--only WORD]

All rows start from the same weights, trained here with ArcFace on another synthetic world, in place
of ImageNet weights, because triplets collapse from random weights (benchmarks/LOG.md). The first
row is the system as it was published, with its defects, which this package does not have: photos
squashed to squares; "k-means" that assigns landmarks only once, to the first class centres, with
the initial network; subspaces drawn with equal probability whatever their size, and skipped (it
crashed) when they have fewer landmarks than a batch; short batches for landmarks with few photos.
Two runs execute in parallel, with one thread each.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import safetensors.torch
from numpy.typing import NDArray
from PIL import Image as Pillow

from whichlandmark.core.types import Photos
from whichlandmark.data.synthetic.plan import DrawnWorld
from whichlandmark.data.synthetic.world import draw_world
from whichlandmark.data.table import read_photos, write_photos
from whichlandmark.evaluation.evaluate import evaluate_in_detail
from whichlandmark.recognition.folder.load import build
from whichlandmark.recognition.rules import Rules
from whichlandmark.training import loader, trainer
from whichlandmark.training.config import TrainConfig
from whichlandmark.training.train import train

WORLD = DrawnWorld(seed=0, landmarks=36, unknown_landmarks=12, photos=1300, queries=300,
                   unknown_queries=80, nonlandmark_queries=700, distractors=400)  # fmt: skip
START = replace(WORLD, seed=100, landmarks=60, photos=1500)
BASE = TrainConfig(
    backbone="resnet10t", options={"channels": [32, 64, 128, 256], "stem_width": 16}, dim=128,
    size=160, crop=96, least_area=0.5, workers=0, landmarks_per_batch=12, photos_per_landmark=4,
    subspaces=3, device="cpu",
)  # fmt: skip
# As published. Its learning rate is for ten times as many steps, so a larger one is tried too.
SEED = replace(BASE, loss="triplet", optimizer="sgd", lr=1e-3, weight_decay=0.0, warmup=0.0,
               accumulate=15, jitter=0.0, regroup_every=0)  # fmt: skip
OURS = replace(BASE, loss="both", lr=3e-3)
ROWS = {
    "seed as published": SEED,
    "seed as published, lr × 30, no accumulation": replace(SEED, lr=3e-2, accumulate=1),
    "seed mended": replace(SEED, lr=3e-2, accumulate=1, regroup_every=0),
    "… random batches": replace(SEED, lr=3e-2, accumulate=1, batches="mixed"),
    "… refreshed subspaces": replace(SEED, lr=3e-2, accumulate=1, regroup_every=1),
    "ArcFace, plain shuffling": replace(OURS, loss="arcface", batches="shuffled"),
    "ours": OURS,
}
PUBLISHED = "seed as published"


def first_centres(
    centres: NDArray[np.float32], count: int, *, seed: int, smallest: int
) -> NDArray[np.int64]:
    """The published grouping: each landmark joins the nearest of the first `count` centres."""
    return (centres @ centres[:count].T).argmax(axis=1).astype(np.int64)


def published_batches(
    codes: NDArray[np.int64],
    groups: NDArray[np.int64],
    *,
    landmarks: int,
    photos: int,
    seed: object,
) -> list[NDArray[np.int64]]:
    """The published sampler: batches of one epoch, subspaces drawn with equal probability."""
    rng = np.random.default_rng(list(seed))  # type: ignore[call-overload]
    members = [np.flatnonzero(groups == g) for g in np.unique(groups)]
    usable = [m for m in members if len(m) >= landmarks]
    batches = []
    for _ in range(len(codes) // (landmarks * photos)):
        group = usable[int(rng.integers(len(usable)))]
        rows = [
            rng.permutation(np.flatnonzero(codes == code))[:photos]
            for code in rng.permutation(group)[:landmarks]
        ]
        batches.append(np.concatenate(rows))
    return batches


def squashed(photos: Photos, folder: Path) -> Photos:
    """The table with every photo squashed to a square."""
    paths = []
    for path in photos.paths:
        out = folder / Path(path).relative_to(folder.parent)
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            Pillow.open(path).convert("RGB").resize((160, 160)).save(out.with_suffix(".png"))
            paths.append(str(out.with_suffix(".png")))
        except OSError:
            paths.append(path)  # one of the world's damaged files, which training skips
    return Photos.of_columns(list(photos.ids), paths, list(photos.landmarks))


def tables(at: Path, square: bool) -> list[Photos]:
    names = ("photos", "distractors", "queries")
    found = [read_photos(at / "world" / f"{name}.csv") for name in names]
    if not square:
        return found
    if not (at / "world" / "square" / "photos.csv").exists():
        for name, table in zip(names, found, strict=True):
            write_photos(at / "world" / "square" / f"{name}.csv",
                         squashed(table, at / "world" / "square"))  # fmt: skip
    return [read_photos(at / "world" / "square" / f"{name}.csv") for name in names]


def one_run(at: Path, name: str, seed: int, epochs: int) -> None:
    """Train one row with one seed; print its GAPs as JSON."""
    published = name.startswith(PUBLISHED)
    photos, bank, queries = tables(at, square=published)
    if published:
        trainer.subspaces = first_centres
        loader.epoch_batches = published_batches  # type: ignore[assignment]
    config = replace(ROWS[name], seed=seed, epochs=epochs, weights=str(at / "start.safetensors"))
    started = time.monotonic()
    embedder = train(photos, config)
    seconds = time.monotonic() - started
    recognizer = build(embedder, photos, distractors=bank, rules=Rules().with_score("cosine"))
    scores = evaluate_in_detail(
        recognizer, queries, other_scores=("cosine", "both_penalties")
    ).scores
    print(json.dumps({**scores.gap_by_score, "top1": scores.top1, "seconds": seconds}))


def make_start(at: Path) -> None:
    """Train the initial weights with ArcFace on another synthetic world."""
    draw_world(at / "start", START)
    config = replace(OURS, loss="arcface", batches="shuffled", epochs=10, workers=1, seed=7)
    net = train(read_photos(at / "start" / "photos.csv"), config).net
    weights = {key: value.contiguous() for key, value in net.backbone.state_dict().items()}
    safetensors.torch.save_file(weights, at / "start.safetensors")


def subprocess_of(at: Path, name: str, seed: int, epochs: int) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, str(at), "--run", name, str(seed), "--epochs", str(epochs)],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{name}, seed {seed}\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"  {name}, seed {seed}: {found}", file=sys.stderr, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--only", default="")
    parser.add_argument("--run", nargs=2)
    options = parser.parse_args()
    at = options.folder.resolve()
    if options.run:
        one_run(at, options.run[0], int(options.run[1]), options.epochs)
        return
    if not (at / "start.safetensors").exists():
        draw_world(at / "world", WORLD)
        make_start(at)
        tables(at, square=True)
    names = [name for name in ROWS if options.only in name]
    jobs = [(name, seed) for seed in range(options.seeds) for name in names]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda job: subprocess_of(at, *job, options.epochs), jobs))
    print(
        "| training | GAP, cosine | GAP, both penalties | top-1 | minutes |\n|---|---|---|---|---|"
    )
    for name in names:
        of = [value for (row, _), value in zip(jobs, found, strict=True) if row == name]
        cells = []
        for key in ("cosine", "both_penalties", "top1"):
            values = [run[key] for run in of]
            cells.append(f"{statistics.mean(values):.3f} ({min(values):.3f}–{max(values):.3f})")
        minutes = statistics.mean(run["seconds"] for run in of) / 60
        print(f"| {name} | {' | '.join(cells)} | {minutes:.1f} |")


if __name__ == "__main__":
    main()
