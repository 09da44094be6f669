"""Open-set metrics: AUROC of known landmarks against the rest, threshold at a false-answer rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError, OptionError
from ..core.types import Rows
from .ranking import Mask, check_lengths, check_no_nan, count_per_group, tie_groups


def auroc(positive_scores: NDArray[Any], negative_scores: NDArray[Any]) -> float:
    """Area under the ROC curve: the probability that a positive scores above a negative.

    Equal scores count half. The area is the Mann–Whitney U / (P·N): Hanley & McNeil, "The meaning
    and use of the area under a ROC curve", Radiology 1982.

    Args:
        positive_scores, negative_scores: (P,) and (N,); −∞ for a query without an answer.

    Returns:
        0 to 1.

    Raises:
        DataError: when P or N is 0, or a score is NaN.
    """
    scores = np.concatenate([positive_scores, negative_scores])
    positive = np.arange(len(scores)) < len(positive_scores)
    return auroc_of_draws(scores, positive, ~positive)(np.arange(len(scores)))


def auroc_of_draws(score: NDArray[Any], positive: Mask, negative: Mask) -> Callable[[Rows], float]:
    """A function for bootstraps: row numbers, with repeats → their `auroc`.

    It sorts the scores only once, and raises DataError for rows without a positive or a negative.

    Args:
        score: (Q,).
        positive, negative: (Q,) masks; a query may be neither.
    """
    check_lengths(score=score, positive=positive, negative=negative)
    values, group = tie_groups(score)

    def area_of(rows: Rows) -> float:
        times = np.bincount(rows, minlength=len(group))
        positives = count_per_group(group, times * positive, len(values))
        negatives = count_per_group(group, times * negative, len(values))
        pairs = int(positives.sum()) * int(negatives.sum())
        if not pairs:
            raise DataError(
                f"AUROC is undefined between {positives.sum()} positive and {negatives.sum()} "
                "negative queries; expected at least one of each"
            )
        # Negatives that score below each group, which are ordered from the highest score.
        below = negatives.sum() - np.cumsum(negatives) + negatives / 2
        return float(np.sum(positives * below) / pairs)

    return area_of


def threshold_at(false_rate: float, negatives: NDArray[Any]) -> float:
    """The smallest threshold that at most this share of the negatives reaches (score ≥ threshold).

    The rate holds for these negatives; on other queries it may be higher.

    Args:
        false_rate: share of negatives that may be answered, 0 to 1.
        negatives: (N,) scores of queries that should not be answered.

    Raises:
        OptionError: unless 0 ≤ false_rate ≤ 1.
        DataError: when N is 0 or a score is NaN.
    """
    if not 0 <= false_rate <= 1:
        raise OptionError(f"false-answer rate {false_rate} given; expected a share, 0 to 1")
    if not len(negatives):
        raise DataError("a threshold is undefined without a query that should not be answered")
    descending = -np.sort(-np.asarray(negatives, dtype=np.float64))
    check_no_nan(descending)
    # 1e-9, because 0.29 · 100 is 28.999999999999996 in floating point.
    allowed = math.floor(false_rate * len(descending) + 1e-9)
    if allowed >= len(descending):
        return -math.inf
    return float(np.nextafter(descending[allowed], math.inf))


def answered_share(scores: NDArray[Any], threshold: float) -> float:
    """Share of queries whose score reaches the threshold, 0 to 1. Raises DataError when Q is 0."""
    if not len(scores):
        raise DataError("the answered share is undefined without a query")
    return float((np.asarray(scores) >= threshold).mean())
