"""Run the documented commands for Google Landmarks v2 on a small synthetic data set.

    python benchmarks/gldv2_small.py FOLDER [--epochs 6]

Draws a world and writes it in GLDv2's exact layout (CSV files, tars with MD5 files, category URLs,
a solution with Usage Public, Private and Ignored, blanks and a query with two landmarks), then
runs import, clean, split, train, index and evaluate, which writes submission.csv. Prints the GAP of
Public and Private, and compares both with a GAP computed from the submission and the solution.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import tests_on_path  # noqa: F401
from tests.support.gldv2_layout import Gldv2Set, Item, hex_id, write_gldv2
from whichlandmark.data.synthetic.plan import DrawnWorld
from whichlandmark.data.synthetic.world import draw_world

WORLD = DrawnWorld(
    landmarks=16, unknown_landmarks=4, photos=640, queries=120, unknown_queries=30,
    nonlandmark_queries=150, distractors=120,
)  # fmt: skip
SETTINGS = [
    "backbone=resnet10t", 'options={"channels": [32, 64, 128, 256], "stem_width": 16}', "dim=128",
    "size=160", "crop=96", "least_area=0.5", "workers=1", "landmarks_per_batch=8",
    "photos_per_landmark=4", "subspaces=2", "loss=both", "optimizer=adamw", "lr=3e-3",
    "weight_decay=2e-2",
]  # fmt: skip


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def gldv2_set(world: Path) -> Gldv2Set:
    """The drawn photos with ids like those of GLDv2. Every twentieth good photo goes to index."""
    photos, queries = rows_of(world / "photos.csv"), rows_of(world / "queries.csv")
    kind = {row["id"]: row["kind"] for row in rows_of(world / "truth.csv")}
    names = sorted({row["landmark"] for row in photos + queries} - {""})
    number = {name: str(7 + 37 * i) for i, name in enumerate(names)} | {"": ""}
    made = Gldv2Set(names={number[name]: name for name in names})
    for i, row in enumerate(photos):
        indexed = i % 20 == 0 and kind[row["id"]] == "good"
        data = (world / row["path"]).read_bytes()
        clean = kind[row["id"]] != "mislabelled" or i % 2 == 0
        item = Item(hex_id(row["id"]), number[row["landmark"]], data, clean=clean)
        (made.index if indexed else made.train).append(item)
    for i, row in enumerate(queries):
        usage = "Ignored" if i % 10 == 0 else ("Public", "Private", "Private")[i % 3]
        data = (world / row["path"]).read_bytes()
        made.test.append(Item(hex_id(row["id"]), number[row["landmark"]], data, usage))
    first = next(i for i, item in enumerate(made.test) if item.landmark and i % 10)
    one = made.test[first]
    both = f"{one.landmark} {number[names[-1]]}"
    made.test[first] = Item(one.id, both, one.data, one.usage)
    return made


def command(*words: object) -> dict[str, object]:
    """Run one command; exit code 3 (some inputs were skipped and listed) is accepted."""
    line = ["whichlandmark", *map(str, words)]
    started = time.perf_counter()
    ran = subprocess.run(
        [sys.executable, "-m", "whichlandmark.cli", *line[1:], "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    print(f"$ {' '.join(line)}\n    {seconds:.1f} s, exit code {ran.returncode}")
    if ran.returncode not in (0, 3):
        sys.exit(ran.stderr)
    for text in ran.stderr.splitlines()[:4]:
        print(f"    {text}")
    found: dict[str, object] = json.loads(ran.stdout)
    return found


def kaggle_gap(submission: Path, solution: Path, usage: str) -> float:
    """GAP from the two files alone: (1/M) Σ P(i)·rel(i), with ties in the order of the file."""
    truth = {row["id"]: row["landmarks"].split() for row in rows_of(solution)
             if row["Usage"] == usage}  # fmt: skip
    answers = [(row["id"], *row["landmarks"].split()) for row in rows_of(submission)
               if row["id"] in truth and row["landmarks"]]  # fmt: skip
    answers.sort(key=lambda answer: -float(answer[2]))
    right, total = 0, 0.0
    for place, (name, landmark, _) in enumerate(answers, 1):
        if landmark in truth[name]:
            right += 1
            total += right / place
    return total / sum(1 for labels in truth.values() if labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=6)
    given = parser.parse_args()
    at: Path = given.folder
    draw_world(at / "world", WORLD)
    if not (at / "gldv2" / "train.csv").exists():
        write_gldv2(at / "gldv2", gldv2_set(at / "world"), tars=3)
    print("  imported:", command("import", "gldv2", at / "gldv2", "-o", at / "tables"))
    print("  cleaned:", command("clean", at / "tables" / "train.csv", "-o", at / "clean.csv",
                                "--min-photos", 10))  # fmt: skip
    print("  split:", command("split", at / "clean.csv", "--test", 0.1, "-o", at / "splits"))
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    print("  trained:", command("train", at / "splits" / "train.csv", "-o", at / "embedder",
                                "--epochs", given.epochs, *settings))  # fmt: skip
    command("index", at / "splits" / "train.csv", "-o", at / "landmarks.wl", "--embedder",
            at / "embedder", "--distractors", at / "world" / "distractors.csv")  # fmt: skip
    scores = command("evaluate", at / "tables" / "test.csv", "-r", at / "landmarks.wl", "-o",
                     at / "predictions.csv", "--submission", at / "submission.csv")  # fmt: skip
    for name in ("gap", "gap_all_landmarks", "top1", "queries", "known", "unknown", "no_landmark"):
        print(f"  {name:<22} {scores[name]}")
    solution = at / "gldv2" / "recognition_solution_v2.1.csv"
    for usage, value in scores["gap_by_usage"].items():  # type: ignore[attr-defined]
        check = kaggle_gap(at / "submission.csv", solution, usage)
        count = scores["queries_by_usage"][usage]  # type: ignore[index]
        print(f"  GAP {usage:<18} {value:.4f} ({count} queries); from submission.csv {check:.4f}")


if __name__ == "__main__":
    main()
