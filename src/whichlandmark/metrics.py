"""What recognition and retrieval are measured by: numbers from arrays, each with its source.

Shapes: Q queries. `score` ranks predictions, highest first; only its order matters.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence, Sized
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import DataError, OptionError


def gap(
    score: NDArray[Any],
    right: NDArray[np.bool_],
    landmark_queries: int,
    *,
    predicted: NDArray[np.bool_] | None = None,
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
        _check_lengths(score=score, right=right, predicted=predicted)
        score, right = np.asarray(score)[predicted], np.asarray(right)[predicted]
    sizes, hits = _tie_groups(score, right)
    _check_landmark_queries(landmark_queries, int(hits.sum()))
    before = np.cumsum(sizes) - sizes  # T: predictions above the group
    right_before = np.cumsum(hits) - hits  # C: right ones above it
    group = np.repeat(np.arange(len(sizes)), sizes)
    j = np.arange(len(group)) - before[group] + 1  # place within the group, from 1
    n, r = sizes[group], hits[group]
    others = (j - 1) * (r - 1) / np.maximum(n - 1, 1)  # right ones of the group met so far
    precision = (right_before[group] + 1 + others) / (before[group] + j)
    return float(np.sum(r / n * precision) / landmark_queries)


def gap_authors(
    score: NDArray[Any],
    right: NDArray[np.bool_],
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
    _check_lengths(score=score, right=right, ids=ids, classes=classes)
    _check_numbers(np.asarray(score, dtype=np.float64))
    _check_landmark_queries(landmark_queries, int(np.sum(right)))
    order = sorted(range(len(score)), key=lambda i: (-score[i], ids[i], classes[i]))
    hits = np.asarray(right, dtype=np.float64)[order]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float((precision * hits).sum() / landmark_queries)


def precision_recall(
    score: NDArray[Any], right: NDArray[np.bool_], landmark_queries: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The curve behind the GAP: (precision, recall) after each group of equal scores.

    Both (G,) for G distinct scores, highest score first; recall rises. With G = Q the sum
    of precision × rise of recall is the GAP. Raises as `gap` does.
    """
    sizes, hits = _tie_groups(score, right)
    found = np.cumsum(hits)
    _check_landmark_queries(landmark_queries, int(hits.sum()))
    return found / np.cumsum(sizes), found / landmark_queries


def map_at_k(
    ranked: Mapping[str, Sequence[str]], relevant: Mapping[str, Collection[str]], k: int = 100
) -> float:
    """Mean average precision of retrieval, over the queries of `relevant`: 0 to 1.

    Weyand et al., CVPR 2020: AP = (1 / min(R, k)) Σ_{i≤k} P(i)·rel(i). A query
    without a ranking counts 0; a repeated answer keeps its rank but counts once. Queries
    with nothing relevant are left out.
    Raises OptionError when k is below 1, DataError when a ranked query is not in `relevant`
    or no query has anything relevant.
    """
    _check_k(k)
    if strangers := sorted(set(ranked) - set(relevant)):
        raise DataError(f"query {strangers[0]!r} has a ranking, but nothing says what is relevant")
    scored = [query for query in relevant if len(relevant[query])]
    if not scored:
        raise DataError("mAP is undefined without a query that has a relevant photo")
    total = sum(_average_precision(ranked.get(q, ()), set(relevant[q]), k) for q in scored)
    return total / len(scored)


def _average_precision(ranked: Sequence[str], relevant: set[str], k: int) -> float:
    hits, total, seen = 0, 0.0, set()
    for i, answer in enumerate(ranked[:k], 1):
        if answer in relevant and answer not in seen:
            hits += 1
            total += hits / i
        seen.add(answer)
    return total / min(len(relevant), k)


def recall_at_k(rank: NDArray[Any], k: int) -> float:
    """Share of queries whose first right answer is among the k first: 0 to 1.

    rank: (Q,) of the first right answer, counted from 1; 0 = none. The measure of retrieval
    papers since Jégou, Douze, Schmid, "Product quantization for nearest neighbor search",
    PAMI 2011. Raises OptionError when k is below 1, DataError when Q is 0.
    """
    _check_k(k)
    if not len(rank):
        raise DataError("recall is undefined without a query")
    return float(((rank >= 1) & (rank <= k)).mean())


def bootstrap_interval(
    metric: Callable[[NDArray[np.int64]], float],
    queries: int,
    *,
    samples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap over queries: (low, high) of `metric(rows)` at this level.

    Efron & Tibshirani, "An introduction to the bootstrap", 1993, chapter 13.
    rows: (queries,) row numbers drawn with replacement. To compare two systems, let the
    metric be their difference on the same rows. A draw for which the metric raises
    DataError (GAP, when no landmark query was drawn) is left out.
    Raises OptionError unless samples ≥ 1 and 0 < level < 1; DataError when no draw counts.
    """
    if queries < 1 or samples < 1 or not 0 < level < 1:
        raise OptionError(
            f"{queries} queries, {samples} samples, level {level} given; expected at least "
            f"one query, one sample and a level between 0 and 1"
        )
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(samples):
        with suppress(DataError):
            values.append(metric(rng.integers(0, queries, queries)))
    if not values:
        raise DataError(f"the metric is undefined on all {samples} samples of the queries")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _tie_groups(
    score: NDArray[Any], right: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Predictions and right ones of each distinct score, highest score first."""
    _check_lengths(score=score, right=right)
    score = np.asarray(score, dtype=np.float64)
    _check_numbers(score)
    values, group = np.unique(-score, return_inverse=True)
    hits = np.bincount(group, weights=np.asarray(right, dtype=np.float64), minlength=len(values))
    return np.bincount(group, minlength=len(values)), hits.astype(np.int64)


def _check_lengths(**columns: Sized) -> None:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"columns differ in length: {lengths}; expected one value a query")


def _check_numbers(score: NDArray[np.float64]) -> None:
    if missing := int(np.isnan(score).sum()):
        raise DataError(f"{missing} scores are NaN; predictions need numbers to be ranked by")


def _check_landmark_queries(given: int, right: int) -> None:
    if given < 1:
        raise DataError("GAP is undefined without a photo that shows a landmark")
    if right > given:
        raise DataError(
            f"{right} predictions are right but only {given} queries show a landmark; "
            f"count every query with a true landmark, at most one prediction each"
        )


def _check_k(k: int) -> None:
    if k < 1:
        raise OptionError(f"k = {k} given; expected 1 or more")
