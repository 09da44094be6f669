"""Ranking metrics: GAP (µAP), independent of the order of ties; mAP@k; recall@k."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence, Sized
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError, OptionError
from ..core.types import Floats, Rows

Counts = NDArray[np.int64]

Mask = NDArray[np.bool_]


def gap(
    score: NDArray[Any], right: Mask, landmark_queries: int, *, predicted: Mask | None = None
) -> float:
    """Global average precision (µAP), independent of how ties are broken: 0 to 1.

    Perronnin, Liu, Renders, "A family of contextual measures of similarity between
    distributions with application to image retrieval", CVPR 2009; Weyand et al., "Google
    Landmarks Dataset v2", CVPR 2020: (1/M) Σ_i P(i)·rel(i) over all predictions ranked by
    score. For equal scores, the value is the mean over all their orders.

    Args:
        score: (Q,) numbers, higher = ranked earlier.
        right: (Q,) is the predicted landmark a true one?
        landmark_queries: M, the number of queries that truly show a landmark.
        predicted: (Q,), False = the query has no prediction and takes no rank.

    Raises:
        DataError: when M is 0 or smaller than the number of right predictions, when the score of
            a prediction is NaN, or when the columns differ in length.
    """
    if predicted is not None:
        check_lengths(score=score, right=right, predicted=predicted)
        score, right = np.asarray(score)[predicted], np.asarray(right)[predicted]
    sizes, hits = _counts_per_score(score, right)
    check_landmark_queries(landmark_queries, int(hits.sum()))
    value = _mean_over_orders(sizes, hits, harmonic_numbers(int(sizes.sum()))) / landmark_queries
    return min(value, 1.0)


def _mean_over_orders(sizes: Counts, hits: Counts, sums: Floats) -> float:
    """Σ P(i)·rel(i); for groups of equal scores, its mean over all their orders.

    In a group of n with r right, after T predictions with C right, the j-th is right with
    probability r/n, and then (j − 1)(r − 1)/(n − 1) of those before it in the group are too:
    Σ_{j=1..n} (r/n)·(C + 1 + (j − 1)·b)/(T + j), b = (r − 1)/(n − 1), which is
    (r/n)·(b·n + (C + 1 − b·(T + 1))·(H_{T+n} − H_T)).

    sizes, hits: predictions and right ones in each group, highest score first; sums: H_0 … H_Q.
    """
    some = np.flatnonzero(hits)  # the others add nothing
    before = (np.cumsum(sizes) - sizes)[some]
    sizes, hits = sizes[some], hits[some]
    right_before = np.cumsum(hits) - hits
    b = (hits - 1) / np.maximum(sizes - 1, 1)
    # The difference of sums has a rounding error near 1e-16; groups of one are computed exactly.
    reciprocals = np.where(sizes == 1, 1 / (before + 1), sums[before + sizes] - sums[before])
    inside = b * sizes + (right_before + 1 - b * (before + 1)) * reciprocals
    return float(np.sum(hits / sizes * inside))


def gap_of_draws(
    score: NDArray[Any], right: Mask, landmark: Mask, *, predicted: Mask | None = None
) -> Callable[[Rows], float]:
    """A function for bootstraps: row numbers, with repeats → their `gap`.

    It sorts the scores only once (100,000 rows take 2 ms), and raises DataError for rows without a
    landmark query.

    Args:
        score, right, predicted: (Q,) as for `gap`.
        landmark: (Q,) does the query truly show a landmark (is it counted in M)?
    """
    check_lengths(score=score, right=right, landmark=landmark)
    predicted = np.ones(len(right), dtype=bool) if predicted is None else predicted
    values, group = tie_groups(np.where(predicted, score, np.inf))
    sums, right = harmonic_numbers(len(group)), np.asarray(right, dtype=bool) & predicted
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(len(values)))

    def per_group(times: Counts) -> Counts:
        counts = times[order]
        # Without equal scores each group is one query.
        return counts if len(starts) == len(counts) else np.add.reduceat(counts, starts)

    def gap_of(rows: Rows) -> float:
        times = np.bincount(rows, minlength=len(group))
        sizes, hits = per_group(times * predicted), per_group(times * right)
        landmark_queries = int(times @ landmark)
        check_landmark_queries(landmark_queries, int(hits.sum()))
        return min(_mean_over_orders(sizes, hits, sums) / landmark_queries, 1.0)

    return gap_of


def gap_authors(
    score: NDArray[Any],
    right: Mask,
    landmark_queries: int,
    *,
    ids: Sequence[str],
    classes: Sequence[Any],
) -> float:
    """GAP with the tie rule of the data set's authors: equal scores are ordered by id, then class.

    From tensorflow/models, delf/python/datasets/google_landmarks_dataset/metrics.py. Unlike `gap`,
    it changes when photos with equal scores are renamed.

    Args:
        score, right, landmark_queries: as for `gap`, without queries that have no prediction.
        ids, classes: (Q,) photo id and predicted landmark of each prediction.

    Raises:
        DataError: as `gap` does.
    """
    check_lengths(score=score, right=right, ids=ids, classes=classes)
    check_no_nan(np.asarray(score, dtype=np.float64))
    check_landmark_queries(landmark_queries, int(np.sum(right)))
    order = sorted(range(len(score)), key=lambda i: (-score[i], ids[i], classes[i]))
    hits = np.asarray(right, dtype=np.float64)[order]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float((precision * hits).sum() / landmark_queries)


def precision_recall(
    score: NDArray[Any], right: Mask, landmark_queries: int
) -> tuple[Floats, Floats]:
    """The precision–recall curve whose area is the GAP.

    Args:
        score, right, landmark_queries: as for `gap`.

    Returns:
        (precision, recall), both (G,) for the G distinct scores, highest first: of the predictions
        that score at least as much. Without equal scores (G = Q), the sum of precision × increase
        of recall is the GAP.

    Raises:
        DataError: as `gap` does.
    """
    sizes, hits = _counts_per_score(score, right)
    found = np.cumsum(hits)
    check_landmark_queries(landmark_queries, int(hits.sum()))
    return found / np.cumsum(sizes), found / landmark_queries


def _counts_per_score(score: NDArray[Any], right: Mask) -> tuple[Counts, Counts]:
    """Numbers of predictions and of right ones for each distinct score, highest first."""
    check_lengths(score=score, right=right)
    values, group = tie_groups(score)
    return np.bincount(group, minlength=len(values)), count_per_group(group, right, len(values))


def map_at_k(
    ranked: Mapping[str, Sequence[str]], relevant: Mapping[str, Collection[str]], k: int = 100
) -> float:
    """Mean average precision of retrieval over the queries of `relevant`: 0 to 1.

    Weyand et al., CVPR 2020: AP = (1 / min(R, k)) Σ_{i≤k} P(i)·rel(i). A repeated photo keeps its
    rank but counts as a hit only once.

    Args:
        ranked: query id → ids of the retrieved photos, best first; a missing query counts 0.
        relevant: query id → ids of the R relevant photos; queries with none are left out.
        k: the number of retrieved photos that count.

    Raises:
        OptionError: when k is below 1.
        DataError: when a ranked query is not in `relevant`, or no query has a relevant photo.
    """
    check_k(k)
    if unlisted := sorted(set(ranked) - set(relevant)):
        raise DataError(
            f"query {unlisted[0]!r} has a ranking but no list of relevant photos; add the list"
        )
    scored = [query for query in relevant if len(relevant[query])]
    if not scored:
        raise DataError("mAP is undefined without a query that has a relevant photo")
    total = sum(_average_precision(ranked.get(q, ()), set(relevant[q]), k) for q in scored)
    return total / len(scored)


def _average_precision(ranked: Sequence[str], relevant: set[str], k: int) -> float:
    hits, total, earlier = 0, 0.0, set()
    for i, photo in enumerate(ranked[:k], 1):
        if photo in relevant and photo not in earlier:
            hits += 1
            total += hits / i
        earlier.add(photo)
    return total / min(len(relevant), k)


def average_precision(hits: Mask, relevant: Counts, k: int = 100) -> Floats:
    """Average precision of each query of a batch, as in `map_at_k`, from hits instead of ids.

    Args:
        hits: (Q, K) is the i-th retrieved photo relevant? No photo may be repeated.
        relevant: (Q,) the number of relevant photos in the gallery, at least 1.
        k: the number of retrieved photos that count.

    Returns:
        (Q,), each 0 to 1.

    Raises:
        OptionError: when k is below 1.
        DataError: when a query has no relevant photo, or fewer than hits.
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
    """Recall@k: the share of queries with a relevant photo among the first k, 0 to 1.

    As in Jégou, Douze, Schmid, "Product quantization for nearest neighbor search", PAMI 2011.

    Args:
        rank: (Q,) rank of the first relevant photo, counted from 1; 0 = none was found.
        k: 1 or more.

    Raises:
        OptionError: when k is below 1.
        DataError: when Q is 0.
    """
    check_k(k)
    if not len(rank):
        raise DataError("recall is undefined without a query")
    return float(((rank >= 1) & (rank <= k)).mean())


def tie_groups(score: NDArray[Any]) -> tuple[Floats, Rows]:
    """Group queries with equal scores.

    Args:
        score: (Q,).

    Returns:
        The G distinct scores, highest first, and each query's index among them (Q,).

    Raises:
        DataError: when a score is NaN, because NaN cannot be ranked.
    """
    score = np.asarray(score, dtype=np.float64)
    check_no_nan(score)
    values, group = np.unique(-score, return_inverse=True)
    return -values, group.astype(np.int64)


def count_per_group(group: Rows, amounts: NDArray[Any], groups: int) -> Counts:
    """Sum the amounts (Q,), bool or whole numbers, of each of the groups (Q,): (groups,)."""
    return np.bincount(group, weights=amounts, minlength=groups).astype(np.int64)


def harmonic_numbers(last: int) -> Floats:
    """(last + 1,) H_0 … H_last, H_n = 1 + 1/2 + … + 1/n."""
    return np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, last + 1))])


def check_lengths(**columns: Sized) -> None:
    """Raises DataError unless all columns have the same length."""
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"columns differ in length: {lengths}; expected one value per query")


def check_no_nan(score: Floats) -> None:
    """Raises DataError when a score is NaN."""
    if missing := int(np.isnan(score).sum()):
        raise DataError(f"{missing} scores are NaN; every prediction needs a number as its score")


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
