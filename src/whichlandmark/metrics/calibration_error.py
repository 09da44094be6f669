"""Is a confidence worth its name? Calibration error, and the risk of what is answered.

Shapes: Q queries. Nothing here depends on how equal scores are ordered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError, OptionError
from ..core.types import Rows
from .ranking import Counts, Floats, Mask, check_lengths, count, groups_of, harmonic

BINS = 15  # Guo et al.'s number

Binning = Literal["mass", "width"]


@dataclass(frozen=True, eq=False)
class Bins:
    """Non-empty bins of confidence, lowest first, each (B,): how many queries, their mean
    confidence, and the share of them that is right."""

    sizes: Counts
    confidence: Floats
    right: Floats

    @property
    def error(self) -> float:
        """Σ_b (n_b / Q)·|share right − mean confidence|: 0 to 1."""
        return float(np.sum(self.sizes * np.abs(self.right - self.confidence)) / self.sizes.sum())


def calibration_bins(
    confidence: NDArray[Any], right: Mask, *, bins: int = BINS, by: Binning = "mass"
) -> Bins:
    """The bins of a reliability plot.

    by "mass": about Q / bins queries each (Nguyen & O'Connor, "Posterior calibration and
    exploratory analysis for natural language processing models", EMNLP 2015); a bin ends with
    the group of equal confidences that fills it, so that equal ones share a bin. by "width":
    [0, 1/bins), …, [1 − 1/bins, 1].
    Raises OptionError when bins is below 1 or `by` is another word; DataError when Q is 0, a
    confidence is NaN or outside 0 to 1, or the columns differ in length.
    """
    values, group = _confidences(confidence, right, bins, by)
    sizes = np.bincount(group, minlength=len(values))
    return _binned(values, sizes, count(group, np.asarray(right), len(values)), bins, by)


def calibration_error(
    confidence: NDArray[Any], right: Mask, *, bins: int = BINS, by: Binning = "mass"
) -> float:
    """Expected calibration error: Σ_b (n_b / Q)·|share right in b − mean confidence in b|.

    Naeini, Cooper, Hauskrecht, "Obtaining well calibrated probabilities using Bayesian
    binning", AAAI 2015; Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural
    networks", ICML 2017 (15 bins of equal width). Bins and errors as `calibration_bins`.
    """
    return calibration_bins(confidence, right, bins=bins, by=by).error


def calibration_error_of_draws(
    confidence: NDArray[Any], right: Mask, *, bins: int = BINS
) -> Callable[[Rows], float]:
    """`calibration_error` of any draw of the same queries: rows (with repeats) → error."""
    values, group = _confidences(confidence, right, bins, "mass")
    right = np.asarray(right, dtype=bool)

    def of(rows: Rows) -> float:
        times = np.bincount(rows, minlength=len(group))
        sizes, hits = (count(group, times * part, len(values)) for part in (1, right))
        return _binned(values, sizes, hits, bins, "mass").error

    return of


def _confidences(
    confidence: NDArray[Any], right: Mask, bins: int, by: Binning
) -> tuple[Floats, Rows]:
    """Distinct confidences, lowest first, and the place of each query's among them."""
    if bins < 1 or by not in ("mass", "width"):
        raise OptionError(f"{bins} bins by {by!r} given; expected 1 or more by 'mass' or 'width'")
    check_lengths(confidence=confidence, right=right)
    if not len(confidence):
        raise DataError("the calibration error is undefined without a query")
    values, group = groups_of(confidence)
    if values[0] > 1 or values[-1] < 0:
        raise DataError(
            f"confidences from {values[-1]:g} to {values[0]:g} given; "
            "expected probabilities, 0 to 1"
        )
    return values[::-1], len(values) - 1 - group


def _binned(values: Floats, sizes: Counts, hits: Counts, bins: int, by: Binning) -> Bins:
    """Bins of distinct confidences, lowest first; sizes, hits: queries, right ones of each."""
    values, sizes, hits = values[sizes > 0], sizes[sizes > 0], hits[sizes > 0]
    if by == "width":
        place = np.minimum((values * bins).astype(np.int64), bins - 1)
    else:  # the bin in which the group's first query falls
        place = (np.cumsum(sizes) - sizes) * bins // sizes.sum()
    _, place = np.unique(place, return_inverse=True)
    queries = np.bincount(place, weights=sizes)
    return Bins(
        sizes=queries.astype(np.int64),
        confidence=np.bincount(place, weights=sizes * values) / queries,
        right=np.bincount(place, weights=hits) / queries,
    )


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """After each of G distinct confidences, highest first: coverage (G,), the share of queries
    answered so far, and risk (G,), the share of those that is wrong; area: the mean risk."""

    coverage: Floats
    risk: Floats
    area: float


def risk_coverage(confidence: NDArray[Any], right: Mask) -> RiskCoverage:
    """What share of answers is wrong when only the most confident ones are given?

    Geifman & El-Yaniv, "Selective classification for deep neural networks", NeurIPS 2017; the
    area, (1/Q) Σ_i risk of the i most confident, is that of Geifman, Uziel, El-Yaniv,
    "Bias-reduced uncertainty estimation for deep neural classifiers", ICLR 2019: 0 is best.
    Within equal confidences the risk is its mean over all their orders: of a group of n with w
    wrong, after T answers with E wrong, the j-th adds (E + j·w/n)/(T + j).
    Raises DataError when Q is 0, a confidence is NaN, or the columns differ in length.
    """
    check_lengths(confidence=confidence, right=right)
    if not len(confidence):
        raise DataError("risk and coverage are undefined without a query")
    values, group = groups_of(confidence)
    sizes = np.bincount(group, minlength=len(values))
    wrong = count(group, ~np.asarray(right, dtype=bool), len(values))
    answered, errors = np.cumsum(sizes), np.cumsum(wrong)
    before, share, sums = answered - sizes, wrong / sizes, harmonic(len(group))
    # Σ_j (E + j·s)/(T + j) = s·n + (E − s·T)·(H_{T+n} − H_T)
    steps = share * sizes + (errors - wrong - share * before) * (sums[answered] - sums[before])
    return RiskCoverage(
        coverage=answered / len(group), risk=errors / answered, area=float(steps.sum() / len(group))
    )
