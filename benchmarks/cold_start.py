"""Measure seconds and memory of `whichlandmark recognize` for one photo in a new process.

    python benchmarks/cold_start.py FOLDER [--gallery 100000] [--runs 9] [--embedder lite0]
        [--source src --source OTHER/src]

Creates in FOLDER, unless it is there, a recognizer of 100,000 random vectors and 10,000 distractors
with an embedder (MobileNetV2 at 224 px with random weights, or --embedder: a folder or `lite0`),
fitted on leave-one-out queries, and a photo of 12 megapixels. Then runs, in turns, `recognize` with
index files, without index files, `whichlandmark --help`, `recognize --help`, Python alone, and
imports of numpy and torch. Each --source is the `src` folder of a tree of the project; they take
turns too. Prints the median of the wall seconds, of the processor seconds and the peak resident
memory of each process, and the medians of its ratios to the import of torch in the same round: of
the wall seconds, and of the processor seconds, which count on a shared machine. As in an installed
program, modules are read as bytecode: a first, untimed round writes it.
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
        load_embedder(str(embedder), device="cpu").save(target / "embedder")
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
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(code, taken, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
"""


def run(command: list[str], source: Path) -> tuple[float, float, float]:
    """Wall seconds, processor seconds and peak resident megabytes of the process."""
    starter = [sys.executable, "-I", "-S", "-c", STARTER]
    environment = {**os.environ, "PYTHONPATH": os.fspath(source)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    told = subprocess.run(
        [*starter, *command], capture_output=True, text=True, check=True, env=environment
    )
    code, taken, busy, megabytes = told.stdout.split()
    if int(code):
        sys.exit(f"{' '.join(command)}: exit code {code}\n{told.stderr}")
    return float(taken), float(busy), float(megabytes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gallery", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--embedder", type=Path)
    parser.add_argument("--source", type=Path, action="append")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    target, picture = make(options.folder, options.gallery, options.embedder), photo(options.folder)
    plain = target.with_suffix(".plain.wl")
    if not plain.exists():
        shutil.copytree(target, plain, ignore=shutil.ignore_patterns("segments"))
    own = Path(__file__).resolve().parent.parent / "src"
    sources = [path.resolve() for path in options.source or [own]]
    program = [sys.executable, "-m", "whichlandmark"]
    ask = [*program, "recognize", str(picture), "--json", "--recognizer"]
    alone = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "python -c 'import numpy'": [sys.executable, "-c", "import numpy"],
        TORCH: [sys.executable, "-c", "import torch"],
    }
    of_a_tree = {
        "whichlandmark --help": [*program, "--help"],
        "whichlandmark recognize --help": [*program, "recognize", "--help"],
        "recognize": [*ask, str(target)],
        "recognize, without index files": [*ask, str(plain)],
    }
    runs = [(name, command, own) for name, command in alone.items()]
    for source in sources:
        where = f" ({source})" if len(sources) > 1 else ""
        runs += [(name + where, command, source) for name, command in of_a_tree.items()]
    for _, command, source in runs:
        run(command, source)
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name, _, _ in runs}
    for _ in range(options.runs):
        for name, command, source in runs:
            found[name].append(run(command, source))
    print(f"gallery {options.gallery:,}, bank {BANK:,}, photo 4000 × 3000; medians of "
          f"{options.runs},"
          f" load {os.getloadavg()[0]:.1f}; in brackets: of the import of torch")  # fmt: skip
    report(found)


TORCH = "python -c 'import torch'"


def report(found: dict[str, list[tuple[float, float, float]]]) -> None:
    for name, each in found.items():
        wall, busy, memory = (statistics.median(one[at] for one in each) for at in range(3))
        ratios = [
            statistics.median(
                one[at] / torch[at] for one, torch in zip(each, found[TORCH], strict=True)
            )
            for at in range(2)
        ]
        low, high = min(one[0] for one in each), max(one[0] for one in each)
        print(f"{name:34} {wall:6.3f} s ({low:.3f}–{high:.3f}) [{ratios[0]:.3f}], processor "
              f"{busy:6.3f} s [{ratios[1]:.3f}], {memory:4.0f} MB")  # fmt: skip


if __name__ == "__main__":
    main()
