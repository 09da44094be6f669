"""Search in Qdrant: the server finds candidates, this program computes their exact cosines.

The server searches a graph or quantised vectors, and rounds queries to float16. So a few more
candidates than needed are requested and compared by their stored vectors.
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

MIN_EXTRA_CANDIDATES = 8  # beyond k, or k / 4 if that is more

MAX_ANSWER_BYTES = 16_000_000

MAX_QUERIES_PER_REQUEST = 100


def nearest(
    client: RetryingClient, head: Head, config: QdrantConfig, queries: Vectors, k: int, only: Any
) -> Neighbours:
    """The k photos of highest cosine for each query.

    Args:
        client: of the gallery.
        head: its header.
        config: search options.
        queries: (Q, D) unit rows.
        k: photos per query.
        only: from `photo_filter`; None = no photo matches.

    Returns:
        Row numbers and cosines, (Q, k), descending; −1 and −inf where fewer are found.
    """
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    similarity = np.full((len(queries), k), -np.inf, dtype=np.float32)
    pending = np.arange(len(queries)) if k and only is not None else np.empty(0, dtype=np.int64)
    limit = k + max(MIN_EXTRA_CANDIDATES, k // 4)
    params = None if client.in_memory else search_params(
        config, head.meta.photos <= config.exact_below
    )  # fmt: skip
    while len(pending):
        short = []
        for at, found in zip(
            pending, _server_candidates(client, queries[pending], limit, only, params), strict=True
        ):
            near = _exact_nearest(client, head, queries[at : at + 1], k, found)
            rows[at, : len(near[0])], similarity[at, : len(near[1])] = near
            if len(near[0]) < k and len(found) == limit:
                short.append(at)  # because photos of an uncommitted change took places
        pending, limit = np.array(short, dtype=np.int64), 4 * limit
    return Neighbours(rows, similarity)


def photo_filter(distractors: bool, landmarks: Collection[str] | None) -> Any:
    """The filter for `base.Gallery.nearest`; None = no photo matches."""
    from qdrant_client import models

    kind = models.MatchValue(value="distractor" if distractors else "landmark")
    must: list[Any] = [models.FieldCondition(key="kind", match=kind)]
    if landmarks is not None:
        if not landmarks:
            return None
        names = models.MatchAny(any=sorted(set(landmarks)))
        must.append(models.FieldCondition(key="landmark", match=names))
    return models.Filter(must=must)


def _server_candidates(
    client: RetryingClient, queries: Vectors, limit: int, only: Any, params: Any
) -> list[list[Any]]:
    """For each query the points that the server finds, with their vectors."""
    from qdrant_client import models

    answer_bytes = limit * (4 * queries.shape[1] + 100)
    query_bytes = 4 * queries.shape[1] + len(repr(only))  # each query carries the filter
    batch = max(1, min(MAX_QUERIES_PER_REQUEST, MAX_ANSWER_BYTES // max(answer_bytes, query_bytes)))
    found: list[list[Any]] = []
    for start in range(0, len(queries), batch):
        requests = [
            models.QueryRequest(
                query=query.astype(np.float32).tolist(), filter=only, params=params, limit=limit,
                with_vector=True, with_payload=["id", "vectors"],
            )
            for query in queries[start : start + batch]
        ]  # fmt: skip
        answers = client.call(
            "query_batch_points", collection_name=client.photos, requests=requests
        )
        found += [answer.points for answer in answers]
    return found


def _exact_nearest(
    client: RetryingClient, head: Head, query: Vectors, k: int, found: list[Any]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Row numbers and cosines of the k nearest of `found` for one query (1, D)."""
    kept = sorted((one for one in found if one.id < head.meta.next_row), key=lambda one: one.id)
    if not kept:
        return np.empty(0, np.int64), np.empty(0, np.float32)
    vectors = [points.to_float16(one.vector) for one in kept]
    for one, vector in zip(kept, vectors, strict=True):
        payload = one.payload or {}
        right = blob_sum(vector.astype("<f2").tobytes()) == payload.get("vectors")
        if not right or len(vector) != head.meta.dim:
            raise damaged(client.name, f"vector of photo {payload.get('id')!r}, row {one.id}")
    near = nearest_of(query, np.array(vectors), min(k, len(kept)))
    numbers = np.array([one.id for one in kept], dtype=np.int64)
    return numbers[near.rows[0]], near.similarity[0]
