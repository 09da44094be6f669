"""Match the keypoints of two photos, verify the matches with a homography, and box the inliers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...core.errors import OptionError
from ...core.hardware import one_blas_thread
from ...core.types import Rows
from .agreement import LOOSE_RATIO, agreement
from .keypoints import MIN_MATCHES, ROOT_SIFT_STEPS, Keypoints, MatchOptions, Points

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels, x0 < x1 and y0 < y1

MIN_BOX_POINTS = 8  # a photo with fewer inliers is ignored, because they may be chance matches

OUTLIER_SHARE = 0.02  # share of the points on each side of a box that may be wrong matches

BOX_MARGIN = 0.1  # of the box's side, because a building extends beyond its outermost keypoints

MAX_BOX_OVERLAP = 0.3  # boxes that share more of the smaller one show the same object


@dataclass(frozen=True, eq=False)
class VerifiedMatch:
    """Matches of two photos that agree on one homography.

    query_points, gallery_points: (inliers, 2) float32, positions of the inliers in the first and
    the second photo, in pixels of the photos as given. homography: (3, 3), from the first photo to
    the second; None when there is none. agreement: weight of the matches, also of looser ones, that
    agree on an upright change of size and place (`agreement.agreement`).
    """

    query_points: Points
    gallery_points: Points
    homography: NDArray[np.float64] | None
    agreement: float = 0.0

    @property
    def inliers(self) -> int:
        """Number of matches that agree on the homography."""
        return len(self.query_points)


NO_MATCH = VerifiedMatch(np.empty((0, 2), np.float32), np.empty((0, 2), np.float32), None)


def verify(a: Keypoints, b: Keypoints, options: MatchOptions | None = None) -> VerifiedMatch:
    """The matches of two photos that agree on one homography, found by MAGSAC++.

    A homography that mirrors the photo, or changes areas more than 100 times, counts as no match.
    """
    return verify_many(a, [b], options)[0]


def verify_many(
    query: Keypoints, others: Sequence[Keypoints], options: MatchOptions | None = None
) -> list[VerifiedMatch]:
    """Compare a query with several photos: the results of `verify`, in the order of `others`."""
    options = options or MatchOptions()
    query_matrix = _query_matrix(query)
    loosest = max(options.ratio, LOOSE_RATIO)
    # One for all photos, because memory that is new to the process takes as long as the products.
    most = max((len(other.points) for other in others), default=0)
    space = np.empty(len(query.points) * most, np.float32)
    with one_blas_thread():
        matched = [
            _mutual_matches(query_matrix, _gallery_matrix(other), loosest, space)
            for other in others
        ]
    verified = []
    for found, other in zip(matched, others, strict=True):
        points = query.points[found.pairs[:, 0]], other.points[found.pairs[:, 1]]
        scales = query.scale, other.scale
        loose, strict = found.within(LOOSE_RATIO), found.within(options.ratio)
        agreeing = agreement(
            points[0][loose] * scales[0], points[1][loose] * scales[1], found.ratios[loose],
            np.sqrt(found.nearest[loose]) / ROOT_SIFT_STEPS,
        )  # fmt: skip
        match = fit_homography(points[0][strict], points[1][strict], scales, options)
        verified.append(replace(match, agreement=agreeing))
    return verified


def matches(a: Keypoints, b: Keypoints, ratio: float = 0.85) -> Rows:
    """(m, 2) rows of a and b that are mutual nearest neighbours and pass the ratio test."""
    with one_blas_thread():
        space = np.empty(len(a.points) * len(b.points), np.float32)
        return _mutual_matches(_query_matrix(a), _gallery_matrix(b), ratio, space).pairs


def fit_homography(
    query_points: Points, gallery_points: Points, scales: tuple[float, float], options: MatchOptions
) -> VerifiedMatch:
    """The matches, out of (m, 2) points of each photo in its pixels, that agree on a homography.

    scales: `Keypoints.scale` of both photos, because `options.tolerance` is in resized pixels.
    """
    if len(query_points) < MIN_MATCHES:
        return NO_MATCH
    query_scaled = query_points * scales[0]
    homography, inlier = _magsac(query_scaled, gallery_points * scales[1], options)
    if homography is None or not _is_plausible(homography, query_scaled[inlier].mean(axis=0)):
        return NO_MATCH
    to_scaled = np.diag([scales[0], scales[0], 1])
    from_scaled = np.diag([1 / scales[1], 1 / scales[1], 1])
    return VerifiedMatch(
        query_points[inlier], gallery_points[inlier], from_scaled @ homography @ to_scaled
    )


def _query_matrix(keypoints: Keypoints) -> NDArray[np.float32]:
    """(n, 130): −2 d, 1, |d|² for each descriptor d.

    Its product with the `_gallery_matrix` of another photo is |d − e|². This and every partial sum
    is an integer below 2²⁴, so float32 is exact for any order of summation.
    """
    exact = keypoints.descriptors.astype(np.float32)
    norms = np.square(exact).sum(axis=1)
    return np.column_stack([-2 * exact, np.ones_like(norms), norms])


def _gallery_matrix(keypoints: Keypoints) -> NDArray[np.float32]:
    """(n, 130): e, |e|², 1 for each descriptor e."""
    exact = keypoints.descriptors.astype(np.float32)
    norms = np.square(exact).sum(axis=1)
    return np.column_stack([exact, norms, np.ones_like(norms)])


@dataclass(frozen=True, eq=False)
class _Matches:
    """Mutual nearest neighbours: (m, 2) rows of both photos, and squared distances (m,).

    nearest: between the two descriptors; second: to the second nearest, both whole numbers.
    """

    pairs: Rows
    nearest: NDArray[np.float64]
    second: NDArray[np.float64]

    @property
    def ratios(self) -> NDArray[np.float64]:
        """(m,) nearest / second distance, 0 to 1."""
        return np.sqrt(self.nearest / np.maximum(self.second, 1))

    def within(self, ratio: float) -> NDArray[np.bool_]:
        """(m,) which pass the ratio test."""
        return np.asarray(self.nearest <= ratio**2 * self.second)


def _mutual_matches(
    query_matrix: NDArray[np.float32],
    gallery_matrix: NDArray[np.float32],
    ratio: float,
    space: NDArray[np.float32],
) -> _Matches:
    """Those that pass the ratio test. space: at least one number for each pair, overwritten."""
    shape = len(query_matrix), len(gallery_matrix)
    if min(shape) < 2:
        return _Matches(np.empty((0, 2), dtype=np.int64), np.empty(0), np.empty(0))
    distances = space[: shape[0] * shape[1]].reshape(shape)  # squared
    np.matmul(query_matrix, gallery_matrix.T, out=distances)
    rows = np.arange(len(distances))
    best = distances.argmin(axis=1)
    least = distances[rows, best]
    distances[rows, best] = np.inf
    second = distances.min(axis=1).astype(np.float64)
    distances[rows, best] = least
    nearest = least.astype(np.float64)
    clear = np.flatnonzero(nearest <= ratio**2 * second)
    good = clear[distances[:, best[clear]].argmin(axis=0) == clear]  # mutual
    return _Matches(np.stack([good, best[good]], axis=1), nearest[good], second[good])


def _magsac(
    query_points: Points, gallery_points: Points, options: MatchOptions
) -> tuple[NDArray[np.float64] | None, NDArray[np.bool_]]:
    """The homography, None if there is none, and (m,) whether each match is an inlier."""
    import cv2

    params = cv2.UsacParams()
    params.confidence, params.threshold = options.confidence, options.tolerance
    params.maxIterations, params.randomGeneratorState = options.iterations, options.seed
    params.score, params.sampler = cv2.SCORE_METHOD_MAGSAC, cv2.SAMPLING_UNIFORM
    params.loMethod, params.loIterations = cv2.LOCAL_OPTIM_SIGMA, 10
    params.final_polisher, params.final_polisher_iterations = cv2.MAGSAC, 3
    params.isParallel = False
    homography, mask = cv2.findHomography(query_points, gallery_points, params)
    inlier = np.zeros(len(query_points), dtype=bool) if mask is None else mask.ravel() > 0
    found = homography is not None and np.isfinite(homography).all() and inlier.sum() >= MIN_MATCHES
    return (homography if found else None), inlier


def _is_plausible(homography: NDArray[np.float64], point: Points) -> bool:
    """Whether the homography, near a point, does not mirror and scales areas by 0.01 to 100."""
    x, y, w = homography @ [point[0], point[1], 1]
    if abs(w) < 1e-12:
        return False
    # Determinant of the Jacobian of (x / w, y / w): the change of area, negative when mirrored.
    rows = homography[:2, :2] - np.outer([x / w, y / w], homography[2, :2])
    return bool(0.01 <= np.linalg.det(rows / w) <= 100)


def box_around(points: Sequence[Points], shape: tuple[int, int]) -> Box | None:
    """The box around the inliers of one landmark in a query photo.

    It covers the middle 96 % of the points in x and in y, widened by 10 % on each side and clipped
    to the photo. It can only show what the gallery photos show too, so it may be smaller than the
    landmark.

    Args:
        points: For each gallery photo of the landmark, the (n, 2) positions of its inliers in the
            query. All of them count, because the photos may show different parts.
        shape: (height, width) of the query in pixels.

    Returns:
        The box; None when there are too few points.
    """
    trusted = [inliers for inliers in points if len(inliers) >= MIN_BOX_POINTS]
    inliers = np.concatenate([np.empty((0, 2)), *trusted])
    if len(np.unique(np.round(inliers), axis=0)) < MIN_BOX_POINTS:
        return None
    low, high = np.quantile(inliers, [OUTLIER_SHARE, 1 - OUTLIER_SHARE], axis=0)
    margin = BOX_MARGIN * (high - low)
    height, width = shape
    x0, y0 = np.clip(low - margin, 0, [width, height])
    x1, y1 = np.clip(high + margin, 0, [width, height])
    return (float(x0), float(y0), float(x1), float(y1)) if x0 < x1 and y0 < y1 else None


def overlap(a: Box, b: Box) -> float:
    """The area of the intersection as a share of the smaller box, 0 to 1.

    Not intersection over union, because a part of a building inside the whole building is the same
    place.
    """
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return max(0.0, width) * max(0.0, height) / smaller


def separate_boxes(
    boxes: Sequence[Box | None], scores: Sequence[float], max_overlap: float = MAX_BOX_OVERLAP
) -> Rows:
    """Non-maximum suppression: rows of candidates that are different objects, best score first.

    The best candidate is kept, then each next one whose `overlap` with every kept box is at most
    `max_overlap`. A candidate without a box is kept only if it is the best, and then alone. Equal
    scores: the lower row first. Raises OptionError for sequences of different lengths.
    """
    if len(boxes) != len(scores):
        raise OptionError(f"{len(boxes)} boxes and {len(scores)} scores given; expected as many")
    kept: list[int] = []
    for row in np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable").tolist():
        if not kept or _is_separate(boxes[row], [boxes[other] for other in kept], max_overlap):
            kept.append(row)
    return np.array(kept, dtype=np.int64)


def _is_separate(box: Box | None, kept: list[Box | None], max_overlap: float) -> bool:
    if box is None:
        return False
    return all(other is not None and overlap(box, other) <= max_overlap for other in kept)
