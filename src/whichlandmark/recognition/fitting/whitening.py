"""Fit a whitening: PCA whitening, or learned whitening from pairs of photos of one landmark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import DataError, OptionError
from ...core.hardware import cpu_count, memory_bytes, one_blas_thread
from ...core.types import Floats, Rows, Vectors
from ...gallery.index import GalleryIndex
from ...gallery.index.projection import Projection
from ..rules import Rules

MAX_FITTED_PHOTOS = 50_000  # drawn at random from more: 50,000 × 2,048 float64 = 0.8 GB

MAX_PAIRS = 200_000  # matching pairs that learned whitening is fitted on

PAIRS_AT_ONCE = 1024  # pairs whose differences are in memory at once

MIN_PHOTOS = 20  # with a default fit: fewer photos are compared as embedded


@dataclass(frozen=True, eq=False)
class LabelledVectors:
    """Training photos that the whitening is fitted on, besides the gallery's.

    No query is ever compared with them.

    Attributes:
        vectors: (N, D) unit rows.
        landmarks: (N,) names.
    """

    vectors: Vectors
    landmarks: NDArray[np.object_]


def fit_whitening(
    index: GalleryIndex, rules: Rules, extra: LabelledVectors | None = None, *, seed: int = 0
) -> Projection | None:
    """Fit the whitening of the rules on gallery, distractors and training photos.

    Distractors count in the total covariance, so that there are axes for what separates landmarks
    from everything else. "learned" falls back to "pca" when no landmark has two photos that
    differ.

    Args:
        index: The gallery.
        rules: Kind, dimension and shrinkage of the whitening.
        extra: Training photos.
        seed: Draws photos and pairs where there are too many.

    Returns:
        The projection; None when the rules have no whitening, no vectors differ, there is one
        landmark, or there are fewer than MIN_PHOTOS photos and the embedder has a default fit or
        no landmark has two photos, because axes of so few photos separate nothing.
    """
    if rules.whitening == "none":
        return None
    vectors, codes = _fitted_photos(index, extra, seed)
    if index.default_fit and len(vectors) < MIN_PHOTOS:
        return None
    dim, shrinkage = rules.whitening_dim, rules.whitening_shrinkage
    one_each = len(index.names) == len(index.codes)
    if len(index.names) < 2 or (one_each and len(vectors) < MIN_PHOTOS):
        return None
    pairs = same_landmark_pairs(codes, most=MAX_PAIRS, seed=seed)
    if rules.whitening == "learned" and len(pairs) and _any_pair_differs(vectors, pairs):
        return learned_whitening(vectors, pairs, dim=dim, shrinkage=shrinkage)
    if len(vectors) < 3 or np.ptp(vectors, axis=0).max() < 1e-6:
        return None
    return pca_whitening(vectors, dim=dim, shrinkage=shrinkage)


def whitenings_at_once(index: GalleryIndex, extra: LabelledVectors | None = None) -> int:
    """Whitenings to fit at the same time: one for each core, as a quarter of the memory lasts.

    Each needs the vectors that it is fitted on three times in float64.
    """
    count, dim = index.vectors.shape
    count += len(index.distractor_vectors) + (0 if extra is None else len(extra.landmarks))
    size = 8 * dim * (3 * min(count, MAX_FITTED_PHOTOS) + 6 * dim)
    return max(1, min(cpu_count(), (memory_bytes() or 0) // (4 * size)))


def pca_whitening(vectors: NDArray[Any], *, dim: int, shrinkage: float = 0.0) -> Projection:
    """Principal axes divided by their spread: (N, D) → at most `dim` axes. *Inductive.*

    Jégou & Chum, "Negative evidences and co-occurences in image retrieval", ECCV 2012:
    Λ^(−½)Vᵀ(x − m). shrinkage: this share of the mean variance of an axis is added to every
    axis' before dividing, because otherwise axes of low variance, mostly noise when photos are
    few, are amplified. Axes without variance are left out. Raises DataError when all vectors are
    equal.
    """
    _check(dim, shrinkage)
    with one_blas_thread():
        rows, mean = _centred(vectors)
        values, axes = _principal_axes(rows.T @ rows / max(1, len(rows)), dim)
        if not len(axes):
            raise DataError(f"whitening of {len(rows)} vectors that do not differ; give more")
        ridge = shrinkage * (rows**2).sum() / rows.size
    return _projection(mean, axes / np.sqrt(values + ridge)[:, None])


def learned_whitening(
    vectors: NDArray[Any], pairs: Rows, *, dim: int, shrinkage: float = 0.0
) -> Projection:
    """Whiten the differences within landmarks, then take principal axes. *Inductive.*

    Mikolajczyk & Matas, "Improving descriptors for fast tree matching by optimal linear
    projection", ICCV 2007; Radenović, Tolias, Chum, TPAMI 2019 (L_w). C_S = mean of
    (x_i − x_j)(x_i − x_j)ᵀ over matching pairs = LLᵀ; the axes are those of the covariance of
    L⁻¹(x − m), by falling variance, `dim` at most. vectors (N, D); pairs (P, 2) rows of the same
    landmark. shrinkage: see `_shrunk_covariance`; needed when C_S has fewer pairs than dimensions.
    Raises DataError when no pair differs.
    """
    _check(dim, shrinkage)
    with one_blas_thread():
        rows, mean = _centred(vectors)
        dimensions, basis = rows.shape[1], None
        if len(rows) < dimensions:
            # All scatter lies in the span of the rows, so that fewer dimensions give the same axes.
            basis = np.linalg.qr(rows.T)[0]
            rows = rows @ basis
        within = _shrunk_covariance(_scatter_of_pairs(rows, pairs), shrinkage, dimensions)
        total = rows.T @ rows / max(1, len(rows))
        axes = _discriminant_axes(within, total, dim)
        return _projection(mean, axes if basis is None else axes @ basis.T)


def _scatter_of_pairs(rows: Floats, pairs: Rows) -> Floats:
    """The mean of (x_i − x_j)(x_i − x_j)ᵀ over pairs (i, j): (D, D).

    Computed as XᵀLX with the Laplacian L of the pairs' graph, because pairs are many more than
    photos: one product of (D, N) and (N, D) in the place of (D, P) and (P, D).
    """
    spread = np.zeros_like(rows)  # LX
    for start in range(0, len(pairs), PAIRS_AT_ONCE):
        left, right = pairs[start : start + PAIRS_AT_ONCE].T
        gaps = rows[left] - rows[right]
        np.add.at(spread, left, gaps)
        np.subtract.at(spread, right, gaps)
    scatter = rows.T @ spread / max(1, len(pairs))
    return np.asarray((scatter + scatter.T) / 2)


def _any_pair_differs(vectors: Vectors, pairs: Rows) -> bool:
    """Whether the vectors of any pair are apart by more than rounding."""
    return any(
        bool(np.abs(vectors[left] - vectors[right]).max() > 1e-6)
        for left, right in (
            pairs[start : start + PAIRS_AT_ONCE].T for start in range(0, len(pairs), PAIRS_AT_ONCE)
        )
    )


def same_landmark_pairs(codes: Rows, *, most: int, seed: int) -> Rows:
    """(P, 2) rows i < j of equal code, for `learned_whitening`: all, or `most` drawn of them.

    Codes below 0 are in no pair. Pairs are taken from all landmarks in turn, so that large
    landmarks do not dominate.
    """
    rng = np.random.default_rng(seed)
    pairs = [np.empty((0, 2), dtype=np.int64)]
    turns = [np.empty(0, dtype=np.int64)]
    for code in np.unique(codes[codes >= 0]):
        rows = np.flatnonzero(codes == code)
        i, j = np.triu_indices(len(rows), k=1)
        order = rng.permutation(len(i))
        pairs.append(np.stack([rows[i], rows[j]], axis=1)[order])
        turns.append(np.arange(len(i), dtype=np.int64))
    drawn = np.argsort(np.concatenate(turns), kind="stable")[:most]
    return np.concatenate(pairs)[drawn]


def _discriminant_axes(within: Floats, total: Floats, dim: int) -> Floats:
    """Axes that whiten the covariance `within`, then are principal for `total`: (d, D)."""
    inverse = np.linalg.inv(np.linalg.cholesky(within))
    _, axes = _principal_axes(inverse @ total @ inverse.T, dim)
    if not len(axes):
        raise DataError("whitening of vectors that do not differ between landmarks; give more")
    return np.asarray(axes @ inverse)


def _shrunk_covariance(within: Floats, shrinkage: float, dimensions: int) -> Floats:
    """(1 − shrinkage)·S + (shrinkage + 1e-6)·tr(S)/D·I, D = `dimensions`: never singular."""
    share = np.trace(within) / dimensions
    if not share > 0:
        raise DataError(
            "no two differing photos of one landmark to learn whitening from; "
            "give landmarks of several photos, or use PCA whitening"
        )
    return np.asarray((1 - shrinkage) * within + (shrinkage + 1e-6) * share * np.eye(len(within)))


def _principal_axes(covariance: Floats, dim: int) -> tuple[Floats, Floats]:
    """Largest eigenvalues (d,) and their axes (d, D): d = dim, or fewer of no variance."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    values, axes = values[::-1][:dim], vectors.T[::-1][:dim]
    varying = values > 1e-10 * max(np.trace(covariance), 1e-12)
    return values[varying], axes[varying]


def _centred(vectors: NDArray[Any]) -> tuple[Floats, Floats]:
    """Rows (N, D) without their mean (D,)."""
    rows = np.asarray(vectors, dtype=np.float64)
    mean = rows.sum(axis=0) / max(1, len(rows))
    return rows - mean, mean


def _projection(mean: Floats, axes: Floats) -> Projection:
    """A projection whose axes have a fixed sign: the largest entry of each is positive."""
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    signed = np.ascontiguousarray(axes * np.sign(largest), dtype=np.float32)
    return Projection(mean.astype(np.float32), signed)


def _check(dim: int, shrinkage: float) -> None:
    if dim < 1:
        raise OptionError(f"dim {dim} given; expected 1 or more")
    if not 0 <= shrinkage <= 1:
        raise OptionError(f"shrinkage {shrinkage} given; expected 0 to 1")


def _fitted_photos(
    index: GalleryIndex, extra: LabelledVectors | None, seed: int
) -> tuple[Vectors, NDArray[np.int64]]:
    """Vectors and landmark codes (−1 = none) of all photos, or of MAX_FITTED_PHOTOS of them."""
    parts = [index.vectors, index.distractor_vectors]
    names = [index.names[index.codes], np.full(len(index.distractor_vectors), "", dtype=object)]
    if extra is not None:
        parts.append(extra.vectors)
        names.append(extra.landmarks)
    starts = np.cumsum([0, *map(len, parts)])
    drawn = np.sort(np.random.default_rng(seed).permutation(starts[-1])[:MAX_FITTED_PHOTOS])
    chosen = [
        np.asarray(part[drawn[(drawn >= start) & (drawn < start + len(part))] - start], np.float32)
        for part, start in zip(parts, starts[:-1], strict=True)
    ]
    landmarks = np.concatenate(names)[drawn]
    found, codes = np.unique(landmarks, return_inverse=True)
    return np.concatenate(chosen), np.where(found[codes] == "", -1, codes).astype(np.int64)
