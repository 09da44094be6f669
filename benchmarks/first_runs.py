"""Race first runs into one new folder, and look for every photo that a run reported.

    python benchmarks/first_runs.py [--races 200] [--commands 10] [--kinds index,add,kill,command,…]

Each race starts two or four processes at one moment. Afterwards every photo that a run reported as
added or already there must be in the gallery by its bytes, `gallery verify` must find nothing, and
the recognizer must open and answer. Kinds:

    index    first runs of `index` from Python, each of its own folder; the names agree in all
    shards   the same, each with `--shards 2` and its own shard folder
    add      a first `index`, then `gallery add` of two folders beside an `index` of a third
    kill     as index, where one process is killed at a random moment
    command  `whichlandmark index` as processes
    outputs  two first runs each of `split`, `import folder`, `clean` and `train` into one place
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from whichlandmark.core.errors import WhichLandmarkError
from whichlandmark.core.images import content_hash
from whichlandmark.core.types import Photos
from whichlandmark.data.folders import read_folder
from whichlandmark.features.embedders.histogram import HistogramEmbedder
from whichlandmark.gallery.address import gallery_in
from whichlandmark.recognition.folder.edit import add_photos
from whichlandmark.recognition.folder.load import load
from whichlandmark.recognition.folder.maintain import verify_gallery
from whichlandmark.recognition.indexing.index_photos import IndexOptions, index_photos

fork = multiprocessing.get_context("fork")


def draw(root: Path, landmarks: int = 2, photos: int = 4) -> list[Path]:
    """Four folders whose files have equal names and other bytes; the first landmark is in all."""
    for year, code, i in itertools.product(range(4), range(landmarks), range(photos)):
        place = "Louvre" if code == 0 else f"place {year}-{code}"
        path = root / str(2021 + year) / "photos" / place / f"IMG_{i:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng([year, code, i])
        color = np.random.default_rng(code * 9 + year * (code > 0)).integers(30, 226, 3)
        pixels = np.clip(color + rng.integers(-25, 26, (60, 80, 3)), 0, 255).astype(np.uint8)
        Pillow.fromarray(pixels).save(path, quality=90)
    return [root / str(2021 + year) / "photos" for year in range(4)]


def table_of(folder: Path) -> Photos:
    return read_folder(folder)


def silent(_: str) -> Callable[[int, int], None]:
    return lambda done, total: None


def indexes(source: Path, out: Path, shards: Path | None) -> set[str]:
    """Index a folder from Python; the paths of the photos that it reported as used."""
    options = IndexOptions()
    if shards:
        options = IndexOptions(shards=2, shard_folder=str(shards))
    table = table_of(source)
    done = index_photos(table, None, out, HistogramEmbedder(), options, progress=silent)
    return set(table.paths) - {table.paths[list(table.ids).index(f.id)] for f in done.failures}


def adds(source: Path, out: Path) -> set[str]:
    table = table_of(source)
    done = add_photos(out, table, embedder=HistogramEmbedder())
    return set(table.paths) - {table.paths[list(table.ids).index(one)] for one in done.failures}


def runner(task: Any, start: Any, delay: float, answer: Any) -> None:
    """One process of a race; sends (paths reported, error)."""
    start.wait()
    time.sleep(delay)
    try:
        answer.send((task(), ""))
    except WhichLandmarkError as error:
        answer.send((set(), f"{type(error).__name__}: {error}"))
    except BaseException:
        answer.send((set(), traceback.format_exc()))


def race(tasks: list[Any], *, kill: float | None = None) -> list[tuple[set[str], str]]:
    """Run tasks at one moment, each in a process; what each reported.

    kill: seconds after which the first is killed.
    """
    start, processes = fork.Barrier(len(tasks) + 1), []
    for task in tasks:
        mine, theirs = fork.Pipe(duplex=False)
        delay = random.choice((0, 0, random.uniform(0, 0.05)))
        process = fork.Process(target=runner, args=(task, start, delay, theirs))
        process.start()
        theirs.close()
        processes.append((process, mine))
    start.wait()
    if kill is not None:
        time.sleep(kill)
        os.kill(processes[0][0].pid or 0, signal.SIGKILL)
    found = []
    for process, mine in processes:
        try:
            found.append(mine.recv())
        except EOFError:
            found.append((set(), "killed"))
        process.join()
    return found


def in_child(task: Any) -> Any:
    """Run in a process of its own, so that this one stays without threads and can fork."""
    (result, error) = race([task])[0]
    if error:
        raise RuntimeError(error)
    return result


def faults(out: Path, reported: set[str]) -> list[str]:
    """What is wrong with a folder in which these photos should be."""
    with gallery_in(out) as gallery:
        stored = set(gallery.table(vectors=False).hashes.tolist())
    lost = sorted(p for p in reported if content_hash(Path(p).read_bytes()) not in stored)
    found = [f"lost: {', '.join(lost)}"] if lost else []
    check = verify_gallery(out)
    found += [line for line in check.faults if "a Python object" not in line]
    found += [line for line in check.warnings if "unfinished" not in line]
    if reported:
        answer = load(out, embedder=HistogramEmbedder())(next(iter(reported)))
        found += [] if answer.guess else ["the recognizer names nothing"]
    return found


class Tally:
    """Counts of a kind of race."""

    def __init__(self, kind: str) -> None:
        self.kind, self.races, self.errors, self.faults = kind, 0, Counter[str](), Counter[str]()

    def add(self, found: list[tuple[set[str], str]], faults: list[str]) -> None:
        self.races += 1
        for _, error in found:
            if error and error != "killed":
                self.errors[error.strip().splitlines()[-1][:300]] += 1
        for fault in faults:
            self.faults[fault[:300]] += 1

    def print(self) -> None:
        print(f"{self.kind}: {self.races} races, {self.errors.total()} runs ended with an error, "
              f"{self.faults.total()} faults", flush=True)  # fmt: skip
        for name, counted in (("error", self.errors), ("FAULT", self.faults)):
            for text, count in counted.most_common(8):
                print(f"  {count} × {name}: {text}", flush=True)


def checked(out: Path, found: list[tuple[set[str], str]], tally: Tally) -> None:
    reported = set().union(*(paths for paths, _ in found))
    try:
        wrong = in_child(lambda: faults(out, reported)) if reported or out.exists() else []
    except RuntimeError as error:
        wrong = [] if not reported and "no gallery there" in str(error) else [str(error).strip()]
    tally.add(found, wrong)


def race_index(sources: list[Path], out: Path, number: int, tally: Tally) -> None:
    count = 2 if number % 2 else 4
    given = sources[:count]
    if number % 10 == 9:  # all of the same folder
        given = [sources[0]] * count
    checked(out, race([lambda s=s: indexes(s, out, None) for s in given]), tally)


def race_shards(sources: list[Path], out: Path, number: int, tally: Tally) -> None:
    given = sources[: 2 if number % 2 else 4]
    checked(
        out,
        race([lambda s=s: indexes(s, out, out.parent / s.parent.name) for s in given]),
        tally,
    )


def race_add(sources: list[Path], out: Path, number: int, tally: Tally) -> None:
    first = race([lambda: indexes(sources[0], out, None)])
    tasks = [lambda s=s: adds(s, out) for s in sources[1:3]]
    tasks.append(lambda: indexes(sources[3], out, None))
    checked(out, first + race(tasks[1:] if number % 2 else tasks), tally)


def race_kill(sources: list[Path], out: Path, number: int, tally: Tally) -> None:
    given = sources[: 2 if number % 2 else 4]
    tasks = [lambda s=s: indexes(s, out, None) for s in given]
    found = race(tasks, kill=random.uniform(0, 0.3))
    checked(out, found, tally)
    again = race([tasks[0]])  # the same command ends what was killed
    checked(out, [*found, *again], tally)


def command(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "whichlandmark.cli", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def race_command(sources: list[Path], out: Path, number: int, tally: Tally) -> None:
    given = sources[: 2 if number % 2 else 4]
    extra = ["--embedder", "sift"] if number % 3 == 2 else []
    runs = [command("index", source, "-o", out, *extra) for source in given]
    found = []
    for source, run in zip(given, runs, strict=True):
        _, said = run.communicate(timeout=600)
        paths = set(table_of(source).paths) if run.returncode in (0, 3) else set()
        found.append((paths, "" if paths else f"exit code {run.returncode}: {said.strip()}"))
    reported = sorted(set().union(*(paths for paths, _ in found)))
    with gallery_in(out) as gallery:
        stored = set(gallery.table(vectors=False).hashes.tolist())
    lost = [p for p in reported if content_hash(Path(p).read_bytes()) not in stored]
    wrong = [f"lost: {', '.join(lost)}"] if lost else []
    for words in (("gallery", "verify", out), ("recognize", *reported[:1], "-r", out)):
        asked = command(*words)
        _, said = asked.communicate(timeout=600)
        if asked.returncode or "warning" in said:
            wrong.append(f"{words[0]}: exit code {asked.returncode}: {said.strip()}")
    tally.add(found, wrong)


def race_outputs(sources: list[Path], out: Path, number: int, tally: Tally) -> None:
    """Two commands of one kind into one place; what what is there must be of one of them."""
    kind = ("import", "split", "clean", "train")[number % 4]
    lines = {
        "import": [("import", "folder", source, "-o", out) for source in sources[:2]],
        "split": [("split", source, "-o", out, "--test", 0.5) for source in sources[:2]],
        "clean": [("clean", source, "-o", out.with_suffix(".csv")) for source in sources[:2]],
        "train": [("train", source, "-o", out, "--epochs", 1, "--device", "cpu", *SMALL)
                  for source in sources[:2]],
    }[kind]  # fmt: skip
    runs, found, wrong = [command(*line) for line in lines], [], []
    for run in runs:
        said = "".join(run.communicate(timeout=600))
        found.append((set(), "" if run.returncode in (0, 3) else f"{kind}: {said.strip()}"))
    years = {part for table in [*out.glob("*.csv"), *out.parent.glob("*.csv"), out]
             if table.is_file() for part in re.findall(r"202\d", table.read_text())}  # fmt: skip
    if len(years) > 1 or all(error for _, error in found):
        wrong.append(f"{kind}: photos of {sorted(years)}")
    tally.add(found, wrong)


SMALL = [word for one in ("backbone=resnet10t", "dim=16", "size=48", "crop=32", "workers=0",
                          "landmarks_per_batch=2", "photos_per_landmark=2")
         for word in ("--set", one)]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--races", type=int, default=200)
    parser.add_argument("--commands", type=int, default=10)
    parser.add_argument("--kinds", default="index,shards,add,kill,command")
    options = parser.parse_args()
    random.seed(0)
    kinds = {"index": race_index, "shards": race_shards, "add": race_add, "kill": race_kill,
             "command": race_command, "outputs": race_outputs}  # fmt: skip
    with tempfile.TemporaryDirectory() as root:
        os.chdir(root)
        sources = draw(Path("world"))
        for kind in options.kinds.split(","):
            tally = Tally(kind)
            for number in range(
                options.commands if kind in ("command", "outputs") else options.races
            ):
                with tempfile.TemporaryDirectory(dir=root) as place:
                    kinds[kind](sources, Path(place, "X.wl"), number, tally)
            tally.print()


if __name__ == "__main__":
    main()
