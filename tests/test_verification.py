"""Verification by geometry: a known homography is found; unrelated pictures share nothing."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from test_cleaning import scene
from whichlandmark.errors import OptionError
from whichlandmark.types import Image
from whichlandmark.verification import Keypoints, Matching, _root, keypoints, matches, verify

WARP = np.array([[0.8, 0.04, 30.0], [-0.05, 0.85, 20.0], [5e-5, 4e-5, 1.0]])


def building(seed: int) -> Image:
    return scene(seed, (384, 512))


def seen_from_aside(image: Image, warp: np.ndarray = WARP) -> Image:
    height, width = image.shape[:2]
    return np.asarray(cv2.warpPerspective(image, warp, (width, height)), dtype=np.uint8)


def moved(points: np.ndarray, warp: np.ndarray = WARP) -> np.ndarray:
    """(n, 2) through a homography, point by point."""
    flat = [warp @ [x, y, 1] for x, y in points]
    return np.array([[x / w, y / w] for x, y, w in flat])


def test_a_warped_picture_has_its_inliers_where_the_warp_puts_them() -> None:
    for seed in range(3):
        image = building(seed)
        found = verify(keypoints(image), keypoints(seen_from_aside(image)))
        assert found.inliers >= 50
        assert found.here.shape == found.there.shape == (found.inliers, 2)
        apart = np.linalg.norm(moved(found.here) - found.there, axis=1)
        assert np.median(apart) < 1
        assert apart.max() < 8
        assert found.homography is not None
        corners = np.array([[0, 0], [500, 0], [0, 380], [500, 380]])
        assert np.abs(moved(corners, found.homography) - moved(corners)).max() < 3


def test_positions_are_of_the_photo_as_it_was_given() -> None:
    """One side twice as large: positions and homography are in each photo's own pixels."""
    image = building(4)
    large = cv2.resize(image, (1024, 768), interpolation=cv2.INTER_CUBIC)
    found = verify(keypoints(image), keypoints(np.asarray(large, dtype=np.uint8)))
    assert found.inliers >= 80
    # A centre at x lies at 2 x + 0.5 in the doubled picture.
    assert np.abs(found.here * 2 + 0.5 - found.there).mean() < 0.5


def test_unrelated_pictures_have_few() -> None:
    points = [keypoints(building(seed)) for seed in range(8)]
    counts = [verify(a, b).inliers for i, a in enumerate(points) for b in points[:i]]
    assert max(counts) < 12


def test_a_part_of_the_picture_is_enough() -> None:
    """A building pasted into another scene: the inliers lie on it, and on it alone."""
    image = building(1)
    other = building(2).copy()
    other[40:340, 60:440] = image[40:340, 60:440]
    found = verify(keypoints(image), keypoints(other))
    assert found.inliers >= 30
    inside = (found.there > [56, 36]).all(axis=1) & (found.there < [444, 344]).all(axis=1)
    assert inside.mean() > 0.95


def test_twice_the_same_and_the_same_whatever_threads() -> None:
    a, b = keypoints(building(1)), keypoints(seen_from_aside(building(1)))
    noisy = Keypoints(b.points, np.roll(b.descriptors, 7, axis=0), b.scale)  # mostly wrong matches
    threads = cv2.getNumThreads()
    try:
        for pair in ((a, b), (a, noisy)):
            first = verify(*pair)
            for count in (1, 2, 4):
                cv2.setNumThreads(count)
                again = verify(*pair)
                assert np.array_equal(again.here, first.here)
                assert np.array_equal(again.there, first.there)
    finally:
        cv2.setNumThreads(threads)


def test_matches_by_a_slow_search() -> None:
    a, b = keypoints(building(1)), keypoints(seen_from_aside(building(1)))
    rows, columns = _root(a.descriptors), _root(b.descriptors)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(len(rows)), abs=1e-5)
    far = np.linalg.norm(rows[:, None] - columns[None], axis=2)
    expected = []
    for row in range(len(far)):
        first, second = np.argsort(far[row])[:2]
        mutual = far[:, first].argmin() == row
        if mutual and far[row, first] <= 0.85 * far[row, second]:
            expected.append([row, first])
    found = matches(a, b, 0.85)
    agree = {tuple(pair) for pair in expected} ^ {tuple(pair) for pair in found.tolist()}
    assert len(agree) <= 2  # rounding at the very ratio
    assert len(found) >= 50


def test_a_mirror_image_explains_nothing() -> None:
    image = building(3)
    grid = keypoints(image)
    mirrored = Keypoints(grid.points * [-1, 1] + [511, 0], grid.descriptors, grid.scale)
    assert len(matches(grid, mirrored)) > 100
    assert verify(grid, mirrored).inliers == 0
    assert verify(grid, grid).inliers > 100


def test_no_two_keypoints_at_one_place_and_none_in_an_even_picture() -> None:
    found = keypoints(building(1), Matching(features=300, upright=False))
    places = np.round((found.points + 0.5) * found.scale - 0.5).astype(int).tolist()
    assert len({tuple(place) for place in places}) == len(places) <= 300
    grey = keypoints(np.full((100, 100, 3), 90, np.uint8))
    assert len(grey.points) == 0
    assert verify(grey, found).inliers == verify(found, grey).inliers == 0


@pytest.mark.parametrize(
    "wrong",
    [{"size": 3}, {"features": 1}, {"ratio": 0.0}, {"confidence": 1.0}, {"tolerance": 0.0}],
)
def test_options_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(OptionError, match="given; expected"):
        Matching(**wrong)
