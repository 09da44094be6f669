"""Rules and photos → the change of axes after which cosines tell the gallery's landmarks apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .gallery.index import GalleryIndex
from .reranking import Projection, learned_whitening, pca_whitening, same_landmark_pairs
from .rules import Rules
from .types import Vectors

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
