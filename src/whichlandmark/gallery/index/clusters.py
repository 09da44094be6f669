"""Rows and their landmarks → the cells that they lie in: one a landmark, where that serves.

A landmark's photos lie close together, so its own cell holds most of what one of them is near to:
fewer cells need to be looked into than with cells that know of vectors only.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.types import RowArray, Vectors
from .exact import widen

BLOCK = 65_536

SPREAD = 6.5  # cells where landmarks are none: the power of two nearest to this times √rows …

MOST = 8_192  # … and no more

LANDMARK_ROWS = 4  # rows a landmark, on average, from which each is a cell of its own

SPLIT = 256  # rows from which a landmark is several cells …

A_PIECE = 64  # … of about so many

A_CENTRE = 40  # points that a centre is learned from, at most

EXAMPLES = 400_000  # rows that centres are learned from, where there are no landmarks


@dataclass(frozen=True, eq=False)
class Clusters:
    """centres: (P, D) unit rows; piece: (N,) the cell of each row."""

    centres: Vectors
    piece: NDArray[np.int64]


def clusters_of(vectors: RowArray, codes: NDArray[np.int64] | None, *, seed: int = 0) -> Clusters:
    """Cells of (N, D) rows with landmark codes (N,), or None."""
    if codes is None or not len(codes):
        return _by_nearness(vectors, seed)
    present, landmark = np.unique(codes, return_inverse=True)
    means = _means(vectors, landmark, len(present))
    if len(vectors) < LANDMARK_ROWS * len(present):  # as many centres as rows would be no help
        centres = _learned(means, cell_count(len(vectors), len(means)), seed)
        return Clusters(centres, _nearest_centre(means, centres)[landmark])
    return _split(vectors, Clusters(means, landmark), seed)


def cell_count(rows: int, points: int) -> int:
    """How many cells: a power of two near SPREAD × √rows, at most MOST and one in two points."""
    wanted = min(SPREAD * rows**0.5, MOST, max(points / 2, 1))
    return 1 << max(0, round(float(np.log2(wanted))))


def _by_nearness(vectors: RowArray, seed: int) -> Clusters:
    drawn = np.random.default_rng(seed).permutation(len(vectors))
    count = cell_count(len(vectors), len(vectors))
    rows = np.sort(drawn[: min(count * A_CENTRE, EXAMPLES)])
    centres = _learned(widen(vectors[rows]), count, seed)
    found = [
        _nearest_centre(widen(vectors[start : start + BLOCK]), centres)
        for start in range(0, len(vectors), BLOCK)
    ]
    return Clusters(centres, np.concatenate(found))


def _split(vectors: RowArray, found: Clusters, seed: int) -> Clusters:
    """Landmarks of many rows as several cells each."""
    centres, piece = [found.centres], found.piece.copy()
    order = np.argsort(found.piece, kind="stable")
    ends = np.cumsum([0, *np.bincount(found.piece)])
    count = len(found.centres)
    for start, stop in pairwise(ends.tolist()):
        if stop - start < SPLIT:
            continue
        rows = order[start:stop]
        own = widen(vectors[rows])
        more = _learned(own, (stop - start) // A_PIECE, seed)
        piece[rows] = count + _nearest_centre(own, more)
        centres.append(more)
        count += len(more)
    used, renamed = np.unique(piece, return_inverse=True)
    return Clusters(np.concatenate(centres)[used], renamed)


def _learned(points: Vectors, count: int, seed: int) -> Vectors:
    import faiss

    limits = {"min_points_per_centroid": 1, "max_points_per_centroid": A_CENTRE}
    means: Any = faiss.Kmeans(
        points.shape[1], count, niter=10, spherical=True, seed=seed + 1, **limits
    )
    means.train(np.ascontiguousarray(points))
    centres: Vectors = means.centroids
    return centres


def _nearest_centre(rows: Vectors, centres: Vectors) -> NDArray[np.int64]:
    return np.concatenate(
        [
            np.argmax(rows[start : start + 4096] @ centres.T, axis=1)
            for start in range(0, len(rows), 4096)
        ]
    )


def _means(vectors: RowArray, landmark: NDArray[np.int64], count: int) -> Vectors:
    """(N, D), (N,) of 0 … C − 1 → (C, D) unit rows: the direction of each landmark's sum."""
    order = np.argsort(landmark, kind="stable")
    sums = np.zeros((count, vectors.shape[1]), dtype=np.float32)
    for start in range(0, len(order), BLOCK):
        rows = order[start : start + BLOCK]
        firsts = np.flatnonzero(np.diff(landmark[rows], prepend=-1))
        sums[landmark[rows[firsts]]] += np.add.reduceat(widen(vectors[rows]), firsts, axis=0)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.asarray(sums / np.maximum(lengths, 1e-12), dtype=np.float32)
