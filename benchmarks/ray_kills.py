"""Kill one of three Ray machines at a random time while indexing, and check that nothing is lost.

    python benchmarks/ray_kills.py [--photos 20000] [--shards 40] [--rounds 20] [--cache FOLDER]

Three raylets of one CPU each and a head without CPUs, all on this machine; drawn photos of 96 px
and a tiny network. Each round indexes into a new folder; at a random moment one raylet and all its
processes get SIGKILL (a new raylet replaces it after the round). A round succeeds when every photo
is in the gallery once, rows, texts and vectors equal those of a run without Ray, and at most one
shard was started twice because of the kill (tasks log their begin and end). Exit code 1 unless all
rounds succeed.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from small_worlds import drawn_photos, network

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_BACKEND_LOG_LEVEL"] = "error"
import ray
from ray.cluster_utils import Cluster

from whichlandmark.core.types import Photos
from whichlandmark.features.embedders.load import load_embedder
from whichlandmark.gallery.sqlite.store import SqliteGallery
from whichlandmark.recognition.folder.fill import gallery_for
from whichlandmark.recognition.indexing.index_photos import (
    IndexOptions,
    finish_recognizer,
    index_photos,
)
from whichlandmark.recognition.indexing.ray_engine import (
    EmbedderSource,
    make_shard_on_worker,
    make_shards_on_ray,
)
from whichlandmark.recognition.indexing.shards import ShardTask, cut_table, fill_from_shards
from whichlandmark.recognition.rules import Rules

RULES = Rules(score="cosine", whitening="none", verify=0)  # nothing is fitted, no features
Held = tuple[list[list[int]], list[str], bytes]


def quiet(name: str) -> Any:
    return lambda *numbers: None


def noted(log: Path) -> Any:
    """`make_shard_on_worker`, with a line in the log before and after it."""

    def make(task: ShardTask, source: EmbedderSource, threads: int) -> int:
        def note(word: str) -> None:
            with open(log, "a", encoding="utf-8") as file:
                file.write(f"{word} {task.shard.number} {os.getpid()} {time.time():.2f}\n")

        note("begun")
        number = make_shard_on_worker(task, source, threads)
        note("ended")
        return number

    return make


def held(out: Path) -> Held:
    """Row numbers, checksums, ids and vectors of a gallery."""
    with SqliteGallery.open(out / "gallery.sqlite") as gallery:
        table = gallery.table()
        return [c.tolist() for c in gallery.sums()], table.ids.tolist(), table.vectors.tobytes()


def by_ray(photos: Photos, shards: int, source: Path, out: Path, log: Path) -> float:
    """Run the job as `index --engine ray` does; returns its seconds."""
    started = time.perf_counter()
    embedder = load_embedder(source)
    tasks = [
        ShardTask(shard, photos.take(range(shard.first, shard.end)), str(out / "shards"), False)
        for shard in cut_table(len(photos), shards)
    ]
    with gallery_for(out, embedder) as gallery:
        done = make_shards_on_ray(tasks, EmbedderSource(str(source), "cpu"), make=noted(log))
        assert fill_from_shards(tasks, done, gallery) == []
        finish_recognizer(out, embedder, gallery, RULES)
    return time.perf_counter() - started


def processes_below(pid: int) -> list[int]:
    """A process and all its descendants, from /proc."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = [pid]
    for each in found:
        found += parents.get(each, [])
    return found


def kill(node: Any, after: float) -> None:
    """Send SIGKILL to the raylet first, so that it cannot report the end of its processes."""
    time.sleep(after)
    (raylet,) = node.all_processes["raylet"]
    for pid in processes_below(raylet.process.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def begun_again(log: Path) -> int:
    """Shards that were started more than once."""
    begun = [line.split()[1] for line in log.read_text().splitlines() if line.startswith("begun")]
    return len(begun) - len(set(begun))


def making(log: Path, started: float) -> tuple[float, float]:
    """Seconds from `started` to the begin of the first shard and to the end of the last."""
    times = [float(line.split()[3]) for line in log.read_text().splitlines()]
    return min(times) - started, max(times) - started


@dataclass
class Trial:
    """The machines and the photos to index. expected: the gallery of a run without Ray."""

    photos: Photos
    shards: int
    source: Path
    work: Path
    expected: Held
    cluster: Cluster
    nodes: list[Any]

    def run(self, name: str) -> tuple[float, Held, Path]:
        """One indexing run: seconds, the resulting gallery, its log."""
        out, log = self.work / f"{name}.wl", self.work / f"{name}.log"
        seconds = by_ray(self.photos, self.shards, self.source, out, log)
        found = held(out)
        shutil.rmtree(out)
        return seconds, found, log

    def killed(self, name: str, victim: int, after: float) -> tuple[float, int, bool]:
        """One run with a kill: seconds, shards started again, and whether the result is right."""
        killer = threading.Thread(target=kill, args=(self.nodes[victim], after))
        killer.start()
        seconds, found, log = self.run(name)
        killer.join()
        self.cluster.remove_node(self.nodes[victim], allow_graceful=False)
        self.nodes[victim] = self.cluster.add_node(num_cpus=1)
        again, ids = begun_again(log), found[1]
        once = len(set(ids)) == len(ids) == len(self.photos)
        same = found == self.expected
        print(f"{name}: raylet {victim} killed after {after:.1f} s of {seconds:.1f} s; each photo "
              f"once: {once}; the plain gallery: {same}; shards begun again: {again}",
              flush=True)  # fmt: skip
        return seconds, again, once and same and again <= 1

    def rounds(self, count: int) -> bool:
        """One undisturbed run, then this number of runs with a kill."""
        self.run("first")  # starts the worker processes, which open the network
        started = time.time()
        seconds, found, log = self.run("undisturbed")
        first, last = making(log, started)
        print(f"undisturbed: {seconds:.1f} s, shards made from {first:.1f} to {last:.1f} s; the "
              f"plain gallery: {found == self.expected}", flush=True)  # fmt: skip
        rng = np.random.default_rng(0)
        ended = [
            self.killed(
                f"round {turn + 1:2}", int(rng.integers(3)), float(rng.uniform(first, last))
            )
            for turn in range(count)
        ]
        again = [each[1] for each in ended]
        right = sum(each[2] for each in ended)
        print(f"right: {right} of {count} rounds; shards begun again: {sum(again)} in all, at "
              f"most {max(again)} a kill; median {median(each[0] for each in ended):.1f} s "
              "a round")  # fmt: skip
        return right == count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=20_000)
    parser.add_argument("--shards", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "small_worlds")
    options = parser.parse_args()
    photos = drawn_photos(options.cache, options.photos, 96)
    source = network(options.cache, "test_resnet", 64, 32)
    work = Path(tempfile.mkdtemp(prefix="ray_kills-"))
    started = time.perf_counter()
    index_photos(photos, None, work / "plain.wl", source, IndexOptions(rules=RULES), progress=quiet)
    shards = sum(shard.first < shard.end for shard in cut_table(len(photos), options.shards))
    print(f"{len(photos)} photos, {shards} shards with photos; plain index "
          f"{time.perf_counter() - started:.1f} s", flush=True)  # fmt: skip
    # Ray reports a silent machine as lost after 3 s instead of 15, to shorten every round.
    quick = {"health_check_period_ms": 1000, "health_check_failure_threshold": 3,
             "health_check_timeout_ms": 3000}  # fmt: skip
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": quick}
    )  # fmt: skip
    nodes = [cluster.add_node(num_cpus=1) for _ in range(3)]
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    trial = Trial(photos, options.shards, source, work, held(work / "plain.wl"), cluster, nodes)
    try:
        right = trial.rounds(options.rounds)
    finally:
        ray.shutdown()
        cluster.shutdown()
        shutil.rmtree(work, ignore_errors=True)
    sys.exit(not right)


if __name__ == "__main__":
    main()
