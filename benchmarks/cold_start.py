"""Measure seconds and memory of `whichlandmark recognize` for one photo in a new process.

    python benchmarks/cold_start.py FOLDER [--gallery 100000] [--runs 9] [--embedder DIR]

Creates in FOLDER, unless it is there, a recognizer of 100,000 random vectors and 10,000 distractors
with an embedder (MobileNetV2 at 224 px with random weights, or --embedder), fitted on leave-one-out
queries, and a photo of 12 megapixels. Then runs, in turns, `recognize` with index files, without
index files, `whichlandmark --help`, Python alone and an import of numpy. Prints the median of the
wall seconds and the peak resident memory of each process.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

import tests_on_path  # noqa: F401
from tests.support.random_vectors import RandomVectors, long_tail
from whichlandmark.features.embedders.load import load_embedder
from whichlandmark.gallery.records import GalleryRow
from whichlandmark.gallery.sqlite.store import SqliteGallery
from whichlandmark.recognition.indexing.index_photos import finish_recognizer
from whichlandmark.recognition.rules import Rules

BANK = 10_000


def make(folder: Path, count: int, embedder: Path | None) -> Path:
    """The recognizer folder, created unless it exists."""
    target = folder / f"cold-{count}-{embedder.name if embedder else 'mobilenetv2'}.wl"
    if (target / "recognizer.json").exists():
        return target
    shutil.rmtree(target, ignore_errors=True)
    if embedder is None:
        from whichlandmark.features.embedders.torch_embedder import TorchEmbedder
        from whichlandmark.features.embedders.torch_network import Architecture, new_network
        from whichlandmark.features.preprocessing import Preprocessing

        net = new_network(Architecture(backbone="mobilenetv2_100", dim=512))
        TorchEmbedder(net, Preprocessing(size=224), device="cpu").save(target / "embedder")
    else:
        shutil.copytree(embedder, target / "embedder")
    opened = load_embedder(target / "embedder", device="cpu")
    fill(target, opened.id, opened.dim, count)
    started = time.perf_counter()
    with SqliteGallery.open(target / "gallery.sqlite") as gallery:
        finish_recognizer(target, opened, gallery, Rules(verify=0))
    print(f"fitted, index files made in {time.perf_counter() - started:.1f} s", file=sys.stderr)
    return target


def fill(target: Path, embedder_id: str, dim: int, count: int) -> None:
    codes = long_tail(count, max(2, count * 81_313 // 1_580_470))
    vectors = RandomVectors(int(codes.max()) + 1, dim).around_float16(codes, 1)
    kinds = np.random.default_rng(0).integers(0, 2_000, BANK)
    bank = RandomVectors(2_000, dim, seed=5).around_float16(kinds, 2)
    names = [f"landmark {code}" for code in codes] + [""] * BANK
    with SqliteGallery.create(target / "gallery.sqlite", embedder_id, dim) as gallery:
        for start in range(0, count + BANK, 20_000):
            gallery.put([
                GalleryRow(f"photo {row}", f"/photos/{row}.jpg", names[row], f"hash {row}", "",
                           (vectors[row] if row < count else bank[row - count]).astype(np.float32))
                for row in range(start, min(start + 20_000, count + BANK))
            ])  # fmt: skip


def photo(folder: Path) -> Path:
    path = folder / "photo.jpg"
    if not path.exists():
        coarse = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Pillow.fromarray(coarse).resize((4000, 3000), Pillow.Resampling.BICUBIC).save(path)
    return path


# Linux starts a process with the peak memory of its parent, so a small process starts the command.
STARTER = """
import os, resource, subprocess, sys, time
started = time.perf_counter()
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
taken = time.perf_counter() - started
print(code, taken, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""


def run(command: list[str]) -> tuple[float, float]:
    """Wall seconds, and peak resident megabytes, of the process."""
    starter = [sys.executable, "-I", "-S", "-c", STARTER]
    told = subprocess.run([*starter, *command], capture_output=True, text=True, check=True)
    code, taken, megabytes = told.stdout.split()
    if int(code):
        sys.exit(f"{' '.join(command)}: exit code {code}\n{told.stderr}")
    return float(taken), float(megabytes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gallery", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--embedder", type=Path)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    target, picture = make(options.folder, options.gallery, options.embedder), photo(options.folder)
    plain = target.with_suffix(".plain.wl")
    if not plain.exists():
        shutil.copytree(target, plain, ignore=shutil.ignore_patterns("segments"))
    program = str(Path(sys.executable).with_name("whichlandmark"))
    ask = [program, "recognize", str(picture), "--json", "--recognizer"]
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "python -c 'import numpy'": [sys.executable, "-c", "import numpy"],
        "whichlandmark --help": [program, "--help"],
        "recognize": [*ask, str(target)],
        "recognize, without index files": [*ask, str(plain)],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    memory: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(options.runs):
        for name, command in commands.items():
            taken, used = run(command)
            seconds[name].append(taken)
            memory[name].append(used)
    print(f"gallery {options.gallery:,}, bank {BANK:,}, photo 4000 × 3000; medians of "
          f"{options.runs}, load {os.getloadavg()[0]:.1f}")  # fmt: skip
    for name in commands:
        low, high = min(seconds[name]), max(seconds[name])
        print(f"{name:34} {statistics.median(seconds[name]):7.3f} s ({low:.3f}–{high:.3f}) "
              f"{statistics.median(memory[name]):7.0f} MB")  # fmt: skip


if __name__ == "__main__":
    main()
