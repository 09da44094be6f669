"""Measure how much of all cores `index`, `evaluate` and `tune` use, phase by phase.

    python benchmarks/core_use.py INDEX QUERIES [--distractors FOLDER] [--train FOLDER]
        [--source src --source OTHER/src] [--runs 3] [--embedder lite0]
        [--verbs index,evaluate,tune]

INDEX, QUERIES, --distractors and --train are folders or tables of photos; each --source is the
`src` folder of a tree of the project, such as one of before a change, and they take turns. Each run
is a process of its own. Printed are, for each verb, the wall seconds, the processor seconds, and
the share of the cores (processor / (wall × cores)), then the same for each phase of the main
thread: what it waited for or did itself, whatever other threads did meanwhile. "alone" is the
share of a phase's processor time that the main thread spent itself: near 1 means that the other
cores idled. Run it on an idle machine; on a shared one only processor times and "alone" count.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

VERBS = ("index", "evaluate", "tune")

# module, attribute, phase; a function that a tree does not have is left out.
PHASES = (
    ("recognition.folder.fill", "embed", "decode, embed, keypoints"),
    ("recognition.folder.tune", "embed", "decode, embed, keypoints"),
    ("evaluation.evaluate", "embed", "decode, embed, keypoints"),
    ("recognition.fitting.fit", "fit_whitening", "whitening"),
    ("recognition.fitting.leave_one_out", "fit_whitening", "whitening"),
    ("recognition.folder.tune", "fit_whitening", "whitening"),
    ("recognition.fitting.leave_one_out", "make_candidates", "candidates"),
    ("recognition.decision", "make_candidates", "candidates"),
    ("recognition.fitting.fit", "hold_out_queries", "leave-one-out search"),
    ("recognition.folder.tune", "hold_out_queries", "leave-one-out search"),
    ("recognition.fitting.fit", "_verified_examples", "leave-one-out verification"),
    ("recognition.fitting.fit", "fit_stacker", "stacker"),
    ("recognition.fitting.fit", "fit_calibration", "calibration"),
    ("recognition.indexing.index_photos", "refresh_index_files", "index files"),
    ("recognition.folder.tune", "refresh_index_files", "index files"),
    ("evaluation.evaluate", "compute_scores", "scores"),
)


class Phases:
    """Times of the phases of the main thread, each without those inside it."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {}
        self.stack = ["other"]
        self.last = self.now()

    @staticmethod
    def now() -> tuple[float, float, float]:
        """Wall, processor, and the main thread's own processor seconds."""
        return time.perf_counter(), time.process_time(), time.thread_time()

    def _add(self) -> None:
        now = self.now()
        found = self.times.setdefault(self.stack[-1], [0.0, 0.0, 0.0])
        for at in range(3):
            found[at] += now[at] - self.last[at]
        self.last = now

    def within(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed when the main thread calls it; of a generator, each step."""

        def call(*given: Any, **named: Any) -> Any:
            if threading.current_thread() is not threading.main_thread():
                return function(*given, **named)
            self.enter(phase)
            try:
                result = function(*given, **named)
            finally:
                self.leave()
            return self.steps(phase, result) if isinstance(result, Iterator) else result

        return call

    def steps(self, phase: str, rest: Iterator[Any]) -> Iterator[Any]:
        while True:
            self.enter(phase)
            try:
                one = next(rest)
            except StopIteration:
                return
            finally:
                self.leave()
            yield one

    def enter(self, phase: str) -> None:
        self._add()
        self.stack.append(phase)

    def leave(self) -> None:
        self._add()
        self.stack.pop()


def child(arguments: list[str]) -> None:
    """Run one verb in this process; prints its times as JSON."""
    from importlib import import_module

    from whichlandmark.cli import app, output  # noqa: F401
    from whichlandmark.core.hardware import cpu_count, stop_busy_waiting

    stop_busy_waiting()
    phases = Phases()
    for module, name, phase in PHASES:
        home = import_module(f"whichlandmark.{module}")
        if hasattr(home, name):
            setattr(home, name, phases.within(phase, getattr(home, name)))
    from whichlandmark.recognition.recognizer import Recognizer

    Recognizer.answer = phases.within("answers", Recognizer.answer)  # type: ignore[method-assign]
    sys.argv = ["whichlandmark", *arguments]
    phases.last = started = phases.now()
    sys.stdout.flush()
    own, quiet = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    try:
        from whichlandmark.cli import main

        main()
    except SystemExit as ended:
        if ended.code not in (0, 3):
            raise
    phases._add()
    ended_at = phases.now()
    os.dup2(own, 1)
    total = [end - start for start, end in zip(started, ended_at, strict=True)]
    print(json.dumps({"cores": cpu_count(), "total": total, "phases": phases.times}))


def run(source: Path, arguments: list[str]) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": os.fspath(source)}
    command = [sys.executable, __file__, "--child", *arguments]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def report(verb: str, source: Path, runs: list[dict[str, Any]]) -> None:
    cores = runs[0]["cores"]

    def line(name: str, each: list[list[float]]) -> str:
        wall, busy, main = (statistics.median(one[at] for one in each) for at in range(3))
        share = statistics.median(one[1] / max(one[0], 1e-9) / cores for one in each)
        return (f"  {name:30} {wall:8.2f} s  {busy:8.2f} s of processor  {share:5.2f} of {cores} "
                f"cores  {main / max(busy, 1e-9):5.2f} alone")  # fmt: skip

    print(f"{verb}, {source}, medians of {len(runs)} runs, load {os.getloadavg()[0]:.1f}")
    print(line("all", [one["total"] for one in runs]))
    names = sorted({name for one in runs for name in one["phases"]},
                   key=lambda name: -runs[0]["phases"].get(name, [0.0])[0])  # fmt: skip
    for name in names:
        print(line(name, [one["phases"].get(name, [0.0, 0.0, 0.0]) for one in runs]), flush=True)


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("index", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--distractors", type=Path)
    parser.add_argument("--train", type=Path)
    parser.add_argument("--source", type=Path, action="append")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--embedder", default="lite0")
    parser.add_argument("--verbs", default=",".join(VERBS))
    options = parser.parse_args()
    own = Path(__file__).resolve().parent.parent / "src"
    sources = [path.resolve() for path in options.source or [own]]
    found: dict[tuple[str, Path], list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folders = {source: Path(temporary, str(at)) for at, source in enumerate(sources)}
        for _ in range(options.runs):
            for source, work in folders.items():
                ready, fresh = work / "ready.wl", work / "fresh.wl"
                bank = ["--distractors", str(options.distractors)] if options.distractors else []
                embedding = ["--embedder", options.embedder, "-q"]
                index = ["index", str(options.index), *bank, *embedding, "-o"]
                if not ready.exists():
                    run(source, [*index, str(ready)])
                shutil.rmtree(fresh, ignore_errors=True)
                shutil.copytree(ready, work / "tuned.wl", dirs_exist_ok=True)
                train = ["--photos", str(options.train)] if options.train else []
                commands = {
                    "index": [*index, str(fresh)],
                    "evaluate": ["evaluate", str(options.queries), "-q", "-r", str(ready), "-o",
                                 str(work / "p.csv")],
                    "tune": ["tune", str(work / "tuned.wl"), "-q", *train],
                }  # fmt: skip
                for verb in options.verbs.split(","):
                    found.setdefault((verb, source), []).append(run(source, commands[verb]))
    for verb in options.verbs.split(","):
        for source in sources:
            report(verb, source, found[verb, source])


if __name__ == "__main__":
    main()
