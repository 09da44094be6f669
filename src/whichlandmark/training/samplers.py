"""Look-alike landmarks → subspaces; P×K batches drawn inside them. Arrays in, arrays out.

Wang et al., "How to train triplet networks with 100K identities", ICCVW 2017: when landmarks
are too many for hard ones to meet by chance, cluster their centres and draw each batch from
one cluster. The network is never seen here: `training.py` hands over the centres.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..core.types import Rows


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

    codes: (N,) landmark of each photo; groups: (C,) subspace of each landmark (all the same =
    random batches); landmarks: P, distinct landmarks in a batch; photos: K, photos of each.
    seed: (run seed, epoch); epochs count from 0.
    Returns (P·K,) row arrays, always full, landmark by landmark, in random order; at least one.

    Each landmark brings chunks of K photos (see `_chunks`), each is used once, and as many
    batches are made as hold them: every photo comes about once an epoch. Subspaces have
    batches in proportion to their chunks. A landmark with more chunks than its subspace has
    batches is a guest in those of others. Places that nothing is due for are filled with
    photos drawn afresh, less than a batch in all; but landmarks that hold more than 1/P of all
    photos would need company again and again, and get it for at most half of all places:
    beyond that their photos come less often.
    """
    rng = np.random.default_rng(list(seed))
    chunks = _chunks(codes, len(groups), photos, seed)
    sizes = np.bincount(codes, minlength=len(groups))
    size = min(landmarks, int(np.count_nonzero(sizes)))
    due = np.array([len(own) for own in chunks])
    count = _how_many(due, size)
    due = np.minimum(due, count)
    bounds = np.cumsum([0, *_allot(np.bincount(groups, due).astype(np.int64), count)])
    batches = []
    for present in _place(due, groups, bounds, size, rng):
        parts = [chunks[code].pop() for code in present]
        parts += _fresh(codes, sizes, present, (size - len(present), photos), rng)
        batches.append(np.concatenate(parts))
    return [batches[i] for i in rng.permutation(count)]


def _chunks(codes: Rows, count: int, photos: int, seed: Sequence[int]) -> list[list[Rows]]:
    """This epoch's chunks of each landmark, in random order: lists of (K,) rows.

    A landmark's photos lie on a ring, in an order drawn once a run. Epoch after epoch its
    chunks go on around the ring, n / K of them an epoch on average (3 photos and K = 8: three
    epochs in eight have one). So all its photos are seen equally often, give or take one round.
    Which photos of an epoch share a chunk is drawn anew; none is twice in one while n ≥ K.
    """
    run, rng = np.random.default_rng(list(seed[:-1])), np.random.default_rng([*seed, 1])
    ring = np.lexsort((run.random(len(codes)), codes))
    phases = run.random(count)
    bounds = np.searchsorted(codes[ring], np.arange(count + 1))
    chunks: list[list[Rows]] = []
    for (start, stop), phase in zip(pairwise(bounds), phases, strict=True):
        n = int(stop - start)
        first, last = (int(e * n / photos + phase) for e in (seed[-1], seed[-1] + 1))
        places = np.arange(first * photos, last * photos) % max(1, n)
        rows = _mixed(ring[start + places], n, rng).reshape(-1, photos)
        chunks.append(list(rng.permutation(rows)))
    return chunks


def _mixed(rows: Rows, n: int, rng: np.random.Generator) -> Rows:
    """Rows of a ring of n in random order; those met twice first and last, in different chunks."""
    twice = max(0, len(rows) - n)
    if twice == 0 or len(rows) > 2 * n:
        return rng.permutation(rows)
    again, once = rows[:twice], rows[twice:n]
    return np.concatenate([rng.permutation(again), rng.permutation(once), rng.permutation(again)])


def _how_many(due: Rows, size: int) -> int:
    """Batches of an epoch: (C,) chunks of each landmark, at most one of each in a batch.

    As many as hold all chunks, but no more than leave half of their places due; at least one.
    """
    count = -(-int(due.sum()) // size)
    while count > 1 and 2 * int(np.minimum(due, count).sum()) < count * size:
        count -= 1
    return max(1, count)


def _allot(weights: Rows, count: int) -> Rows:
    """Share `count` out in proportion to the weights, by largest remainders."""
    exact = weights * (count / max(1.0, float(weights.sum())))
    shares = exact.astype(np.int64)
    shares[np.argsort(shares - exact, kind="stable")[: count - shares.sum()]] += 1
    return shares


def _place(
    due: Rows, groups: Rows, bounds: Rows, size: int, rng: np.random.Generator
) -> list[list[int]]:
    """Distinct landmarks for each batch, at most `size`, each landmark as often as it is due.

    bounds: subspace g has the batches bounds[g] to bounds[g + 1]. Landmarks with most chunks
    choose first, and each takes the emptiest batches, its own subspace's before others.
    """
    free = np.full(bounds[-1], size)
    present: list[list[int]] = [[] for _ in free]
    for code in np.lexsort((rng.random(len(due)), -due))[: np.count_nonzero(due)]:
        start, stop = bounds[groups[code]], bounds[groups[code] + 1]
        chosen = start + _emptiest(free[start:stop], due[code], rng)
        if len(chosen) < due[code]:
            elsewhere = free.copy()
            elsewhere[start:stop] = 0
            guest = _emptiest(elsewhere, due[code] - len(chosen), rng)
            chosen = np.concatenate([chosen, guest])
        free[chosen] -= 1
        for batch in chosen:
            present[batch].append(int(code))
    return present


def _emptiest(free: Rows, count: int, rng: np.random.Generator) -> Rows:
    """At most `count` batches with free places, those with most first, equals by chance."""
    open_ = rng.permutation(np.flatnonzero(free))
    return open_[np.argsort(-free[open_], kind="stable")][:count]


def _fresh(
    codes: Rows, sizes: Rows, present: list[int], shape: tuple[int, int], rng: np.random.Generator
) -> list[Rows]:
    """Chunks of landmarks that are not present, drawn in proportion to their photos.

    Of landmarks with at least K photos, where there are enough: the others would repeat some.
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
