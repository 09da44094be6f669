"""Calibration: known frequencies are recovered; confidence never falls as the score rises.

Thresholds: what is promised of wrong answers holds on new ones.
"""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from whichlandmark.core.errors import DataError, OptionError
from whichlandmark.core.json_options import from_json, to_json
from whichlandmark.recognition import calibration


def test_platt_recovers_a_known_curve() -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(-3, 3, 20_000)
    truth = 1 / (1 + np.exp(-(2.0 * scores - 1.0)))
    right = rng.random(20_000) < truth
    fitted = calibration.fit_calibration(scores, right, np.ones(20_000))
    assert (fitted.slope, fitted.offset) == pytest.approx((2.0, -1.0), abs=0.1)
    assert np.abs(fitted.confidence(scores) - truth).max() < 0.02


def test_a_weight_of_two_equals_two_examples() -> None:
    scores, right = np.array([0.0, 1.0, 2.0, 3.0]), np.array([False, True, False, True])
    weighted = calibration.fit_calibration(scores, right, np.array([1.0, 2.0, 3.0, 1.0]))
    repeats = np.repeat(np.arange(4), [1, 2, 3, 1])
    repeated = calibration.fit_calibration(scores[repeats], right[repeats], np.ones(7))
    at = np.linspace(-1, 4, 9)
    assert weighted.confidence(at) == pytest.approx(repeated.confidence(at), abs=1e-3)


def test_perfect_separation_stays_finite_and_below_one() -> None:
    scores = np.array([-2.0, -1.0, 1.0, 2.0])
    fitted = calibration.fit_calibration(scores, scores > 0, np.ones(4))
    confidence = fitted.confidence(np.array([-100.0, 0.0, 100.0]))
    assert np.isfinite(confidence).all()
    assert fitted.confidence(np.array([2.0]))[0] < 0.999
    assert confidence[0] < 0.01 < 0.99 < confidence[2]


def test_scores_without_information_give_the_share_of_right_answers() -> None:
    scores = np.array([3.0, 2.0, 1.0, 0.0])  # higher is worse here
    fitted = calibration.fit_calibration(scores, np.array([False, False, True, True]), np.ones(4))
    assert fitted.slope == 0
    assert fitted.confidence(scores) == pytest.approx([0.5] * 4)
    all_right = calibration.fit_calibration(scores, np.ones(4, dtype=bool), np.ones(4))
    assert all_right.confidence(scores) == pytest.approx([5 / 6] * 4)


def stepped(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores whose probability to be right is a step function, unlike any logistic curve."""
    scores = rng.uniform(0, 10, n)
    truth = np.select([scores < 2, scores < 8], [0.02, 0.5], 0.98)
    return scores, rng.random(n) < truth, truth


def slow_isotonic(targets: list[float], weights: list[float]) -> list[float]:
    """Pool adjacent violators, one at a time: [value, weight, count] blocks."""
    blocks: list[list[float]] = []
    for target, weight in zip(targets, weights, strict=True):
        blocks.append([target, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            b, a = blocks.pop(), blocks.pop()
            mass = a[1] + b[1]
            blocks.append([(a[0] * a[1] + b[0] * b[1]) / mass, mass, a[2] + b[2]])
    return [value for value, _, count in blocks for _ in range(int(count))]


def test_isotonic_is_chosen_where_platt_does_not_fit() -> None:
    rng = np.random.default_rng(0)
    scores, right, truth = stepped(rng, 4000)
    groups = rng.integers(0, 60, 4000)
    fitted = calibration.fit_calibration(scores, right, np.ones(4000), groups=groups)
    curve = calibration.fit_platt(scores, right, np.ones(4000))
    inside = np.abs(scores[:, None] - [2, 8]).min(axis=1) > 0.3
    assert fitted.kind == "isotonic"
    assert np.abs(fitted.confidence(scores) - truth)[inside].mean() < 0.03
    assert np.abs(curve.confidence(scores) - truth)[inside].mean() > 0.06


def test_platt_is_chosen_where_it_fits_or_examples_are_few() -> None:
    rng = np.random.default_rng(1)
    scores = rng.uniform(-3, 3, 1000)
    right = rng.random(1000) < 1 / (1 + np.exp(-(2.0 * scores - 1.0)))
    assert calibration.fit_calibration(scores, right, np.ones(1000)).kind == "platt"
    scores, right, _ = stepped(rng, calibration.MIN_ISOTONIC_EXAMPLES - 1)
    assert calibration.fit_calibration(scores, right, np.ones(len(scores))).kind == "platt"


def test_groups_are_held_out_together_when_choosing() -> None:
    """Scores of each group are concentrated, so that isotonic steps do not generalise."""
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(60), 20)
    scores = rng.uniform(0, 6, 60)[groups] + rng.normal(0, 1e-3, 1200)
    chance = 1 / (1 + np.exp(-(scores - 3)))
    right = (rng.random(60)[groups] < chance) ^ (rng.random(1200) < 0.02)
    alone = calibration.fit_calibration(scores, right, np.ones(1200))
    together = calibration.fit_calibration(scores, right, np.ones(1200), groups=groups)
    assert (alone.kind, together.kind) == ("isotonic", "platt")


def test_isotonic_equals_pool_adjacent_violators_plus_a_small_slope() -> None:
    rng = np.random.default_rng(3)
    scores = np.sort(rng.normal(size=120))
    right = rng.random(120) < np.where(scores > 0, 0.8, 0.2)
    weights = rng.uniform(0.5, 2, 120)
    fitted = calibration.fit_isotonic(scores, right, weights)
    plus, minus = weights[right].sum(), weights[~right].sum()
    targets = np.where(right, (plus + 1) / (plus + 2), 1 / (minus + 2))
    steps = np.array(slow_isotonic(targets.tolist(), weights.tolist()))
    curve = calibration.fit_platt(scores, right, weights).confidence(scores)
    assert fitted.confidence(scores) == pytest.approx(0.98 * steps + 0.02 * curve, abs=1e-3)
    assert (np.diff(fitted.confidence(scores)) > 0).all()  # no two scores share a confidence
    assert (fitted.slope, fitted.offset) != (0, 0)


def test_isotonic_confidence_is_monotone_and_within_zero_and_one() -> None:
    scores = np.concatenate([np.linspace(-2, -1, 150), np.linspace(1, 2, 150)])
    fitted = calibration.fit_isotonic(scores, scores > 0, np.ones(300))
    at = np.array([-np.inf, -1e300, -3.0, -1.5, 0.0, 1.5, 3.0, 1e300, np.inf])
    confidence = fitted.confidence(at)
    assert (confidence > 0).all()
    assert (confidence < 1).all()
    assert (np.diff(confidence) >= 0).all()
    assert confidence[0] < 0.01 < 0.99 < confidence[-1]
    backwards = calibration.fit_isotonic(-scores, scores > 0, np.ones(300))
    assert backwards.kind == "platt"
    assert backwards.slope == 0


def test_folds_do_not_depend_on_the_order_of_examples() -> None:
    rng = np.random.default_rng(4)
    scores, right, _ = stepped(rng, 600)
    groups = np.array([f"landmark {i % 40}" for i in range(600)])
    order = rng.permutation(600)
    one = calibration.fit_calibration(scores, right, np.ones(600), groups=groups)
    shuffled = scores[order], right[order], np.ones(600)
    two = calibration.fit_calibration(*shuffled, groups=groups[order])
    at = np.linspace(-1, 11, 50)
    assert one.kind == two.kind
    assert one.confidence(at) == pytest.approx(two.confidence(at), abs=1e-4)


def test_infinite_scores_are_left_out_and_nan_is_refused() -> None:
    scores, right, _ = stepped(np.random.default_rng(5), 400)
    plain = calibration.fit_calibration(scores, right, np.ones(400))
    more = np.concatenate([scores, [-np.inf] * 5])
    again = calibration.fit_calibration(more, np.concatenate([right, [False] * 5]), np.ones(405))
    assert again == plain
    for kind in (plain, calibration.Calibration(slope=0.0, offset=0.3)):
        assert np.isfinite(kind.confidence(np.array([-np.inf, np.inf]))).all()
    one_nan = np.where(np.arange(405) == 7, np.nan, more)
    with pytest.raises(DataError, match="1 of 405 scores"):
        calibration.fit_calibration(one_nan, more > 5, np.ones(405))
    empty = calibration.fit_calibration(np.empty(0), np.empty(0, dtype=bool), np.empty(0))
    assert empty.confidence(np.array([1.0]))[0] == 0.5


def test_a_calibration_survives_json_and_older_files_load() -> None:
    scores, right, _ = stepped(np.random.default_rng(6), 2000)
    fitted = calibration.fit_calibration(scores, right, np.ones(2000))
    assert fitted.kind == "isotonic"
    for record in (to_json(fitted), dataclasses.asdict(fitted)):
        assert from_json(calibration.Calibration, json.loads(json.dumps(record))) == fitted
    old = from_json(calibration.Calibration, {"slope": 2.0, "offset": -1.0, "examples": 7})
    assert old == calibration.Calibration(slope=2.0, offset=-1.0, examples=7, kind="platt")


@pytest.mark.parametrize(
    ("thresholds", "values"),
    [
        ([0.0, 1.0], [0.2]),
        ([1.0, 0.0], [0.2, 0.3]),
        ([0.0, 1.0], [0.3, 0.2]),
        ([0.0, 1.0], [0.3, 1.2]),
        ([0.0, float("nan")], [0.3, 0.4]),
        ([0.0, 1.0], [float("nan"), 0.4]),
        ([], []),
    ],
)
def test_damaged_knots_are_refused(thresholds: list[float], values: list[float]) -> None:
    record = {"slope": 1.0, "offset": 0.0, "kind": "isotonic"}
    with pytest.raises(OptionError, match="knots"):
        from_json(calibration.Calibration, {**record, "thresholds": thresholds, "values": values})


def test_the_threshold_is_the_conformal_order_statistic() -> None:
    rng = np.random.default_rng(7)
    for n in (0, 1, 19, 20, 99, 100, 150):
        negatives = rng.normal(size=n)
        negatives = negatives if n == 99 else negatives.round(1)  # with ties
        for rate in (0.0, 0.01, 0.05, 0.29, 0.5, 0.99):
            threshold = calibration.threshold_for(rate, negatives)
            for score in [*negatives, negatives.max(initial=0) + 1, -99.0]:
                as_high = sum(other >= score for other in negatives)
                promised = (1 + as_high) / (n + 1) <= rate + 1e-12
                assert (score >= threshold) == promised, (n, rate, score)
    assert calibration.threshold_for(0.01, np.arange(98)) == np.inf
    assert 98 < calibration.threshold_for(0.01, np.arange(99)) < 98 + 1e-9
    assert calibration.threshold_for(1.0, np.arange(9)) == -np.inf


def test_the_conformal_rate_holds_on_new_queries() -> None:
    rng = np.random.default_rng(8)
    for rate in (0.01, 0.05):
        answered = [
            (rng.gumbel(size=200) >= calibration.threshold_for(rate, rng.gumbel(size=150))).mean()
            for _ in range(1500)
        ]
        expected = np.floor(rate * 151) / 151
        error = np.std(answered) / np.sqrt(len(answered))
        assert abs(np.mean(answered) - expected) < 4 * error
        assert np.mean(answered) < rate


def test_invalid_rates_and_scores_are_refused() -> None:
    for rate in (-0.1, 1.5, float("nan")):
        with pytest.raises(OptionError, match="false-answer rate"):
            calibration.threshold_for(rate, np.arange(9))
    with pytest.raises(DataError, match="2 of 3 scores are NaN"):
        calibration.threshold_for(0.5, np.array([np.nan, 1.0, np.nan]))


@pytest.mark.parametrize(("right", "most"), [(9, 0.9), (32, 32 / 33), (99, 0.99)])
def test_a_calibration_proves_no_more_than_its_right_answers(right: int, most: float) -> None:
    """n right answers without a wrong one prove n / (n + 1), whatever their scores are."""
    scores = np.append(np.linspace(5, 9, right), np.linspace(-9, -5, 40))
    outcomes = np.arange(len(scores)) < right
    fitted = calibration.fit_calibration(scores, outcomes, np.ones(len(scores)))
    assert fitted.proven == pytest.approx(most)
    with_default = calibration.fit_calibration(
        scores, outcomes, np.ones(len(scores)), log_odds=True
    )
    assert with_default.proven == 1  # other galleries have proven it


def test_the_best_share_from_any_score_on_is_proven() -> None:
    """A wrong answer at the very top does not hide the hundred right ones below it."""
    scores, outcomes = np.linspace(9, 0, 102), np.arange(102) != 0
    outcomes[-1] = False
    fitted = calibration.fit_calibration(scores, outcomes, np.ones(102))
    assert fitted.proven == pytest.approx(100 / 102)
