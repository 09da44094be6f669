"""Exact nearest neighbours by inner product, in blocks: memory stays bounded at any size."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .types import Neighbours

BLOCK = 16_384  # gallery rows at a time: 16,384 × 512 float32 = 32 MB
QUERIES = 1_024
FEW = 512  # candidates of one query in one block; more are cut down with the whole block


def nearest(
    queries: NDArray[np.float32],
    vectors: NDArray[Any],
    k: int,
    *,
    offsets: NDArray[np.float32] | None = None,
) -> Neighbours:
    """The k largest inner products of each query, descending; equal ones by lower row.

    queries: (Q, D) float32; vectors: (N, D) float32 or float16 (widened block by block);
    offsets: (N,) added to the inner products before they are compared.
    Returns rows and similarity (offsets included), each (Q, min(k, N)).
    """
    k = min(k, len(vectors))
    rows = np.empty((len(queries), k), dtype=np.int64)
    similarity = np.empty((len(queries), k), dtype=np.float32)
    for start in range(0, len(queries), QUERIES):
        part = slice(start, start + QUERIES)
        rows[part], similarity[part] = _nearest_block(queries[part], vectors, k, offsets)
    return Neighbours(rows, similarity)


def _nearest_block(
    queries: NDArray[np.float32],
    vectors: NDArray[Any],
    k: int,
    offsets: NDArray[np.float32] | None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    best_rows = np.empty((len(queries), 0), dtype=np.int64)
    best = np.empty((len(queries), 0), dtype=np.float32)
    for start in range(0, len(vectors) if k else 0, BLOCK):
        block = np.asarray(vectors[start : start + BLOCK], dtype=np.float32)
        similarity = queries @ block.T
        if offsets is not None:
            similarity += offsets[start : start + BLOCK]
        rows, similarity = _better(similarity, start, best[:, k - 1 : k])
        best_rows, best = _top(
            np.concatenate([best_rows, rows], axis=1),
            np.concatenate([best, similarity], axis=1),
            k,
        )
    return best_rows, best


def _better(
    similarity: NDArray[np.float32], start: int, worst: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Row numbers and similarities of a block that may enter the k best; padded with −inf.

    worst: (Q, 1) the k-th best so far, (Q, 0) while there are fewer. A later row that only
    equals it stays out. In a large gallery hardly anything of a block is left.
    """
    if worst.shape[1]:
        query, column = np.nonzero(similarity > worst)
        counts = np.bincount(query, minlength=len(similarity))
        most = int(counts.max(initial=0))
        if most <= FEW:
            place = np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)
            rows = np.zeros((len(similarity), most), dtype=np.int64)
            kept = np.full((len(similarity), most), -np.inf, dtype=np.float32)
            rows[query, place] = column + start
            kept[query, place] = similarity[query, column]
            return rows, kept
    numbers = np.arange(start, start + similarity.shape[1])
    return np.broadcast_to(numbers, similarity.shape), similarity


def _top(
    rows: NDArray[np.int64], similarity: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k best columns of each row, by falling similarity, then rising row number."""
    if similarity.shape[1] > k > 0:
        # Everything above the k-th value is in; of the values equal to it, the lowest rows.
        limit = -np.partition(-similarity, k - 1, axis=1)[:, k - 1 : k]
        room = k - np.count_nonzero(similarity > limit, axis=1, keepdims=True)
        equal = similarity == limit
        inside = (similarity > limit) | (equal & (np.cumsum(equal, axis=1) <= room))
        columns = np.nonzero(inside)[1].reshape(len(rows), k)
        rows = np.take_along_axis(rows, columns, axis=1)
        similarity = np.take_along_axis(similarity, columns, axis=1)
    order = np.lexsort((rows, -similarity), axis=1)[:, :k]
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(similarity, order, axis=1)
