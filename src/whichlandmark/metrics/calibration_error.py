"""Expected calibration error, reliability bins and risk–coverage curve of confidences.

Shapes: Q queries. The results do not depend on the order of queries with equal confidences.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError, OptionError
from ..core.types import Floats, Rows
from .ranking import (
    Counts,
    Mask,
    check_lengths,
    count_per_group,
    harmonic_numbers,
    tie_groups,
)

BINS = 15  # as in Guo et al., ICML 2017

Binning = Literal["mass", "width"]


@dataclass(frozen=True, eq=False)
class Bins:
    """The B non-empty bins of a reliability plot, lowest confidence first.

    Attributes:
        sizes: (B,) queries in each bin.
        confidence: (B,) their mean confidence.
        right: (B,) the share of them whose guess is right.
    """

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
    """Group queries into the bins of a reliability plot.

    Args:
        confidence: (Q,) probabilities, 0 to 1.
        right: (Q,) is the guess right?
        bins: the number of bins, 1 or more.
        by: "mass" gives each bin about Q / bins queries (Nguyen & O'Connor, "Posterior
            calibration and exploratory analysis for natural language processing models", EMNLP
            2015), where equal confidences are always in one bin; "width" makes the bins
            [0, 1/bins), …, [1 − 1/bins, 1].

    Raises:
        OptionError: when bins is below 1 or `by` is neither "mass" nor "width".
        DataError: when Q is 0, a confidence is NaN or outside 0 to 1, or the columns differ in
            length.
    """
    values, group = _confidence_groups(confidence, right, bins, by)
    sizes = np.bincount(group, minlength=len(values))
    return _binned(values, sizes, count_per_group(group, right, len(values)), bins, by)


def calibration_error(
    confidence: NDArray[Any], right: Mask, *, bins: int = BINS, by: Binning = "mass"
) -> float:
    """Expected calibration error: Σ_b (n_b / Q)·|share right in b − mean confidence in b|.

    Naeini, Cooper, Hauskrecht, "Obtaining well calibrated probabilities using Bayesian
    binning", AAAI 2015; Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural
    networks", ICML 2017 (15 bins of equal width). Arguments and exceptions as in
    `calibration_bins`.
    """
    return calibration_bins(confidence, right, bins=bins, by=by).error


def calibration_error_of_draws(
    confidence: NDArray[Any], right: Mask, *, bins: int = BINS
) -> Callable[[Rows], float]:
    """A function for bootstraps: row numbers, with repeats → their `calibration_error`.

    Faster than calling `calibration_error` for each draw, because confidences are sorted once.
    """
    values, group = _confidence_groups(confidence, right, bins, "mass")
    right = np.asarray(right, dtype=bool)

    def error_of(rows: Rows) -> float:
        times = np.bincount(rows, minlength=len(group))
        sizes = count_per_group(group, times, len(values))
        hits = count_per_group(group, times * right, len(values))
        return _binned(values, sizes, hits, bins, "mass").error

    return error_of


def _confidence_groups(
    confidence: NDArray[Any], right: Mask, bins: int, by: Binning
) -> tuple[Floats, Rows]:
    """The distinct confidences, lowest first, and the index among them of each query's (Q,)."""
    if bins < 1 or by not in ("mass", "width"):
        raise OptionError(f"{bins} bins by {by!r} given; expected 1 or more by 'mass' or 'width'")
    check_lengths(confidence=confidence, right=right)
    if not len(confidence):
        raise DataError("the calibration error is undefined without a query")
    values, group = tie_groups(confidence)
    if values[0] > 1 or values[-1] < 0:
        raise DataError(
            f"confidences from {values[-1]:g} to {values[0]:g} given; "
            "expected probabilities, 0 to 1"
        )
    return values[::-1], len(values) - 1 - group


def _binned(values: Floats, sizes: Counts, hits: Counts, bins: int, by: Binning) -> Bins:
    """Put groups of queries with equal confidences into bins.

    values: their confidences, lowest first; sizes, hits: queries and right ones in each group.
    """
    values, sizes, hits = values[sizes > 0], sizes[sizes > 0], hits[sizes > 0]
    if by == "width":
        bin_of = np.minimum((values * bins).astype(np.int64), bins - 1)
    else:  # the bin of the group's first query
        bin_of = (np.cumsum(sizes) - sizes) * bins // sizes.sum()
    _, bin_of = np.unique(bin_of, return_inverse=True)
    queries = np.bincount(bin_of, weights=sizes)
    return Bins(
        sizes=queries.astype(np.int64),
        confidence=np.bincount(bin_of, weights=sizes * values) / queries,
        right=np.bincount(bin_of, weights=hits) / queries,
    )


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """The curve of risk over coverage, one point per distinct confidence, highest first.

    Attributes:
        coverage: (G,) the share of queries whose confidence is at least this one.
        risk: (G,) the share of those queries that is wrong.
        area: the area under the curve, 0 to 1; 0 is best.
    """

    coverage: Floats
    risk: Floats
    area: float


def risk_coverage(confidence: NDArray[Any], right: Mask) -> RiskCoverage:
    """The share of wrong answers when only the most confident queries are answered.

    Geifman & El-Yaniv, "Selective classification for deep neural networks", NeurIPS 2017; the
    area, (1/Q) Σ_i risk of the i most confident, is that of Geifman, Uziel, El-Yaniv,
    "Bias-reduced uncertainty estimation for deep neural classifiers", ICLR 2019.
    For equal confidences, the risk is the mean over all their orders: of a group of n with w
    wrong, after T answers with E wrong, the j-th adds (E + j·w/n)/(T + j).

    Args:
        confidence: (Q,) any numbers; only their order matters.
        right: (Q,) is the guess right?

    Raises:
        DataError: when Q is 0, a confidence is NaN, or the columns differ in length.
    """
    check_lengths(confidence=confidence, right=right)
    if not len(confidence):
        raise DataError("risk and coverage are undefined without a query")
    values, group = tie_groups(confidence)
    sizes = np.bincount(group, minlength=len(values))
    wrong = count_per_group(group, ~np.asarray(right, dtype=bool), len(values))
    answered, errors = np.cumsum(sizes), np.cumsum(wrong)
    before, share, sums = answered - sizes, wrong / sizes, harmonic_numbers(len(group))
    # Σ_j (E + j·s)/(T + j) = s·n + (E − s·T)·(H_{T+n} − H_T)
    steps = share * sizes + (errors - wrong - share * before) * (sums[answered] - sums[before])
    return RiskCoverage(
        coverage=answered / len(group), risk=errors / answered, area=float(steps.sum() / len(group))
    )
