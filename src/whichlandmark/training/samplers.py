"""Batch sampling: group look-alike landmarks into subspaces, draw P×K batches inside them.

Wang et al., "How to train triplet networks with 100K identities", ICCVW 2017: with many landmarks,
random batches rarely have similar ones, so cluster the class centres and draw each batch from one
cluster. This module works on arrays only; `trainer` computes the centres.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..core.types import Rows


def class_centres(vectors: NDArray[np.float32], codes: Rows, count: int) -> NDArray[np.float32]:
    """Normalised mean of the unit rows of each landmark: (N, D) rows, (N,) codes → (count, D)."""
    sums = np.zeros((count, vectors.shape[1]), dtype=np.float64)
    np.add.at(sums, codes, vectors)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.asarray(sums / np.maximum(lengths, 1e-12), dtype=np.float32)


def photos_of_each(codes: Rows, count: int, *, seed: Sequence[int]) -> Rows:
    """Rows of at most `count` photos of each landmark, drawn at random, ascending; 0 = all.

    codes: (N,) landmark of each photo.
    """
    if not count:
        return np.arange(len(codes))
    order = np.lexsort((np.random.default_rng(list(seed)).random(len(codes)), codes))
    sorted_codes = codes[order]
    rank = np.arange(len(codes)) - np.searchsorted(sorted_codes, sorted_codes)
    return np.sort(order[rank < count])


def subspaces(centres: NDArray[np.float32], count: int, *, seed: int, smallest: int) -> Rows:
    """Group look-alike landmarks by k-means on their centres: (C, D) → (C,) subspace numbers.

    Spherical k-means by FAISS (20 iterations, best of 3 starts). A subspace with fewer than
    `smallest` landmarks, the number in a batch, is merged into the one with the nearest mean, so
    that every subspace can fill a batch. The result may have fewer than `count` subspaces.
    """
    import faiss

    count = max(1, min(count, len(centres) // smallest))
    if count == 1:
        return np.zeros(len(centres), dtype=np.int64)
    kmeans = faiss.Kmeans(
        centres.shape[1],
        count,
        niter=20,
        seed=seed,
        spherical=True,
        nredo=3,
        min_points_per_centroid=1,
        max_points_per_centroid=10**9,
    )
    points = np.ascontiguousarray(centres, dtype=np.float32)
    kmeans.train(points)
    _, nearest = kmeans.index.search(points, 1)
    return _merge_small(points, np.asarray(nearest[:, 0], dtype=np.int64), smallest)


def _merge_small(points: NDArray[np.float32], groups: Rows, smallest: int) -> Rows:
    _, groups, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    while len(sizes) > 1 and sizes.min() < smallest:
        means = class_centres(points, groups, len(sizes))
        small = int(sizes.argmin())
        similarity = means @ means[small]
        similarity[small] = -np.inf
        groups = np.where(groups == small, int(similarity.argmax()), groups)
        _, groups, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return groups


def epoch_batches(
    codes: Rows, groups: Rows, *, landmarks: int, photos: int, seed: Sequence[int]
) -> list[Rows]:
    """One epoch of P×K batches, each from one subspace if possible.

    The photos of each landmark are divided into chunks of K (see `_chunks`); each chunk is used
    once, so every photo occurs about once per epoch. The number of batches of a subspace is
    proportional to its chunks. A landmark with more chunks than its subspace has batches is also
    put into batches of other subspaces. Slots that remain empty, usually less than one batch in
    all, are filled with randomly drawn chunks. If a landmark has more than 1/P of all photos, its
    batches need many filler chunks; they are limited to half of all slots, and beyond that the
    photos of the landmark occur less often.

    Args:
        codes: (N,) landmark of each photo.
        groups: (C,) subspace of each landmark; all equal = random batches.
        landmarks: P, number of distinct landmarks in a batch.
        photos: K, number of photos of each of them.
        seed: (run seed, epoch); epochs count from 0.

    Returns:
        At least one batch, in random order: (P·K,) rows, grouped by landmark, always full.
    """
    rng = np.random.default_rng(list(seed))
    chunks = _chunks(codes, len(groups), photos, seed)
    sizes = np.bincount(codes, minlength=len(groups))
    size = min(landmarks, int(np.count_nonzero(sizes)))
    due = np.array([len(own) for own in chunks])
    count = _batch_count(due, size)
    due = np.minimum(due, count)
    bounds = np.cumsum([0, *_proportional_shares(np.bincount(groups, due).astype(np.int64), count)])
    batches = []
    for present in _assign_landmarks(due, groups, bounds, size, rng):
        parts = [chunks[code].pop() for code in present]
        parts += _filler_chunks(codes, sizes, present, (size - len(present), photos), rng)
        batches.append(np.concatenate(parts))
    return [batches[i] for i in rng.permutation(count)]


def _chunks(codes: Rows, count: int, photos: int, seed: Sequence[int]) -> list[list[Rows]]:
    """The chunks of each landmark in this epoch, in random order: lists of (K,) rows.

    The n photos of a landmark form a ring, in a random order that is fixed for the run. Each epoch
    continues around the ring where the last one stopped, with n / K chunks on average (3 photos and
    K = 8: a chunk in three of eight epochs). All photos therefore occur equally often, to within
    one round. The assignment of an epoch's photos to its chunks is random; no photo is twice in a
    chunk if n ≥ K.
    """
    run, rng = np.random.default_rng(list(seed[:-1])), np.random.default_rng([*seed, 1])
    ring = np.lexsort((run.random(len(codes)), codes))
    phases = run.random(count)
    bounds = np.searchsorted(codes[ring], np.arange(count + 1))
    chunks: list[list[Rows]] = []
    for (start, stop), phase in zip(pairwise(bounds), phases, strict=True):
        n = int(stop - start)
        first, last = (int(e * n / photos + phase) for e in (seed[-1], seed[-1] + 1))
        positions = np.arange(first * photos, last * photos) % max(1, n)
        rows = _shuffled_for_chunks(ring[start + positions], n, rng).reshape(-1, photos)
        chunks.append(list(rng.permutation(rows)))
    return chunks


def _shuffled_for_chunks(rows: Rows, n: int, rng: np.random.Generator) -> Rows:
    """Consecutive rows of a ring of n, shuffled; rows that occur twice are put into two chunks.

    Those are placed at the beginning and at the end.
    """
    repeated = max(0, len(rows) - n)
    if repeated == 0 or len(rows) > 2 * n:
        return rng.permutation(rows)
    twice, once = rows[:repeated], rows[repeated:n]
    return np.concatenate([rng.permutation(twice), rng.permutation(once), rng.permutation(twice)])


def _batch_count(due: Rows, size: int) -> int:
    """Number of batches of an epoch, given the (C,) number of chunks of each landmark.

    A batch has at most one chunk of a landmark. All chunks fit, unless more than half of the slots
    would then be filler chunks; at least one.
    """
    count = -(-int(due.sum()) // size)
    while count > 1 and 2 * int(np.minimum(due, count).sum()) < count * size:
        count -= 1
    return max(1, count)


def _proportional_shares(weights: Rows, count: int) -> Rows:
    """Divide `count` in proportion to the weights, by the largest remainder method."""
    exact = weights * (count / max(1.0, float(weights.sum())))
    shares = exact.astype(np.int64)
    shares[np.argsort(shares - exact, kind="stable")[: count - shares.sum()]] += 1
    return shares


def _assign_landmarks(
    due: Rows, groups: Rows, bounds: Rows, size: int, rng: np.random.Generator
) -> list[list[int]]:
    """The distinct landmarks of each batch, at most `size`; each landmark occurs due[code] times.

    bounds: subspace g has the batches bounds[g] to bounds[g + 1]. Landmarks are assigned in the
    order of decreasing chunks, each to the emptiest batches, first of its own subspace.
    """
    free = np.full(bounds[-1], size)
    present: list[list[int]] = [[] for _ in free]
    for code in np.lexsort((rng.random(len(due)), -due))[: np.count_nonzero(due)]:
        start, stop = bounds[groups[code]], bounds[groups[code] + 1]
        chosen = start + _emptiest_batches(free[start:stop], due[code], rng)
        if len(chosen) < due[code]:
            elsewhere = free.copy()
            elsewhere[start:stop] = 0
            others = _emptiest_batches(elsewhere, due[code] - len(chosen), rng)
            chosen = np.concatenate([chosen, others])
        free[chosen] -= 1
        for batch in chosen:
            present[batch].append(int(code))
    return present


def _emptiest_batches(free: Rows, count: int, rng: np.random.Generator) -> Rows:
    """At most `count` batches with free slots, emptiest first; ties in random order."""
    batches = rng.permutation(np.flatnonzero(free))
    return batches[np.argsort(-free[batches], kind="stable")][:count]


def _filler_chunks(
    codes: Rows, sizes: Rows, present: list[int], shape: tuple[int, int], rng: np.random.Generator
) -> list[Rows]:
    """Random chunks of landmarks that are not in the batch, drawn in proportion to their photos.

    shape: (number of chunks, K). Landmarks with fewer than K photos are used only if there are too
    few others, because their photos would be repeated.
    """
    count, photos = shape
    if not count:
        return []
    weights = sizes.astype(np.float64)
    weights[present] = 0
    if np.count_nonzero(weights[sizes >= photos]) >= count:
        weights[sizes < photos] = 0
    drawn = rng.choice(len(sizes), count, replace=False, p=weights / weights.sum())
    return [np.resize(rng.permutation(np.flatnonzero(codes == code)), photos) for code in drawn]
