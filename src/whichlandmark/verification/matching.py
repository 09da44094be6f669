"""Keypoints of two photos → those that one homography explains.

Ratio test: Lowe, IJCV 2004. MAGSAC++: Barath et al., "MAGSAC++, a fast, reliable and accurate
robust estimator", CVPR 2020. The same photos give the same matches on every call and for any
number of threads: distances are whole numbers, exact in float32, and the sampling is seeded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .keypoints import LEAST, Keypoints, Matching, Points
from .threads import one_thread


@dataclass(frozen=True, eq=False)
class Verified:
    """query_points, gallery_points: (inliers, 2) float32, where the inliers lie in the first and in
    the second photo, in pixels of the photos as given; homography: (3, 3) from the first to
    the second, None when none was found.
    """

    query_points: Points
    gallery_points: Points
    homography: NDArray[np.float64] | None

    @property
    def inliers(self) -> int:
        """Matches that agree on one homography."""
        return len(self.query_points)


NOTHING = Verified(np.empty((0, 2), np.float32), np.empty((0, 2), np.float32), None)


def verify(a: Keypoints, b: Keypoints, options: Matching | None = None) -> Verified:
    """The matches of two photos that one homography explains, by MAGSAC++.

    A homography that mirrors the photo, or shrinks or enlarges it more than 10 times, explains
    nothing.
    """
    return verify_many(a, [b], options)[0]


def verify_many(
    query: Keypoints, others: Sequence[Keypoints], options: Matching | None = None
) -> list[Verified]:
    """A query against each of several photos: what `verify` finds of each, in their order."""
    options = options or Matching()
    rows = _rows(query)
    with one_thread():
        matched = [_matches(rows, _columns(other), options.ratio) for other in others]
    found = []
    for pairs, other in zip(matched, others, strict=True):
        query_points, gallery_points = query.points[pairs[:, 0]], other.points[pairs[:, 1]]
        found.append(explained(query_points, gallery_points, (query.scale, other.scale), options))
    return found


def matches(a: Keypoints, b: Keypoints, ratio: float = 0.85) -> NDArray[np.int64]:
    """(m, 2) rows of a and b: each the nearest of the other, and clearly nearer than the second."""
    with one_thread():
        return _matches(_rows(a), _columns(b), ratio)


def explained(
    query_points: Points, gallery_points: Points, scales: tuple[float, float], options: Matching
) -> Verified:
    """Matched places, each (m, 2) in pixels of its photo → those that one homography explains.

    scales: pixels, in which `options.tolerance` is meant, per pixel of each photo.
    """
    if len(query_points) < LEAST:
        return NOTHING
    homography, fits = _magsac(query_points * scales[0], gallery_points * scales[1], options)
    if homography is None or not _plausible(
        homography, (query_points * scales[0])[fits].mean(axis=0)
    ):
        return NOTHING
    forth = np.diag([scales[0], scales[0], 1])
    back = np.diag([1 / scales[1], 1 / scales[1], 1])
    return Verified(query_points[fits], gallery_points[fits], back @ homography @ forth)


def _rows(found: Keypoints) -> NDArray[np.float32]:
    """(n, 130): −2 d, 1, |d|². The product with `_columns` of another photo is |d − e|², a whole
    number below 2²⁴, as every partial sum of it is: exact in float32, in any order of adding.
    """
    exact = found.descriptors.astype(np.float32)
    norms = np.square(exact).sum(axis=1)
    return np.column_stack([-2 * exact, np.ones_like(norms), norms])


def _columns(found: Keypoints) -> NDArray[np.float32]:
    """(n, 130): d, |d|², 1."""
    exact = found.descriptors.astype(np.float32)
    norms = np.square(exact).sum(axis=1)
    return np.column_stack([exact, norms, np.ones_like(norms)])


def _matches(
    rows: NDArray[np.float32], columns: NDArray[np.float32], ratio: float
) -> NDArray[np.int64]:
    if min(len(rows), len(columns)) < 2:
        return np.empty((0, 2), dtype=np.int64)
    apart = rows @ columns.T  # squared distances
    all_rows = np.arange(len(apart))
    best = apart.argmin(axis=1)
    mutual = apart.argmin(axis=0)[best] == all_rows
    nearest = apart[all_rows, best].astype(np.float64)
    apart[all_rows, best] = np.inf
    good = np.flatnonzero(mutual & (nearest <= ratio**2 * apart.min(axis=1)))
    return np.stack([good, best[good]], axis=1)


def _magsac(
    query_points: Points, gallery_points: Points, options: Matching
) -> tuple[NDArray[np.float64] | None, NDArray[np.bool_]]:
    import cv2

    params = cv2.UsacParams()
    params.confidence, params.threshold = options.confidence, options.tolerance
    params.maxIterations, params.randomGeneratorState = options.iterations, options.seed
    params.score, params.sampler = cv2.SCORE_METHOD_MAGSAC, cv2.SAMPLING_UNIFORM
    params.loMethod, params.loIterations = cv2.LOCAL_OPTIM_SIGMA, 10
    params.final_polisher, params.final_polisher_iterations = cv2.MAGSAC, 3
    params.isParallel = False
    homography, mask = cv2.findHomography(query_points, gallery_points, params)
    fits = np.zeros(len(query_points), dtype=bool) if mask is None else mask.ravel() > 0
    enough = homography is not None and np.isfinite(homography).all() and fits.sum() >= LEAST
    return (homography if enough else None), fits


def _plausible(homography: NDArray[np.float64], at: Points) -> bool:
    """Near `at`, does it keep left and right, and enlarge areas at most 100 times?"""
    x, y, w = homography @ [at[0], at[1], 1]
    if abs(w) < 1e-12:
        return False
    # Jacobian of (x / w, y / w): how a small square about the point is stretched and turned.
    rows = homography[:2, :2] - np.outer([x / w, y / w], homography[2, :2])
    return bool(0.01 <= np.linalg.det(rows / w) <= 100)
