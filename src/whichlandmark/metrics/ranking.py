"""GAP/µAP with tie rules, mAP@k, recall@k."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence, Sized
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError, OptionError
from ..core.types import Rows


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
    check_k(k)
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


def average_precision(hits: Mask, relevant: Counts, k: int = 100) -> Floats:
    """The AP of `map_at_k` for a batch of queries, so that no ranking has to be kept: (Q,).

    hits: (Q, K) is the i-th answer right? Answers differ, and beyond k they do not count;
    relevant: (Q,) R, the right answers that exist, at least 1.
    Raises OptionError when k is below 1, DataError when a query has fewer right answers
    than hits, or none.
    """
    check_k(k)
    check_lengths(hits=hits, relevant=relevant)
    if wrong := int(((relevant < 1) | (hits.sum(axis=1) > relevant)).sum()):
        raise DataError(
            f"{wrong} queries have no relevant photo, or fewer than were found; count every "
            "gallery photo that shows one of a query's landmarks"
        )
    hits = hits[:, :k]
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    return np.asarray((precision * hits).sum(axis=1) / np.minimum(relevant, k))


def recall_at_k(rank: NDArray[Any], k: int) -> float:
    """Share of queries whose first right answer is among the k first: 0 to 1.

    rank: (Q,) of the first right answer, counted from 1; 0 = none. The measure of retrieval
    papers since Jégou, Douze, Schmid, "Product quantization for nearest neighbor search",
    PAMI 2011. Raises OptionError when k is below 1, DataError when Q is 0.
    """
    check_k(k)
    if not len(rank):
        raise DataError("recall is undefined without a query")
    return float(((rank >= 1) & (rank <= k)).mean())


Floats = NDArray[np.float64]

Counts = NDArray[np.int64]

Mask = NDArray[np.bool_]


def groups_of(score: NDArray[Any]) -> tuple[Floats, Rows]:
    """(Q,) scores → their G distinct values, highest first, and the group of each (Q,).

    Raises DataError when a score is NaN: it has no place in an order.
    """
    score = np.asarray(score, dtype=np.float64)
    check_numbers(score)
    values, group = np.unique(-score, return_inverse=True)
    return -values, group.astype(np.int64)


def count(group: Rows, of: NDArray[Any], groups: int) -> Counts:
    """How many of each group `of` marks: (Q,) groups, (Q,) bool or whole numbers → (G,)."""
    return np.bincount(group, weights=of, minlength=groups).astype(np.int64)


def harmonic(most: int) -> Floats:
    """(most + 1,) H_0 … H_most, H_n = 1 + 1/2 + … + 1/n."""
    return np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, most + 1))])


def check_lengths(**columns: Sized) -> None:
    """Raises DataError unless all columns are of one length."""
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"columns differ in length: {lengths}; expected one value a query")


def check_numbers(score: Floats) -> None:
    """Raises DataError when a score is NaN."""
    if missing := int(np.isnan(score).sum()):
        raise DataError(f"{missing} scores are NaN; predictions need numbers to be ranked by")


def check_landmark_queries(given: int, right: int) -> None:
    """Raises DataError unless 0 < given and right ≤ given."""
    if given < 1:
        raise DataError("GAP is undefined without a photo that shows a landmark")
    if right > given:
        raise DataError(
            f"{right} predictions are right but only {given} queries show a landmark; "
            f"count every query with a true landmark, at most one prediction each"
        )


def check_k(k: int) -> None:
    """Raises OptionError when k is below 1."""
    if k < 1:
        raise OptionError(f"k = {k} given; expected 1 or more")
