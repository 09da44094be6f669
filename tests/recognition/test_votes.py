"""Votes against sums written as loops; edge cases without NaN."""

from __future__ import annotations

import math

import numpy as np
import pytest

from whichlandmark.recognition.reranking.class_centres import centre_votes, class_centres
from whichlandmark.recognition.reranking.votes import (
    Votes,
    best_first,
    inlier_vote,
    power_vote,
    ranked_votes,
    vote,
)

NOTHING = -np.inf


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    made = rng.normal(size=shape) + 0.3
    return (made / np.linalg.norm(made, axis=-1, keepdims=True)).astype(np.float32)


def neighbours(rng: np.random.Generator, queries: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes of few landmarks, and cosines that fall and reach below 0."""
    cosines = -np.sort(-rng.uniform(-0.3, 1, (queries, k)), axis=1)
    return rng.integers(0, 4, (queries, k)), cosines.astype(np.float32)


def slow_ranking(codes: list[int], votes: list[float]) -> list[tuple[int, float]]:
    """Landmarks by falling sum, then by the rank of their nearest neighbour."""
    sums: dict[int, float] = {}
    for code, value in zip(codes, votes, strict=True):
        if code >= 0:
            sums[code] = sums.get(code, 0.0) + value
    return sorted(sums.items(), key=lambda item: (-item[1], codes.index(item[0])))


def check(votes: Votes, row: int, expected: list[tuple[int, float]]) -> None:
    """One query's votes against a slow ranking of all its landmarks."""
    first, second, *_ = [*expected, (-1, NOTHING), (-1, NOTHING)]
    assert (votes.codes[row], votes.second_codes[row]) == (first[0], second[0])
    assert votes.scores[row] == pytest.approx(first[1], abs=1e-6)
    assert votes.second_scores[row] == pytest.approx(second[1], abs=1e-6)


@pytest.mark.parametrize("count", [1, 3, 5, 99])
def test_the_vote_sums_scores_of_the_nearest(count: int) -> None:
    codes, cosines = neighbours(np.random.default_rng(count), 60, 8)
    votes = vote(codes, cosines, count)
    for row in range(60):
        check(votes, row, slow_ranking(codes[row, :count].tolist(), cosines[row, :count].tolist()))


def test_all_landmarks_are_ranked_and_the_rest_is_padding() -> None:
    codes, cosines = neighbours(np.random.default_rng(7), 60, 8)
    codes[::5, 2:] = -1  # rows with two neighbours, padded
    ranked, sums = ranked_votes(codes, cosines, 8, 6)
    for row in range(60):
        expected = slow_ranking(codes[row].tolist(), cosines[row].tolist())
        padded = [*expected, *[(-1, NOTHING)] * 6][:6]
        assert ranked[row].tolist() == [code for code, _ in padded]
        assert sums[row] == pytest.approx([value for _, value in padded], abs=1e-6)
    assert len(set(ranked[0].tolist()) - {-1}) == len(ranked[0][ranked[0] >= 0])


def test_equal_sums_go_to_the_nearer_neighbour() -> None:
    codes = np.array([[7, 2, 2, 7, 5]])
    scores = np.array([[0.5, 0.4, 0.3, 0.2, 0.7]])  # all three sum to 0.7
    ranked, sums = ranked_votes(codes, scores, 5, 3)
    assert ranked.tolist() == [[7, 2, 5]]
    assert sums[0] == pytest.approx([0.7] * 3)
    ranked, _ = ranked_votes(codes[:, ::-1], scores[:, ::-1], 5, 3)
    assert ranked.tolist() == [[5, 7, 2]]


def test_best_first_keeps_the_order_of_equal_scores() -> None:
    codes = np.arange(500)[None]
    ranked, scores = best_first(codes, (codes % 3).astype(np.float32))
    expected = sorted(range(500), key=lambda i: -(i % 3))
    assert ranked[0].tolist() == expected
    assert scores[0].tolist() == [i % 3 for i in expected]


def test_one_landmark_has_no_second_and_an_empty_gallery_no_first() -> None:
    votes = vote(np.array([[3, 3]]), np.array([[0.9, 0.8]]), 5)
    assert (votes.codes[0], votes.second_codes[0], votes.second_scores[0]) == (3, -1, NOTHING)
    none = vote(np.empty((2, 0), dtype=np.int64), np.empty((2, 0)), 3)
    assert none.codes.tolist() == [-1, -1]
    assert none.scores.tolist() == [NOTHING, NOTHING]
    assert vote(np.empty((0, 4), dtype=np.int64), np.empty((0, 4)), 3).codes.shape == (0,)


def test_power_vote_is_the_sum_of_powers() -> None:
    codes, cosines = neighbours(np.random.default_rng(3), 80, 7)
    votes = power_vote(codes, cosines)
    for row in range(80):
        five = [(c, float(s)) for c, s in zip(codes[row, :5], cosines[row, :5], strict=True)]
        alive = [(int(c), s**9) for c, s in five if s > 0]
        ranking = slow_ranking([c for c, _ in alive], [v for _, v in alive])
        first, second, *_ = [*ranking, (-1, 0.0), (-1, 0.0)]
        assert (votes.codes[row], votes.second_codes[row]) == (first[0], second[0])
        assert math.exp(votes.scores[row]) == pytest.approx(first[1], rel=1e-5)
        assert math.exp(votes.second_scores[row]) == pytest.approx(second[1], rel=1e-5)


def test_power_vote_does_not_underflow_and_gives_nothing_at_zero() -> None:
    codes = np.array([[4, 1, 4, 2], [4, 1, 4, 2]])
    cosines = np.array([[0.9, 0.5, 0.1, -0.2], [0.0, -0.1, -0.2, -0.3]], dtype=np.float32)
    votes = power_vote(codes, cosines, power=5000)
    assert votes.codes.tolist() == [4, -1]  # 0.9^5000 is 1e-229, 0.5^5000 is below every float
    assert votes.second_codes.tolist() == [1, -1]
    assert votes.scores[0] == pytest.approx(5000 * math.log(0.9), rel=1e-6)
    assert votes.second_scores[0] == pytest.approx(5000 * math.log(0.5), rel=1e-6)
    assert votes.scores[1] == NOTHING
    small = power_vote(codes[:1, :1], np.array([[1e-4]], dtype=np.float32))
    assert small.codes[0] == 4
    assert small.scores[0] == pytest.approx(9 * math.log(1e-4), rel=1e-6)


def test_candidates_are_reordered_by_inliers_before_voting() -> None:
    rng = np.random.default_rng(5)
    codes, cosines = neighbours(rng, 50, 12)
    inliers = rng.integers(-1, 140, (50, 12))
    votes = inlier_vote(codes, cosines, inliers)
    for row in range(50):
        pairs = [
            (int(c), float(s) + min(max(n, 0), 70) / 70)
            for c, s, n in zip(codes[row], cosines[row], inliers[row], strict=True)
        ]
        best = sorted(pairs, key=lambda pair: -pair[1])[:5]
        check(votes, row, slow_ranking([c for c, _ in best], [s for _, s in best]))
    plain = inlier_vote(codes, cosines, np.full((50, 12), -1))
    assert plain.scores == pytest.approx(vote(codes, cosines, 5).scores)


def test_class_centers_are_unit_means_and_vote_by_the_nearest_two() -> None:
    rng = np.random.default_rng(11)
    vectors, codes = unit(rng, 40, 6), rng.integers(-1, 5, 40)
    centres = class_centres(vectors, codes, 7)  # 5 and 6 have no photo
    for code in range(5):
        mean = sum(vectors[i].astype(float) for i in range(40) if codes[i] == code)
        assert centres[code] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)
    assert not centres[5:].any()
    queries = unit(rng, 300, 6)  # more than one block
    queries[0] = -centres[:5].sum(axis=0)  # far from all centres: empty ones would be nearer
    votes = centre_votes(queries, centres)
    for row in range(300):
        cosines = [(code, float(centres[code] @ queries[row])) for code in range(5)]
        check(votes, row, sorted(cosines, key=lambda pair: -pair[1]))


def test_class_centers_of_one_class_and_of_none() -> None:
    one = class_centres(np.eye(3, dtype=np.float32)[:2], np.array([0, 0]), 1)
    votes = centre_votes(np.eye(3, dtype=np.float32), one)
    assert votes.codes.tolist() == [0, 0, 0]
    assert votes.second_codes.tolist() == [-1, -1, -1]
    none = class_centres(np.empty((0, 3), dtype=np.float32), np.empty(0, np.int64), 0)
    assert centre_votes(np.eye(3, dtype=np.float32), none).codes.tolist() == [-1] * 3
