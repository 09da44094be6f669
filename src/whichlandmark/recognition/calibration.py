"""Score → probability; thresholds; logistic stacker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError, OptionError

Scores = NDArray[np.float64]

Kind = Literal["platt", "isotonic"]

FOLDS = 5

# Steps need many examples: below some hundreds they follow chance (Niculescu-Mizil & Caruana).
ISOTONIC_FROM = 200

RISE = 0.02  # share of Platt's curve in the steps: scores on one step stay apart

FAR = 1e100  # stands for infinite scores: times any slope it is still a number


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How sure a score makes us, as numbers that go into JSON; never falling with the score.

    "platt": confidence = 1 / (1 + exp(−(slope · score + offset))). "isotonic": straight lines
    between the knots (thresholds, values), level beyond them; slope and offset are then
    Platt's of the same examples. `examples` = how many it was fitted on. Raises OptionError
    for knots that are not rising thresholds with values from 0 to 1 that never fall.
    """

    slope: float
    offset: float
    examples: int = 0
    kind: Kind = "platt"
    thresholds: tuple[float, ...] = ()
    values: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        # From JSON they come as lists.
        object.__setattr__(self, "thresholds", tuple(self.thresholds))
        object.__setattr__(self, "values", tuple(self.values))
        if self.kind not in ("platt", "isotonic"):
            raise OptionError(f"calibration kind {self.kind!r}; expected platt or isotonic")
        rising = np.diff(self.thresholds) > 0
        level = np.diff(np.array([0.0, *self.values, 1.0])) >= 0
        fit_together = len(self.thresholds) == len(self.values)
        if not (fit_together and rising.all() and level.all()):
            raise OptionError(
                f"calibration knots {self.thresholds} and {self.values}; expected rising "
                "thresholds, each with a value from 0 to 1 that never falls"
            )
        if self.kind == "isotonic" and not self.thresholds:
            raise OptionError("an isotonic calibration without knots; calibrate again")

    def confidence(self, scores: NDArray[Any]) -> Scores:
        """(Q,) scores → (Q,) probabilities in 0 to 1, rising with the score."""
        finite = np.clip(np.asarray(scores, dtype=np.float64), -FAR, FAR)
        if self.kind == "isotonic":
            return np.interp(finite, self.thresholds, self.values)
        # tanh form: no overflow at either end.
        return np.asarray(0.5 * (1 + np.tanh(0.5 * (self.slope * finite + self.offset))))


def fit(
    scores: Scores,
    right: NDArray[np.bool_],
    weights: Scores,
    *,
    groups: NDArray[Any] | None = None,
    seed: int = 0,
) -> Calibration:
    """The better of Platt's curve and isotonic steps, by cross-validated log loss.

    scores, right, weights: (N,); weights say how much each example counts, so that the mix of
    questions can be chosen. groups: (N,) what belongs together, a landmark say, is held out
    together; every example alone when not given. seed: which group falls into which of the
    folds. Steps that are no better than the curve are not taken, nor with fewer than
    `ISOTONIC_FROM` examples. Niculescu-Mizil & Caruana, "Predicting good probabilities with
    supervised learning", ICML 2005. Infinite scores, of questions without an answer, are left
    out. Raises DataError for a score that is no number.
    """
    _require_numbers(scores)
    groups = np.arange(len(scores)) if groups is None else groups
    some = np.isfinite(scores)
    scores, right, weights, groups = scores[some], right[some], weights[some], groups[some]
    curve = fit_platt(scores, right, weights)
    if len(scores) < ISOTONIC_FROM or curve.slope == 0:
        return curve
    folds = _folds(groups, seed)
    losses = [
        _held_out_loss(method, (scores, right, weights), folds)
        for method in (fit_platt, fit_isotonic)
    ]
    return fit_isotonic(scores, right, weights) if losses[1] < losses[0] else curve


def fit_platt(scores: Scores, right: NDArray[np.bool_], weights: Scores) -> Calibration:
    """Platt's curve of scores with known outcomes: three (N,) arrays.

    Platt, "Probabilistic outputs for support vector machines", 1999, with his smoothed targets
    (N₊+1)/(N₊+2) and 1/(N₋+2), which keep the curve finite when scores separate perfectly. A
    falling curve is never returned: without evidence that higher scores are better, the
    confidence is the weighted share of right answers.
    """
    positives, negatives = weights[right].sum(), weights[~right].sum()
    share = float(np.clip((positives + 1) / (positives + negatives + 2), 1e-6, 1 - 1e-6))
    flat = Calibration(slope=0.0, offset=float(np.log(share / (1 - share))), examples=len(scores))
    if not (right.any() and (~right).any()) or np.ptp(scores) == 0:
        return flat
    slope, offset = _logistic(scores, _targets(right, weights), weights)
    if slope <= 0:
        return flat
    return Calibration(slope=slope, offset=offset, examples=len(scores))


def fit_isotonic(scores: Scores, right: NDArray[np.bool_], weights: Scores) -> Calibration:
    """Never-falling steps through the outcomes, by scikit-learn: three (N,) arrays.

    Zadrozny & Elkan, "Transforming classifier scores into accurate multiclass probability
    estimates", KDD 2002. Steps through Platt's smoothed targets are never 0 or 1; a small
    share of his curve keeps scores on one step apart, so that the confidence ranks between
    the outermost knots as the score does. His curve alone where that is level.
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
    values = (1 - RISE) * steps.y_thresholds_ + RISE * curve.confidence(knots)
    return Calibration(
        kind="isotonic", slope=curve.slope, offset=curve.offset, examples=len(scores),
        thresholds=tuple(map(float, knots)),
        values=tuple(map(float, np.maximum.accumulate(values))),
    )  # fmt: skip


def threshold_for(rate: float, negatives: NDArray[Any]) -> float:
    """Answer at this score or above it, and a wrong question is answered this often at most.

    negatives: (n,) scores of questions whose every answer is wrong (no landmark, unknown
    landmark), none of them used for fitting. The rule of conformal prediction: a new question
    like them is answered when (1 + how many of the n score as high)/(n + 1) ≤ rate; it holds
    on average over draws of the n, whatever the scores' distribution. Vovk, Gammerman, Shafer,
    "Algorithmic learning in a random world", 2005. Infinity when n is too small to promise it:
    a rate of 1 % needs 99 negatives. Raises OptionError for a rate outside 0 to 1, DataError
    for a score that is no number.
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


def _require_numbers(scores: Scores) -> None:
    wrong = int(np.isnan(scores).sum())
    if wrong:
        raise DataError(f"{wrong} of {len(scores)} scores are no number (NaN); score them again")


def _targets(right: NDArray[np.bool_], weights: Scores) -> Scores:
    high = (weights[right].sum() + 1) / (weights[right].sum() + 2)
    return np.asarray(np.where(right, high, 1 / (weights[~right].sum() + 2)))


def _folds(groups: NDArray[Any], seed: int) -> NDArray[np.int64]:
    """(N,) → the fold of each example, equal for equal groups, whatever their order."""
    names, places = np.unique(groups, return_inverse=True)
    fold_of = np.empty(len(names), dtype=np.int64)
    fold_of[np.random.default_rng(seed).permutation(len(names))] = np.arange(len(names)) % FOLDS
    return fold_of[places]


def _held_out_loss(
    method: Callable[[Scores, NDArray[np.bool_], Scores], Calibration],
    examples: tuple[Scores, NDArray[np.bool_], Scores],
    folds: NDArray[np.int64],
) -> float:
    """Weighted sum of −log(probability given to what happened), each fold by the others' fit."""
    scores, right, weights = examples
    loss = 0.0
    for fold in np.unique(folds):
        held = folds == fold
        fitted = method(scores[~held], right[~held], weights[~held])
        sure = np.clip(fitted.confidence(scores[held]), 1e-12, 1 - 1e-12)
        loss -= float((weights[held] * np.log(np.where(right[held], sure, 1 - sure))).sum())
    return loss


def _logistic(scores: Scores, targets: Scores, weights: Scores) -> tuple[float, float]:
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
