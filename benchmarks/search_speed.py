"""Measure nearest-neighbour search in 100,000 × 512 and other sizes: queries a second, recall.

    python benchmarks/search_speed.py [--gallery 100000] [--dim 512] [--queries 2000] [--rounds 5]
        [--crossover] [--unstructured] [--alone] [--peers faiss,numpy,usearch,hnswlib]

Vectors are distributed like a trained embedder's, with a long tail of landmarks
(random_vectors.py); --unstructured: equal variance in all directions and no landmarks, the worst
case. All methods are timed in turns, with --alone one after the other, which leaves each the
processor's cache; values are medians. Beside them are the machine's peaks in the
same run (float32 matrix product, bytes read a second) and each method's share of the peak that
limits it. Recall is of the ten nearest photos of new queries, whose landmark is drawn by photo or
by landmark. --crossover: exact search against the inverted file from 1,000 to 200,000 rows. usearch
and hnswlib: pip install 'whichlandmark[bench]'.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tests_on_path  # noqa: F401
from tests.support.random_vectors import RandomVectors, long_tail
from whichlandmark.core.hardware import cpu_count
from whichlandmark.core.types import Vectors
from whichlandmark.gallery.index.exact import HalfRows, nearest
from whichlandmark.gallery.index.ivf import build_ivf

Way = Callable[[Vectors], NDArray[np.int64]]
K = 10
LANDMARKS = 81_313 / 1_580_470  # of the clean training photos of Google Landmarks v2


def seconds(work: Callable[..., object], *given: object) -> float:
    started = time.perf_counter()
    work(*given)
    return time.perf_counter() - started


def ceilings() -> tuple[float, float]:
    """GFLOP/s of a float32 matrix product, and GB/s of reading memory, in one thread."""
    square = np.random.default_rng(0).standard_normal((2048, 2048), np.float32)
    long = np.ones(100_000_000, dtype=np.float32)
    product = min(seconds(lambda: square @ square) for _ in range(5))
    read = min(seconds(long.sum) for _ in range(5))
    return 2 * 2048**3 / product / 1e9, long.nbytes / read / 1e9


def recall(truth: NDArray[np.int64], found: NDArray[np.int64]) -> float:
    return float((truth[:, :, None] == found[:, None, :]).any(axis=2).mean())


def make_vectors(
    options: argparse.Namespace,
) -> tuple[Any, NDArray[np.int64] | None, list[Vectors]]:
    """Gallery vectors, landmark numbers, and new queries: drawn by photo, and by landmark."""
    rng = np.random.default_rng(1)
    if options.unstructured:
        world = RandomVectors(options.gallery + options.queries, options.dim, free=None)
        rows = world.centres
        return rows[: options.gallery].astype(np.float16), None, [rows[options.gallery :]] * 2
    landmarks = max(2, int(options.gallery * LANDMARKS))
    world = RandomVectors(landmarks, options.dim)
    codes = long_tail(options.gallery, landmarks)
    by_photo = world.around(codes[rng.integers(0, len(codes), options.queries)], 7)
    by_landmark = world.around(rng.integers(0, landmarks, options.queries), 8)
    return world.around_float16(codes, 2), codes, [by_photo, by_landmark]


def peers(names: list[str], gallery: Any) -> dict[str, Way]:
    """Search functions of other libraries on float32 rows, called as their users do."""
    ways: dict[str, Way] = {}
    rows = gallery.astype(np.float32)
    if "numpy" in names:
        ways["numpy, float32, argpartition"] = lambda queries: _numpy(queries, rows)
    if "faiss" in names:
        import faiss

        flat: Any = faiss.IndexFlatIP(rows.shape[1])
        flat.add(rows)
        ways["FAISS flat, float32"] = lambda queries: flat.search(queries, K)[1]
    if "hnswlib" in names:
        import hnswlib

        graph = hnswlib.Index(space="ip", dim=rows.shape[1])
        graph.init_index(max_elements=len(rows), ef_construction=100, M=16, random_seed=0)
        taken = seconds(lambda: graph.add_items(rows, num_threads=cpu_count()))
        graph.set_ef(200)
        ways[f"hnswlib, built in {taken:.0f} s"] = lambda queries: graph.knn_query(queries, K)[
            0
        ].astype(np.int64)
    if "usearch" in names:
        from usearch.index import Index

        other = Index(ndim=rows.shape[1], metric="ip", dtype="f16", expansion_search=200)
        taken = seconds(lambda: other.add(np.arange(len(rows)), rows))
        ways[f"usearch, built in {taken:.0f} s"] = lambda queries: np.atleast_2d(
            other.search(queries, K).keys
        ).astype(np.int64)
    return ways


def _numpy(queries: Vectors, rows: Vectors) -> NDArray[np.int64]:
    similarity = queries @ rows.T
    best = np.argpartition(-similarity, K, axis=1)[:, :K]
    order = np.argsort(-np.take_along_axis(similarity, best, axis=1), axis=1)
    return np.take_along_axis(best, order, axis=1)


def compare(ways: dict[str, Way], queries: list[Vectors], rounds: int) -> dict[str, Any]:
    """Time all methods in turns.

    Returns:
        Medians: seconds of a batch and of one query; and what each method finds.
    """
    batch: dict[str, list[float]] = {name: [] for name in ways}
    single: dict[str, list[float]] = {name: [] for name in ways}
    size = {name: len(queries[0]) for name in ways}
    for name, way in ways.items():  # slow methods get fewer queries, to keep rounds short
        while size[name] > 64 and seconds(way, queries[0][:64]) * size[name] / 64 > 5:
            size[name] //= 2
    for turn in range(rounds):
        for name, way in ways.items():
            batch[name].append(seconds(way, queries[0][: size[name]]) / size[name])
            ones = [queries[0][i : i + 1] for i in range(turn * 9, turn * 9 + 9)]
            single[name] += [seconds(way, one) for one in ones]
    return {
        name: (1 / statistics.median(batch[name]), statistics.median(single[name]) * 1e3)
        for name in ways
    }


def crossover(options: argparse.Namespace) -> None:
    """Print from how many rows on the inverted file is faster, for single queries and batches."""
    print(f"{'rows':>8} {'exact/s':>10} {'IVF/s':>10} {'ratio':>7} {'exact ms':>10} "
          f"{'IVF ms':>10} {'built s':>8}")  # fmt: skip
    for rows in (1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000):
        options.gallery = rows
        gallery, codes, queries = make_vectors(options)
        started = time.perf_counter()
        ivf = build_ivf(gallery, codes)
        taken = time.perf_counter() - started
        held = HalfRows(gallery)
        ways = {"exact": lambda a, g=held: nearest(a, g, K).rows,
                "ivf": lambda a, g=gallery, c=ivf: nearest(a, g, K, source=c).rows}  # fmt: skip
        medians = compare(ways, queries, options.rounds)
        (many, one), (many_ivf, one_ivf) = medians["exact"], medians["ivf"]
        print(f"{rows:>8,} {many:>10,.0f} {many_ivf:>10,.0f} {many_ivf / many:>7.2f} "
              f"{one:>10.2f} {one_ivf:>10.2f} {taken:>8.1f}", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("gallery", 100_000), ("dim", 512), ("queries", 2_000), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--peers", default="numpy,faiss,hnswlib,usearch")
    parser.add_argument("--crossover", action="store_true")
    parser.add_argument("--unstructured", action="store_true")
    parser.add_argument("--alone", action="store_true")
    options = parser.parse_args()
    gflops, gigabytes = ceilings()
    print(f"{cpu_count()} cores; matrix product {gflops:.0f} GFLOP/s, memory read "
          f"{gigabytes:.1f} GB/s, load {os.getloadavg()[0]:.1f}")  # fmt: skip
    if options.crossover:
        crossover(options)
        return
    gallery, codes, queries = make_vectors(options)
    started = time.perf_counter()
    ivf = build_ivf(gallery, codes)
    taken = time.perf_counter() - started
    what = "unstructured" if codes is None else f"{codes.max() + 1:,} landmarks"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{options.gallery:,} × {options.dim}, {what}; inverted file built in {taken:.1f} s, "
          f"peak {peak:.2f} GB: {ivf.index.nlist:,} clusters, {ivf.probes} searched, {ivf.refine} "
          f"rows compared exactly, recall on its own rows {ivf.recall:.4f}")  # fmt: skip
    rows = HalfRows(gallery)  # as a recognizer's retriever holds them
    ways: dict[str, Way] = {
        "ours, exact": lambda queries: nearest(queries, rows, K).rows,
        "ours, IVF": lambda queries: nearest(queries, gallery, K, source=ivf).rows,
        **peers([name for name in options.peers.split(",") if name], gallery),
    }
    if options.alone:
        medians = {name: compare({name: ways[name]}, queries, options.rounds)[name]
                   for name in ways}  # fmt: skip
    else:
        medians = compare(ways, queries, options.rounds)
    bound = gflops * 1e9 / (2 * options.gallery * options.dim)
    queries = [q[:300] for q in queries]
    truth = [nearest(q, gallery, K).rows for q in queries]
    print(f"{'':34} {'queries/s':>10} {'of product':>10} {'one, ms':>8} {'recall':>7} "
          f"{'by landmark':>11}")  # fmt: skip
    for name, (many, one) in medians.items():
        found = [recall(t, ways[name](q)) for t, q in zip(truth, queries, strict=True)]
        print(f"{name:34} {many:>10,.0f} {many / bound:>9.0%}  {one:>8.2f} {found[0]:>7.4f} "
              f"{found[1]:>11.4f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
