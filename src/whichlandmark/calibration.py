"""Score → probability that the answer is right.

Platt, "Probabilistic outputs for support vector machines", 1999, with his smoothed targets
(N₊+1)/(N₊+2) and 1/(N₋+2), which keep the curve finite when scores separate perfectly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """confidence = 1 / (1 + exp(−(slope · score + offset))); `examples` = what it was fitted on."""

    slope: float
    offset: float
    examples: int = 0

    def confidence(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """(Q,) scores → (Q,) probabilities in 0 to 1, rising with the score."""
        # tanh form: no overflow at either end.
        return 0.5 * (1 + np.tanh(0.5 * (self.slope * np.asarray(scores) + self.offset)))


def fit(
    scores: NDArray[np.float64], right: NDArray[np.bool_], weights: NDArray[np.float64]
) -> Calibration:
    """Fit the curve to scores with known outcomes: three (N,) arrays.

    weights: how much each example counts, so that the mix of questions can be chosen. A
    falling curve is never returned: without evidence that higher scores are better, the
    confidence is the weighted share of right answers.
    """
    positives, negatives = weights[right].sum(), weights[~right].sum()
    high, low = (positives + 1) / (positives + 2), 1 / (negatives + 2)
    share = float(np.clip((positives + 1) / (positives + negatives + 2), 1e-6, 1 - 1e-6))
    flat = Calibration(slope=0.0, offset=float(np.log(share / (1 - share))), examples=len(scores))
    if not (right.any() and (~right).any()) or np.ptp(scores) == 0:
        return flat
    slope, offset = _logistic(scores, np.where(right, high, low), weights)
    if slope <= 0:
        return flat
    return Calibration(slope=slope, offset=offset, examples=len(scores))


def _logistic(
    scores: NDArray[np.float64], targets: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[float, float]:
    """Weighted logistic regression on soft targets, by scikit-learn."""
    from sklearn.linear_model import LogisticRegression

    centre, spread = float(scores.mean()), float(scores.std())
    scaled = ((scores - centre) / spread)[:, None]
    # A soft target t is a right answer of weight t and a wrong one of weight 1 − t.
    model = LogisticRegression(C=1e6, max_iter=1000).fit(
        np.concatenate([scaled, scaled]),
        np.repeat([1, 0], len(scores)),
        sample_weight=np.concatenate([weights * targets, weights * (1 - targets)]),
    )
    slope = float(model.coef_[0, 0]) / spread
    return slope, float(model.intercept_[0]) - slope * centre
