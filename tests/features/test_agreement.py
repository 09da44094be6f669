"""Agreement of matches: exact values, chance, and what no upright photo shows."""

from __future__ import annotations

import numpy as np
import pytest

from whichlandmark.features.local import verify
from whichlandmark.features.local.agreement import TOLERANCE, agreement
from whichlandmark.features.local.keypoints import Keypoints

RNG = np.random.default_rng(0)
GRID = np.array([[60.0 * x, 50.0 * y] for x in range(4) for y in range(3)])


def weigh(gallery: np.ndarray, query: np.ndarray = GRID, ratio: float = 0.55) -> float:
    count = len(query)
    return agreement(
        query.astype(np.float32), gallery.astype(np.float32), np.full(count, ratio),
        np.full(count, 0.4),
    )  # fmt: skip


def turned(degrees: float, scale: float = 1.0) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return scale * GRID @ np.array([[c, s], [-s, c]]) + [200, 150]


@pytest.mark.parametrize("degrees", [0, -12, 12])
@pytest.mark.parametrize("scale", [0.4, 1.0, 2.5])
def test_matches_that_are_moved_turned_a_little_and_scaled_agree(degrees, scale):
    # Each of 12 matches weighs (1.05 − 0.55) · (0.9 − 0.4).
    assert weigh(turned(degrees, scale)) == pytest.approx(12 * 0.25, rel=1e-3)


@pytest.mark.parametrize(("degrees", "scale"), [(90, 1.0), (20, 1.0), (0, 4.0), (0, 0.25)])
def test_what_no_upright_photo_shows_does_not_agree(degrees, scale):
    assert weigh(turned(degrees, scale)) < 0.3 * 12 * 0.25


def test_a_mirrored_photo_does_not_agree():
    assert weigh(GRID * [-1, 1] + [300, 0]) < 0.5 * 12 * 0.25


def test_a_match_counts_less_the_farther_it_is_off_and_others_do_not_change():
    moved = np.add(GRID, [100.0, 50.0])
    for error in (0.0, 0.5, 1.0, 3.0):
        off = moved.copy()
        off[5] += [error * TOLERANCE, 0]
        expected = 0.25 * (11 + max(0.0, 1 - error**2))
        assert weigh(off) == pytest.approx(expected, rel=1e-3)


def test_random_matches_agree_little():
    values = [weigh(RNG.random((40, 2)) * 480, RNG.random((40, 2)) * 480) for _ in range(50)]
    assert np.mean(values) < 0.16 * 40 * 0.25
    assert max(values) < 0.3 * 40 * 0.25


def test_poor_matches_weigh_nothing_and_few_points_none():
    assert weigh(GRID, ratio=0.55) > 2 * weigh(GRID, ratio=0.9)
    far = agreement(
        GRID.astype(np.float32), GRID.astype(np.float32), np.full(12, 0.5), np.full(12, 0.95)
    )
    assert far == 0
    for count in (0, 1):
        assert weigh(GRID[:count], GRID[:count]) == 0
    near = GRID / 20  # all within MIN_APART of each other: no pair tells scale and turn
    assert weigh(near, near) == 0


def test_the_same_photo_agrees_with_itself_and_a_photo_without_keypoints_with_none():
    descriptors = RNG.integers(0, 16, (60, 128)).astype(np.uint8)
    points = (RNG.random((60, 2)) * 400).astype(np.float32)
    photo = Keypoints(points, descriptors, 1.0)
    other = Keypoints(points, RNG.integers(0, 16, (60, 128)).astype(np.uint8), 1.0)
    empty = Keypoints(points[:0], descriptors[:0], 1.0)
    same = verify(photo, photo)
    assert same.agreement > 10 > 10 * verify(photo, other).agreement
    assert verify(photo, empty).agreement == verify(empty, photo).agreement == 0
    assert verify(photo, photo).agreement == same.agreement
