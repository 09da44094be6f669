"""The nearest photos of a gallery on Qdrant: found by the server, compared exactly here.

The server rounds the question to float16 too, and finds through a graph or quantised vectors; so a
few more are asked for than wanted, and their cosines are taken from the vectors as they are kept.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.types import Neighbours, Vectors
from ..checksums import blob_sum, damaged
from ..index.exact import nearest as nearest_of
from . import points
from .client import RetryingClient
from .config import QdrantConfig, search_params
from .points import Head

MORE = 8  # photos asked for beyond those wanted, or a quarter of them

LARGEST_ANSWER = 16_000_000  # bytes

MOST_QUERIES = 100  # of one request


def nearest(
    calls: RetryingClient, head: Head, config: QdrantConfig, queries: Vectors, k: int, only: Any
) -> Neighbours:
    """(Q, D) → row numbers and cosines (Q, k), falling; −1 and −inf where there are fewer.

    only: the filter, None = nothing can be found.
    """
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    similarity = np.full((len(queries), k), -np.inf, dtype=np.float32)
    asked = np.arange(len(queries)) if k and only is not None else np.empty(0, dtype=np.int64)
    limit = k + max(MORE, k // 4)
    params = None if calls.in_memory else search_params(
        config, head.meta.photos <= config.exact_below
    )  # fmt: skip
    while len(asked):
        short = []
        for at, found in zip(asked, _ask(calls, queries[asked], limit, only, params), strict=True):
            near = _compared(calls, head, queries[at : at + 1], k, found)
            rows[at, : len(near[0])], similarity[at, : len(near[1])] = near
            if len(near[0]) < k and len(found) == limit:
                short.append(at)  # photos that do not count yet stood before others
        asked, limit = np.array(short, dtype=np.int64), 4 * limit
    return Neighbours(rows, similarity)


def only_those(distractors: bool, landmarks: Collection[str] | None) -> Any:
    """The filter of `AnyGallery.nearest`; None = it lets nothing through."""
    from qdrant_client import models

    kind = models.MatchValue(value="distractor" if distractors else "landmark")
    must: list[Any] = [models.FieldCondition(key="kind", match=kind)]
    if landmarks is not None:
        if not landmarks:
            return None
        names = models.MatchAny(any=sorted(set(landmarks)))
        must.append(models.FieldCondition(key="landmark", match=names))
    return models.Filter(must=must)


def _ask(
    calls: RetryingClient, queries: Vectors, limit: int, only: Any, params: Any
) -> list[list[Any]]:
    """For each query the points that the server finds, with their vectors."""
    from qdrant_client import models

    answer = limit * (4 * queries.shape[1] + 100)
    question = 4 * queries.shape[1] + len(repr(only))  # each carries the filter
    at_once = max(1, min(MOST_QUERIES, LARGEST_ANSWER // max(answer, question)))
    found: list[list[Any]] = []
    for start in range(0, len(queries), at_once):
        requests = [
            models.QueryRequest(
                query=query.astype(np.float32).tolist(), filter=only, params=params, limit=limit,
                with_vector=True, with_payload=["id", "vectors"],
            )
            for query in queries[start : start + at_once]
        ]  # fmt: skip
        answers = calls.call("query_batch_points", collection_name=calls.photos, requests=requests)
        found += [answer.points for answer in answers]
    return found


def _compared(
    calls: RetryingClient, head: Head, query: Vectors, k: int, found: list[Any]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Row numbers and cosines of the k nearest of some points, of one query (1, D)."""
    kept = sorted((one for one in found if one.id < head.meta.next_row), key=lambda one: one.id)
    if not kept:
        return np.empty(0, np.int64), np.empty(0, np.float32)
    vectors = [points.halves(one.vector) for one in kept]
    for one, vector in zip(kept, vectors, strict=True):
        payload = one.payload or {}
        right = blob_sum(vector.astype("<f2").tobytes()) == payload.get("vectors")
        if not right or len(vector) != head.meta.dim:
            raise damaged(calls.name, f"vector of photo {payload.get('id')!r}, row {one.id}")
    near = nearest_of(query, np.array(vectors), min(k, len(kept)))
    numbers = np.array([one.id for one in kept], dtype=np.int64)
    return numbers[near.rows[0]], near.similarity[0]
