"""PCA and learned whitening."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ...core.errors import DataError, OptionError
from ...core.types import Rows, Vectors
from ...gallery.index import GalleryIndex
from ...gallery.index.projection import Projection, Wide
from ..rules import Rules


def pca_whitening(vectors: NDArray[Any], *, dim: int, shrinkage: float = 0.0) -> Projection:
    """Principal axes divided by their spread: (N, D) → at most `dim` axes. *Inductive.*

    Jégou & Chum, "Negative evidences and co-occurences in image retrieval", ECCV 2012:
    Λ^(−½)Vᵀ(x − m). shrinkage: this share of the mean variance of an axis is added to every
    axis' before dividing, or the thin axes of few photos, mostly noise, are blown up. Axes
    along which nothing varies are left out. Raises DataError when nothing varies at all.
    """
    _check(dim, shrinkage)
    with threadpool_limits(1):
        rows, mean = _centred(vectors)
        values, axes = _principal(rows.T @ rows / max(1, len(rows)), dim)
        if not len(axes):
            raise DataError(f"whitening of {len(rows)} vectors that do not differ; give more")
        ridge = shrinkage * (rows**2).sum() / rows.size
    return _projection(mean, axes / np.sqrt(values + ridge)[:, None])


def learned_whitening(
    vectors: NDArray[Any], pairs: Rows, *, dim: int, shrinkage: float = 0.0
) -> Projection:
    """Whiten what differs between photos of one landmark, then principal axes. *Inductive.*

    Mikolajczyk & Matas, "Improving descriptors for fast tree matching by optimal linear
    projection", ICCV 2007; Radenović, Tolias, Chum, TPAMI 2019 (L_w). C_S = mean of
    (x_i − x_j)(x_i − x_j)ᵀ over matching pairs = LLᵀ; the axes are those of the covariance of
    L⁻¹(x − m), widest first, `dim` at most. vectors (N, D); pairs (P, 2) rows of the same
    landmark. shrinkage: see `_shrunk`; a C_S of fewer pairs than dimensions needs it. Raises
    DataError when no pair differs.
    """
    _check(dim, shrinkage)
    with threadpool_limits(1):
        rows, mean = _centred(vectors)
        gaps = rows[pairs[:, 0]] - rows[pairs[:, 1]]
        within = gaps.T @ gaps / max(1, len(gaps))
        total = rows.T @ rows / max(1, len(rows))
        return _projection(mean, _discriminant(within, total, dim, shrinkage))


def same_landmark_pairs(codes: Rows, *, most: int, seed: int) -> Rows:
    """(P, 2) rows i < j of equal code, for `learned_whitening`: all, or `most` drawn of them.

    Codes below 0 pair with nobody. Every landmark of two photos gives one pair before any
    gives more than its share, so that large landmarks do not rule.
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


def _discriminant(within: Wide, wide: Wide, dim: int, shrinkage: float) -> Wide:
    """Rows that whiten `within` and are principal for `wide` after that: (d, D)."""
    inverse = np.linalg.inv(np.linalg.cholesky(_shrunk(within, shrinkage)))
    _, axes = _principal(inverse @ wide @ inverse.T, dim)
    if not len(axes):
        raise DataError("whitening of vectors that do not differ between landmarks; give more")
    return np.asarray(axes @ inverse)


def _shrunk(within: Wide, shrinkage: float) -> Wide:
    """(1 − shrinkage)·S + (shrinkage + 1e-6)·tr(S)/D·I: never singular."""
    share = np.trace(within) / len(within)
    if not share > 0:
        raise DataError(
            "no two differing photos of one landmark to learn whitening from; "
            "give landmarks of several photos, or use PCA whitening"
        )
    return np.asarray((1 - shrinkage) * within + (shrinkage + 1e-6) * share * np.eye(len(within)))


def _principal(covariance: Wide, dim: int) -> tuple[Wide, Wide]:
    """Largest eigenvalues (d,), axes (d, D): d = dim, or fewer where nothing varies."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    values, axes = values[::-1][:dim], vectors.T[::-1][:dim]
    some = values > 1e-10 * max(np.trace(covariance), 1e-12)
    return values[some], axes[some]


def _centred(vectors: NDArray[Any]) -> tuple[Wide, Wide]:
    """Rows (N, D) without their mean (D,)."""
    rows = np.asarray(vectors, dtype=np.float64)
    mean = rows.sum(axis=0) / max(1, len(rows))
    return rows - mean, mean


def _projection(mean: Wide, axes: Wide) -> Projection:
    """An axis and its negative are equally right: the largest entry is made positive."""
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    signed = np.ascontiguousarray(axes * np.sign(largest), dtype=np.float32)
    return Projection(mean.astype(np.float32), signed)


def _check(dim: int, shrinkage: float) -> None:
    if dim < 1:
        raise OptionError(f"dim {dim} given; expected 1 or more")
    if not 0 <= shrinkage <= 1:
        raise OptionError(f"shrinkage {shrinkage} given; expected 0 to 1")


SAMPLE = 50_000  # photos that whitening is fitted on: 50,000 × 2,048 float64 = 0.8 GB

PAIRS = 200_000


@dataclass(frozen=True, eq=False)
class Labelled:
    """Training photos beside the gallery: vectors (N, D) unit rows, landmarks (N,) names.

    They teach the whitening only; no query is ever compared with them.
    """

    vectors: Vectors
    landmarks: NDArray[np.object_]


def fit_whitening(
    index: GalleryIndex, rules: Rules, extra: Labelled | None = None, *, seed: int = 0
) -> Projection | None:
    """A projection fitted on gallery, bank and training photos; None where there is none to fit.

    The bank widens the total scatter that axes are chosen for, so that what tells landmarks
    from everything else has axes too. Falls back from "learned" to "pca" when no landmark has
    two photos that differ, and to none when nothing varies.
    """
    if rules.whitening == "none":
        return None
    vectors, codes = _photos(index, extra, seed)
    dim, shrinkage = rules.whitening_dim, rules.whitening_shrinkage
    pairs = same_landmark_pairs(codes, most=PAIRS, seed=seed)
    if rules.whitening == "learned" and _differ(vectors, pairs):
        return learned_whitening(vectors, pairs, dim=dim, shrinkage=shrinkage)
    if len(vectors) < 3 or np.ptp(vectors, axis=0).max() < 1e-6:
        return None
    return pca_whitening(vectors, dim=dim, shrinkage=shrinkage)


def _photos(
    index: GalleryIndex, extra: Labelled | None, seed: int
) -> tuple[Vectors, NDArray[np.int64]]:
    """Vectors and landmark codes (−1 = none) of all, or of SAMPLE of them drawn at random."""
    parts = [index.vectors, index.bank]
    names = [index.names[index.codes], np.full(len(index.bank), "", dtype=object)]
    if extra is not None:
        parts.append(extra.vectors)
        names.append(extra.landmarks)
    starts = np.cumsum([0, *map(len, parts)])
    drawn = np.sort(np.random.default_rng(seed).permutation(starts[-1])[:SAMPLE])
    chosen = [
        np.asarray(part[drawn[(drawn >= start) & (drawn < start + len(part))] - start], np.float32)
        for part, start in zip(parts, starts[:-1], strict=True)
    ]
    landmarks = np.concatenate(names)[drawn]
    found, codes = np.unique(landmarks, return_inverse=True)
    return np.concatenate(chosen), np.where(found[codes] == "", -1, codes).astype(np.int64)


def _differ(vectors: Vectors, pairs: NDArray[np.int64]) -> bool:
    return bool(len(pairs)) and bool(
        np.abs(vectors[pairs[:, 0]] - vectors[pairs[:, 1]]).max() > 1e-6
    )
