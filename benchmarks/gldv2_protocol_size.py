"""CPU seconds and memory of the Google Landmarks v2 protocols at the data set's real size.

    python benchmarks/gldv2_protocol_size.py [--dim 128] [--index 761757] [--test 117577]

No photo is drawn: solutions, submissions and lists of the real number of rows are written into a
temporary folder and read; photo locations and vectors are random. Prints CPU seconds of each step
and the peak memory so far, so that the command needs no idle machine.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from whichlandmark.core.challenge_files import (
    read_solution,
    read_submission,
    write_retrieval_submission,
)
from whichlandmark.data import gldv2_protocols
from whichlandmark.data.photo_locations import PhotoLocations, PhotoSource, TarListing
from whichlandmark.evaluation.challenges import recognition_rows, retrieval_rows
from whichlandmark.evaluation.nearest_photos import nearest_ids
from whichlandmark.evaluation.protocol_vectors import BenchmarkVectors
from whichlandmark.evaluation.protocols import run_protocol

QUERIES = 1129  # of retrieval that are not ignored

LANDMARK_PHOTOS = 1973  # of the test photos that show a landmark


def ids_of(rng: np.random.Generator, count: int) -> list[str]:
    return [f"{number:016x}" for number in rng.integers(0, 1 << 62, count, dtype=np.uint64)]


def step(name: str, work: Callable[[], Any]) -> Any:
    started = time.process_time()
    found = work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{name:<56}{time.process_time() - started:8.1f} s CPU   peak {peak:6.0f} MB", flush=True)
    return found


def write_files(at: Path, index: list[str], test: list[str], rng: np.random.Generator) -> None:
    (at / "index").mkdir()
    (at / "test").mkdir()
    (at / "index.csv").write_text("id\n" + "\n".join(index) + "\n")
    usage = ["Public" if number % 3 == 0 else "Private" for number in range(len(test))]
    with open(at / "retrieval_solution_v2.1.csv", "w") as file:
        file.write("id,images,Usage\n")
        for row, name in enumerate(test):
            right = " ".join(index[i] for i in rng.integers(0, len(index), 60))
            used = row < QUERIES
            file.write(f"{name},{right if used else 'None'},{usage[row] if used else 'Ignored'}\n")
    with open(at / "recognition_solution_v2.1.csv", "w") as file:
        file.write("id,landmarks,Usage\n")
        for row, name in enumerate(test):
            file.write(f"{name},{row if row < LANDMARK_PHOTOS else ''},{usage[row]}\n")
    with open(at / "recognition.csv", "w") as file:
        file.write("id,landmarks\n")
        for row, name in enumerate(test):
            file.write(f"{name},{row if rng.random() < 0.7 else 0} {rng.random():.6f}\n")
    with open(at / "retrieval.csv", "w") as file:
        file.write("id,images\n")
        for name in test:
            file.write(f"{name},{' '.join(index[i] for i in rng.integers(0, len(index), 100))}\n")


def locations(at: Path, index: list[str], test: list[str]) -> PhotoLocations:
    """As if the photos were in 100 and 20 tars."""
    sources, listings = [], []
    for part, ids, tars in (("index", index, 100), ("test", test, 20)):
        for number, some in enumerate(np.array_split(np.array(ids, dtype=np.bytes_), tars)):
            sources.append(PhotoSource(str(at / part / f"images_{number:03d}.tar")))
            spans = np.arange(len(some), dtype=np.int64) * 4096
            listings.append(TarListing(some, spans, np.full(len(some), 4000)))
    return PhotoLocations.of(sources, listings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--index", type=int, default=761_757)
    parser.add_argument("--test", type=int, default=117_577)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    index, test = ids_of(rng, given.index), ids_of(rng, given.test)
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder).resolve()
        write_files(at, index, test, rng)
        found = locations(at, index, test)
        gldv2_protocols._Located.of = classmethod(  # type: ignore[method-assign]
            lambda cls, root, progress, with_photos: cls(root, found, [])
        )
        measure(at, index, rng, given.dim)


def measure(at: Path, index: list[str], rng: np.random.Generator, dim: int) -> None:
    answers = at / "retrieval_solution_v2.1.csv", at / "recognition_solution_v2.1.csv"
    solution = step("read the retrieval solution", lambda: read_solution(answers[0], "retrieval"))
    theirs = step(
        "read a retrieval submission of 100 images a query",
        lambda: read_submission(at / "retrieval.csv", solution, set(index)),
    )
    step("score it", lambda: retrieval_rows(solution, theirs.images))
    truth = step("read the recognition solution", lambda: read_solution(answers[1], "recognition"))
    named = step(
        "read a recognition submission", lambda: read_submission(at / "recognition.csv", truth)
    )
    step(
        "score it, with intervals of both rules of ties",
        lambda: recognition_rows(truth, named.landmarks),
    )
    benchmark = step(
        "make the tables of queries and database", lambda: gldv2_protocols.retrieval_benchmark(at)
    )
    database = np.memmap(at / "vectors", dtype=np.float32, mode="w+", shape=(len(index), dim))
    for start in range(0, len(index), 16_384):
        some = database[start : start + 16_384]
        some[:] = rng.standard_normal(some.shape, dtype=np.float32)
    queries = len(benchmark.queries)
    vectors = BenchmarkVectors(
        queries=rng.standard_normal((queries, dim), dtype=np.float32), database=database,
        query_present=np.ones(queries, dtype=bool),
        database_present=np.ones(len(index), dtype=bool),
        name="random", embedder="random",
    )  # fmt: skip
    step(f"rank {len(index):,} vectors of {dim} numbers", lambda: run_protocol(benchmark, vectors))
    step(
        "write the 100 nearest as a submission",
        lambda: write_retrieval_submission(at / "mine.csv", nearest_ids(benchmark, vectors, 100)),
    )


if __name__ == "__main__":
    main()
