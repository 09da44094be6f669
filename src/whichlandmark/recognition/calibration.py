"""Calibration: score → probability, stored as JSON; thresholds for a rate of false answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError, OptionError
from ..core.types import Floats
from .stacker import DEFAULT_RIDGE, ridge_logistic

Kind = Literal["platt", "isotonic"]

CALIBRATION_FOLDS = 5

# Below some hundreds of examples isotonic steps overfit (Niculescu-Mizil & Caruana).
MIN_ISOTONIC_EXAMPLES = 200

PLATT_SHARE = 0.02  # share of Platt's curve in isotonic values, so that they rise on a step too

# Log-odds of a rule of thumb: of a score as high as right answers mostly have, and of any score
# where none is known.
SURE_LOG_ODDS, UNKNOWN_LOG_ODDS = 3.0, -2.5

# Cosines tell nothing where the even one is below this, by right answers, or the highest is above
# this, by wrong ones.
LEAST_MIDDLE, MOST_HIGHEST = 0.4, 0.8

MAX_SCORE = 1e100  # replaces infinite scores, because it stays finite times any slope


@dataclass(frozen=True)
class Sure:
    """Scores from which at most one leave-one-out query in a hundred is answered wrongly.

    measured: with a correction for their number, which bounds the wrong answers to other photos.
    counted: without it. supported: counted with one more wrong answer, so from 99 answers on. None
    = there is no such score. queries: how many there are. `sure.py` computes them.
    """

    measured: float | None = None
    counted: float | None = None
    supported: float | None = None
    queries: int = 0


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A score's confidence: a function that never falls, as numbers that go into JSON.

    "platt": confidence = 1 / (1 + exp(−(slope · score + offset))). "isotonic": linear between the
    knots (thresholds, values), constant beyond them; slope and offset are then those of Platt's
    curve through the same examples. `examples`: how many it was fitted on. `proven`: the most that
    a confidence may be, because no examples show more (`_proven`); `confidence` does not apply it.

    Raises:
        OptionError: Unless the thresholds rise and the values, from 0 to 1, never fall.
    """

    slope: float
    offset: float
    examples: int = 0
    kind: Kind = "platt"
    thresholds: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
    proven: float = 1.0

    def __post_init__(self) -> None:
        # JSON gives lists.
        object.__setattr__(self, "thresholds", tuple(self.thresholds))
        object.__setattr__(self, "values", tuple(self.values))
        if self.kind not in ("platt", "isotonic"):
            raise OptionError(f"calibration kind {self.kind!r}; expected platt or isotonic")
        rising = np.diff(self.thresholds) > 0
        level = np.diff(np.array([0.0, *self.values, 1.0])) >= 0
        same_length = len(self.thresholds) == len(self.values)
        if not (same_length and rising.all() and level.all()):
            raise OptionError(
                f"calibration knots {self.thresholds} and {self.values}; expected rising "
                "thresholds, each with a value from 0 to 1 that never falls"
            )
        if self.kind == "isotonic" and not self.thresholds:
            raise OptionError("an isotonic calibration without knots; calibrate again")

    def confidence(self, scores: NDArray[Any]) -> Floats:
        """(Q,) scores → (Q,) probabilities in 0 to 1, rising with the score."""
        finite = np.clip(np.asarray(scores, dtype=np.float64), -MAX_SCORE, MAX_SCORE)
        if self.kind == "isotonic":
            return np.interp(finite, self.thresholds, self.values)
        # tanh, because the exponential overflows.
        return np.asarray(0.5 * (1 + np.tanh(0.5 * (self.slope * finite + self.offset))))


def fit_calibration(
    scores: Floats,
    right: NDArray[np.bool_],
    weights: Floats,
    *,
    groups: NDArray[Any] | None = None,
    log_odds: bool = False,
    seed: int = 0,
) -> Calibration:
    """The better of Platt's curve and isotonic regression, by cross-validated log loss.

    Isotonic regression is chosen only where it is better, from `MIN_ISOTONIC_EXAMPLES` examples.
    Niculescu-Mizil & Caruana, "Predicting good probabilities with supervised learning", ICML 2005.

    Args:
        scores: (N,); infinite ones, of queries without an answer, are left out.
        right: (N,) was the answer right?
        weights: (N,) how much each example counts.
        groups: (N,) examples of one group, such as a landmark, are held out together; None = each
            example is its own group.
        log_odds: The scores are log-odds of a stacker with a default: Platt's curve then starts
            from the scores themselves, and few examples hardly change it.
        seed: Assigns groups to folds.

    Raises:
        DataError: For a score that is NaN.
    """
    _require_numbers(scores)
    groups = np.arange(len(scores)) if groups is None else groups
    finite = np.isfinite(scores)
    scores, right, weights = scores[finite], right[finite], weights[finite]
    groups = groups[finite]
    curve = fit_platt(scores, right, weights)
    if log_odds and min(right.sum(), (~right).sum()) < MIN_ISOTONIC_EXAMPLES / 4:
        return _near_identity(scores, right, weights)
    if not log_odds:
        curve = replace(curve, proven=_proven(scores, right, weights))
    if len(scores) < MIN_ISOTONIC_EXAMPLES or curve.slope == 0:
        return curve
    folds = _folds(groups, seed)
    losses = [
        _held_out_loss(method, (scores, right, weights), folds)
        for method in (fit_platt, fit_isotonic)
    ]
    if losses[1] < losses[0]:
        return replace(fit_isotonic(scores, right, weights), proven=curve.proven)
    return curve


def rule_of_thumb(scores: Floats, *, right: bool, cosines: bool) -> Calibration:
    """A logistic curve from scores of one outcome, where no score of the other one is known.

    Right answers alone: about as high as they mostly are is likely, two steps lower is even, where
    a step is from their median to their 10th percentile. Wrong ones alone: it is even one step
    above the highest. Without scores nothing is likely, nor where cosines are so far apart that
    they tell nothing, as those of few dimensions are.

    Args:
        scores: (N,) of queries; infinite ones are left out.
        right: The outcome of all of them.
        cosines: The scores are at most 1.
    """
    finite = scores[np.isfinite(scores)]
    if not len(finite):
        return Calibration(slope=0.0, offset=UNKNOWN_LOG_ODDS)
    typical, highest = float(np.median(finite)), float(finite.max())
    least = 0.05 * max(abs(typical), 0.2)
    if right:
        middle = typical - 2 * max(typical - float(np.quantile(finite, 0.1)), least)
    else:
        middle = highest + max(float(np.quantile(finite, 0.9)) - typical, least)
        middle = min(middle, (highest + 1) / 2) if cosines else middle
    if cosines and (middle < LEAST_MIDDLE if right else highest > MOST_HIGHEST):
        return Calibration(slope=0.0, offset=UNKNOWN_LOG_ODDS)
    slope = SURE_LOG_ODDS / max(abs(typical - middle), 1e-3)
    return Calibration(slope=slope, offset=-slope * middle, examples=len(finite))


def fit_platt(scores: Floats, right: NDArray[np.bool_], weights: Floats) -> Calibration:
    """Platt's logistic curve through scores with known outcomes: three (N,) arrays.

    Platt, "Probabilistic outputs for support vector machines", 1999, with his smoothed targets
    (N₊+1)/(N₊+2) and 1/(N₋+2), which keep the curve finite when scores separate perfectly. Where
    higher scores are not better, the curve is constant at the weighted share of right answers.
    """
    positives, negatives = weights[right].sum(), weights[~right].sum()
    share = float(np.clip((positives + 1) / (positives + negatives + 2), 1e-6, 1 - 1e-6))
    constant = Calibration(
        slope=0.0, offset=float(np.log(share / (1 - share))), examples=len(scores)
    )
    if not (right.any() and (~right).any()) or np.ptp(scores) == 0:
        return constant
    slope, offset = _logistic(scores, _targets(right, weights), weights)
    if slope <= 0:
        return constant
    return Calibration(slope=slope, offset=offset, examples=len(scores))


def _proven(scores: Floats, right: NDArray[np.bool_], weights: Floats) -> float:
    """The largest share of right answers from any score on, after one more wrong one.

    n right answers without a wrong one prove n / (n + 1), as by Laplace's rule of succession, so
    that a confidence of 0.97 takes 33 of them. A curve through fewer examples goes on to 1 all the
    same. A default fitted on other galleries has proven more, so it is not asked.
    """
    order = np.argsort(-scores, kind="stable")
    weights, right = weights[order], right[order]
    good = np.cumsum(weights * right)
    above = np.maximum(np.cumsum(weights), 1e-300)
    one_more = np.cumsum(weights**2) / above  # a mean weight
    return float((good / (above + one_more)).max(initial=0.0))


def _near_identity(scores: Floats, right: NDArray[np.bool_], weights: Floats) -> Calibration:
    """Platt's curve near slope 1 and offset 0, from which examples of both outcomes move it."""
    slope, offset = 1.0, 0.0
    if right.any() and (~right).any():
        rows = np.stack([scores, np.ones(len(scores))], axis=1)
        slope, offset = ridge_logistic(rows, right, weights, np.array([1.0, 0.0]), DEFAULT_RIDGE)
    return Calibration(slope=max(slope, 0.1), offset=offset, examples=len(scores))


def fit_isotonic(scores: Floats, right: NDArray[np.bool_], weights: Floats) -> Calibration:
    """Isotonic regression of the outcomes, by scikit-learn: three (N,) arrays.

    Zadrozny & Elkan, "Transforming classifier scores into accurate multiclass probability
    estimates", KDD 2002. It is fitted to Platt's smoothed targets, so that no value is 0 or 1. A
    small share of Platt's curve is added, so that scores on one step keep their order. Where
    Platt's curve is constant, that curve is returned.
    """
    from sklearn.isotonic import IsotonicRegression

    curve = fit_platt(scores, right, weights)
    if curve.slope == 0:
        return curve
    counted = weights > 0
    steps = IsotonicRegression().fit(
        scores[counted], _targets(right, weights)[counted], sample_weight=weights[counted]
    )
    knots = steps.X_thresholds_.astype(np.float64)
    values = (1 - PLATT_SHARE) * steps.y_thresholds_ + PLATT_SHARE * curve.confidence(knots)
    return Calibration(
        kind="isotonic",
        slope=curve.slope,
        offset=curve.offset,
        examples=len(scores),
        thresholds=tuple(map(float, knots)),
        values=tuple(map(float, np.maximum.accumulate(values))),
    )


def threshold_for(rate: float, negatives: NDArray[Any]) -> float:
    """The score from which to answer, so that at most this share of negatives is answered.

    The rule of conformal prediction: a new negative is answered when (1 + how many of the n score
    as high)/(n + 1) ≤ rate. That holds on average over draws of the n negatives, whatever the
    distribution of the scores. Vovk, Gammerman, Shafer, "Algorithmic learning in a random world",
    2005.

    Args:
        rate: False-answer rate, 0 to 1.
        negatives: (n,) scores of queries for which every answer is wrong (no landmark, unknown
            landmark), none of them used for fitting.

    Returns:
        The threshold; infinity when n is too small to guarantee the rate: 1 % needs 99 negatives.

    Raises:
        OptionError: For a rate outside 0 to 1.
        DataError: For a score that is NaN.
    """
    if not 0 <= rate <= 1:
        raise OptionError(f"false-answer rate {rate} given; expected 0 to 1 (0.01 = 1 %)")
    scores = np.sort(np.asarray(negatives, dtype=np.float64))[::-1]
    _require_numbers(scores)
    allowed = int(np.floor(rate * (len(scores) + 1) + 1e-9))  # 0.29 · 100 is 28.999…
    if allowed < 1:
        return float("inf")
    if allowed > len(scores):
        return float("-inf")
    return float(np.nextafter(scores[allowed - 1], np.inf))  # strictly above that negative


def _require_numbers(scores: Floats) -> None:
    if count := int(np.isnan(scores).sum()):
        raise DataError(f"{count} of {len(scores)} scores are NaN; compute them again")


def _targets(right: NDArray[np.bool_], weights: Floats) -> Floats:
    """Platt's smoothed targets."""
    high = (weights[right].sum() + 1) / (weights[right].sum() + 2)
    return np.asarray(np.where(right, high, 1 / (weights[~right].sum() + 2)))


def _folds(groups: NDArray[Any], seed: int) -> NDArray[np.int64]:
    """(N,) groups → the fold of each example, the same within a group and for any order."""
    names, places = np.unique(groups, return_inverse=True)
    fold_of = np.empty(len(names), dtype=np.int64)
    fold_of[np.random.default_rng(seed).permutation(len(names))] = (
        np.arange(len(names)) % CALIBRATION_FOLDS
    )
    return fold_of[places]


def _held_out_loss(
    method: Callable[[Floats, NDArray[np.bool_], Floats], Calibration],
    examples: tuple[Floats, NDArray[np.bool_], Floats],
    folds: NDArray[np.int64],
) -> float:
    """Weighted log loss of each fold under the fit of the other folds, summed."""
    scores, right, weights = examples
    loss = 0.0
    for fold in np.unique(folds):
        held = folds == fold
        fitted = method(scores[~held], right[~held], weights[~held])
        predicted = np.clip(fitted.confidence(scores[held]), 1e-12, 1 - 1e-12)
        loss -= float(
            (weights[held] * np.log(np.where(right[held], predicted, 1 - predicted))).sum()
        )
    return loss


def _logistic(scores: Floats, targets: Floats, weights: Floats) -> tuple[float, float]:
    """Weighted logistic regression on soft targets, by scikit-learn."""
    from sklearn.linear_model import LogisticRegression

    centre, spread = float(scores.mean()), float(scores.std())
    scaled = ((scores - centre) / spread)[:, None]
    # A soft target t is a positive example of weight t and a negative one of weight 1 − t.
    model = LogisticRegression(C=1e6, max_iter=1000).fit(
        np.concatenate([scaled, scaled]),
        np.repeat([1, 0], len(scores)),
        sample_weight=np.concatenate([weights * targets, weights * (1 - targets)]),
    )
    slope = float(model.coef_[0, 0]) / spread
    return slope, float(model.intercept_[0]) - slope * centre
