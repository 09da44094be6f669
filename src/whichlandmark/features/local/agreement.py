"""Agreement: how well matches of two photos fit one upright change of size and place.

A homography has eight free numbers, so that up to six of the matches of different things agree on
one by chance (`recognition.candidates.CHANCE_INLIERS`), and photos of one place with few matches
are lost. Photos are mostly taken upright, and a facade seen from elsewhere is mostly about a
similarity away: four numbers, which two matches determine. All pairs of the best matches are tried,
so nothing is drawn at random. Models of few numbers for verification are the idea of Philbin, Chum,
Isard, Sivic, Zisserman, "Object retrieval with large vocabularies and fast spatial matching", CVPR
2007; the constants were chosen on photos that are no queries (benchmarks/better_answers.py).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from ...core.types import Floats, Rows
from .keypoints import Points

LOOSE_RATIO = 0.95  # of the distances to the nearest and second nearest; looser than for inliers

HYPOTHESES_FROM = 30  # matches of lowest ratio, whose pairs are tried

MIN_APART = 27.0  # pixels of the resized photos between the two matches of a pair

MOST_SCALE = 3.0  # a change of size beyond this, or its inverse, is not tried

MOST_TURN = np.cos(np.radians(15.0))  # cosine of the largest rotation

TOLERANCE = 20.0  # pixels of the resized photos at which a match counts nothing

MOST_DISTANCE = 0.9  # between the descriptors of a match that counts, of unit length


def agreement(
    query_points: Points,
    gallery_points: Points,
    ratios: NDArray[np.float64],
    distances: NDArray[np.float64],
) -> float:
    """The weight of the matches that agree on the best upright similarity; 0 = none do.

    A match that is hit exactly weighs (1.05 − ratio) · (0.9 − distance), so about 0.1 to 0.5; it
    falls with the square of its error, to 0 at TOLERANCE. Errors are measured in the photo that is
    shown larger, divided by the change of size.

    Args:
        query_points, gallery_points: (m, 2), in pixels of the resized photos.
        ratios: (m,) distances to the nearest descriptor, divided by those to the second nearest.
        distances: (m,) between the descriptors, of unit length.
    """
    weights = (LOOSE_RATIO + 0.1 - ratios) * np.maximum(MOST_DISTANCE - distances, 0)
    query, gallery = (
        points[:, 0].astype(np.float64) + 1j * points[:, 1].astype(np.float64)
        for points in (query_points, gallery_points)
    )
    best = np.argsort(ratios, kind="stable")[:HYPOTHESES_FROM]
    first, second = (best[rows] for rows in _pairs(len(best)))
    spans = query[second] - query[first], gallery[second] - gallery[first]
    apart = (np.abs(spans[0]) > MIN_APART) & (np.abs(spans[1]) > MIN_APART)
    first, turned = first[apart], spans[1][apart] / spans[0][apart]
    scale = np.abs(turned)
    upright = (turned.real >= MOST_TURN * scale) & (scale <= MOST_SCALE)
    upright &= scale >= 1 / MOST_SCALE
    first, turned, scale = first[upright], turned[upright], scale[upright]
    if not len(first):
        return 0.0
    moved = gallery[first] - turned * query[first]
    errors = np.abs(np.multiply.outer(turned, query) + moved[:, None] - gallery)
    errors /= np.maximum(scale, 1)[:, None]
    agreeing: Floats = np.maximum(1 - np.square(errors / TOLERANCE), 0) @ weights
    return float(agreeing.max())


@cache
def _pairs(count: int) -> tuple[Rows, Rows]:
    """All pairs of `count` things, at most HYPOTHESES_FROM: first and second of each."""
    return np.triu_indices(count, 1)
