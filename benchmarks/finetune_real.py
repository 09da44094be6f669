"""Measure the gain of fine-tuning on the gallery's landmarks over a frozen backbone.

    python benchmarks/finetune_real.py FOLDER --checkpoint FILE [--out DIR] [--set KEY=VALUE …]

FOLDER has the layout of real_photos.py, and train/<landmark>/. Training uses train and index, with
`whichlandmark train --recipe finetune`. Both embedders then answer the same queries with the same
gallery (index) and distractors under each score. The difference has a paired bootstrap interval
over queries. No query is in the training photos, which is checked by content.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from real_photos import NETWORK, command, write_queries
from whichlandmark.core.types import Photos
from whichlandmark.data.folders import read_folder
from whichlandmark.data.table import write_photos
from whichlandmark.evaluation.predictions import Predictions, read_predictions
from whichlandmark.metrics.bootstrap import bootstrap_interval
from whichlandmark.metrics.ranking import gap
from whichlandmark.recognition.rules import FORMULAS as SCORES


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
        told = command("evaluate", at / "queries.csv", "--recognizer", at / f"{name}.wl",
                       "-o", out, "--score", score, "--json")  # fmt: skip
        assert json.loads(told)["leaked"] == 0
        found[score] = read_predictions(out)
    return found


def value(p: Predictions, rows: np.ndarray) -> float:
    return gap(p.score[rows], p.right[rows], int(p.known[rows].sum()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=lambda text: Path(text).resolve())
    parser.add_argument("--checkpoint", type=lambda text: Path(text).resolve(), required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/finetune"))
    parser.add_argument("--size", default="384")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    options = parser.parse_args()
    at = options.out
    at.mkdir(parents=True, exist_ok=True)
    write_queries(options.photos, at / "queries.csv")
    write_photos(at / "photos.csv", training_table(options.photos))
    command(*NETWORK, "--size", options.size, "--checkpoint", options.checkpoint,
            "-o", at / "frozen")  # fmt: skip
    settings = ['options={"pad_type": "same"}', f"weights={options.checkpoint}",
                "mean=[0.5,0.5,0.5]", "std=[0.5,0.5,0.5]", f"size={options.size}",
                *options.settings]  # fmt: skip
    started = time.monotonic()
    words = [word for setting in settings for word in ("--set", setting)]
    told = command("train", at / "photos.csv", "-o", at / "tuned", "--recipe", "finetune", "--json",
                   *words)  # fmt: skip
    print(f"trained in {(time.monotonic() - started) / 60:.1f} min; best epoch {told}", flush=True)
    frozen, tuned = (answers(at / name, options.photos, at) for name in ("frozen", "tuned"))
    print(f"{'':18}{'frozen':>8}{'tuned':>8}{'gain':>8}   95 % of paired bootstraps")
    for score in SCORES:
        old, new = frozen[score], tuned[score]
        assert list(old.ids) == list(new.ids)
        rows = np.arange(len(old))
        low, high = bootstrap_interval(
            lambda drawn, old=old, new=new: value(new, drawn) - value(old, drawn), len(old)
        )
        before, after = value(old, rows), value(new, rows)
        print(f"{score:18}{before:8.3f}{after:8.3f}{after - before:+8.3f}   "
              f"{low:+.3f} to {high:+.3f}")  # fmt: skip
    for name, found in (("frozen", frozen), ("tuned", tuned)):
        p = found["cosine"]
        print(f"top-1 {name}: {p.right[p.known].mean():.3f}")


if __name__ == "__main__":
    sys.exit(main())
