"""The logistic stacker: log-odds by hand, standardizing, few examples, refusals, JSON."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from whichlandmark.core.errors import OptionError
from whichlandmark.core.json_options import from_json, to_json
from whichlandmark.recognition.stacker import (
    INVERSE_RIDGE,
    MIN_EXAMPLES_PER_OUTCOME,
    Stacker,
    fit_stacker,
)

HAND = Stacker(
    names=("a", "b"), means=(1.0, -2.0), scales=(2.0, 0.5), weights=(3.0, -1.0), offset=0.25
)


def examples(count: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, 3)) * [1.0, 10.0, 0.1] + [5.0, -3.0, 0.0]
    odds = (features[:, 0] - 5) * 2 - (features[:, 1] + 3) / 10
    right = rng.random(count) < 1 / (1 + np.exp(-odds))
    return features, right, rng.uniform(0.5, 2.0, count)


def test_log_odds_by_hand_for_any_leading_shape() -> None:
    features = np.array([[[3.0, -2.0], [1.0, -1.0]], [[0.0, 0.0], [1.0, -2.0]]])
    expected = [[3 * 1 - 0 + 0.25, 0 - 2 + 0.25], [-1.5 - 4 + 0.25, 0.25]]
    assert HAND.logits(features) == pytest.approx(np.array(expected))
    assert HAND.contributions(features).shape == features.shape
    assert HAND.contributions(features)[1, 1].tolist() == [0, 0]  # features at their means


def loss(
    weights: np.ndarray, offset: float, x: np.ndarray, right: np.ndarray, counted: np.ndarray
) -> float:
    """The objective of ridge logistic regression: ½|w|² + C Σ weight · log loss."""
    total = float(weights @ weights) / 2
    for row, good, weight in zip(x, right, counted, strict=True):
        odds = float(row @ weights) + offset
        total += INVERSE_RIDGE * weight * math.log1p(math.exp(-odds if good else odds))
    return total


def test_the_fitted_weights_are_optimal() -> None:
    """At the optimum, changing any coefficient raises the objective."""
    features, right, weights = examples()
    stacker = fit_stacker(("a", "b", "c"), features, right, weights)
    x = (features - stacker.means) / stacker.scales
    counted = weights * (len(weights) / weights.sum())
    best = loss(np.array(stacker.weights), stacker.offset, x, right, counted)
    for column in range(4):
        for step in (-0.02, 0.02):
            moved, offset = np.array(stacker.weights), stacker.offset
            if column < 3:
                moved[column] += step
            else:
                offset += step
            assert loss(moved, offset, x, right, counted) > best


def test_means_and_spreads_are_weighted() -> None:
    features, right, weights = examples()
    stacker = fit_stacker(("a", "b", "c"), features, right, weights)
    total = sum(weights)
    for column in range(3):
        mean = sum(w * f for w, f in zip(weights, features[:, column], strict=True)) / total
        spread = sum(w * (f - mean) ** 2 for w, f in zip(weights, features[:, column], strict=True))
        assert stacker.means[column] == pytest.approx(mean)
        assert stacker.scales[column] == pytest.approx(math.sqrt(spread / total))
    assert stacker.examples == len(features)


def test_scaling_a_feature_does_not_matter() -> None:
    features, right, weights = examples()
    one = fit_stacker(("a", "b", "c"), features, right, weights)
    other = fit_stacker(("a", "b", "c"), features * [1, 1000, 1] + [0, 7, 0], right, weights)
    assert other.logits(features * [1, 1000, 1] + [0, 7, 0]) == pytest.approx(
        one.logits(features), abs=1e-4
    )


def test_a_weight_of_two_equals_two_examples() -> None:
    features, right, _ = examples(200)
    double = np.where(np.arange(200) < 50, 2.0, 1.0)
    twice = np.concatenate([features, features[:50]]), np.concatenate([right, right[:50]])
    one = fit_stacker(("a", "b", "c"), features, right, double)
    other = fit_stacker(("a", "b", "c"), *twice, np.ones(250))
    # Only the ridge differs, because it counts less with more examples.
    assert one.means == pytest.approx(other.means)
    assert np.corrcoef(one.logits(features), other.logits(features))[0, 1] > 0.999


def test_a_constant_feature_has_no_effect() -> None:
    features, right, weights = examples()
    features[:, 2] = 4.0
    stacker = fit_stacker(("a", "b", "c"), features, right, weights)
    assert stacker.scales[2] == 1.0
    assert stacker.contributions(features)[:, 2] == pytest.approx(np.zeros(len(features)), abs=1e-9)


@pytest.mark.parametrize("rare", [True, False])
def test_with_too_few_examples_only_the_first_feature_is_used(rare: bool) -> None:
    features, _, weights = examples()
    for count, learns in ((MIN_EXAMPLES_PER_OUTCOME - 1, False), (MIN_EXAMPLES_PER_OUTCOME, True)):
        right = np.full(len(features), not rare)
        right[:count] = rare
        stacker = fit_stacker(("a", "b", "c"), features, right, weights)
        assert (stacker.weights != (1.0, 0.0, 0.0)) == learns
        if not learns:
            assert (stacker.logits(features) == features[:, 0]).all()


def test_fitting_is_deterministic() -> None:
    assert fit_stacker(("a", "b", "c"), *examples()) == fit_stacker(("a", "b", "c"), *examples())


def test_a_stacker_survives_json_to_the_last_bit() -> None:
    stacker = fit_stacker(("a", "b", "c"), *examples())
    opened = from_json(Stacker, json.loads(json.dumps(to_json(stacker))))
    assert opened == stacker
    assert (opened.logits(examples()[0]) == stacker.logits(examples()[0])).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"names": ("a",)},
        {"means": (0.0, 0.0, 0.0)},
        {"weights": ()},
        {"scales": (1.0, 0.0)},
        {"scales": (1.0, -2.0)},
    ],
)
def test_mismatched_shapes_are_refused(wrong: dict[str, tuple[object, ...]]) -> None:
    good = {"names": ("a", "b"), "means": (0.0, 0.0), "scales": (1.0, 1.0), "weights": (1.0, 1.0)}
    Stacker(**good)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="one mean, scale above 0 and weight for each name"):
        Stacker(**{**good, **wrong})  # type: ignore[arg-type]
