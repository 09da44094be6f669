"""What recognition and retrieval are measured by: numbers from arrays, each with its source.

Shapes: Q queries. `score` ranks predictions, highest first; only its order matters.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import DataError


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
    Raises DataError when M is 0 or a score is NaN.
    """
    if landmark_queries < 1:
        raise DataError("GAP is undefined without a photo that shows a landmark")
    if predicted is not None:
        score, right = score[predicted], right[predicted]
    sizes, hits = _tie_groups(score, right)
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
    photos changes it where scores are equal; `gap` does not.
    """
    if landmark_queries < 1:
        raise DataError("GAP is undefined without a photo that shows a landmark")
    order = sorted(range(len(score)), key=lambda i: (-score[i], ids[i], classes[i]))
    hits = np.asarray(right, dtype=np.float64)[order]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float((precision * hits).sum() / landmark_queries)


def precision_recall(
    score: NDArray[Any], right: NDArray[np.bool_], landmark_queries: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The curve behind the GAP: precision and recall after each group of equal scores."""
    sizes, hits = _tie_groups(score, right)
    found = np.cumsum(hits)
    return found / np.cumsum(sizes), found / landmark_queries


def map_at_k(
    ranked: Mapping[str, Sequence[str]], relevant: Mapping[str, Collection[str]], k: int = 100
) -> float:
    """Mean average precision of retrieval, over the queries of `relevant`: 0 to 1.

    Weyand et al., CVPR 2020, equation 2: AP = (1 / min(R, k)) Σ_{i≤k} P(i)·rel(i). A query
    without a ranking counts 0; a repeated answer keeps its rank but counts once. Queries
    with nothing relevant are left out.
    """
    scored = [q for q in relevant if len(relevant[q])]
    if not scored:
        raise DataError("mAP is undefined without a query that has a relevant photo")
    return sum(_average_precision(ranked.get(q, ()), set(relevant[q]), k) for q in scored) / len(
        scored
    )


def _average_precision(ranked: Sequence[str], relevant: set[str], k: int) -> float:
    hits, total, seen = 0, 0.0, set()
    for i, answer in enumerate(ranked[:k], 1):
        if answer in relevant and answer not in seen:
            hits += 1
            total += hits / i
        seen.add(answer)
    return total / min(len(relevant), k)


def recall_at_k(rank: NDArray[Any], k: int) -> float:
    """Share of queries whose first right answer is among the k first; rank 0 = none, (Q,)."""
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
    """Percentile bootstrap (Efron 1979) over queries: the interval of `metric(rows)`.

    rows: (queries,) row numbers drawn with replacement. Seeded; same on every machine.
    """
    rng = np.random.default_rng(seed)
    values = [metric(rng.integers(0, queries, queries)) for _ in range(samples)]
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _tie_groups(
    score: NDArray[Any], right: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Predictions and right ones of each distinct score, highest score first."""
    score = np.asarray(score, dtype=np.float64)
    if np.isnan(score).any():
        raise DataError(f"{int(np.isnan(score).sum())} scores are NaN; predictions need numbers")
    values, group = np.unique(-score, return_inverse=True)
    hits = np.bincount(group, weights=np.asarray(right, dtype=np.float64), minlength=len(values))
    return np.bincount(group, minlength=len(values)), hits.astype(np.int64)
