"""Look-alike landmarks → subspaces; P×K batches drawn inside them. Arrays in, arrays out.

Wang et al., "How to train triplet networks with 100K identities", ICCVW 2017: when landmarks
are too many for hard ones to meet by chance, cluster their centres and draw each batch from
one cluster. The network is never seen here: `training.py` hands over the centres.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


def class_centres(vectors: NDArray[np.float32], codes: Rows, count: int) -> NDArray[np.float32]:
    """Mean of each landmark's unit rows, normalised: (N, D), (N,) codes → (count, D)."""
    sums = np.zeros((count, vectors.shape[1]), dtype=np.float64)
    np.add.at(sums, codes, vectors)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.asarray(sums / np.maximum(lengths, 1e-12), dtype=np.float32)


def subspaces(centres: NDArray[np.float32], count: int, *, seed: int, smallest: int) -> Rows:
    """Group look-alike landmarks by k-means on their centres: (C, D) → (C,) subspace numbers.

    Spherical k-means by FAISS (20 iterations, best of 3 starts). A subspace with fewer
    landmarks than a batch needs (`smallest`) joins the one with the nearest mean, so that
    every subspace can fill a batch; fewer than `count` may be left.
    """
    import faiss

    count = max(1, min(count, len(centres) // smallest))
    if count == 1:
        return np.zeros(len(centres), dtype=np.int64)
    means = faiss.Kmeans(
        centres.shape[1], count, niter=20, seed=seed, spherical=True, nredo=3,
        min_points_per_centroid=1, max_points_per_centroid=10**9,
    )  # fmt: skip
    points = np.ascontiguousarray(centres, dtype=np.float32)
    means.train(points)
    _, nearest = means.index.search(points, 1)
    return _merge_small(points, np.asarray(nearest[:, 0], dtype=np.int64), smallest)


def _merge_small(points: NDArray[np.float32], groups: Rows, smallest: int) -> Rows:
    _, groups, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    while len(sizes) > 1 and sizes.min() < smallest:
        means = class_centres(points, groups, len(sizes))
        small = int(sizes.argmin())
        likeness = means @ means[small]
        likeness[small] = -np.inf
        groups = np.where(groups == small, int(likeness.argmax()), groups)
        _, groups, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return groups


def epoch_batches(
    codes: Rows, groups: Rows, *, landmarks: int, photos: int, seed: Sequence[int]
) -> list[Rows]:
    """One epoch of P×K batches, each from one subspace where that is possible.

    codes: (N,) landmark of each photo; groups: (C,) subspace of each landmark;
    landmarks: P, distinct landmarks in a batch; photos: K, photos of each.
    seed: what the draw depends on, e.g. (run seed, epoch).
    Returns (P·K,) row arrays, always full, landmark by landmark, in random order.

    Each landmark's photos are shuffled and cut into chunks of K; a short last chunk is
    filled from the same landmark. Batches are dealt from the chunks of one subspace, so
    that large subspaces give more batches than small ones and every photo comes about once
    an epoch. A subspace whose landmarks run out fills its batches with fresh draws of its
    own smaller landmarks while at least half of a batch is due; the rest of all subspaces
    meets in mixed batches at the end.
    """
    rng = np.random.default_rng(list(seed))
    chunks = _chunks(codes, len(groups), photos, rng)
    present = [code for code in range(len(groups)) if chunks[code]]
    size = min(landmarks, len(present))
    batches: list[Rows] = []
    for members in [[c for c in present if groups[c] == g] for g in np.unique(groups)] + [present]:
        batches += _deal(chunks, members, size, rng)
        if len(members) >= size:
            batches += _fill(chunks, members, codes, (size, photos), rng)
    return [batches[i] for i in rng.permutation(len(batches))]


def _chunks(codes: Rows, count: int, photos: int, rng: np.random.Generator) -> list[list[Rows]]:
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(count + 1))
    return [
        list(_cut(rng.permutation(order[start:stop]), photos)) if stop > start else []
        for start, stop in pairwise(bounds)
    ]


def _cut(rows: Rows, size: int) -> Iterator[Rows]:
    """Pieces of `size`; the last is filled from the others, or by repeating when there are none."""
    for start in range(0, len(rows), size):
        piece = rows[start : start + size]
        if len(piece) < size:
            others = np.concatenate([rows[:start], np.tile(rows, -(-size // len(rows)))])
            piece = np.concatenate([piece, others[: size - len(piece)]])
        yield piece


def _deal(
    chunks: list[list[Rows]], members: list[int], size: int, rng: np.random.Generator
) -> list[Rows]:
    """Full batches of `size` chunks of distinct landmarks, the fullest landmarks first."""
    batches: list[Rows] = []
    while True:
        left = np.array([len(chunks[code]) for code in members])
        if np.count_nonzero(left) < max(1, size):
            return batches
        # Taking from the fullest keeps the landmarks level; chance breaks the ties.
        chosen = np.lexsort((rng.random(len(left)), -left))[:size]
        batches.append(np.concatenate([chunks[members[i]].pop() for i in chosen]))


def _fill(
    chunks: list[list[Rows]],
    members: list[int],
    codes: Rows,
    shape: tuple[int, int],
    rng: np.random.Generator,
) -> list[Rows]:
    """Batches of the chunks that are left, each filled up with fresh draws of other members.

    A batch is made only while at least half of it is due: beyond that the small landmarks
    would be repeated again and again to keep a few large ones company.
    """
    size, photos = shape
    batches: list[Rows] = []
    while True:
        due = [code for code in members if chunks[code]]
        if not due or 2 * len(due) < size:
            return batches
        others = [code for code in members if not chunks[code]]
        parts = [chunks[code].pop() for code in due]
        for i in rng.permutation(len(others))[: size - len(due)]:
            rows = np.flatnonzero(codes == others[i])
            parts.append(rng.choice(rows, photos, replace=len(rows) < photos))
        batches.append(np.concatenate(parts))
