"""Boxes around inliers, and non-maximum suppression of boxes of several landmarks."""

from __future__ import annotations

import numpy as np
import pytest

from tests.features.test_matching import building, seen_from_aside
from whichlandmark.core.errors import OptionError
from whichlandmark.features.local.keypoints import keypoints
from whichlandmark.features.local.matching import Box, box_around, overlap, separate_boxes, verify


def points_in(*corners: tuple[float, float], count: int = 200) -> np.ndarray:
    """Uniform random points in the rectangle between two corners."""
    low, high = np.array(corners[0]), np.array(corners[1])
    return (low + np.random.default_rng(0).random((count, 2)) * (high - low)).astype(np.float32)


def intersection_over_union(a: Box, b: Box) -> float:
    """Intersection over union, counted pixel by pixel."""
    grid = np.stack(np.meshgrid(np.arange(700) + 0.5, np.arange(700) + 0.5), axis=-1)
    one, two = (
        ((grid > box[:2]) & (grid < box[2:])).all(axis=-1) for box in (np.array(a), np.array(b))
    )
    return float((one & two).sum() / (one | two).sum())


def test_a_pasted_building_is_found_where_it_was_pasted() -> None:
    for seed, (x, y) in enumerate([(60, 40), (120, 60), (20, 80)]):
        image, photo = building(seed + 1), building(seed + 11).copy()
        photo[y : y + 280, x : x + 360] = image[40:320, 60:420]
        found = verify(keypoints(photo), keypoints(image))
        box = box_around([found.query_points], photo.shape[:2])
        assert box is not None
        assert intersection_over_union(box, (x, y, x + 360, y + 280)) > 0.7


def test_two_buildings_in_one_photo_have_their_own_boxes() -> None:
    left, right = building(3), building(4)
    photo = np.concatenate([left[:, 60:400], right[:, 60:400]], axis=1)
    query = keypoints(photo)
    boxes = [
        box_around([verify(query, keypoints(seen_from_aside(image))).query_points], photo.shape[:2])
        for image in (left, right)
    ]
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[0][2] < 400
    assert boxes[1][0] > 280
    assert separate_boxes(boxes, [0.5, 0.9]).tolist() == [1, 0]
    assert separate_boxes([boxes[0], boxes[0]], [0.5, 0.9]).tolist() == [1]


def test_outliers_do_not_stretch_the_box() -> None:
    inside = points_in((200, 100), (400, 300))
    strays = np.array([[0, 0], [639, 479], [639, 0]], np.float32)
    box = box_around([inside, strays], (480, 640))
    assert box == pytest.approx((180, 80, 420, 320), abs=12)


def test_photos_that_show_different_parts_make_one_box() -> None:
    parts = [points_in((100, 100), (200, 300)), points_in((300, 100), (400, 300))]
    box = box_around(parts, (480, 640))
    assert box == pytest.approx((70, 80, 430, 320), abs=12)


def test_a_photo_that_matched_by_chance_is_left_out() -> None:
    good, chance = points_in((200, 100), (400, 300)), points_in((0, 0), (639, 479), count=7)
    assert box_around([good, chance], (480, 640)) == box_around([good], (480, 640))
    assert box_around([chance, chance], (480, 640)) is None


def test_the_box_stays_within_the_photo() -> None:
    box = box_around([points_in((0, 0), (640, 480))], (480, 640))
    assert box == pytest.approx((0, 0, 640, 480), abs=12)
    assert box is not None
    assert min(box) >= 0
    assert box[2] <= 640
    assert box[3] <= 480


def test_too_few_points_give_no_box() -> None:
    shape = (480, 640)
    assert box_around([], shape) is None
    assert box_around([points_in((100, 100), (200, 200), count=7)], shape) is None
    assert box_around([points_in((100, 100), (200, 200), count=9)], shape) is not None
    assert box_around([np.full((50, 2), 100, np.float32)], shape) is None  # one point, 50 times
    line = np.stack([np.arange(50), np.full(50, 9)], axis=1).astype(np.float32)
    assert box_around([line], shape) is None  # no height


def test_box_overlap_matches_counting_pixels() -> None:
    boxes = [(0, 0, 100, 100), (50, 50, 150, 100), (20, 20, 40, 60), (200, 0, 300, 50)]
    for a in boxes:
        for b in boxes:
            grid = np.zeros((2, 120, 320), bool)
            for layer, (x0, y0, x1, y1) in zip(grid, (a, b), strict=True):
                layer[y0:y1, x0:x1] = True
            expected = grid.all(axis=0).sum() / min(grid[0].sum(), grid[1].sum())
            assert overlap(a, b) == pytest.approx(expected)


def test_of_overlapping_boxes_the_best_is_kept() -> None:
    boxes: list[Box | None] = [
        (0, 0, 100, 100), (10, 10, 90, 90), (120, 0, 200, 100), None, (80, 0, 140, 100)
    ]  # fmt: skip
    assert separate_boxes(boxes, [3, 2, 1, 0, -1]).tolist() == [0, 2]
    assert separate_boxes(boxes, [2, 3, 1, 0, 9]).tolist() == [
        4,
        1,
    ]  # boxes 1 and 4 share a sixth of box 4
    assert separate_boxes(boxes, [0, 0, 0, 5, 0]).tolist() == [3]  # without a box it is kept alone
    assert separate_boxes(boxes, [1, 1, 1, 1, 1]).tolist() == [0, 2]  # equal: by row
    assert separate_boxes([], []).tolist() == []
    with pytest.raises(OptionError, match="2 boxes and 1 scores"):
        separate_boxes([None, None], [1.0])
