"""Measure the gain of fine-tuning on the gallery's landmarks over a frozen backbone.

    python benchmarks/finetune_real.py FOLDER [--checkpoint FILE] [--out DIR] [--set KEY=VALUE …]

FOLDER has the layout of real_photos.py, and train/<landmark>/. Training uses train and index, with
`whichlandmark train --recipe finetune`, from `lite0`, or from the MobileNetV2 of a checkpoint of
real_photos.py. Both embedders then answer the same queries with the same gallery (index) and
distractors under each score; "learned" is the one that `index` chooses. The difference has a paired
bootstrap interval over queries. Queries that show the same picture as a gallery photo are left out.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

import numpy as np

from real_photos import NETWORK, command, write_queries
from whichlandmark.core.types import Photos
from whichlandmark.data.folders import read_folder
from whichlandmark.data.table import write_photos
from whichlandmark.evaluation.compare import compare
from whichlandmark.evaluation.predictions import Predictions, read_predictions
from whichlandmark.recognition.rules import FORMULAS

SCORES = ("learned", *FORMULAS)


def training_table(photos: Path) -> Photos:
    parts = [read_folder(photos / name) for name in ("train", "index")]
    columns = zip(*((part.ids, part.paths, part.landmarks) for part in parts), strict=True)
    ids, paths, landmarks = (np.concatenate(column) for column in columns)
    return Photos.of_columns(list(ids), list(paths), list(landmarks))


def answers(embedder: Path, photos: Path, at: Path) -> dict[str, Predictions]:
    """Predictions under each score; the gallery is indexed only once."""
    name = embedder.name
    command("index", photos / "index", "-o", at / f"{name}.wl", "--embedder", embedder,
            "--distractors", photos / "distractors")  # fmt: skip
    found = {}
    for score in SCORES:
        out = at / f"{name}-{score}.csv"
        chosen = () if score == "learned" else ("--score", score)
        command("evaluate", at / "queries.csv", "--recognizer", at / f"{name}.wl",
                "-o", out, *chosen)  # fmt: skip
        found[score] = read_predictions(out)
    return found


def train(options: argparse.Namespace, at: Path) -> None:
    """Write the embedders `frozen` and `tuned`; print what the training took."""
    settings = [f"size={options.size}", *options.settings]
    if options.checkpoint:
        command(*NETWORK, "--size", options.size, "--checkpoint", options.checkpoint,
                "-o", at / "frozen")  # fmt: skip
        settings = ["backbone=mobilenetv2_100", 'options={"pad_type": "same"}',
                    f"weights={options.checkpoint}", "mean=[0.5,0.5,0.5]", "std=[0.5,0.5,0.5]",
                    *settings]  # fmt: skip
    else:
        command("embedder", "lite0", "--size", options.size, "-o", at / "frozen")
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    words = [word for setting in settings for word in ("--set", setting)]
    told = command("train", at / "photos.csv", "-o", at / "tuned", "--recipe", "finetune", "--json",
                   *words)  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"trained in {(time.monotonic() - started) / 60:.1f} min, {seconds:.0f} s of processor "
          f"time; best epoch {told}", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=lambda text: Path(text).resolve())
    parser.add_argument("--checkpoint", type=lambda text: Path(text).resolve())
    parser.add_argument("--out", type=Path, default=Path("runs/finetune"))
    parser.add_argument("--size", default="384")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    options = parser.parse_args()
    at = options.out
    at.mkdir(parents=True, exist_ok=True)
    write_queries(options.photos, at / "queries.csv")
    write_photos(at / "photos.csv", training_table(options.photos))
    train(options, at)
    frozen, tuned = (answers(at / name, options.photos, at) for name in ("frozen", "tuned"))
    print(f"{'':26}{'frozen':>8}{'tuned':>8}{'gain':>8}   95 % of paired bootstraps")
    for score in SCORES:
        measures = compare(frozen[score], tuned[score]).measures
        for name in ("gap", "top1") if score in ("learned", "cosine") else ("gap",):
            pair = measures[name]
            low, high = pair.interval
            print(f"{score + ' ' + name:26}{pair.a:8.3f}{pair.b:8.3f}{pair.difference:+8.3f}   "
                  f"{low:+.3f} to {high:+.3f}")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
