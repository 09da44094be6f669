"""Geometry of the synthetic world: solids, camera, and drawing order."""

from __future__ import annotations

import math

import numpy as np
import pytest

from whichlandmark.data.synthetic.families import FAMILIES, landmark
from whichlandmark.data.synthetic.geometry import box, cosine, sine
from whichlandmark.data.synthetic.plan import MAX_LANDMARKS
from whichlandmark.data.synthetic.renderer import Camera, build, far_to_near


def test_members_of_a_family_have_different_geometry() -> None:
    assert len(FAMILIES) >= 10
    assert all(family.members * len(FAMILIES) >= MAX_LANDMARKS for family in FAMILIES)
    for family in range(3):
        shapes = [landmark(0, family + len(FAMILIES) * m).model.points.tobytes() for m in range(5)]
        assert len(set(shapes)) == 5


def test_parts_of_a_landmark_do_not_intersect() -> None:
    """The drawing order is correct only for solids whose bounding boxes do not overlap."""
    for number in range(75):
        model = landmark(0, number).model
        overlap = np.minimum(model.highs[:, None], model.highs[None]) - np.maximum(
            model.lows[:, None], model.lows[None]
        )
        shared = (overlap > 1e-6).all(axis=2)
        np.fill_diagonal(shared, False)
        assert not shared.any(), (number, np.argwhere(shared)[:3].tolist())
        assert model.low[2] >= 0.0


def test_exact_sine_and_cosine_match_the_math_library() -> None:
    for degrees in np.linspace(-720.0, 720.0, 997).tolist():
        assert sine(degrees) == pytest.approx(math.sin(math.radians(degrees)), abs=1e-11)
        assert cosine(degrees) == pytest.approx(math.cos(math.radians(degrees)), abs=1e-11)


def test_projection_matches_matrix_multiplication() -> None:
    """The element-wise projection equals the usual one: rotate by yaw, pitch and roll; divide."""
    camera = Camera(
        position=(3.0, -20.0, 4.0), yaw=25.0, pitch=10.0, roll=-4.0, focal=300.0, cx=90.0, cy=70.0
    )
    points = np.random.default_rng(0).uniform(-5, 5, (50, 3))

    def turn(axis: int, degrees: float) -> np.ndarray:
        a, b = [(1, 2), (2, 0), (0, 1)][axis]
        matrix = np.eye(3)
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        matrix[a, a], matrix[a, b], matrix[b, a], matrix[b, b] = c, -s, s, c
        return matrix

    # From world to camera axes (forward = +y): undo the yaw about z, the pitch about x, then roll.
    local = (points - camera.position) @ turn(2, 25.0) @ turn(0, 10.0)
    across, forward, up = local.T
    c, s = math.cos(math.radians(-4.0)), math.sin(math.radians(-4.0))
    x, down = c * across + s * up, s * across - c * up
    expected = np.stack([90 + 300 * x / forward, 70 + 300 * down / forward], axis=1)
    pixels, depth = camera.project(points)
    np.testing.assert_allclose(pixels, expected, atol=1e-8)
    np.testing.assert_allclose(depth, forward, atol=1e-10)


def test_boxes_are_drawn_back_to_front() -> None:
    """Along many random rays, more distant boxes are earlier in the drawing order."""
    rng = np.random.default_rng(3)
    grid = np.array([(x, y, z) for x in range(4) for y in range(4) for z in range(3)], float)
    lows = grid * 3.0
    highs = lows + rng.uniform(0.5, 3.0, lows.shape)
    for eye in [(-9.0, -8.0, 2.0), (6.0, -15.0, 30.0), (20.0, 20.0, -4.0)]:
        rank = np.argsort(far_to_near(lows, highs, eye))
        for _ in range(400):
            ray = rng.uniform(0, 12, 3) - eye
            with np.errstate(divide="ignore"):
                a, b = (lows - eye) / ray, (highs - eye) / ray
            enter, leave = np.minimum(a, b).max(axis=1), np.maximum(a, b).min(axis=1)
            hit = np.flatnonzero((enter < leave) & (enter > 0))
            by_distance = hit[np.argsort(-enter[hit])]
            assert (np.diff(rank[by_distance]) > 0).all()


def test_normals_point_outwards() -> None:
    model = build([box((0.0, 0.0, 1.0), (2.0, 3.0, 5.0))])
    centre = np.array([1.0, 1.5, 3.0])
    outward = model.anchors - centre
    assert ((model.normals * outward).sum(axis=1) > 0).all()
    np.testing.assert_allclose((model.normals**2).sum(axis=1), 1.0)
