"""Confidence: frequencies it was fitted on come back, and it never falls with the score."""

from __future__ import annotations

import numpy as np
import pytest

from whichlandmark import calibration


def test_recovers_a_known_curve() -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(-3, 3, 20_000)
    truth = 1 / (1 + np.exp(-(2.0 * scores - 1.0)))
    right = rng.random(20_000) < truth
    fitted = calibration.fit(scores, right, np.ones(20_000))
    assert (fitted.slope, fitted.offset) == pytest.approx((2.0, -1.0), abs=0.1)
    assert np.abs(fitted.confidence(scores) - truth).max() < 0.02


def test_weights_count_like_repetitions() -> None:
    scores, right = np.array([0.0, 1.0, 2.0, 3.0]), np.array([False, True, False, True])
    weighted = calibration.fit(scores, right, np.array([1.0, 2.0, 3.0, 1.0]))
    repeats = np.repeat(np.arange(4), [1, 2, 3, 1])
    repeated = calibration.fit(scores[repeats], right[repeats], np.ones(7))
    at = np.linspace(-1, 4, 9)
    assert weighted.confidence(at) == pytest.approx(repeated.confidence(at), abs=1e-3)


def test_perfect_separation_stays_finite_and_below_one() -> None:
    scores = np.array([-2.0, -1.0, 1.0, 2.0])
    fitted = calibration.fit(scores, scores > 0, np.ones(4))
    confidence = fitted.confidence(np.array([-100.0, 0.0, 100.0]))
    assert np.isfinite(confidence).all()
    assert fitted.confidence(np.array([2.0]))[0] < 0.999
    assert confidence[0] < 0.01 < 0.99 < confidence[2]


def test_no_evidence_gives_the_share_of_right_answers() -> None:
    scores = np.array([3.0, 2.0, 1.0, 0.0])  # higher is worse here
    fitted = calibration.fit(scores, np.array([False, False, True, True]), np.ones(4))
    assert fitted.slope == 0
    assert fitted.confidence(scores) == pytest.approx([0.5] * 4)
    all_right = calibration.fit(scores, np.ones(4, dtype=bool), np.ones(4))
    assert all_right.confidence(scores) == pytest.approx([5 / 6] * 4)
