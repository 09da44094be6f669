"""Kill a training run at random steps, resume it, and compare it with an undisturbed run.

    python benchmarks/kill_and_resume.py [--kills 20]

SIGKILL after a random number of steps of each process; one thread, on the CPU. Prints the steps of
the kills, the last row of log.csv of both runs, and whether embedder ids and all logged numbers are
equal.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import os
import signal
import tempfile
from pathlib import Path

import numpy as np
import torch

from whichlandmark.data.synthetic.plan import DrawnWorld
from whichlandmark.data.synthetic.world import draw_world
from whichlandmark.data.table import read_photos
from whichlandmark.features.embedders.load import load_embedder
from whichlandmark.training.config import TrainConfig
from whichlandmark.training.train import train

CONFIG = TrainConfig(
    backbone="resnet10t", options={"channels": [16, 32, 64, 128], "stem_width": 8}, dim=64, size=96,
    crop=64, epochs=6, landmarks_per_batch=6, photos_per_landmark=4, subspaces=3, workers=0,
    device="cpu", checkpoint_every=3, ema=0.9, shapes=True, first_crop=32, lr=3e-3,
)  # fmt: skip


def run(table: Path, out: Path, steps: int | None) -> None:
    """Train to the end, or until this process has made this number of steps."""
    torch.set_num_threads(1)
    made = 0

    def report(done: int, total: int, text: str) -> None:
        nonlocal made
        made += text.startswith("epoch")
        if made == steps:
            os.kill(os.getpid(), signal.SIGKILL)

    train(read_photos(table), CONFIG, out=out, report=report)


def in_a_process(table: Path, out: Path, steps: int | None) -> int:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["whichlandmark.training.train"])
    process = context.Process(target=run, args=(table, out, steps))
    process.start()
    process.join()
    return process.exitcode or 0


def rows(out: Path) -> list[dict[str, str]]:
    with open(out / "training" / "log.csv", newline="", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        world = DrawnWorld(landmarks=18, unknown_landmarks=2, photos=360, queries=20,
                           unknown_queries=4, nonlandmark_queries=4, distractors=4)  # fmt: skip
        draw_world(at / "world", world)
        table = at / "world" / "photos.csv"
        assert in_a_process(table, at / "whole", None) == 0
        points = np.random.default_rng(0).integers(1, 9, options.kills).tolist()
        killed = [in_a_process(table, at / "killed", point) for point in points]
        assert in_a_process(table, at / "killed", None) == 0
        whole, resumed = rows(at / "whole"), rows(at / "killed")
        print(f"killed after {points} steps of each process")
        print(f"ended by SIGKILL: {killed.count(-signal.SIGKILL)} of {options.kills}")
        print(f"uninterrupted: {whole[-1]}")
        print(f"killed:        {resumed[-1]}")
        ids = [load_embedder(at / name).id for name in ("whole", "killed")]
        print(
            f"all {len(whole)} epochs equal: {whole == resumed}; same embedder: {ids[0] == ids[1]}"
        )


if __name__ == "__main__":
    main()
