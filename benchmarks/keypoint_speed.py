"""Keypoints before and after a change: time, inliers of true and false pairs, index run, GAP.

    python benchmarks/keypoint_speed.py FOLDER --before TREE [--part query] [--index] [--pairs 200]

FOLDER has index/<landmark>/, query/<landmark>/, train/<landmark>/, distractors/ (and unknown/ and
nonlandmark/, with --index). TREE is an older checkout of this project, whose src is imported in
processes of its own; photos take turns, so that both meet the same machine. --part train draws
pairs from index and train, to choose by; --part query pairs a query with a photo of index, to
report. Prints CPU milliseconds of a photo's keypoints and of a pair, the inliers of true and false
pairs, and the same with queries of the new tree and gallery photos of the old one, as old galleries
have them. --index: also index and evaluate with both trees, in turns; photos a second, CPU seconds
and GAP. One OpenCV and BLAS thread, except with --index. Three minutes on two idle cores; ten with
--index.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle  # of this script's own processes alone
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from real_photos import write_queries

HERE = Path(__file__).resolve().parents[1]

WORKER = """
import pickle, sys, time
import cv2
cv2.setNumThreads(1)
from whichlandmark.core.images import read_image
from whichlandmark.features.local.keypoints import pack, to_grey, unpack
from whichlandmark.features.local.matching import verify_many
from whichlandmark.recognition.spatial_verification import MATCHING, query_keypoints
while True:
    try:
        kind, given = pickle.load(sys.stdin.buffer)
    except EOFError:
        break
    if kind == "keypoints":
        grey = to_grey(read_image(given, short_side=MATCHING.size), MATCHING)
        began = time.process_time()
        result = pack(query_keypoints(grey))
    else:
        a, b = unpack(given[0]), unpack(given[1])
        began = time.process_time()
        result = verify_many(a, [b], MATCHING)[0].inliers
    pickle.dump((result, time.process_time() - began), sys.stdout.buffer)
    sys.stdout.buffer.flush()
"""


def environment(tree: Path, threads: bool = False) -> dict[str, str]:
    """The variables of a process that imports a tree."""
    one = {} if threads else {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return os.environ | one | {"PYTHONPATH": str(tree / "src")}


class Tree:
    """A process that finds and matches keypoints with one tree."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(path),
        )  # fmt: skip
        self.seconds: dict[str, list[float]] = {"keypoints": [], "pair": []}

    def ask(self, kind: str, given: Any) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        pickle.dump((kind, given), self.process.stdin)
        self.process.stdin.flush()
        result, took = pickle.load(self.process.stdout)  # noqa: S301
        self.seconds[kind].append(took)
        return result

    def middle(self, kind: str) -> float:
        """CPU milliseconds, median."""
        return 1e3 * float(np.median(self.seconds[kind]))


def drawn_pairs(
    folder: Path, part: str, count: int
) -> tuple[list[tuple[Path, Path]], list[tuple[Path, Path]]]:
    """True and false pairs, of as many landmarks as possible; the first photos are the same."""
    rng = np.random.default_rng(0)
    first = [part] if part == "query" else ["index", "train"]
    second = ["index"] if part == "query" else first
    firsts, seconds = (by_landmark(folder, parts) for parts in (first, second))
    names = sorted(name for name in firsts if len(seconds.get(name, [])) >= 2)
    true, false = [], []
    for number in range(count):
        name = names[number % len(names)]
        other = rng.choice([one for one in names if one != name])
        query = firsts[name][rng.integers(len(firsts[name]))]
        same = [path for path in seconds[name] if path != query]
        true.append((query, same[rng.integers(len(same))]))
        false.append((query, seconds[other][rng.integers(len(seconds[other]))]))
    return true, false


def by_landmark(folder: Path, parts: list[str]) -> dict[str, list[Path]]:
    photos: dict[str, list[Path]] = {}
    for part in parts:
        for path in sorted((folder / part).rglob("*.jpg")):
            photos.setdefault(path.parent.name, []).append(path)
    return photos


def print_inliers(name: str, true: np.ndarray, false: np.ndarray) -> None:
    right = np.r_[np.ones(len(true)), np.zeros(len(false))]
    shares = " ".join(f"{np.mean(true >= least):10.3f}" for least in (7, 12, 25))
    print(f"{name:26} {roc_auc_score(right, np.r_[true, false]):6.3f} {np.median(true):7.1f} "
          f"{true.mean():7.2f} {shares} {np.mean(false >= 7):11.4f} {false.max():6}",
          flush=True)  # fmt: skip


def compare_pairs(trees: dict[str, Tree], folder: Path, part: str, count: int) -> None:
    true, false = drawn_pairs(folder, part, count)
    paths = sorted({path for pair in true + false for path in pair})
    packed: dict[str, dict[Path, bytes]] = {name: {} for name in trees}
    for path in paths:
        for name, tree in trees.items():
            packed[name][path] = tree.ask("keypoints", str(path))
    runs = {"before": ("before", "before"), "after": ("after", "after"),
            "after, gallery of before": ("after", "before")}  # fmt: skip
    found: dict[str, list[list[int]]] = {run: [] for run in runs}
    for pairs in (true, false):
        for run, (queries, gallery) in runs.items():
            tree = trees[queries]
            found[run].append([
                tree.ask("pair", (packed[queries][a], packed[gallery][b])) for a, b in pairs
            ])  # fmt: skip
    print(f"{len(paths)} photos, {count} true and {count} false pairs of {part}")
    for name, tree in trees.items():
        points = np.mean([(len(data) - 16) / 68 for data in packed[name].values()])
        print(f"{name:26} {tree.middle('keypoints'):6.1f} ms CPU a photo, {points:.0f} keypoints; "
              f"{tree.middle('pair'):.2f} ms a pair", flush=True)  # fmt: skip
    print(
        f"{'inliers':27}AUROC  median    mean  true >= 7      >= 12      >= 25  false >= 7   most"
    )
    for run, (right, wrong) in found.items():
        print_inliers(run, np.array(right), np.array(wrong))


def measured(tree: Path, *arguments: object) -> tuple[str, float, float]:
    """What a command prints; its seconds, and its CPU seconds."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "whichlandmark.cli", *map(str, arguments)],
        capture_output=True, text=True, env=environment(tree, threads=True), check=False,
    )  # fmt: skip
    if done.returncode not in (0, 3):  # 3: some photos failed and are listed
        raise SystemExit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout, time.perf_counter() - began, cpu


def index_runs(trees: dict[str, Path], folder: Path, at: Path) -> Iterator[str]:
    """Lines of two index runs of each tree, in turns, and of their GAP."""
    photos = sum(len(list((folder / part).rglob("*.jpg"))) for part in ("index", "distractors"))
    queries = at / "queries.csv"
    write_queries(folder, queries)
    for turn in range(2):
        for name, tree in trees.items():
            out = at / f"{name}{turn}.wl"
            given = ("index", folder / "index", "-o", out, "--distractors", folder / "distractors")
            _, took, cpu = measured(tree, *given)
            again = at / f"{name}{turn}.plain.wl"
            _, plain, plain_cpu = measured(tree, *given[:3], again, *given[4:], "--no-features")
            yield (f"{name:7} index: {took:6.1f} s, {cpu:6.1f} CPU s, {photos / took:5.1f} photos/s"
                   f" in all; without geometry {plain:6.1f} s, {plain_cpu:6.1f} CPU s")  # fmt: skip
    for name, tree in trees.items():
        out, took, cpu = measured(
            tree, "evaluate", queries, "-r", at / f"{name}0.wl", "-o", at / f"{name}.csv", "--json"
        )
        yield f"{name:7} evaluate: GAP {gap_of(out):.4f}, {took:.1f} s, {cpu:.1f} CPU s"
    out, _, _ = measured(
        trees["after"], "evaluate", queries, "-r", at / "before0.wl", "-o", at / "mixed.csv",
        "--json",
    )  # fmt: skip
    yield f"after, gallery of before: GAP {gap_of(out):.4f}"


def gap_of(printed: str) -> float:
    return float(json.loads(printed)["gap"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--before", type=Path, required=True, help="an older checkout")
    parser.add_argument("--part", choices=("train", "query"), default="train")
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--index", action="store_true")
    given = parser.parse_args()
    paths = {"before": given.before.resolve(), "after": HERE}
    trees = {name: Tree(path) for name, path in paths.items()}
    compare_pairs(trees, given.folder, given.part, given.pairs)
    for tree in trees.values():
        assert tree.process.stdin
        tree.process.stdin.close()
        tree.process.wait()
    if given.index:
        with tempfile.TemporaryDirectory() as at:
            for line in index_runs(paths, given.folder, Path(at)):
                print(line, flush=True)


if __name__ == "__main__":
    main()
