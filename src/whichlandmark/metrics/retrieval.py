"""Are the right gallery photos near? mAP@k and recall@k."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .ties import Counts, Floats, Mask, check_k, check_lengths


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
