"""QueryRun on vectors: columns, ranks and mAP against slow loops, for any batch size."""

from __future__ import annotations

import numpy as np
import pytest

from whichlandmark.core.errors import DataError
from whichlandmark.core.types import Neighbours, Photos
from whichlandmark.evaluation.evaluate import compute_scores
from whichlandmark.evaluation.run_queries import (
    NEIGHBOURS_KEPT,
    RETRIEVAL_DEPTH,
    BatchAnswers,
    QueryRun,
    Responder,
)
from whichlandmark.gallery.index import GalleryIndex
from whichlandmark.metrics.ranking import gap, map_at_k
from whichlandmark.recognition.query import Queries

NAMES = ["abbey", "bridge", "castle", "dome"]
TRUTHS = ["abbey", "bridge|castle", "elsewhere", "", "dome|elsewhere", "castle"]


def column(values: list[str]) -> np.ndarray:
    filled = np.empty(len(values), dtype=object)
    filled[:] = values
    return filled


def unit(rng: np.random.Generator, count: int) -> np.ndarray:
    rows = rng.normal(size=(count, 16)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def index() -> GalleryIndex:
    """260 photos of four overlapping landmarks, so that rankings are partly right."""
    rng = np.random.default_rng(0)
    codes = np.sort(rng.integers(0, 4, 260))
    rows = 0.5 * unit(rng, 4)[codes] + unit(rng, 260)
    vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    ids = column([f"g{i}" for i in range(260)])
    return GalleryIndex(column(NAMES), codes, ids, column([f"/{i}" for i in ids]), vectors,
                        column([]), np.empty((0, 16), np.float16))  # fmt: skip


VECTORS = unit(np.random.default_rng(1), 90)
ROW_OF = {vector.tobytes(): row for row, vector in enumerate(VECTORS)}


def rows_of(queries: Queries) -> np.ndarray:
    return np.array([ROW_OF[vector.tobytes()] for vector in queries.vectors])


@pytest.fixture
def table_and_vectors() -> tuple[Photos, np.ndarray]:
    ids = [f"q{i}" for i in range(90)]
    truth = [TRUTHS[i % len(TRUTHS)] for i in range(90)]
    return Photos.of_columns(ids, ids, truth), VECTORS


def responder(index: GalleryIndex, most: int = 15) -> Responder:
    """Answers by the nearest photo; every third query has only `most` neighbours (then −1)."""

    def answer(queries: Queries) -> BatchAnswers:
        found, rows = index.nearest(queries.vectors, 15), rows_of(queries)
        near, cosine = found.rows.copy(), found.similarity
        near[rows % 3 == 0, most:] = -1
        guess = index.names[index.codes[near[:, 0]]].copy()
        guess[near[:, 0] < 0] = ""
        confidence = np.clip(cosine[:, 0].astype(float), 0, 1)
        decision = np.where(confidence > 0.6, "landmark", "no_landmark").astype(object)
        return BatchAnswers(guess, cosine[:, 0].astype(float), confidence, decision,
                        Neighbours(near, cosine))  # fmt: skip

    def second(queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        rows = rows_of(queries)
        return column(["castle"] * len(rows)), rows.astype(float)

    return Responder(index, answer, {"always castle": second})


def answer_in_batches(run: QueryRun, vectors: np.ndarray, size: int) -> QueryRun:
    """Answer all queries, `size` at a time."""
    for start in range(0, len(vectors), size):
        rows = np.arange(start, min(start + size, len(vectors)))
        run.answer(rows, Queries(vectors[rows]))
    return run


def test_ranks_and_map_are_those_of_full_rankings(
    index: GalleryIndex, table_and_vectors: tuple[Photos, np.ndarray]
) -> None:
    photos, vectors = table_and_vectors
    run = answer_in_batches(QueryRun(responder(index), photos), vectors, 32)
    rows = run.predictions()
    cosines = vectors @ index.vectors.astype(np.float32).T
    order = np.argsort(-cosines, axis=1, kind="stable")
    ranked, relevant = {}, {}
    for i, truth in enumerate(photos.landmarks):
        true = set(truth.split("|")) & set(NAMES)
        hits = [index.names[index.codes[j]] in true for j in order[i]]
        assert rows.rank[i] == (hits.index(True) + 1 if True in hits[:NEIGHBOURS_KEPT] else 0)
        assert (rows.nearest[i], rows.nearest_path[i]) == (f"g{order[i, 0]}", f"/g{order[i, 0]}")
        assert rows.known[i] == bool(true)
        if true:
            ranked[f"q{i}"] = [index.ids[j] for j in order[i][:RETRIEVAL_DEPTH]]
            relevant[f"q{i}"] = {index.ids[j] for j, hit in zip(order[i], hits, strict=True) if hit}
    assert run.map_at_100() == pytest.approx(map_at_k(ranked, relevant, 100))
    assert max(len(r) for r in relevant.values()) > 100  # min(R, 100) matters
    scores = compute_scores(run)
    assert scores.map_at_100 == run.map_at_100()
    assert scores.coverage == pytest.approx(60 / 75)
    others = np.arange(90) + 0.0
    right = np.array(["castle" in t.split("|") for t in photos.landmarks])
    assert scores.gap_by_score == {"always castle": pytest.approx(gap(others, right, 60))}


@pytest.mark.parametrize("size", [1, 7, 90])
def test_batch_size_does_not_change_the_result(
    index: GalleryIndex, table_and_vectors: tuple[Photos, np.ndarray], size: int
) -> None:
    photos, vectors = table_and_vectors
    whole = answer_in_batches(QueryRun(responder(index), photos), vectors, 30).predictions()
    parts = answer_in_batches(QueryRun(responder(index), photos), vectors, size).predictions()
    assert parts.guess.tolist() == whole.guess.tolist()
    assert parts.rank.tolist() == whole.rank.tolist()
    assert parts.score == pytest.approx(whole.score, abs=1e-6)


def test_unreadable_queries_have_no_guess_and_count_as_missed(
    index: GalleryIndex, table_and_vectors: tuple[Photos, np.ndarray]
) -> None:
    photos, vectors = table_and_vectors
    run = QueryRun(responder(index), photos)
    run.answer(np.arange(45), Queries(vectors[:45]))
    run.answer(np.arange(0), Queries(vectors[:0]))
    half = answer_in_batches(QueryRun(responder(index), photos.take(range(45))), vectors[:45], 45)
    rows = run.predictions()
    assert (rows.guess[45:] == "").all()
    assert (rows.decision[45:] == "no_landmark").all()
    assert run.map_at_100() == pytest.approx(half.map_at_100() * 30 / 60)
    assert compute_scores(run).top1 == pytest.approx(compute_scores(half).top1 * 30 / 60)
    run.leave_out(np.arange(45, 90))
    assert compute_scores(run).gap == pytest.approx(compute_scores(half).gap)
    assert run.map_at_100() == pytest.approx(half.map_at_100())


def test_missing_neighbours_are_never_counted_or_listed(
    index: GalleryIndex, table_and_vectors: tuple[Photos, np.ndarray]
) -> None:
    """Row −1 means "none": it must not be used as an index of the last gallery photo (a dome)."""
    photos, vectors = table_and_vectors
    photos = Photos.of_columns(photos.ids, photos.paths, ["dome"] * 90)
    rows = answer_in_batches(QueryRun(responder(index, most=0), photos), vectors, 30).predictions()
    assert (rows.nearest[::3] == "").all()
    assert (rows.rank[::3] == 0).all()
    assert (rows.guess[::3] == "").all()
    assert (rows.nearest[1::3] != "").all()


def test_an_empty_gallery_gives_no_guess(table_and_vectors: tuple[Photos, np.ndarray]) -> None:
    photos, vectors = table_and_vectors
    none = np.empty((0, 16), np.float16)
    index = GalleryIndex(column([]), np.empty(0, np.int64), column([]), column([]), none,
                         column([]), none)  # fmt: skip

    def answer(queries: Queries) -> BatchAnswers:
        n = len(queries.vectors)
        refused = column(["no_landmark"] * n)
        return BatchAnswers(column([""] * n), np.full(n, -1.0), np.zeros(n), refused,
                        index.nearest(queries.vectors, 10))  # fmt: skip

    run = answer_in_batches(QueryRun(Responder(index, answer), photos), vectors, 50)
    scores = compute_scores(run)
    assert (scores.known, scores.unknown, scores.gap, scores.map_at_100) == (0, 75, None, None)
    assert (scores.gap_interval, scores.auroc_no_landmark, scores.calibration_error) == (None,) * 3


def test_queries_without_a_landmark_cannot_be_scored(
    index: GalleryIndex, table_and_vectors: tuple[Photos, np.ndarray]
) -> None:
    photos, vectors = table_and_vectors
    streets = Photos.of_columns(photos.ids, photos.paths, [""] * 90)
    run = answer_in_batches(QueryRun(responder(index), streets), vectors, 90)
    with pytest.raises(DataError, match="90 queries left to score, none of them with a landmark"):
        compute_scores(run)
