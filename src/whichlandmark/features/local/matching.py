"""Match two photos; RANSAC; box around the inliers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...core.errors import OptionError
from ...core.hardware import one_thread
from .keypoints import LEAST, Keypoints, MatchOptions, Points

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels, x0 < x1 and y0 < y1

LEAST_POINTS = 8  # inliers of a photo: of fewer, chance places too many

TAIL = 0.02  # the share of places on each side that may be wrong

MARGIN = 0.1  # of the box's side: a building goes on beyond its outermost corners

APART = 0.3  # two boxes that share no more than this of the smaller one show different things


def box_around(points: Sequence[Points], shape: tuple[int, int]) -> Box | None:
    """Verified places in a photo → the box of what they lie on, None when they are too few.

    points: of each gallery photo of one landmark, the (n, 2) places of its inliers in the query;
    the photos see different parts, and the box holds them all; one with fewer than 8 inliers may
    be there by chance, and is left out. shape: (height, width) in pixels
    of the query. The middle 96 % of the places in x and in y, widened by a tenth on each side,
    within the photo. The places within a photo, and so the box, are of what both photos show:
    less than the landmark where none of the photos shows more.
    """
    proven = [places for places in points if len(places) >= LEAST_POINTS]
    places = np.concatenate([np.empty((0, 2)), *proven])
    if len(np.unique(np.round(places), axis=0)) < LEAST_POINTS:
        return None
    least, most = np.quantile(places, [TAIL, 1 - TAIL], axis=0)
    margin = MARGIN * (most - least)
    height, width = shape
    x0, y0 = np.clip(least - margin, 0, [width, height])
    x1, y1 = np.clip(most + margin, 0, [width, height])
    return (float(x0), float(y0), float(x1), float(y1)) if x0 < x1 and y0 < y1 else None


def shared(a: Box, b: Box) -> float:
    """The area of both boxes as a share of the smaller one, 0 to 1.

    Not of their union: a part of a building inside the whole building is the same place.
    """
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, width) * max(0.0, height) / min(_area(a), _area(b))


def several(
    boxes: Sequence[Box | None], scores: Sequence[float], apart: float = APART
) -> NDArray[np.int64]:
    """Rows of the candidates that one photo may show side by side, the best score first.

    The best candidate is kept; each next one where it shares at most `apart` of the smaller box
    with every kept one. A candidate without a box is kept alone, when it is the best.
    Equal scores: the lower row first. Raises OptionError for columns of different lengths.
    """
    if len(boxes) != len(scores):
        raise OptionError(f"{len(boxes)} boxes and {len(scores)} scores given; expected as many")
    kept: list[int] = []
    for row in np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable").tolist():
        if not kept or _beside(boxes[row], [boxes[other] for other in kept], apart):
            kept.append(row)
    return np.array(kept, dtype=np.int64)


def _beside(box: Box | None, kept: list[Box | None], apart: float) -> bool:
    if box is None:
        return False
    return all(other is not None and shared(box, other) <= apart for other in kept)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


@dataclass(frozen=True, eq=False)
class VerifiedMatch:
    """query_points, gallery_points: (inliers, 2) float32, where the inliers lie in the first and
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


NOTHING = VerifiedMatch(np.empty((0, 2), np.float32), np.empty((0, 2), np.float32), None)


def verify(a: Keypoints, b: Keypoints, options: MatchOptions | None = None) -> VerifiedMatch:
    """The matches of two photos that one homography explains, by MAGSAC++.

    A homography that mirrors the photo, or shrinks or enlarges it more than 10 times, explains
    nothing.
    """
    return verify_many(a, [b], options)[0]


def verify_many(
    query: Keypoints, others: Sequence[Keypoints], options: MatchOptions | None = None
) -> list[VerifiedMatch]:
    """A query against each of several photos: what `verify` finds of each, in their order."""
    options = options or MatchOptions()
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
    query_points: Points, gallery_points: Points, scales: tuple[float, float], options: MatchOptions
) -> VerifiedMatch:
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
    return VerifiedMatch(query_points[fits], gallery_points[fits], back @ homography @ forth)


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
    query_points: Points, gallery_points: Points, options: MatchOptions
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
