"""Draw scene models with a camera: projection, back-to-front order, filled polygons."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ...core.types import Floats, Image
from .geometry import Point, Solid, cosine, sine
from .light import Colour, Light
from .seeded_random import SeededRandom

FRACTION_BITS = 4  # of drawing coordinates, which are in 1/16 pixel

MIN_DEPTH = 0.5  # metres; nearer points are treated as this far from the camera

LIT_WINDOW_COLOURS: tuple[Colour, ...] = ((255, 214, 132), (250, 196, 110), (255, 232, 176))


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A pinhole camera.

    Attributes:
        position: in metres.
        yaw: degrees; 0 points along +y, 90 along −x.
        pitch: degrees upwards.
        roll: degrees.
        focal: focal length in pixels.
        cx, cy: principal point in pixels.
    """

    position: Point
    yaw: float
    pitch: float
    roll: float
    focal: float
    cx: float
    cy: float

    def axes(self) -> tuple[Point, Point, Point]:
        """The camera's unit vectors right, down and forward, in world coordinates."""
        cy, sy = cosine(self.yaw), sine(self.yaw)
        cp, sp = cosine(self.pitch), sine(self.pitch)
        cr, sr = cosine(self.roll), sine(self.roll)
        right, up = (cy, sy, 0.0), (sp * sy, -sp * cy, cp)
        forward = (-sy * cp, cy * cp, sp)
        rolled_right = tuple(cr * r + sr * u for r, u in zip(right, up, strict=True))
        rolled_down = tuple(sr * r - cr * u for r, u in zip(right, up, strict=True))
        return rolled_right, rolled_down, forward  # type: ignore[return-value]

    def project(self, points: Floats) -> tuple[Floats, Floats]:
        """Project points (V, 3) in metres → (V, 2) pixels and (V,) depths of MIN_DEPTH or more."""
        x = points[:, 0] - self.position[0]
        y = points[:, 1] - self.position[1]
        z = points[:, 2] - self.position[2]
        across, down, depth = (a[0] * x + a[1] * y + a[2] * z for a in self.axes())
        depth = np.maximum(depth, MIN_DEPTH)
        pixels = np.stack(
            [self.cx + self.focal * across / depth, self.cy + self.focal * down / depth], axis=1
        )
        return pixels, depth


def to_fixed_point(pixels: Floats) -> NDArray[np.int32]:
    """Pixels → sixteenths of a pixel, clipped to the range that OpenCV can draw."""
    scaled = np.rint(pixels * (1 << FRACTION_BITS))
    return np.clip(scaled, -(1 << 19), 1 << 19).astype(np.int32)


def far_to_near(lows: Floats, highs: Floats, eye: Point) -> list[int]:
    """A back-to-front order of disjoint axis-aligned boxes, seen from `eye`.

    When a plane x, y or z = constant separates two boxes, the box on the eye's side cannot be
    hidden by the other. A topological sort draws each box after all boxes that it may hide.

    Args:
        lows, highs: (P, 3) opposite corners of the boxes.

    Returns:
        Indices of the boxes, the first to be drawn first.
    """
    position = np.array(eye)
    hides = _may_hide(lows, highs, position)
    middle = (lows + highs) * 0.5 - position
    distance = middle[:, 0] ** 2 + middle[:, 1] ** 2 + middle[:, 2] ** 2
    undrawn_behind = hides.sum(axis=1)  # for each box, how many boxes that it may hide
    undrawn = np.ones(len(lows), dtype=bool)
    order = []
    for _ in range(len(lows)):
        ready = undrawn & (undrawn_behind <= 0)
        # Three boxes can hide each other in a cycle; then the most distant one is drawn first.
        candidates = ready if ready.any() else undrawn
        chosen = int(np.argmax(np.where(candidates, distance, -1.0)))
        order.append(chosen)
        undrawn[chosen] = False
        undrawn_behind -= hides[:, chosen]
    return order


def _may_hide(lows: Floats, highs: Floats, eye: Floats) -> NDArray[np.bool_]:
    """(P, P): element [a, b] is true when box a may hide a part of box b."""
    slack = 1e-6
    count = len(lows)
    possible = ~np.eye(count, dtype=bool)
    for k in range(3):
        low, high = lows[:, k], highs[:, k]
        below = high[:, None] <= low[None, :] + slack  # a below b on this axis
        # With the eye on the side of a, b cannot hide a, and the reverse.
        possible &= ~(below & (eye[k] >= high[:, None] - slack))
        possible &= ~(below.T & (eye[k] <= low[:, None] + slack))
    return possible


class Decal(NamedTuple):
    """`copies` polygons of `size` corners each; `start` is their first row in a model's points."""

    tone: str
    start: int
    copies: int
    size: int


class Surface(NamedTuple):
    """One face; its corners are the rows start … start + size − 1 of a model's points."""

    tone: str
    start: int
    size: int
    inner: bool
    open: bool
    decals: tuple[Decal, ...]


@dataclass(frozen=True, eq=False)
class SceneModel:
    """Solids flattened into arrays, ready to draw.

    Attributes:
        points: (V, 3) metres, the corners of all polygons.
        lows, highs: (P, 3) bounding boxes of the solids.
        normals, anchors: (F, 3) unit outward normal and first corner of each surface.
        surfaces: the F faces.
        parts: for each solid, the range of its surfaces.
    """

    points: Floats
    lows: Floats
    highs: Floats
    normals: Floats
    anchors: Floats
    surfaces: tuple[Surface, ...]
    parts: tuple[range, ...]

    @property
    def low(self) -> Floats:
        """(3,) lowest corner of the model's bounding box."""
        return np.asarray(np.min(self.lows, axis=0))

    @property
    def high(self) -> Floats:
        """(3,) highest corner of the model's bounding box."""
        return np.asarray(np.max(self.highs, axis=0))


def build(parts: Iterable[Solid]) -> SceneModel:
    """Flatten solids into one model."""
    points: list[Floats] = []
    surfaces: list[Surface] = []
    spans: list[range] = []
    lows, highs = [], []
    at = 0
    for part in parts:
        first = len(surfaces)
        for face in part.faces:
            start = at
            points.append(face.corners)
            at += len(face.corners)
            decals = []
            for tone, polygons in face.decals:
                count, size = polygons.shape[:2]
                decals.append(Decal(tone, at, count, size))
                points.append(polygons.reshape(-1, 3))
                at += count * size
            size = len(face.corners)
            surfaces.append(Surface(face.tone, start, size, face.inner, face.open, tuple(decals)))
        spans.append(range(first, len(surfaces)))
        lows.append(part.low)
        highs.append(part.high)
    stacked = np.concatenate(points)
    starts = np.array([s.start for s in surfaces])
    normals = _normals(stacked, starts, np.array([s.size for s in surfaces]))
    return SceneModel(
        stacked,
        np.array(lows),
        np.array(highs),
        normals,
        stacked[starts],
        tuple(surfaces),
        tuple(spans),
    )


def _normals(points: Floats, starts: Floats, sizes: Floats) -> Floats:
    """Unit normals (F, 3) from the cross product of two diagonals, or of two triangle edges."""
    a, b = points[starts], points[starts + 1]
    c, d = points[starts + 2], points[starts + sizes - 1]
    e, f = c - a, np.where((sizes > 3)[:, None], d - b, c - b)
    cross = np.stack(
        [
            e[:, 1] * f[:, 2] - e[:, 2] * f[:, 1],
            e[:, 2] * f[:, 0] - e[:, 0] * f[:, 2],
            e[:, 0] * f[:, 1] - e[:, 1] * f[:, 0],
        ],
        axis=1,
    )
    squares = cross[:, 0] * cross[:, 0] + cross[:, 1] * cross[:, 1] + cross[:, 2] * cross[:, 2]
    lengths = np.sqrt(np.maximum(squares, 1e-18))
    return np.asarray(cross / lengths[:, None])


def joined(models: list[SceneModel]) -> SceneModel:
    """Several models as one, so that their solids are drawn in one back-to-front order."""
    at = 0
    surfaces: list[Surface] = []
    spans: list[range] = []
    for model in models:
        first = len(surfaces)
        for s in model.surfaces:
            decals = tuple(d._replace(start=d.start + at) for d in s.decals)
            surfaces.append(s._replace(start=s.start + at, decals=decals))
        spans += [range(r.start + first, r.stop + first) for r in model.parts]
        at += len(model.points)
    return SceneModel(
        np.concatenate([m.points for m in models]),
        np.concatenate([m.lows for m in models]),
        np.concatenate([m.highs for m in models]),
        np.concatenate([m.normals for m in models]),
        np.concatenate([m.anchors for m in models]),
        tuple(surfaces),
        tuple(spans),
    )


def shifted(model: SceneModel, x: float, y: float) -> SceneModel:
    """The same model, moved by x and y metres on the ground."""
    step = np.array([x, y, 0.0])
    return SceneModel(
        model.points + step,
        model.lows + step,
        model.highs + step,
        model.normals,
        model.anchors + step,
        model.surfaces,
        model.parts,
    )


def with_tone_prefix(model: SceneModel, prefix: str) -> SceneModel:
    """The same model with `prefix` before every tone, so that joined models keep their palettes."""
    surfaces = tuple(
        s._replace(
            tone=prefix + s.tone, decals=tuple(d._replace(tone=prefix + d.tone) for d in s.decals)
        )
        for s in model.surfaces
    )
    return replace(model, surfaces=surfaces)


@dataclass
class Painter:
    """Draws one photo.

    Attributes:
        canvas: (H, W, 3) uint8, changed in place.
        camera, light: of this photo.
        rng: decides which windows are lit.
    """

    canvas: Image
    camera: Camera
    light: Light
    rng: SeededRandom

    def polygon(self, points: NDArray[np.int32], colour: Colour) -> None:
        """Fill one polygon (k, 2), in sixteenths of a pixel."""
        cv2.fillPoly(self.canvas, [points], colour, cv2.LINE_8, FRACTION_BITS)

    def polygons(self, points: NDArray[np.int32], colour: Colour) -> None:
        """Fill (n, k, 2) polygons that do not overlap."""
        cv2.fillPoly(self.canvas, list(points), colour, cv2.LINE_8, FRACTION_BITS)

    def model(self, model: SceneModel, colours: dict[str, Colour]) -> None:
        """Draw a model.

        Args:
            colours: the palette, tone → colour.
        """
        pixels, _ = self.camera.project(model.points)
        points = to_fixed_point(pixels)
        eye = np.array(self.camera.position) - model.anchors
        normals = model.normals
        facing = eye[:, 0] * normals[:, 0] + eye[:, 1] * normals[:, 1] + eye[:, 2] * normals[:, 2]
        faces_camera: list[bool] = (facing > 0.0).tolist()
        directions: list[list[float]] = normals.tolist()
        for part in far_to_near(model.lows, model.highs, self.camera.position):
            span = model.parts[part]
            for i in _drawing_order(model, span, faces_camera):
                x, y, z = directions[i]
                sign = 1.0 if faces_camera[i] else -1.0
                normal = (x * sign, y * sign, z * sign)
                self._surface(model.surfaces[i], points, normal, colours)

    def _surface(
        self,
        surface: Surface,
        points: NDArray[np.int32],
        normal: Point,
        colours: dict[str, Colour],
    ) -> None:
        if not surface.open:
            tone = colours[surface.tone]
            if surface.inner:
                tone = (tone[0] * 5 // 8, tone[1] * 5 // 8, tone[2] * 5 // 8)
            corners = points[surface.start : surface.start + surface.size]
            self.polygon(corners, self.light.surface_colour(tone, normal))
        for decal in surface.decals:
            end = decal.start + decal.copies * decal.size
            shapes = points[decal.start : end].reshape(decal.copies, decal.size, 2)
            colour = self.light.surface_colour(colours[decal.tone], normal)
            if decal.tone.endswith("glass") and self.light.lit > 0.0:
                self._lit_windows(decal, shapes, colour)
            else:
                self.polygons(shapes, colour)

    def _lit_windows(self, decal: Decal, shapes: NDArray[np.int32], colour: Colour) -> None:
        bright = self.rng.random(decal.copies) < self.light.lit
        if not bright.all():
            self.polygons(shapes[~bright], colour)
        if bright.any():
            self.polygons(shapes[bright], self.rng.choice(LIT_WINDOW_COLOURS))


def _drawing_order(model: SceneModel, span: range, faces_camera: list[bool]) -> list[int]:
    """A solid's visible surfaces: back sides of open ones, then inner ones, then outer ones."""
    surfaces = model.surfaces
    behind = [i for i in span if surfaces[i].open and not faces_camera[i]]
    inside = [i for i in span if surfaces[i].inner and faces_camera[i]]
    outside = [i for i in span if faces_camera[i] and not surfaces[i].inner]
    return behind + inside + outside
