"""Stacker: a candidate's features → log-odds that it is right, by logistic regression; as JSON.

One may come with the embedder, fitted on other galleries; a gallery's own queries then move it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import OptionError
from ..core.types import Floats

MIN_EXAMPLES_PER_OUTCOME = 20  # right ones, and wrong ones, below which no stacker is fitted

# Inverse of the ridge penalty on standardised weights; with 1, hundreds of queries overfit.
INVERSE_RIDGE = 0.03

# Of the weights' distance from those of a default stacker: a prior that is worth some dozens of
# examples, so that it fades as the gallery's own queries grow.
DEFAULT_RIDGE = 33.0


@dataclass(frozen=True, kw_only=True)
class Stacker:
    """Logistic regression: log-odds = offset + Σ weight · (feature − mean) / scale."""

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
        """Log-odds that the candidate is right: (..., F) features by `names` → (...)."""
        return np.asarray(self.contributions(features).sum(axis=-1) + self.offset)

    def contributions(self, features: NDArray[Any]) -> Floats:
        """What each feature adds to the log-odds, 0 at its mean: (..., F) → (..., F)."""
        standard = (np.asarray(features, dtype=np.float64) - self.means) / self.scales
        return np.asarray(standard * self.weights)


def fit_stacker(
    names: tuple[str, ...],
    features: NDArray[Any],
    right: NDArray[np.bool_],
    weights: Floats,
    *,
    default: Stacker | None = None,
) -> Stacker:
    """Fit a stacker to (N, F) features, (N,) outcomes and (N,) weights of examples.

    default: a stacker that was fitted on other galleries, from which the examples move this one;
      the fewer they are, the less. Without it, with fewer than MIN_EXAMPLES_PER_OUTCOME right or
      wrong examples, the log-odds are the first feature, unchanged.
    """
    count = len(features)
    if default is not None:
        return _fit_from(default, names, features, right, weights)
    if min(int(right.sum()), int((~right).sum())) < MIN_EXAMPLES_PER_OUTCOME:
        zeros = (0.0,) * (len(names) - 1)
        return Stacker(
            names=names,
            means=(0.0, *zeros),
            scales=(1.0,) * len(names),
            weights=(1.0, *zeros),
            examples=count,
        )
    from sklearn.linear_model import LogisticRegression

    examples = np.asarray(features, dtype=np.float64)
    means = np.average(examples, axis=0, weights=weights)
    spread = np.sqrt(np.average((examples - means) ** 2, axis=0, weights=weights))
    scales = np.where(spread > 1e-9, spread, 1.0)
    model = LogisticRegression(C=INVERSE_RIDGE, max_iter=2000, tol=1e-8)
    model.fit((examples - means) / scales, right, sample_weight=weights * (count / weights.sum()))
    return Stacker(
        names=names,
        means=tuple(map(float, means)),
        scales=tuple(map(float, scales)),
        weights=tuple(map(float, model.coef_[0])),
        offset=float(model.intercept_[0]),
        examples=count,
    )


def _fit_from(
    default: Stacker,
    names: tuple[str, ...],
    features: NDArray[Any],
    right: NDArray[np.bool_],
    weights: Floats,
) -> Stacker:
    """Logistic regression with a ridge penalty on the distance from the default's weights.

    Features are standardized as the default's, so that the penalty means the same in every
    gallery. Examples of one outcome alone leave the default as it is, because nothing would hold
    it back.
    """
    at = {name: i for i, name in enumerate(default.names)}

    def of_default(values: tuple[float, ...], missing: float) -> Floats:
        return np.array([values[at[name]] if name in at else missing for name in names])

    means, scales = of_default(default.means, 0.0), of_default(default.scales, 1.0)
    known = of_default(default.weights, 0.0)
    coefficients = np.append(known, default.offset)
    if right.any() and (~right).any():
        examples = np.asarray(features, dtype=np.float64)
        new = np.array([name not in at for name in names])
        means[new] = np.average(examples[:, new], axis=0, weights=weights)
        spread = examples[:, new].std(axis=0)
        scales[new] = np.where(spread > 1e-9, spread, 1.0)
        rows = np.append((examples - means) / scales, np.ones((len(examples), 1)), axis=1)
        coefficients = ridge_logistic(rows, right, weights, coefficients, DEFAULT_RIDGE)
    return Stacker(
        names=names,
        means=tuple(map(float, means)),
        scales=tuple(map(float, scales)),
        weights=tuple(map(float, coefficients[:-1])),
        offset=float(coefficients[-1]),
        examples=len(features),
    )


def ridge_logistic(
    rows: Floats, right: NDArray[np.bool_], weights: Floats, start: Floats, ridge: float
) -> Floats:
    """Coefficients c (F,) that minimize Σ w·log-loss(σ(rows·c), right) + ridge/2·|c − start|².

    Newton's method with halved steps; the minimum is unique. rows: (N, F), with a column of ones
    for an offset.
    """

    def loss(c: Floats) -> float:
        z = rows @ c
        return float(
            (weights * (np.logaddexp(0, z) - right * z)).sum()
            + ridge / 2 * ((c - start) ** 2).sum()
        )

    c = start.astype(np.float64)
    for _ in range(100):
        p = 0.5 * (1 + np.tanh(0.5 * (rows @ c)))
        gradient = rows.T @ (weights * (p - right)) + ridge * (c - start)
        curvature = (rows * (weights * p * (1 - p))[:, None]).T @ rows
        step = np.linalg.solve(curvature + ridge * np.eye(len(c)), gradient)
        size, before = 1.0, loss(c)
        while loss(c - size * step) > before and size > 1e-6:
            size /= 2
        c = c - size * step
        if np.abs(size * step).max() < 1e-9:
            break
    return c
