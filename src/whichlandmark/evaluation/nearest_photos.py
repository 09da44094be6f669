"""The photos of a database that are nearest to each query of a benchmark, in one pass over it.

For submissions. Vectors pass by in chunks; similarities and their ties are those of the ranks that
a protocol counts (`protocol_ranks`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..core.benchmark import Benchmark
from ..core.types import Floats, Rows
from .protocol_ranks import CHUNK_BYTES, chunk_rows, rounded, unit_rows
from .protocol_vectors import BenchmarkVectors


def nearest_ids(
    benchmark: Benchmark, vectors: BenchmarkVectors, k: int
) -> Iterator[tuple[str, list[str]]]:
    """Yield each query's id and the ids of its k nearest photos, best first.

    Equal similarities are in the order of the database. A query or photo without a vector is left
    out.
    """
    there = np.flatnonzero(vectors.query_present)
    queries = unit_rows(vectors.queries[there], "queries")[0]
    best: list[tuple[Floats, Rows]] = [(np.empty(0), np.empty(0, np.int64))] * len(there)
    step = chunk_rows(queries.shape[1])
    for start in range(0, len(vectors.database), step):
        rows = start + np.flatnonzero(vectors.database_present[start : start + step])
        chunk = unit_rows(vectors.database[rows], "database")[0]
        at_once = max(1, CHUNK_BYTES // (8 * max(1, len(chunk))))
        for first in range(0, len(queries), at_once):
            keys = rounded(queries[first : first + at_once] @ chunk.T)
            for query, of_chunk in enumerate(keys, first):
                best[query] = _merged(best[query], of_chunk, rows, k)
    ids = benchmark.database.ids
    for query, (_, nearest) in zip(there.tolist(), best, strict=True):
        yield str(benchmark.queries.ids[query]), ids[nearest].tolist()


def _merged(best: tuple[Floats, Rows], keys: Floats, rows: Rows, k: int) -> tuple[Floats, Rows]:
    """The k highest of both; of equal keys the earlier rows. rows: of `keys`, all later."""
    kept_keys, kept_rows = best
    least = kept_keys[-1] if len(kept_keys) == k else -np.inf
    if len(keys) > k:
        least = max(least, np.partition(keys, len(keys) - k)[len(keys) - k])
    near = np.flatnonzero(keys >= least)
    keys, rows = np.concatenate([kept_keys, keys[near]]), np.concatenate([kept_rows, rows[near]])
    order = np.argsort(-keys, kind="stable")[:k]
    return keys[order], rows[order]
