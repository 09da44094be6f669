"""Local descriptors of a photo → one whitened row: vocabulary, VLAD, whitening. Arrays only.

VLAD: Jégou et al., "Aggregating local descriptors into a compact image representation", CVPR
2010. Per-word normalisation: Arandjelović & Zisserman, "All about VLAD", CVPR 2013. Whitening:
Jégou & Chum, "Negative evidences and co-occurences in image retrieval", ECCV 2012.

Fitting runs in one thread: the last bits of k-means and LAPACK depend on how many share the work.
"""

from __future__ import annotations

from collections.abc import Mapping

import faiss
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

Floats = NDArray[np.float32]

# Of the largest axis' variance, added to every axis' before dividing by it. With less, photos that
# the axes were fitted on lie further apart than others do, and a gallery, which is asked about
# itself to learn how sure a score makes it, learns to be too sure (benchmarks/LOG.md).
SHRINK = 1.0


def vocabulary(sample: Floats, words: int, dim: int, seed: int) -> dict[str, Floats]:
    """PCA of descriptors (n, D), then k-means in that space; n ≥ words.

    Returns descriptor_mean (D,), descriptor_axes (dim, D) and words (words, dim).
    """
    mean = sample.mean(axis=0)
    centred = (sample - mean).astype(np.float64)
    with threadpool_limits(1):
        _, vectors = np.linalg.eigh(centred.T @ centred)
    axes = _signed(vectors.T[::-1][:dim])
    reduced = np.ascontiguousarray((sample - mean) @ axes.T, dtype=np.float32)
    means = faiss.Kmeans(
        dim, words, niter=25, seed=seed, min_points_per_centroid=1, max_points_per_centroid=10**9
    )
    with threadpool_limits(1):
        means.train(reduced)
    centres = np.array(means.centroids, dtype=np.float32)
    return {"descriptor_mean": mean, "descriptor_axes": axes, "words": centres}


def vlad(descriptors: Floats, arrays: Mapping[str, Floats]) -> Floats:
    """(n, D) descriptors and a vocabulary of K words in d dimensions → (K·d,).

    Residuals summed by nearest word, each word's sum to unit length, signed square root, unit
    length. Without descriptors: zeros.
    """
    words = arrays["words"]
    sums = np.zeros(words.shape, dtype=np.float32)
    if len(descriptors):
        reduced = (descriptors - arrays["descriptor_mean"]) @ arrays["descriptor_axes"].T
        near = (reduced @ words.T - 0.5 * (words**2).sum(axis=1)).argmax(axis=1)
        np.add.at(sums, near, reduced - words[near])
    flat = unit(sums).ravel()
    return unit(np.sign(flat) * np.sqrt(np.abs(flat)))


def whitening(pooled: Floats, dim: int) -> dict[str, Floats]:
    """(N, D) rows → mean (D,), and axes (dim, D): principal axes over their spread; dim ≤ N."""
    mean = pooled.mean(axis=0)
    with threadpool_limits(1):
        _, spread, axes = np.linalg.svd((pooled - mean).astype(np.float64), full_matrices=False)
    # The smallest axes of few photos are mostly noise: shrinking keeps them from being blown up.
    scale = np.sqrt(spread[:dim] ** 2 + SHRINK * spread[0] ** 2 + 1e-12)
    return {"mean": mean, "axes": (_signed(axes[:dim]) / scale[:, None]).astype(np.float32)}


def unit(rows: Floats) -> Floats:
    """Rows (…, D) to unit length; a row of zeros stays zeros."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-9), dtype=np.float32)


def _signed(axes: NDArray[np.float64]) -> Floats:
    """An axis and its negative are equally right: the largest entry is made positive."""
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    return np.ascontiguousarray(axes * np.sign(largest), dtype=np.float32)
