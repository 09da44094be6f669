"""A perspective camera, and the order in which boxes are drawn so that nearer ones cover.

Coordinates are computed element by element in float64 (no matrix products, whose order of
additions differs between processors) and rounded to 1/16 pixel before anything is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .angles import cosine, sine
from .solids import Floats, Point

SHIFT = 4  # fractional bits of drawing coordinates: 1/16 pixel
NEAR = 0.5  # metres


@dataclass(frozen=True, kw_only=True)
class Camera:
    """position in metres; yaw (0 looks along +y, 90 along −x), pitch (up) and roll in degrees;
    focal, cx, cy in pixels: focal length and where the axis meets the picture."""

    position: Point
    yaw: float
    pitch: float
    roll: float
    focal: float
    cx: float
    cy: float

    def axes(self) -> tuple[Point, Point, Point]:
        """Unit vectors right, down and forward of the camera, in the world."""
        cy, sy = cosine(self.yaw), sine(self.yaw)
        cp, sp = cosine(self.pitch), sine(self.pitch)
        cr, sr = cosine(self.roll), sine(self.roll)
        right, up = (cy, sy, 0.0), (sp * sy, -sp * cy, cp)
        forward = (-sy * cp, cy * cp, sp)
        turned_right = tuple(cr * r + sr * u for r, u in zip(right, up, strict=True))
        turned_down = tuple(sr * r - cr * u for r, u in zip(right, up, strict=True))
        return turned_right, turned_down, forward  # type: ignore[return-value]

    def project(self, points: Floats) -> tuple[Floats, Floats]:
        """(V, 3) metres → (V, 2) pixels and (V,) depth in metres, at least NEAR."""
        x = points[:, 0] - self.position[0]
        y = points[:, 1] - self.position[1]
        z = points[:, 2] - self.position[2]
        across, down, depth = (a[0] * x + a[1] * y + a[2] * z for a in self.axes())
        depth = np.maximum(depth, NEAR)
        pixels = np.stack(
            [self.cx + self.focal * across / depth, self.cy + self.focal * down / depth], axis=1
        )
        return pixels, depth


def fixed(pixels: Floats) -> NDArray[np.int32]:
    """Pixels as whole sixteenths, far outside ones pulled in: what OpenCV's polygons take."""
    scaled = np.rint(pixels * (1 << SHIFT))
    return np.clip(scaled, -(1 << 19), 1 << 19).astype(np.int32)


def far_to_near(lows: Floats, highs: Floats, eye: Point) -> list[int]:
    """An order of disjoint axis-aligned boxes, (P, 3) lows and highs, seen from `eye`.

    Where a plane x, y or z = constant keeps two boxes apart, the one on the eye's side cannot
    be hidden by the other. A box is drawn after all that it may hide (a topological sort).
    """
    position = np.array(eye)
    hides = _may_hide(lows, highs, position)
    middle = (lows + highs) * 0.5 - position
    distance = middle[:, 0] ** 2 + middle[:, 1] ** 2 + middle[:, 2] ** 2
    waiting = hides.sum(axis=1)  # boxes behind this one not drawn yet
    left = np.ones(len(lows), dtype=bool)
    order = []
    for _ in range(len(lows)):
        free = left & (waiting <= 0)
        # Three boxes can hide each other in a ring; then the furthest one goes first.
        candidates = free if free.any() else left
        chosen = int(np.argmax(np.where(candidates, distance, -1.0)))
        order.append(chosen)
        left[chosen] = False
        waiting -= hides[:, chosen]
    return order


def _may_hide(lows: Floats, highs: Floats, eye: Floats) -> NDArray[np.bool_]:
    """[a, b]: box a may hide a piece of box b."""
    slack = 1e-6
    count = len(lows)
    possible = ~np.eye(count, dtype=bool)
    for k in range(3):
        low, high = lows[:, k], highs[:, k]
        below = high[:, None] <= low[None, :] + slack  # a below b on this axis
        # From the side of a, b cannot hide a; from the side of b, a cannot hide b.
        possible &= ~(below & (eye[k] >= high[:, None] - slack))
        possible &= ~(below.T & (eye[k] <= low[:, None] + slack))
    return possible
