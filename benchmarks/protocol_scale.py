"""Memory and time of ranking a benchmark of the size of revisited Oxford with R1M.

    python benchmarks/protocol_scale.py [--distractors 1001001] [--dim 2048]

70 queries, 4,993 photos, and random distractors that pass by in chunks. Printed: processor time of
ranking, beside that of the bare products of the same matrices in single precision, and the memory
that the process took at its peak beyond its start. Afterwards the figures are computed again for
20,000 distractors by a sort of everything, as the authors' code does, and must be equal.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator

import numpy as np

from whichlandmark.core.benchmark import Benchmark, Judgements
from whichlandmark.core.types import Photos
from whichlandmark.evaluation.protocol_vectors import BenchmarkVectors
from whichlandmark.evaluation.protocols import run_protocol

QUERIES, DATABASE, CHUNK = 70, 4993, 16_384


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--distractors", type=int, default=1_001_001)
    parser.add_argument("--dim", type=int, default=2048)
    given = parser.parse_args()
    benchmark, vectors = made(given.dim)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    products = bare_products(vectors, given.distractors, given.dim)
    started = time.process_time()
    result = run_protocol(benchmark, vectors, distractors=chunks(given.distractors, given.dim))
    making = making_seconds(given.distractors, given.dim)
    taken = time.process_time() - started - making
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{result.distractors:,} distractors of {given.dim} numbers")
    print(f"ranking {taken:.1f} s of the processor, {taken / products:.1f} × the bare products")
    print(f"memory beyond the start {max(0, after - before) / 1000:.0f} MB")
    check(benchmark, vectors, given.dim)
    print("equal to a sort of everything, with 20,000 distractors")


def made(dim: int) -> tuple[Benchmark, BenchmarkVectors]:
    rng = np.random.default_rng(0)
    positives = [np.sort(rng.permutation(DATABASE)[:60]) for _ in range(QUERIES)]
    halves = [(np.sort(rows[::3]), np.sort(np.setdiff1d(rows, rows[::3]))) for rows in positives]
    everyone = np.ones(QUERIES, dtype=bool)
    settings = {
        "medium": Judgements([good for good, _ in halves], [junk for _, junk in halves], everyone)
    }

    def table(prefix: str, count: int) -> Photos:
        names = [f"{prefix}{row}" for row in range(count)]
        return Photos.of_columns(names, names, [""] * count)

    benchmark = Benchmark(
        name="roxford5k", queries=table("q", QUERIES), database=table("d", DATABASE),
        settings=settings, average_precision="trapezoid", precision_at=(1, 5, 10),
    )  # fmt: skip
    vectors = BenchmarkVectors(
        queries=unit(rng.normal(size=(QUERIES, dim))),
        database=unit(rng.normal(size=(DATABASE, dim))),
        query_present=everyone, database_present=np.ones(DATABASE, dtype=bool),
        name="random", embedder="random",
    )  # fmt: skip
    return benchmark, vectors


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def chunks(count: int, dim: int) -> Iterator[np.ndarray]:
    """One block of random vectors, rolled, because drawing a million takes longer than ranking."""
    block = unit(np.random.default_rng(1).normal(size=(CHUNK, dim)))
    for start in range(0, count, CHUNK):
        yield np.roll(block, start // CHUNK, axis=1)[: count - start]


def making_seconds(count: int, dim: int) -> float:
    started = time.process_time()
    for _ in chunks(count, dim):
        pass
    return time.process_time() - started


def bare_products(vectors: BenchmarkVectors, count: int, dim: int) -> float:
    queries = np.asarray(vectors.queries)
    block = unit(np.random.default_rng(1).normal(size=(CHUNK, dim)))
    started = time.process_time()
    for start in range(0, count, CHUNK):
        block[: count - start] @ queries.T
    return time.process_time() - started


def check(benchmark: Benchmark, vectors: BenchmarkVectors, dim: int) -> None:
    """As the authors' code: one matrix of similarities, sorted; junk taken out of the ranks."""
    extra = np.concatenate([*chunks(20_000, dim)])
    everything = np.concatenate([np.asarray(vectors.database), extra]).astype(np.float64)
    similarity = everything @ np.asarray(vectors.queries, dtype=np.float64).T
    ranks = np.argsort(-similarity, axis=0, kind="stable")
    values, judged = [], benchmark.settings["medium"]
    for query in range(QUERIES):
        kept = ranks[~np.isin(ranks[:, query], judged.ignored[query]), query]
        found = np.flatnonzero(np.isin(kept, judged.positives[query]))
        before = np.arange(len(found))
        left = np.where(found == 0, 1.0, before / np.maximum(found, 1))
        values.append(((left + (before + 1) / (found + 1)) / 2).mean())
    result = run_protocol(benchmark, vectors, distractors=[extra])
    row = next(row for row in result.rows if row.measure == "mAP" and row.distractors)
    assert abs(row.value - np.mean(values)) < 1e-12, (row.value, np.mean(values))


if __name__ == "__main__":
    main()
