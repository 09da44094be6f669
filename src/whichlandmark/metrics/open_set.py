"""Does a score part known landmarks from the rest? AUROC, thresholds, shares with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError, OptionError
from ..core.types import Rows
from .ranking import Mask, check_lengths, check_numbers, count, groups_of


def auroc(positive_scores: NDArray[Any], negative_scores: NDArray[Any]) -> float:
    """Probability that a positive scores above a negative, equal scores counting half: 0 to 1.

    The area under the receiver operating characteristic is the Mann–Whitney U / (P·N): Hanley &
    McNeil, "The meaning and use of the area under a ROC curve", Radiology 1982. Infinite
    scores are allowed (−∞ = nothing was answered).
    Raises DataError when there is no positive or no negative, or a score is NaN.
    """
    every = np.concatenate([positive_scores, negative_scores])
    positive = np.arange(len(every)) < len(positive_scores)
    return auroc_of_draws(every, positive, ~positive)(np.arange(len(every)))


def auroc_of_draws(score: NDArray[Any], positive: Mask, negative: Mask) -> Callable[[Rows], float]:
    """`auroc` of any draw of the same queries: rows (with repeats) → area.

    positive, negative: (Q,); a query may be neither. The function raises DataError when a draw
    holds no positive or no negative.
    """
    check_lengths(score=score, positive=positive, negative=negative)
    values, group = groups_of(score)

    def of(rows: Rows) -> float:
        times = np.bincount(rows, minlength=len(group))
        above = count(group, times * positive, len(values))
        below = count(group, times * negative, len(values))
        pairs = int(above.sum()) * int(below.sum())
        if not pairs:
            raise DataError(
                f"AUROC is undefined between {above.sum()} positive and {below.sum()} negative "
                "queries; expected at least one of each"
            )
        beaten = below.sum() - np.cumsum(below) + below / 2  # groups stand highest first
        return float(np.sum(above * beaten) / pairs)

    return of


def threshold_at(false_rate: float, negatives: NDArray[Any]) -> float:
    """The smallest threshold that at most this share of the negatives reaches (score ≥ it).

    negatives: (N,) scores of queries that should not be answered. Equal scores are answered
    together or not at all. It describes these negatives; it promises nothing about others.
    Raises OptionError unless 0 ≤ false_rate ≤ 1; DataError when N is 0 or a score is NaN.
    """
    if not 0 <= false_rate <= 1:
        raise OptionError(f"false-answer rate {false_rate} given; expected a share, 0 to 1")
    if not len(negatives):
        raise DataError("a threshold is undefined without a query that should not be answered")
    falling = -np.sort(-np.asarray(negatives, dtype=np.float64))
    check_numbers(falling)
    allowed = math.floor(false_rate * len(falling) + 1e-9)  # 0.07 · 100 is 7.000000000000001
    if allowed >= len(falling):
        return -math.inf
    return float(np.nextafter(falling[allowed], math.inf))


def answered_share(scores: NDArray[Any], threshold: float) -> float:
    """Share of queries whose score reaches the threshold: 0 to 1. DataError when Q is 0."""
    if not len(scores):
        raise DataError("the share answered is undefined without a query")
    return float((np.asarray(scores) >= threshold).mean())
