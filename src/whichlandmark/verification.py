"""Do two photos show the same thing from near enough? RootSIFT matches that one homography fits.

Arrays in, arrays out. RootSIFT: Arandjelović & Zisserman, CVPR 2012. Ratio test: Lowe, IJCV 2004.
MAGSAC++: Barath et al., "MAGSAC++, a fast, reliable and accurate robust estimator", CVPR 2020.
The same photos give the same count on every call: the sampling is seeded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import OptionError
from .types import Image

Points = NDArray[np.float32]  # (n, 2), x and y

SIFT_DIM = 128
CONTRAST = 0.02  # weaker keypoints than OpenCV's 0.04: hazy photos have few
LEAST = 4  # matches that fix a homography


@dataclass(frozen=True, kw_only=True)
class Matching:
    """How photos are compared."""

    size: int = 640  # long side in pixels at which keypoints are looked for
    features: int = 1000  # strongest keypoints of a photo
    upright: bool = True  # photos stand upright: descriptors are not turned to their keypoints
    ratio: float = 0.85  # a match is at most so much as far as the second nearest
    tolerance: float = 6.0  # pixels, at `size`, between a point and where the homography puts it
    iterations: int = 2000
    confidence: float = 0.999
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("size", 32), ("features", LEAST), ("iterations", 1)):
            if getattr(self, name) < least:
                raise OptionError(f"{name} {getattr(self, name)} given; expected {least} or more")
        if not 0 < self.ratio <= 1 or not 0 < self.confidence < 1 or self.tolerance <= 0:
            raise OptionError(
                f"ratio {self.ratio}, confidence {self.confidence}, tolerance {self.tolerance} "
                "given; expected two numbers between 0 and 1, and one above 0"
            )


@dataclass(frozen=True, eq=False)
class Keypoints:
    """points: (n, 2) float32, pixels of the photo as it was given; descriptors: (n, 128) uint8
    SIFT; scale: pixels at which they were looked for per pixel of the photo.
    """

    points: Points
    descriptors: NDArray[np.uint8]
    scale: float


@dataclass(frozen=True, eq=False)
class Verified:
    """here, there: (inliers, 2) float32, where the inliers lie in the first and the second photo,
    in pixels of the photos as they were given; homography: (3, 3) from the first to the second,
    None when none was found.
    """

    here: Points
    there: Points
    homography: NDArray[np.float64] | None

    @property
    def inliers(self) -> int:
        """Matches that agree on one homography."""
        return len(self.here)


NOTHING = Verified(np.empty((0, 2), np.float32), np.empty((0, 2), np.float32), None)


def keypoints(image: Image, options: Matching | None = None) -> Keypoints:
    """(H, W, 3) uint8 RGB → its strongest keypoints, at most one at a place."""
    import cv2

    options = options or Matching()
    scale = min(options.size / max(image.shape[:2]), 2.0)  # small photos at most doubled
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    shrink = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    grey = cv2.resize(grey, (width, height), interpolation=shrink)
    sift = cv2.SIFT.create(nfeatures=options.features, contrastThreshold=CONTRAST)
    at: dict[tuple[int, int], Any] = {}  # a corner of two sizes or directions counts once
    for point in sorted(sift.detect(grey, None), key=lambda p: (-p.response, *p.pt, p.size)):
        at.setdefault((round(point.pt[0]), round(point.pt[1])), point)
    for point in at.values() if options.upright else ():
        point.angle = 0
    if not at:
        return Keypoints(np.empty((0, 2), np.float32), np.empty((0, SIFT_DIM), np.uint8), scale)
    found, descriptors = sift.compute(grey, list(at.values()))
    # A pixel's centre lies at its number: the resized picture's corner, not its centre, is fixed.
    points = (np.array([p.pt for p in found], dtype=np.float32) + 0.5) / scale - 0.5
    return Keypoints(points, np.asarray(descriptors, dtype=np.uint8), scale)


def matches(a: Keypoints, b: Keypoints, ratio: float = 0.85) -> NDArray[np.int64]:
    """(m, 2) rows of a and b: each the nearest of the other, and clearly nearer than the second."""
    if min(len(a.points), len(b.points)) < 2:
        return np.empty((0, 2), dtype=np.int64)
    alike = _root(a.descriptors) @ _root(b.descriptors).T
    rows = np.arange(len(alike))
    best = alike.argmax(axis=1)
    nearest = alike[rows, best]
    alike[rows, best] = -1
    second = alike.max(axis=1)
    alike[rows, best] = nearest
    # Squared distances of unit rows, from their cosines.
    good = np.flatnonzero(np.maximum(1 - nearest, 0) <= ratio**2 * np.maximum(1 - second, 0))
    mutual = alike[:, best[good]].argmax(axis=0) == good
    return np.stack([good[mutual], best[good][mutual]], axis=1)


def verify(a: Keypoints, b: Keypoints, options: Matching | None = None) -> Verified:
    """The matches of two photos that one homography explains, by MAGSAC++.

    A homography that mirrors the photo, or shrinks or enlarges it more than 10 times, explains
    nothing.
    """
    options = options or Matching()
    pairs = matches(a, b, options.ratio)
    if len(pairs) < LEAST:
        return NOTHING
    here, there = a.points[pairs[:, 0]], b.points[pairs[:, 1]]
    homography, fits = _magsac(here * a.scale, there * b.scale, options)
    if homography is None or not _plausible(homography, (here * a.scale)[fits].mean(axis=0)):
        return NOTHING
    back, forth = np.diag([1 / b.scale, 1 / b.scale, 1]), np.diag([a.scale, a.scale, 1])
    return Verified(here[fits], there[fits], back @ homography @ forth)


def _magsac(
    here: Points, there: Points, options: Matching
) -> tuple[NDArray[np.float64] | None, NDArray[np.bool_]]:
    import cv2

    params = cv2.UsacParams()
    params.confidence, params.threshold = options.confidence, options.tolerance
    params.maxIterations, params.randomGeneratorState = options.iterations, options.seed
    params.score, params.sampler = cv2.SCORE_METHOD_MAGSAC, cv2.SAMPLING_UNIFORM
    params.loMethod, params.loIterations = cv2.LOCAL_OPTIM_SIGMA, 10
    params.final_polisher, params.final_polisher_iterations = cv2.MAGSAC, 3
    params.isParallel = False
    homography, mask = cv2.findHomography(here, there, params)
    fits = np.zeros(len(here), dtype=bool) if mask is None else mask.ravel() > 0
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


def _root(descriptors: NDArray[np.uint8]) -> NDArray[np.float32]:
    """RootSIFT: L1-normalised, square root. (n, 128) uint8 → float32, rows of unit length."""
    found = descriptors.astype(np.float32)
    shares = found / np.maximum(found.sum(axis=1, keepdims=True), 1)
    return np.asarray(np.sqrt(shares), dtype=np.float32)
