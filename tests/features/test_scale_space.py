"""Points in scale space and their descriptors: known places and scales; numbers of OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.features.test_matching import building, same, seen_from_aside
from whichlandmark.core.types import Image
from whichlandmark.features.local.descriptors import MOST_SAMPLED, _cell_weights, upright_sift
from whichlandmark.features.local.keypoints import (
    GreyImage,
    Keypoints,
    MatchOptions,
    keypoints,
    quantized_root_sift,
    to_grey,
)
from whichlandmark.features.local.matching import verify
from whichlandmark.features.local.scale_space import GREY_STEPS, scale_points


def blob(x: float, y: float, sigma: float, shape: tuple[int, int] = (120, 160)) -> np.ndarray:
    rows, columns = np.indices(shape)
    bump = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    return np.asarray(np.rint(60 + 150 * bump), dtype=np.uint8)


@pytest.mark.parametrize(
    ("x", "y", "sigma"), [(70.0, 50.0, 1.5), (81.3, 60.6, 3.0), (80.25, 61.75, 6.0), (79.5, 60, 12)]
)
def test_a_blob_is_found_at_its_centre_with_its_size(x: float, y: float, sigma: float) -> None:
    _, points = scale_points(blob(x, y, sigma))
    strongest = int(np.argmax(points.contrast))
    assert points.x[strongest] == pytest.approx(x, abs=0.05 * sigma)
    assert points.y[strongest] == pytest.approx(y, abs=0.05 * sigma)
    # The difference of Gaussians of a blob is largest near the blob's own scale.
    scale = points.sigma[strongest] * 2 ** points.octave[strongest]
    assert 0.75 < scale / sigma < 1.1


@pytest.mark.parametrize(
    "image",
    [
        np.full((90, 120), 128, np.uint8),  # even
        np.tile(np.arange(120, dtype=np.uint8), (90, 1)),  # a gradient
        np.tile(np.repeat([40, 200], 8), (90, 10)).astype(np.uint8),  # stripes
        np.tile(np.repeat([40, 200], 8), (90, 10)).astype(np.uint8).T.copy(),
        np.eye(6, dtype=np.uint8) * 200,  # too small for an octave
        np.zeros((1, 480), np.uint8),
    ],
)
def test_where_nothing_can_be_located_there_is_no_point(image: np.ndarray) -> None:
    pyramid, points = scale_points(image)
    assert len(points) == 0
    assert upright_sift(pyramid, points).shape == (0, 128)
    assert len(keypoints(GreyImage(image, 1.0)).points) == 0


@pytest.mark.parametrize("shape", [(8, 8), (9, 400), (400, 9), (31, 480), (480, 480)])
def test_points_lie_in_photos_of_every_shape(shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    found = keypoints(noise, MatchOptions(size=480))
    height, width = shape
    assert (found.points >= -0.5).all()
    assert (found.points <= [width - 0.5, height - 0.5]).all()
    if min(shape) > 30:
        assert len(found.points) > 20


def sift(image: Image, options: MatchOptions) -> Keypoints:
    """Upright keypoints of OpenCV's SIFT, as galleries of earlier versions store them."""
    grey = to_grey(image, options)
    detector = cv2.SIFT.create(nfeatures=options.features, contrastThreshold=0.02)
    points = sorted(detector.detect(grey.pixels, None), key=lambda point: -point.response)
    for point in points:
        point.angle = 0
    points, descriptors = detector.compute(grey.pixels, points)
    places = (np.array([point.pt for point in points]) + 0.5) / grey.scale - 0.5
    return Keypoints(places.astype(np.float32), quantized_root_sift(descriptors), grey.scale)


def test_keypoints_match_those_that_older_galleries_store() -> None:
    options = MatchOptions(size=480, features=500, tolerance=4.5)
    for seed in range(3):
        photo, aside = building(seed), seen_from_aside(building(seed))
        ours = verify(keypoints(photo, options), keypoints(aside, options), options).inliers
        theirs = verify(sift(photo, options), sift(aside, options), options).inliers
        mixed = verify(keypoints(photo, options), sift(aside, options), options).inliers
        assert mixed >= 0.5 * theirs
        assert ours >= 0.8 * theirs
        unrelated = verify(keypoints(photo, options), sift(building(seed + 9), options), options)
        assert unrelated.inliers < 12


def test_descriptors_at_one_place_are_nearly_those_of_opencv() -> None:
    """The same point in the same photo: nearer to OpenCV's than to any other point's."""
    options = MatchOptions(size=480, features=500)
    ours, theirs = keypoints(building(1), options), sift(building(1), options)
    apart = np.linalg.norm(ours.points[:, None] - theirs.points, axis=2) * ours.scale
    rows = np.flatnonzero(apart.min(axis=1) < 0.75)
    assert len(rows) > 50
    codes = theirs.descriptors.astype(int)
    distance = ((ours.descriptors[rows, None].astype(int) - codes) ** 2).sum(axis=2)
    right = apart[rows, distance.argmin(axis=1)] < 1.5
    assert right.mean() > 0.9


def test_the_sums_of_a_cell_are_exact_in_float32() -> None:
    """So that they do not depend on the order in which a matrix product adds."""
    weights = _cell_weights()
    assert (weights == np.rint(weights)).all()
    assert weights.sum(axis=0).max() * 255 * GREY_STEPS < 2**24


def test_more_keypoints_than_one_call_of_opencv_can_sample() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), dtype=np.uint8)
    many = MatchOptions(size=1200, features=6000)
    found = keypoints(noise, many)
    _, points = scale_points(to_grey(noise, many).pixels)
    assert ((points.octave == 0) & (points.layer == 1)).sum() > MOST_SAMPLED
    assert len(found.points) > MOST_SAMPLED
    assert same(keypoints(noise, many), found)
    few = keypoints(noise, MatchOptions(size=1200, features=50))
    assert np.array_equal(few.descriptors, found.descriptors[:50])
