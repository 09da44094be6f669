"""The nearest photos of a benchmark's queries: equal to a sort of all, ties in database order."""

from __future__ import annotations

import numpy as np
import pytest

from whichlandmark.core.benchmark import Benchmark, Judgements
from whichlandmark.core.challenge_files import Solution
from whichlandmark.core.types import Photos
from whichlandmark.evaluation import nearest_photos
from whichlandmark.evaluation.challenges import retrieval_rows
from whichlandmark.evaluation.nearest_photos import nearest_ids
from whichlandmark.evaluation.protocol_vectors import BenchmarkVectors
from whichlandmark.evaluation.protocols import run_protocol


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


def test_ranks_of_a_protocol_and_a_submission_of_the_nearest_have_the_same_figures() -> None:
    """Two independent ways, on vectors with many ties, missing photos, and queries without any."""
    rng = np.random.default_rng(8)
    for _ in range(2):
        database = rng.integers(-2, 3, (300, 3)).astype(np.float32)
        queries = rng.integers(-2, 3, (12, 3)).astype(np.float32)
        queries[:, 0] += 0.5  # none of zeros
        positives = [np.sort(rng.permutation(300)[: rng.integers(0, 160)]) for _ in range(12)]
        public = rng.random(12) < 0.5
        public[:2] = [True, False]
        settings = {"public": public, "private": ~public, "all": np.ones(12, dtype=bool)}
        nothing = [np.empty(0, np.int64)] * 12
        benchmark = Benchmark(
            name="gldv2-retrieval", queries=table("q", 12), database=table("d", 300),
            settings={one: Judgements(positives, nothing, rows) for one, rows in settings.items()},
            average_precision="cut_off", k=100, precision_at=(1, 5, 10, 50, 100), positions=True,
        )  # fmt: skip
        present = np.ones(300, dtype=bool)
        present[rng.integers(0, 300, 3)] = False
        vectors = BenchmarkVectors(
            queries=queries, database=database, query_present=np.ones(12, dtype=bool),
            database_present=present, name="x", embedder="x",
        )  # fmt: skip
        solution = Solution(
            "retrieval", benchmark.queries.ids,
            np.where(public, "Public", "Private").astype(object),
            [tuple(benchmark.database.ids[rows]) for rows in positives], frozenset(),
        )  # fmt: skip
        submitted, of_query = retrieval_rows(solution, dict(nearest_ids(benchmark, vectors, 100)))
        ranked = run_protocol(benchmark, vectors)
        both = [
            {(row.setting, row.measure): (row.value, *row.interval) for row in rows}
            for rows in (submitted, ranked.rows)
        ]
        assert both[0].keys() == both[1].keys()
        for name, figures in both[0].items():
            assert both[1][name] == pytest.approx(figures, abs=1e-12), name
        for setting, each in ranked.average_precision.items():
            assert each == pytest.approx(of_query[setting])
