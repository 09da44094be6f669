"""Measure what shards and Ray add to the time of a plain `index` on this machine.

    python benchmarks/shard_cost.py [--photos 5000] [--rounds 3] [--shards 8] [--size 320]
                                    [--backbone resnet18] [--cache FOLDER]

Times whole commands, with features and fitting, each in its own process: `index`,
`index --shards 8`, and `index --shards 8 --engine ray` (a cluster on this machine, started and
stopped each time). Each round runs all of them, in a rotating order. Prints medians, and medians of
each round's ratio to the plain index. On a busy machine, processor seconds are more reliable than
wall time. The galleries must be equal.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from small_worlds import drawn_photos, network
from whichlandmark.core.hardware import hardware_facts
from whichlandmark.data.table import write_photos
from whichlandmark.gallery.sqlite.store import SqliteGallery

MAX_RATIO = 1.10  # to the time of the plain index


def run(table: Path, source: Path, out: Path, flags: list[str]) -> tuple[float, float]:
    """Wall seconds and processor seconds of one command (without Ray's machines)."""
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    command = [sys.executable, "-m", "whichlandmark.cli", "index", str(table), "-o", str(out),
               "--embedder", str(source), *flags]  # fmt: skip
    started, used = time.perf_counter(), processors()
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started, processors() - used


def processors() -> float:
    """Processor seconds of all ended descendants of this process."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def sums(out: Path) -> list[list[int]]:
    with SqliteGallery.open(out / "gallery.sqlite") as gallery:
        return [column.tolist() for column in gallery.sums()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "small_worlds")
    options = parser.parse_args()
    photos = drawn_photos(options.cache, options.photos, options.size)
    source = network(options.cache, options.backbone, 224, 256)
    work = Path(tempfile.mkdtemp(prefix="shard_cost-"))
    write_photos(work / "photos.csv", photos)
    shards = ["--shards", str(options.shards)]
    ways = {"plain": [], "--shards": shards, "--engine ray": [*shards, "--engine", "ray"]}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    same = True
    try:
        for turn in range(options.rounds):
            names = list(ways)[turn % 3 :] + list(ways)[: turn % 3]
            for name in names:
                out = work / name.strip("-")
                times[name].append(run(work / "photos.csv", source, out, ways[name]))
            expected, *others = (sums(work / name.strip("-")) for name in ways)
            same = same and all(other == expected for other in others)
            for name in ways:
                shutil.rmtree(work / name.strip("-"))
            told = ", ".join(f"{name} {times[name][-1][0]:.1f} s" for name in ways)
            print(f"round {turn + 1}: {told}", flush=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    machine = hardware_facts()
    print(
        f"{machine['processor']}, {machine['cores']} cores; {len(photos)} photos of "
        f"{options.size} px, {options.backbone}, {options.shards} shards"
    )
    for name, found in times.items():
        ratios = [
            median(mine[i] / plain[i] for mine, plain in zip(found, times["plain"], strict=True))
            for i in (0, 1)
        ]
        clock, used = (median(each[i] for each in found) for i in (0, 1))
        by_processors = (
            "" if "ray" in name else f"   processors {used:.1f} s, ratio {ratios[1]:.3f}"
        )
        print(
            f"{name:<14} {clock:7.1f} s   ratio {ratios[0]:.3f} (goal: ≤ {MAX_RATIO})"
            f"{by_processors}"
        )
    print(f"the same galleries: {same}")


if __name__ == "__main__":
    main()
