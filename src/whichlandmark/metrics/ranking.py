"""Is what is right ranked first? GAP, by two rules for ties, and the curve behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..types import Rows
from .ties import (
    Counts,
    Floats,
    Mask,
    check_landmark_queries,
    check_lengths,
    check_numbers,
    count,
    groups_of,
    harmonic,
)


def gap(
    score: NDArray[Any], right: Mask, landmark_queries: int, *, predicted: Mask | None = None
) -> float:
    """Global average precision (µAP), independent of how ties are broken: 0 to 1.

    Perronnin, Liu, Renders, "A family of contextual measures of similarity between
    distributions with application to image retrieval", CVPR 2009; Weyand et al., "Google
    Landmarks Dataset v2", CVPR 2020: (1/M) Σ_i P(i)·rel(i) over all predictions ranked by
    score. Equal scores count as the mean over all their orders.

    score: (Q,) numbers; right: (Q,); landmark_queries: M, the photos that truly show a
    landmark; predicted: (Q,), False = no prediction, which takes no rank.
    Raises DataError when M is 0 or below the number of right predictions, when a score
    that ranks is NaN, or when the columns differ in length.
    """
    if predicted is not None:
        check_lengths(score=score, right=right, predicted=predicted)
        score, right = np.asarray(score)[predicted], np.asarray(right)[predicted]
    sizes, hits = _counts(score, right)
    check_landmark_queries(landmark_queries, int(hits.sum()))
    value = _mean_over_orders(sizes, hits, harmonic(int(sizes.sum()))) / landmark_queries
    return min(value, 1.0)


def _mean_over_orders(sizes: Counts, hits: Counts, sums: Floats) -> float:
    """Σ P(i)·rel(i), for groups of equal scores the mean over their orders.

    Of a group of n with r right, after T predictions with C right, the j-th is right with
    probability r/n, and then (j − 1)(r − 1)/(n − 1) of those before it in the group are too:
    Σ_{j=1..n} (r/n)·(C + 1 + (j − 1)·b)/(T + j), b = (r − 1)/(n − 1), which is
    (r/n)·(b·n + (C + 1 − b·(T + 1))·(H_{T+n} − H_T)). sums: H_0 … H_Q.
    """
    before, right_before = np.cumsum(sizes) - sizes, np.cumsum(hits) - hits
    b = (hits - 1) / np.maximum(sizes - 1, 1)
    # A difference of sums is off by some 1e-16; alone in its group, a prediction is exact.
    reciprocals = np.where(sizes == 1, 1 / (before + 1), sums[before + sizes] - sums[before])
    inside = b * sizes + (right_before + 1 - b * (before + 1)) * reciprocals
    return float(np.sum(hits / np.maximum(sizes, 1) * inside))


def gap_of_draws(
    score: NDArray[Any], right: Mask, landmark: Mask, *, predicted: Mask | None = None
) -> Callable[[Rows], float]:
    """GAP of any draw of the same Q queries, for bootstraps: rows (with repeats) → GAP.

    landmark: (Q,) the query counts in M. Equals `gap` of the drawn rows, but the scores are
    sorted once: a draw of 100,000 queries takes 2 ms. The function raises DataError when a
    draw holds no landmark query.
    """
    check_lengths(score=score, right=right, landmark=landmark)
    predicted = np.ones(len(right), dtype=bool) if predicted is None else predicted
    values, group = groups_of(np.where(predicted, score, np.inf))
    sums, right = harmonic(len(group)), np.asarray(right, dtype=bool) & predicted

    def of(rows: Rows) -> float:
        times = np.bincount(rows, minlength=len(group))
        sizes = count(group, times * predicted, len(values))
        hits = count(group, times * right, len(values))
        photos = int(times @ landmark)
        check_landmark_queries(photos, int(hits.sum()))
        return min(_mean_over_orders(sizes, hits, sums) / photos, 1.0)

    return of


def gap_authors(
    score: NDArray[Any],
    right: Mask,
    landmark_queries: int,
    *,
    ids: Sequence[str],
    classes: Sequence[Any],
) -> float:
    """GAP by the data set authors' tie rule: score falling, then id, then class rising.

    tensorflow/models, delf/python/datasets/google_landmarks_dataset/metrics.py. Renaming
    photos changes it where scores are equal; `gap` stays the same.
    score, right, ids, classes: (Q,) of the predictions that exist. Raises as `gap` does.
    """
    check_lengths(score=score, right=right, ids=ids, classes=classes)
    check_numbers(np.asarray(score, dtype=np.float64))
    check_landmark_queries(landmark_queries, int(np.sum(right)))
    order = sorted(range(len(score)), key=lambda i: (-score[i], ids[i], classes[i]))
    hits = np.asarray(right, dtype=np.float64)[order]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float((precision * hits).sum() / landmark_queries)


def precision_recall(
    score: NDArray[Any], right: Mask, landmark_queries: int
) -> tuple[Floats, Floats]:
    """The curve behind the GAP: (precision, recall) after each group of equal scores.

    Both (G,) for G distinct scores, highest score first; recall rises. With G = Q the sum
    of precision × rise of recall is the GAP. Raises as `gap` does.
    """
    sizes, hits = _counts(score, right)
    found = np.cumsum(hits)
    check_landmark_queries(landmark_queries, int(hits.sum()))
    return found / np.cumsum(sizes), found / landmark_queries


def _counts(score: NDArray[Any], right: Mask) -> tuple[Counts, Counts]:
    """Predictions and right ones of each distinct score, highest score first."""
    check_lengths(score=score, right=right)
    values, group = groups_of(score)
    return np.bincount(group, minlength=len(values)), count(group, np.asarray(right), len(values))
