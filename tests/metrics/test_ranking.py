"""GAP, mAP, recall and bootstrap: equal to slow, plain loops and to the authors' values."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from whichlandmark.core.errors import DataError, OptionError
from whichlandmark.metrics.bootstrap import bootstrap_interval
from whichlandmark.metrics.ranking import gap, gap_authors, map_at_k, precision_recall, recall_at_k


def gap_in_order(right: list[bool], landmark_queries: int) -> float:
    """GAP of predictions that are already ranked, by its definition."""
    hits, total = 0, 0.0
    for rank, is_right in enumerate(right, 1):
        if is_right:
            hits += 1
            total += hits / rank
    return total / landmark_queries


def gap_over_all_orders(score: np.ndarray, right: np.ndarray, landmark_queries: int) -> float:
    """Mean GAP over every order that sorts the scores, found by permuting each group of ties."""
    groups = [
        list(itertools.permutations(right[score == value].tolist()))
        for value in sorted(set(score.tolist()), reverse=True)
    ]
    orders = [list(itertools.chain(*order)) for order in itertools.product(*groups)]
    return float(np.mean([gap_in_order(order, landmark_queries) for order in orders]))


def test_gap_averages_over_all_orders_of_ties() -> None:
    rng = np.random.default_rng(1)
    shapes = [[1], [2], [5], [2, 3], [1, 4, 2], [3, 3], [1, 1, 1], [4, 1, 2]]
    for sizes, _ in itertools.product(shapes, range(12)):
        score = np.repeat(rng.permutation(len(sizes)) - 1.5, sizes)
        right = rng.random(len(score)) < rng.choice([0.0, 0.3, 0.7, 1.0])
        photos = int(right.sum()) + 1 + int(rng.integers(0, 3))
        shuffled = rng.permutation(len(score))
        expected = gap_over_all_orders(score, right, photos)
        assert gap(score[shuffled], right[shuffled], photos) == pytest.approx(expected, abs=1e-12)


def test_gap_without_ties_matches_its_definition() -> None:
    rng = np.random.default_rng(2)
    for count in (1, 2, 50, 3000):
        score, right = rng.permutation(count) / 7.0, rng.random(count) < 0.4
        ranked = right[np.argsort(-score)].tolist()
        photos = count + 5
        expected = gap_in_order(ranked, photos)
        assert gap(score, right, photos) == pytest.approx(expected, abs=1e-12)
        assert gap(1e6 * score - 3, right, photos) == pytest.approx(expected, abs=1e-12)


def test_gap_does_not_depend_on_photo_ids_unlike_the_authors_rule() -> None:
    """With many ties, renaming photos changes the authors' value, whose mean is `gap`."""
    rng = np.random.default_rng(3)
    score = np.round(rng.random(300), 1)
    right = rng.random(300) < score / 2
    photos, names = int(right.sum()), [f"{i:03}" for i in range(300)]
    renamed = [
        gap_authors(score, right, photos, ids=rng.permutation(names).tolist(), classes=[0] * 300)
        for _ in range(400)
    ]
    value = gap(score, right, photos)
    assert max(renamed) - min(renamed) > 0.02
    assert np.mean(renamed) == pytest.approx(value, abs=4 * np.std(renamed) / 20)
    order = rng.permutation(300)
    assert gap(score[order], right[order], photos) == pytest.approx(value, abs=1e-12)


def test_a_photo_without_a_prediction_takes_no_rank() -> None:
    score = np.array([np.nan, 0.9, 0.8, 0.8])
    right = np.array([False, False, True, True])
    predicted = np.array([False, True, True, True])
    expected = (1 / 2 + 2 / 3) / 4  # ranks 2 and 3 of the three predictions
    assert gap(score, right, 4, predicted=predicted) == pytest.approx(expected)
    assert gap(score, right, 4, predicted=predicted & False) == 0.0


def test_a_wrong_prediction_costs_most_at_the_top() -> None:
    right = np.array([True, True, False])
    assert gap(np.array([3, 2, 1]), right, 2) == 1.0
    assert gap(np.array([2, 1, 3]), right, 2) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert gap(np.array([3, 2, -np.inf]), right, 4) == 0.5  # two photos were never answered


@pytest.mark.parametrize(
    ("score", "right", "photos", "message"),
    [
        ([0.5], [True], 0, "without a photo that shows a landmark"),
        ([0.5, np.nan], [True, False], 1, "1 scores are NaN"),
        ([0.5], [True, False], 1, "differ in length"),
        ([0.5, 0.4], [True, True], 1, "2 predictions are right but only 1"),
    ],
)
def test_gap_refuses_input_for_which_it_is_undefined(
    score: list[float], right: list[bool], photos: int, message: str
) -> None:
    columns = np.array(score), np.array(right)
    with pytest.raises(DataError, match=message):
        gap(*columns, photos)
    with pytest.raises(DataError, match=message):
        precision_recall(*columns, photos)
    with pytest.raises(DataError, match=message):
        gap_authors(*columns, photos, ids=["a", "b"][: len(score)], classes=[0, 1][: len(score)])


# Values of tensorflow/models, research/delf/delf/python/datasets/google_landmarks_dataset/
# metrics_test.py (Apache-2.0): photo → true landmarks, photo → (landmark, score).
SOLUTION: dict[str, list[int]] = {
    "0123456789abcdef": [0, 12], "0223456789abcdef": [100, 200, 300], "0323456789abcdef": [1],
    "0423456789abcdef": [], "0523456789abcdef": [],
}  # fmt: skip
PREDICTED = {"0223456789abcdef": (0, 0.01), "0323456789abcdef": (1, 10.0),
             "0423456789abcdef": (150, 15.0)}  # fmt: skip
RETRIEVAL_SOLUTION = {
    "0123456789abcdef": ["fedcba9876543210", "fedcba9876543220"],
    "0223456789abcdef": ["fedcba9876543210"],
    "0323456789abcdef": ["fedcba9876543230", "fedcba9876543240", "fedcba9876543250"],
    "0423456789abcdef": ["fedcba9876543230"],
}
RETRIEVED = {
    "0223456789abcdef": ["fedcba9876543200", "fedcba9876543210"],
    "0323456789abcdef": ["fedcba9876543240"],
    "0423456789abcdef": ["fedcba9876543230", "fedcba9876543240"],
}


@pytest.mark.parametrize(
    ("also_without_landmark", "expected"), [(True, 0.166667), (False, 0.333333)]
)
def test_gap_of_the_authors_example(also_without_landmark: bool, expected: float) -> None:
    ids = [i for i in PREDICTED if also_without_landmark or SOLUTION[i]]
    score = np.array([PREDICTED[i][1] for i in ids])
    right = np.array([PREDICTED[i][0] in SOLUTION[i] for i in ids])
    photos = sum(bool(landmarks) for landmarks in SOLUTION.values())
    classes = [PREDICTED[i][0] for i in ids]
    assert gap(score, right, photos) == pytest.approx(expected, abs=1e-6)
    value = gap_authors(score, right, photos, ids=ids, classes=classes)
    assert value == pytest.approx(expected, abs=1e-6)


def test_the_authors_break_ties_by_id_then_class() -> None:
    score, right = np.array([1.0, 1.0]), np.array([True, False])
    assert gap_authors(score, right, 1, ids=["a", "b"], classes=[9, 0]) == 1.0
    assert gap_authors(score, right, 1, ids=["b", "a"], classes=[0, 9]) == 0.5
    assert gap_authors(score, right, 1, ids=["a", "a"], classes=[9, 0]) == 0.5


def test_map_of_the_authors_example() -> None:
    assert map_at_k(RETRIEVED, RETRIEVAL_SOLUTION) == pytest.approx(0.458333, abs=1e-6)
    assert map_at_k(RETRIEVED, RETRIEVAL_SOLUTION, k=1) == pytest.approx(0.5)


def test_map_equals_precision_at_every_hit() -> None:
    rng = np.random.default_rng(4)
    names = [f"p{i}" for i in range(12)]
    relevant = {f"q{i}": set(rng.choice(names, rng.integers(1, 9), replace=False).tolist())
                for i in range(40)}  # fmt: skip
    ranked = {q: rng.permutation(names)[: rng.integers(0, 13)].tolist() for q in relevant}
    for k in (1, 3, 5, 100):
        values = []
        for query, answers in ranked.items():
            hits = np.array([a in relevant[query] for a in answers[:k]], dtype=float)
            precision = np.cumsum(hits) / (np.arange(len(hits)) + 1)
            values.append((precision * hits).sum() / min(len(relevant[query]), k))
        assert map_at_k(ranked, relevant, k) == pytest.approx(np.mean(values))


def test_a_repeated_answer_keeps_its_rank_and_counts_once() -> None:
    assert map_at_k({"q": ["a", "a", "b"]}, {"q": ["a", "b"]}) == pytest.approx((1 + 2 / 3) / 2)


def test_map_refuses_input_for_which_it_is_undefined() -> None:
    with pytest.raises(DataError, match="'z' has a ranking"):
        map_at_k({"z": ["a"]}, {"q": ["a"]})
    with pytest.raises(DataError, match="without a query"):
        map_at_k({}, {"q": []})
    with pytest.raises(OptionError, match="k = 0"):
        map_at_k({}, {"q": ["a"]}, k=0)


def test_recall_counts_first_right_answers_up_to_k() -> None:
    rank = np.array([1, 2, 5, 6, 0])
    found = {k: recall_at_k(rank, k) for k in (1, 4, 5, 10)}
    assert found == pytest.approx({1: 0.2, 4: 0.4, 5: 0.6, 10: 0.8})
    with pytest.raises(DataError, match="without a query"):
        recall_at_k(rank[:0], 1)
    with pytest.raises(OptionError, match="k = 0"):
        recall_at_k(rank, 0)


def test_precision_recall_counts_predictions_that_score_at_least_each_value() -> None:
    rng = np.random.default_rng(5)
    score, right = rng.integers(0, 15, 200), rng.random(200) < 0.5
    precision, recall = precision_recall(score, right, 120)
    for i, value in enumerate(sorted(set(score.tolist()), reverse=True)):
        above = score >= value
        assert precision[i] == pytest.approx(right[above].mean())
        assert recall[i] == pytest.approx(right[above].sum() / 120)
    assert len(precision) == len(recall) == len(set(score.tolist()))


def test_area_under_the_curve_is_the_gap() -> None:
    rng = np.random.default_rng(6)
    score, right = rng.random(500), rng.random(500) < 0.5
    precision, recall = precision_recall(score, right, 300)
    area = float((precision * np.diff(recall, prepend=0.0)).sum())
    assert gap(score, right, 300) == pytest.approx(area)


def test_bootstrap_of_a_mean_is_close_to_its_normal_interval() -> None:
    values = np.random.default_rng(7).normal(3.0, 2.0, 400)
    low, high = bootstrap_interval(lambda rows: float(values[rows].mean()), 400, samples=2000)
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.04)


def test_bootstrap_is_seeded_and_narrows_with_its_level() -> None:
    values = np.random.default_rng(8).random(60)

    def mean(rows: np.ndarray) -> float:
        return float(values[rows].mean())

    first, again = (bootstrap_interval(mean, 60, samples=200, seed=1) for _ in range(2))
    assert first == again
    assert first != bootstrap_interval(mean, 60, samples=200, seed=2)
    low, high = bootstrap_interval(mean, 60, samples=200, seed=1, level=0.5)
    assert first[0] < low < high < first[1]


def test_bootstrap_leaves_out_draws_without_a_landmark_query() -> None:
    """One of four queries shows a landmark, so about a third of the samples have none."""
    right = np.array([True, False, False, False])
    drawn = []

    def metric(rows: np.ndarray) -> float:
        drawn.append(int(right[rows].sum()))
        return gap(np.zeros(4), right[rows], drawn[-1])

    low, high = bootstrap_interval(metric, 4, samples=100)
    assert 0 < low < high <= 1
    assert (len(drawn), 0 in drawn) == (100, True)
    with pytest.raises(DataError, match="undefined on all 9 samples"):
        bootstrap_interval(lambda rows: recall_at_k(rows[:0], 1), 4, samples=9)


@pytest.mark.parametrize("wrong", [{"samples": 0}, {"level": 1.0}, {"level": 0.0}, {"queries": 0}])
def test_bootstrap_refuses_impossible_settings(wrong: dict[str, float]) -> None:
    settings = {"queries": 4, "samples": 10, "level": 0.9} | wrong
    with pytest.raises(OptionError, match="expected at least one query"):
        bootstrap_interval(lambda rows: 0.0, **settings)
