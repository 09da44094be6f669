"""Calibration error, AUROC, risk–coverage, thresholds, intervals: equal to slow, plain loops."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest

from whichlandmark.core.errors import DataError, OptionError
from whichlandmark.metrics.bootstrap import bootstrap_interval, paired_bootstrap
from whichlandmark.metrics.calibration_error import (
    calibration_bins,
    calibration_error,
    calibration_error_of_draws,
    risk_coverage,
)
from whichlandmark.metrics.open_set import answered_share, auroc, auroc_of_draws, threshold_at
from whichlandmark.metrics.ranking import average_precision, gap, gap_of_draws, map_at_k


def answers(seed: int, count: int, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Overconfident predictions: confidences, with ties when levels is given; right or not."""
    rng = np.random.default_rng(seed)
    confidence = rng.random(count)
    if levels:
        confidence = np.round(confidence * levels) / levels
    return confidence, rng.random(count) < confidence**2


def slow_error(groups: list[list[tuple[float, bool]]]) -> float:
    """The calibration error by its definition, for bins of (confidence, right)."""
    total, error = sum(map(len, groups)), 0.0
    for group in filter(None, groups):
        right = sum(r for _, r in group) / len(group)
        confidence = sum(c for c, _ in group) / len(group)
        error += len(group) / total * abs(right - confidence)
    return error


def slow_bins(confidence: np.ndarray, right: np.ndarray, bins: int, by: str) -> list[list]:
    """Fill the bins in a plain loop; queries with equal confidences go into one bin."""
    pairs = sorted(zip(confidence.tolist(), right.tolist(), strict=True))
    filled: list[list] = [[] for _ in range(bins)]
    before = 0
    for value, same in itertools.groupby(pairs, key=lambda pair: pair[0]):
        group = list(same)
        index = min(int(value * bins), bins - 1) if by == "width" else before * bins // len(pairs)
        filled[index] += group
        before += len(group)
    return filled


@pytest.mark.parametrize("by", ["mass", "width"])
def test_calibration_error_matches_its_definition(by: str) -> None:
    cases = itertools.product(range(4), (1, 7, 300), (None, 8), (1, 4, 15))
    for seed, count, levels, bins in cases:
        confidence, right = answers(seed, count, levels)
        expected = slow_error(slow_bins(confidence, right, bins, by))
        value = calibration_error(confidence, right, bins=bins, by=by)
        assert value == pytest.approx(expected, abs=1e-12)
        found = calibration_bins(confidence, right, bins=bins, by=by)
        assert found.sizes.sum() == count
        assert (np.diff(found.confidence) > 0).all()


def test_calibration_error_of_known_cases() -> None:
    ones = np.ones(10, dtype=bool)
    assert calibration_error(np.ones(10), ones) == 0
    assert calibration_error(np.zeros(10), ones) == 1
    half = np.arange(10) < 5
    assert calibration_error(np.full(10, 0.5), half) == 0  # one tie, one bin
    assert calibration_error(np.full(10, 0.8), half) == pytest.approx(0.3)
    # Calibrated only on average: one bin shows no error, two bins do.
    confidence = np.repeat([0.1, 0.9], 5)
    right = np.repeat([True, False], 5)
    assert calibration_error(confidence, right, bins=1) == pytest.approx(0)
    assert calibration_error(confidence, right, bins=2) == pytest.approx(0.9)


def test_calibration_error_does_not_depend_on_the_order_of_ties() -> None:
    confidence, right = answers(5, 200, 6)
    value = calibration_error(confidence, right)
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(200)
        assert calibration_error(confidence[order], right[order]) == pytest.approx(value, abs=1e-12)


def test_bins_of_equal_mass_have_equal_sizes() -> None:
    confidence, right = answers(6, 150)
    assert calibration_bins(confidence, right).sizes.tolist() == [10] * 15
    skewed = confidence**8  # by width, most of it is in one bin
    assert calibration_bins(skewed, right).sizes.tolist() == [10] * 15
    assert calibration_bins(skewed, right, by="width").sizes.max() > 75


@pytest.mark.parametrize(
    ("confidence", "right", "options", "error", "message"),
    [
        ([0.5], [True], {"bins": 0}, OptionError, "0 bins"),
        ([0.5], [True], {"by": "weight"}, OptionError, "'weight'"),
        ([], [], {}, DataError, "without a query"),
        ([0.5, 1.5], [True, True], {}, DataError, "0.5 to 1.5"),
        ([-0.1], [True], {}, DataError, "probabilities"),
        ([np.nan], [True], {}, DataError, "1 scores are NaN"),
        ([0.5], [True, False], {}, DataError, "differ in length"),
    ],
)
def test_calibration_error_refuses_invalid_confidences_and_options(
    confidence: list[float], right: list[bool], options: dict, error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        calibration_error(np.array(confidence), np.array(right, dtype=bool), **options)


def test_auroc_counts_pairs() -> None:
    rng = np.random.default_rng(1)
    for sizes, levels in itertools.product([(1, 1), (3, 8), (40, 25)], (3, 1000)):
        one, other = (rng.integers(0, levels, n) / 7 for n in sizes)
        wins = [(p > n) + 0.5 * (p == n) for p in one for n in other]
        assert auroc(one, other) == pytest.approx(np.mean(wins), abs=1e-12)
        assert auroc(one, other) + auroc(other, one) == pytest.approx(1)
    unanswered = np.array([-np.inf, -np.inf])
    assert auroc(np.array([0.1, -np.inf]), unanswered) == 0.75  # two unanswered: half a pair
    with pytest.raises(DataError, match="1 positive and 0 negative"):
        auroc(np.ones(1), np.ones(0))
    with pytest.raises(DataError, match="NaN"):
        auroc(np.array([np.nan]), np.ones(2))


def test_auroc_equals_that_of_scikit_learn() -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(2)
    score, positive = np.round(rng.normal(size=500), 1), rng.random(500) < 0.2
    value = auroc(score[positive], score[~positive])
    assert value == pytest.approx(roc_auc_score(positive, score), abs=1e-12)


def test_risk_coverage_averages_over_all_orders_of_ties() -> None:
    for seed in range(12):
        confidence, right = answers(seed, 7, 3)
        groups = [right[confidence == c].tolist() for c in sorted(set(confidence), reverse=True)]
        areas = []
        for order in itertools.product(*(itertools.permutations(g) for g in groups)):
            wrong = np.cumsum([not r for r in itertools.chain(*order)])
            areas.append(np.mean(wrong / np.arange(1, 8)))
        found = risk_coverage(confidence, right)
        assert found.area == pytest.approx(np.mean(areas), abs=1e-12)
        for value, coverage, risk in zip(
            sorted(set(confidence), reverse=True), found.coverage, found.risk, strict=True
        ):
            assert coverage == pytest.approx((confidence >= value).mean())
            assert risk == pytest.approx((~right[confidence >= value]).mean())


def test_risk_coverage_of_known_cases() -> None:
    right = np.array([True, True, False, False])
    good, bad = np.array([4, 3, 2, 1]), np.array([1, 2, 3, 4])
    assert risk_coverage(good, right).area == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)
    assert risk_coverage(bad, right).area == pytest.approx((1 + 1 + 2 / 3 + 1 / 2) / 4)
    assert risk_coverage(np.zeros(4), right).area == pytest.approx(0.5)  # all are tied
    with pytest.raises(DataError, match="without a query"):
        risk_coverage(good[:0], right[:0])


def test_the_threshold_is_the_smallest_that_keeps_its_rate() -> None:
    rng = np.random.default_rng(3)
    for count, levels, rate in itertools.product((1, 7, 100), (4, 10**6), (0, 0.01, 0.07, 0.5, 1)):
        negatives = rng.integers(0, levels, count) / 3
        threshold = threshold_at(rate, negatives)
        assert (negatives >= threshold).sum() <= rate * count + 1e-9
        if math.isfinite(threshold):  # the next lower number lets too many through
            below = np.nextafter(threshold, -np.inf)
            assert (negatives >= below).sum() > rate * count + 1e-9
    exactly = np.arange(100) / 100  # 0.07 · 100 is a little above 7 in floating point
    assert (exactly >= threshold_at(0.07, exactly)).sum() == 7
    assert (exactly >= threshold_at(0.29, exactly)).sum() == 29  # and 0.29 · 100 a little below
    assert threshold_at(1, exactly) == -math.inf


def test_thresholds_refuse_invalid_scores() -> None:
    with pytest.raises(OptionError, match=r"rate 1\.5"):
        threshold_at(1.5, np.ones(3))
    with pytest.raises(DataError, match="without a query"):
        threshold_at(0.1, np.ones(0))
    with pytest.raises(DataError, match="NaN"):
        threshold_at(0.1, np.array([np.nan]))
    assert answered_share(np.array([0.1, 0.5, 0.9]), 0.5) == pytest.approx(2 / 3)
    with pytest.raises(DataError, match="without a query"):
        answered_share(np.ones(0), 0.5)


def test_bootstrap_measures_equal_those_of_the_drawn_rows() -> None:
    rng = np.random.default_rng(4)
    score = np.round(rng.random(90), 1)
    confidence, right = answers(4, 90, 12)
    landmark, predicted = right | (rng.random(90) < 0.3), rng.random(90) < 0.8
    gaps = gap_of_draws(score, right, landmark, predicted=predicted)
    errors = calibration_error_of_draws(confidence, right)
    areas = auroc_of_draws(score, landmark, ~landmark)
    for _ in range(50):
        rows = rng.integers(0, 90, 90)
        hits, shown = (right & predicted)[rows], landmark[rows]
        expected = gap(score[rows], hits, int(shown.sum()), predicted=predicted[rows])
        assert gaps(rows) == pytest.approx(expected, abs=1e-12)
        expected = calibration_error(confidence[rows], right[rows])
        assert errors(rows) == pytest.approx(expected, abs=1e-12)
        assert areas(rows) == pytest.approx(auroc(score[rows][shown], score[rows][~shown]))
    with pytest.raises(DataError, match="without a photo"):
        gaps(np.flatnonzero(~landmark))
    unpredicted = gap_of_draws(np.where(predicted, score, np.nan), right, landmark,
                               predicted=predicted)  # fmt: skip
    assert unpredicted(np.arange(90)) == gaps(np.arange(90))


def mean_of(values: np.ndarray) -> Callable[[np.ndarray], float]:
    return lambda rows: float(values[rows].mean())


def test_a_paired_interval_is_narrower_than_two_separate_ones() -> None:
    """Queries differ much and runs little, so only pairing shows the difference of 0.1."""
    rng = np.random.default_rng(5)
    difficulty = rng.normal(0, 3, 300)
    a, b = difficulty + 0.1 + rng.normal(0, 0.2, 300), difficulty
    found = paired_bootstrap(mean_of(a), mean_of(b), 300, samples=500)
    assert found.difference == pytest.approx((a - b).mean())
    half = 1.96 * (a - b).std() / math.sqrt(300)
    expected = (found.difference - half, found.difference + half)
    assert (found.low, found.high) == pytest.approx(expected, abs=0.005)
    assert found.low > 0
    assert found.higher > 0.99
    one, other = (bootstrap_interval(mean_of(v), 300, samples=500) for v in (a, b))
    assert one[0] < other[1]  # unpaired, the intervals overlap
    back = paired_bootstrap(mean_of(b), mean_of(a), 300, samples=500)
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))
    assert back.higher == pytest.approx(1 - found.higher - found.equal)


def test_a_run_against_itself_is_neither_better_nor_worse() -> None:
    values = np.random.default_rng(6).random(40)
    found = paired_bootstrap(mean_of(values), mean_of(values), 40, samples=50)
    assert (found.difference, found.low, found.high) == (0, 0, 0)
    assert (found.higher, found.equal) == (0, 1)
    noise = paired_bootstrap(mean_of(values), lambda r: float(np.sum(values[r] / 40)), 40)
    assert noise.equal == 1  # equal but for rounding, because it is summed in another order


def test_batched_average_precision_equals_one_by_one() -> None:
    rng = np.random.default_rng(7)
    relevant = {f"q{i}": {f"r{j}" for j in range(rng.integers(1, 9))} for i in range(30)}
    others = [f"x{j}" for j in range(9)]
    ranked = {q: rng.permutation([*photos, *others])[:9].tolist() for q, photos in relevant.items()}
    hits = np.array([[a in relevant[q] for a in answers] for q, answers in ranked.items()])
    sizes = np.array([len(photos) for photos in relevant.values()])
    for k in (1, 4, 100):
        values = average_precision(hits, sizes, k)
        assert values.mean() == pytest.approx(map_at_k(ranked, relevant, k))
    with pytest.raises(DataError, match="1 queries have no relevant photo"):
        average_precision(hits[:2], np.array([9, 0]))
    with pytest.raises(OptionError, match="k = 0"):
        average_precision(hits, sizes, 0)
