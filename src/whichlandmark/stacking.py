"""Several witnesses of one answer → one number: a logistic regression that fits into JSON.

Wolpert, "Stacked generalization", Neural Networks 1992: a learner on top of other learners'
outputs, taught on answers that they gave about examples they had not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import OptionError

LEAST = 20  # right answers, and wrong ones, below which nothing is learned
STRENGTH = (
    0.03  # inverse of the ridge on standardised weights; with 1, hundreds of questions overfit
)
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Stacker:
    """log-odds = offset + Σ weight · (feature − mean) / scale, by feature name."""

    names: tuple[str, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    weights: tuple[float, ...]
    offset: float = 0.0
    examples: int = 0

    def __post_init__(self) -> None:
        lengths = {len(self.names), len(self.means), len(self.scales), len(self.weights)}
        if len(lengths) != 1 or min(self.scales, default=1.0) <= 0:
            raise OptionError("a stacker needs one mean, scale above 0 and weight for each name")

    def logits(self, features: NDArray[Any]) -> Floats:
        """(..., F) features in the order of `names` → (...) log-odds that the answer is right."""
        return np.asarray(self.parts(features).sum(axis=-1) + self.offset)

    def parts(self, features: NDArray[Any]) -> Floats:
        """(..., F) → (..., F): what each feature adds to the log-odds, 0 for a usual one."""
        standard = (np.asarray(features, dtype=np.float64) - self.means) / self.scales
        return np.asarray(standard * self.weights)


def fit_stacker(
    names: tuple[str, ...], features: NDArray[Any], right: NDArray[np.bool_], weights: Floats
) -> Stacker:
    """Learn from (N, F) features, (N,) outcomes, (N,) weights of the examples.

    With fewer than LEAST right or wrong ones the first feature alone ranks, unchanged.
    """
    count = len(features)
    if min(int(right.sum()), int((~right).sum())) < LEAST:
        none = (0.0,) * (len(names) - 1)
        one = (1.0,) * len(names)
        return Stacker(names=names, means=(0.0, *none), scales=one, weights=(1.0, *none),
                       examples=count)  # fmt: skip
    from sklearn.linear_model import LogisticRegression

    wide = np.asarray(features, dtype=np.float64)
    means = np.average(wide, axis=0, weights=weights)
    spread = np.sqrt(np.average((wide - means) ** 2, axis=0, weights=weights))
    scales = np.where(spread > 1e-9, spread, 1.0)
    model = LogisticRegression(C=STRENGTH, max_iter=2000, tol=1e-8)
    model.fit((wide - means) / scales, right, sample_weight=weights * (count / weights.sum()))
    return Stacker(
        names=names, means=tuple(map(float, means)), scales=tuple(map(float, scales)),
        weights=tuple(map(float, model.coef_[0])), offset=float(model.intercept_[0]),
        examples=count,
    )  # fmt: skip
