"""The nearest photos of a benchmark's queries: equal to a sort of all, ties in database order."""

from __future__ import annotations

import numpy as np
import pytest

from whichlandmark.core.benchmark import Benchmark, Judgements
from whichlandmark.core.types import Photos
from whichlandmark.evaluation import nearest_photos
from whichlandmark.evaluation.nearest_photos import nearest_ids
from whichlandmark.evaluation.protocol_vectors import BenchmarkVectors


def table(start: str, count: int) -> Photos:
    ids = [f"{start}{number}" for number in range(count)]
    return Photos.of_columns(ids, [f"/{one}.jpg" for one in ids], [""] * count)


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_the_nearest_are_those_of_a_whole_sort(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest_photos, "chunk_rows", lambda dim: chunk)
    rng = np.random.default_rng(4)
    for k in (1, 5, 100):
        database = rng.integers(-2, 3, (60, 3)).astype(np.float32)  # many equal ones, and zeros
        queries = rng.integers(-2, 3, (9, 3)).astype(np.float32)
        present, asked = rng.random(60) < 0.9, rng.random(9) < 0.8
        benchmark = Benchmark(
            name="x", queries=table("q", 9), database=table("d", 60),
            settings={"all": Judgements([np.array([0])] * 9, [np.empty(0, np.int64)] * 9,
                                        np.ones(9, dtype=bool))},
            average_precision="cut_off", k=100,
        )  # fmt: skip
        vectors = BenchmarkVectors(
            queries=queries, database=database, query_present=asked, database_present=present,
            name="x", embedder="x",
        )  # fmt: skip
        found = dict(nearest_ids(benchmark, vectors, k))
        assert list(found) == [f"q{number}" for number in np.flatnonzero(asked)]
        exact = [unit(rows.astype(np.float64)) for rows in (queries, database)]
        similarity = np.round(exact[0] @ exact[1].T, 6)
        for number in np.flatnonzero(asked):
            rows = np.flatnonzero(present)
            order = rows[np.argsort(-similarity[number][rows], kind="stable")]
            assert found[f"q{number}"] == [f"d{row}" for row in order[:k]]


def unit(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)
