"""Composed shapes: domes, arches, lattices, sheets of cables, and stacks of solids."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np

from ...core.types import Floats
from .geometry import (
    Face,
    FacePainter,
    Point,
    Round,
    Side,
    Solid,
    box,
    cosine,
    flat_face,
    frustum,
    round_solid,
    sine,
)

Profile = Literal["round", "onion", "pointed", "bell", "flat"]

# (height, radius) up a dome, as shares of its height and of its base radius.
PROFILES: dict[Profile, tuple[tuple[float, float], ...]] = {
    "round": ((0, 1), (0.26, 0.97), (0.5, 0.87), (0.71, 0.71), (0.87, 0.5), (0.97, 0.26),
              (1, 0.02)),
    "onion": ((0, 0.8), (0.14, 1.02), (0.3, 1.1), (0.46, 0.98), (0.6, 0.7), (0.75, 0.36),
              (0.88, 0.14), (1, 0.02)),
    "pointed": ((0, 1), (0.25, 0.95), (0.5, 0.79), (0.7, 0.57), (0.87, 0.29), (1, 0.02)),
    "bell": ((0, 1.05), (0.12, 0.86), (0.35, 0.74), (0.6, 0.66), (0.8, 0.45), (0.93, 0.22),
             (1, 0.02)),
    "flat": ((0, 1), (0.35, 0.9), (0.65, 0.7), (0.87, 0.42), (1, 0.02)),
}  # fmt: skip


def dome(shape: Round, profile: Profile, tone: str = "dome", ribs: bool = False) -> list[Solid]:
    """A dome from shape.z0 to shape.z1, made of stacked convex frustums."""
    rings = PROFILES[profile]
    height = shape.z1 - shape.z0

    def rib(face: Face, side: Side) -> None:
        if ribs and side != "top":
            w, h = face.width, face.height
            bar = [(0.0, 0.0), (w * 0.2, 0.0), (w * 0.2, h), (0.0, h)]
            face.paint("trim", np.array([bar]))

    return [
        round_solid(
            Round(
                x=shape.x,
                y=shape.y,
                z0=shape.z0 + height * a,
                z1=shape.z0 + height * b,
                radius=shape.radius * r,
                top=shape.radius * q,
                sides=shape.sides,
                turn=shape.turn,
            ),
            tone,
            rib,
        )
        for (a, r), (b, q) in pairwise(rings)
    ]


def arch(
    low: Point, high: Point, spring: float, rise: float, tone: str = "wall", pointed: bool = False
) -> Solid:
    """The wall above an arched opening that goes through along y and is as wide as the wall.

    Args:
        low, high: opposite corners of the wall with its opening, in metres.
        spring: height at which the curve begins, in metres; below it there is no wall, because
            piers beside the arch carry it.
        rise: height of the curve above the spring, in metres.
    """
    (x0, y0, z0), (x1, y1, z1) = low, high
    spring = max(spring, z0)
    curve = [(x0 + (x1 - x0) * a, spring + rise * b) for a, b in arch_curve(pointed)]
    front = [(x0, y0, spring), *((x, y0, z) for x, z in curve[1:-1]), (x1, y0, spring),
             (x1, y0, z1), (x0, y0, z1)]  # fmt: skip
    back = [(x, y1, z) for x, _, z in reversed(front)]
    faces = []
    for (xa, za), (xb, zb) in pairwise(curve):
        soffit = [(xa, y0, za), (xa, y1, za), (xb, y1, zb), (xb, y0, zb)]
        faces.append(flat_face(soffit, tone, inner=True))
    faces += [flat_face(front, tone), flat_face(back, tone)]
    faces.append(flat_face([(x0, y0, z1), (x1, y0, z1), (x1, y1, z1), (x0, y1, z1)], tone))
    faces.append(flat_face([(x0, y1, spring), (x0, y0, spring), (x0, y0, z1), (x0, y1, z1)], tone))
    faces.append(flat_face([(x1, y0, spring), (x1, y1, spring), (x1, y1, z1), (x1, y0, z1)], tone))
    return Solid((x0, y0, spring), high, faces)


def arch_curve(pointed: bool, steps: int = 10) -> list[tuple[float, float]]:
    """A curve from (0, 0) over (0.5, 1) to (1, 0): half an ellipse, or two arcs to a tip."""
    if not pointed:
        turns = [180.0 - 180.0 * i / steps for i in range(steps + 1)]
        return [(0.5 + 0.5 * cosine(a), sine(a)) for a in turns]
    half = [
        (i / steps, math.sqrt(1.0 - (1.0 - 2.0 * i / steps) ** 2 * 0.999))
        for i in range(steps // 2 + 1)
    ]
    left = [(a, 0.75 * b + 0.5 * a) for a, b in half]
    left[0] = (0.0, 0.0)
    return left + [(1.0 - a, b) for a, b in reversed(left[:-1])]


def lattice(low: Point, high: Point, inset: tuple[float, float], paint_face: FacePainter) -> Solid:
    """A tapering lattice: four open sides of which only the painted bars are visible."""
    part = frustum(low, high, inset, "metal", None)
    sides: tuple[Side, ...] = ("front", "right", "back", "left")
    faces = part.faces[:4]
    for face, side in zip(faces, sides, strict=True):
        face.open = True
        paint_face(face, side)
    return Solid(low, high, faces)


def screen(low: Point, high: Point, tone: str, shapes: list[Floats]) -> Solid:
    """A vertical sheet along x at y = low.y; only the painted shapes (cables) are visible."""
    (x0, y0, z0), (x1, _, z1) = low, high
    face = flat_face([(x0, y0, z0), (x1, y0, z0), (x1, y0, z1), (x0, y0, z1)], tone)
    face.open = True
    for group in shapes:
        face.paint(tone, group)
    return Solid(low, high, [face])


@dataclass
class Stack:
    """Solids stacked on each other about the axis (x, y); each method adds one on top.

    Attributes:
        x, y: the axis, in metres.
        z: the height reached so far, in metres.
        sides, turn: of round solids, as in `geometry.Round`.
        parts: the solids.
    """

    x: float = 0.0
    y: float = 0.0
    z: float = 0.0
    sides: int = 12
    turn: float = 0.0
    parts: list[Solid] = field(default_factory=list)

    def block(
        self, half: float, high: float, tone: str = "wall", paint_face: FacePainter | None = None
    ) -> None:
        """Add a square block, `half` metres to each side of the axis and `high` metres tall."""
        low = (self.x - half, self.y - half, self.z)
        self.parts.append(box(low, (self.x + half, self.y + half, self.z + high), tone, paint_face))
        self.z += high

    def pyramid(
        self, half: float, high: float, tone: str = "roof", paint_face: FacePainter | None = None
    ) -> None:
        """Add a four-sided pyramid."""
        low = (self.x - half, self.y - half, self.z)
        peak = (self.x + half, self.y + half, self.z + high)
        self.parts.append(frustum(low, peak, (half, half), tone, paint_face))
        self.z += high

    def ring(
        self,
        radius: float,
        high: float,
        tone: str = "wall",
        paint_face: FacePainter | None = None,
        *,
        top: float | None = None,
    ) -> None:
        """Add a round solid; `top` is its upper radius if different (0 = a point)."""
        self.parts.append(round_solid(self._round(radius, high, top), tone, paint_face))
        self.z += high

    def dome(
        self,
        radius: float,
        high: float,
        profile: Profile,
        *,
        tone: str = "dome",
        ribs: bool = False,
    ) -> None:
        """Add a dome."""
        self.parts += dome(self._round(radius, high, None), profile, tone, ribs)
        self.z += high

    def _round(self, radius: float, high: float, top: float | None) -> Round:
        return Round(
            x=self.x,
            y=self.y,
            z0=self.z,
            z1=self.z + high,
            radius=radius,
            top=top,
            sides=self.sides,
            turn=self.turn,
        )
