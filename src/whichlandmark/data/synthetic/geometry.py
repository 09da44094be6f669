"""Convex solids with painted faces, and a sine that is bit-identical on every machine."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ...core.types import Floats

# 1, −1/3!, 1/5!, …: the Taylor series up to the 17th power, with an error below 1e-13.
_SINE_SERIES = tuple((-1) ** k / math.factorial(2 * k + 1) for k in range(9))

Point = tuple[float, float, float]  # metres: x to the right, y away from the viewer, z up

Side = Literal["front", "right", "back", "left", "top"]


def sine(degrees: float) -> float:
    """The sine of an angle in degrees.

    Not `math.sin`, because its last bits depend on the system's C library.
    """
    turn = degrees % 360.0
    if turn > 270.0:
        turn -= 360.0
    elif turn > 90.0:
        turn = 180.0 - turn
    angle = turn * (math.pi / 180.0)
    square = angle * angle
    total = 0.0
    for term in reversed(_SINE_SERIES):
        total = total * square + term
    return total * angle


def cosine(degrees: float) -> float:
    """The cosine of an angle in degrees."""
    return sine(degrees + 90.0)


@dataclass
class Face:
    """A flat polygon with shapes painted on it.

    Attributes:
        corners: (k, 3), counter-clockwise seen from outside; the bottom edge is first.
        tone: a key of the palette, such as "wall".
        inner: an inside surface seen through an opening, drawn before the solid's other faces.
        open: not filled and visible from both sides (lattices, cables): only decals are drawn.
        decals: (tone, (n, j, 3) polygons), drawn in this order on the face.
    """

    corners: Floats
    tone: str
    inner: bool = False
    open: bool = False
    decals: list[tuple[str, Floats]] = field(default_factory=list)

    @property
    def width(self) -> float:
        """Metres along the bottom edge."""
        return _distance(self.corners[0], self.corners[1])

    @property
    def height(self) -> float:
        """Metres from the middle of the bottom edge to the middle of the opposite one."""
        low = (self.corners[0] + self.corners[1]) * 0.5
        high = (self.corners[2] + self.corners[-1]) * 0.5
        return _distance(low, high)

    def paint(self, tone: str, shapes: Floats) -> None:
        """Paint shapes (n, j, 2), given in metres from the bottom left corner.

        On a face that narrows upwards, the shapes narrow too. Shapes of one call must not overlap,
        because the even–odd rule leaves areas of two shapes empty.
        """
        if len(shapes) == 0:
            return
        s = (shapes[..., 0] / self.width)[..., None]
        t = (shapes[..., 1] / self.height)[..., None]
        a, b, c = self.corners[0], self.corners[1], self.corners[2]
        d = self.corners[-1]
        low = a + (b - a) * s
        high = d + (c - d) * s
        self.decals.append((tone, low + (high - low) * t))


FacePainter = Callable[[Face, Side], None]  # paints decals on one face of a solid


@dataclass
class Solid:
    """A convex solid: its faces, and the opposite corners low and high of its bounding box."""

    low: Point
    high: Point
    faces: list[Face]

    def moved(self, x: float, y: float, z: float = 0.0) -> Solid:
        """The same solid, moved by x, y and z metres."""
        step = np.array([x, y, z])
        faces = [
            Face(f.corners + step, f.tone, f.inner, f.open, [(t, p + step) for t, p in f.decals])
            for f in self.faces
        ]
        low, high = self.low, self.high
        return Solid(
            (low[0] + x, low[1] + y, low[2] + z), (high[0] + x, high[1] + y, high[2] + z), faces
        )


def box(
    low: Point, high: Point, tone: str = "wall", paint_face: FacePainter | None = None
) -> Solid:
    """A block; `paint_face` paints its four sides and its top."""
    return frustum(low, high, (0.0, 0.0), tone, paint_face)


def frustum(
    low: Point,
    high: Point,
    inset: tuple[float, float],
    tone: str = "wall",
    paint_face: FacePainter | None = None,
) -> Solid:
    """A block whose top is smaller by `inset` (x, y) on each side: hipped roofs, steps, legs."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    dx, dy = inset
    bottom = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    top = [(x0 + dx, y0 + dy), (x1 - dx, y0 + dy), (x1 - dx, y1 - dy), (x0 + dx, y1 - dy)]
    sides: tuple[Side, ...] = ("front", "right", "back", "left")
    faces = []
    for i, side in enumerate(sides):
        j = (i + 1) % 4
        face = flat_face([(*bottom[i], z0), (*bottom[j], z0), (*top[j], z1), (*top[i], z1)], tone)
        faces.append(_painted(face, side, paint_face))
    flat_top = dx * 2 < x1 - x0 and dy * 2 < y1 - y0
    if flat_top:
        faces.append(_painted(flat_face([(*p, z1) for p in top], tone), "top", paint_face))
    if z0 > 0:  # visible from below where the solid overhangs
        faces.append(flat_face([(*p, z0) for p in reversed(bottom)], tone))
    return Solid(low, high, faces)


def gable(
    low: Point,
    high: Point,
    along: Literal["x", "y"],
    tone: str = "roof",
    paint_face: FacePainter | None = None,
) -> Solid:
    """A gable roof with its ridge along x or y; its two upright triangles are walls."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    if along == "y":
        m = (x0 + x1) * 0.5
        front: Sequence[Point] = [(x0, y0, z0), (x1, y0, z0), (m, y0, z1)]
        back: Sequence[Point] = [(x1, y1, z0), (x0, y1, z0), (m, y1, z1)]
        right: Sequence[Point] = [(x1, y0, z0), (x1, y1, z0), (m, y1, z1), (m, y0, z1)]
        left: Sequence[Point] = [(x0, y1, z0), (x0, y0, z0), (m, y0, z1), (m, y1, z1)]
        walls, slopes = {"front": front, "back": back}, {"right": right, "left": left}
    else:
        m = (y0 + y1) * 0.5
        right = [(x1, y0, z0), (x1, y1, z0), (x1, m, z1)]
        left = [(x0, y1, z0), (x0, y0, z0), (x0, m, z1)]
        front = [(x0, y0, z0), (x1, y0, z0), (x1, m, z1), (x0, m, z1)]
        back = [(x1, y1, z0), (x0, y1, z0), (x0, m, z1), (x1, m, z1)]
        walls, slopes = {"right": right, "left": left}, {"front": front, "back": back}
    faces = [_painted(flat_face(c, "wall"), side, paint_face) for side, c in walls.items()]  # type: ignore[arg-type]
    faces += [_painted(flat_face(c, tone), side, paint_face) for side, c in slopes.items()]  # type: ignore[arg-type]
    return Solid(low, high, faces)


@dataclass(frozen=True, kw_only=True)
class Round:
    """The shape of a regular prism, frustum or cone about a vertical axis.

    Attributes:
        x, y: the axis; z0, z1: bottom and top, in metres.
        radius: circumradius at the bottom, in metres.
        top: circumradius at the top; 0 = a point, None = `radius`.
        sides: the number of sides.
        turn: rotation about the axis in degrees.
    """

    x: float = 0.0
    y: float = 0.0
    z0: float
    z1: float
    radius: float
    top: float | None = None
    sides: int = 12
    turn: float = 0.0


def round_solid(shape: Round, tone: str = "wall", paint_face: FacePainter | None = None) -> Solid:
    """A prism, frustum or cone; for `paint_face`, each of its sides is "front", its top "top"."""
    top = shape.radius if shape.top is None else shape.top
    step = 360.0 / shape.sides
    ring = [shape.turn + step * (i - 0.5) - 90.0 for i in range(shape.sides)]
    unit = [(cosine(a), sine(a)) for a in ring]
    low = [(shape.x + c * shape.radius, shape.y + s * shape.radius, shape.z0) for c, s in unit]
    high = [(shape.x + c * top, shape.y + s * top, shape.z1) for c, s in unit]
    faces = []
    for i in range(shape.sides):
        j = (i + 1) % shape.sides
        corners = [low[i], low[j], high[j], high[i]] if top > 0 else [low[i], low[j], high[i]]
        face = flat_face(corners, tone) if top > 0 or shape.radius > 0 else None
        if face is not None:
            faces.append(_painted(face, "front", paint_face))
    if top > 0:
        faces.append(_painted(flat_face(high, tone), "top", paint_face))
    if shape.z0 > 0:
        faces.append(flat_face(low[::-1], tone))
    wide = max(shape.radius, top)
    return Solid(
        (shape.x - wide, shape.y - wide, shape.z0),
        (shape.x + wide, shape.y + wide, shape.z1),
        faces,
    )


def flat_face(corners: Sequence[Sequence[float]], tone: str, inner: bool = False) -> Face:
    return Face(np.array(corners, dtype=np.float64), tone, inner)


def _painted(face: Face, side: Side, paint_face: FacePainter | None) -> Face:
    if paint_face is not None:
        paint_face(face, side)
    return face


def _distance(a: Floats, b: Floats) -> float:
    x, y, z = (float(q - p) for p, q in zip(a, b, strict=True))
    return max(1e-9, math.sqrt(x * x + y * y + z * z))
