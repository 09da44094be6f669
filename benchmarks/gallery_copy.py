"""Copy a gallery to PostgreSQL and back with kills on the way, and compare the result.

    python benchmarks/gallery_copy.py RECOGNIZER [--kills 2] [--queries 1000] [--seed 0]

RECOGNIZER: a folder with a gallery file, such as `cold_start.py` creates (110,000 photos). Starts
its own server. Each copy is a process of `whichlandmark gallery copy` that is killed after some
seconds and then run again to the end. At the end, every photo and record of the first and the last
gallery, and the answers of all three galleries to drawn queries, are compared. Exit code 1 when
anything differs.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import tests_on_path  # noqa: F401
from tests.support.own_postgres import own_postgres
from whichlandmark.gallery.address import gallery_in
from whichlandmark.gallery.base import Gallery
from whichlandmark.gallery.copy import content_sum
from whichlandmark.recognition.folder.load import load, refresh_index_files

BLOCK = 2_000


def copy(source: Path, target: Path, address: str, waits: list[float]) -> float:
    """Copy with a kill after each of these seconds, then to the end; seconds of the last run."""
    more = ["--gallery", address] if address else []
    command = [sys.executable, "-m", "whichlandmark.cli", "gallery", "copy", str(source),
               str(target), *more, "--json"]  # fmt: skip
    for wait in waits:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            process.wait(wait)
            print("  it had ended before this kill")
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            print(f"  killed after {wait:.1f} s, {held(target)} photos there", flush=True)
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    print(f"  {done.stdout.strip()}", flush=True)
    return time.perf_counter() - began


def held(folder: Path) -> int:
    with gallery_in(folder) as gallery:
        return gallery.count()


def contents(gallery: Gallery) -> dict[str, int]:
    found, after = {}, -1
    while rows := gallery.rows_after(after, BLOCK):
        found |= {row.id: content_sum(row) for _, row in rows}
        after = rows[-1][0]
    return found


def answers(folder: Path, queries: int) -> list[tuple]:
    """Decision, landmark, nearest photos and confidence of gallery photos with added noise."""
    opened = load(folder)
    rng = np.random.default_rng(1)
    chosen = np.sort(rng.permutation(len(opened.index.ids))[:queries])
    vectors = opened.index.vectors[chosen].astype(np.float32)
    vectors += 0.03 * rng.standard_normal(vectors.shape).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    told = opened.predict(vectors)
    opened.gallery.close()
    return [(one.decision, one.landmark, tuple(m.photo_id for m in one.matches),
             round(one.confidence, 5)) for one in told]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recognizer", type=Path)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    waits = [rng.uniform(2, 7, options.kills).tolist() for _ in range(2)]
    with tempfile.TemporaryDirectory() as folder, own_postgres() as server:
        first, there, back = (Path(folder) / f"{name}.wl" for name in ("first", "server", "back"))
        shutil.copytree(options.recognizer, first)
        with gallery_in(
            first
        ) as gallery:  # an inverted file of an older version may find other photos
            refresh_index_files(first, gallery, rebuild=True)
        print("to PostgreSQL:", flush=True)
        out = copy(first, there, server.address("copied"), waits[0])
        print("and back:", flush=True)
        home = copy(there, back, "", waits[1])
        print(f"last runs: {out:.1f} s there, {home:.1f} s back", flush=True)
        with gallery_in(first) as gallery, gallery_in(back) as last:
            same = contents(gallery) == contents(last)
            records = gallery.landmarks() == last.landmarks()
            print(f"{last.count()} photos, the same content each: {same}; records: {records}")
            faults = last.faults()
        told = [answers(place, options.queries) for place in (first, there, back)]
        equal = [told[0] == other for other in told[1:]]
        print(f"{options.queries} answers the same on PostgreSQL: {equal[0]}, back: {equal[1]}; "
              f"faults: {len(faults)}")  # fmt: skip
    raise SystemExit(not (same and records and all(equal)) or bool(faults))


if __name__ == "__main__":
    main()
