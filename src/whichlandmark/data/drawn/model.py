"""Parts of a building → flat arrays that are quick to project and draw many times."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from .solids import Floats, Part


class Decal(NamedTuple):
    """`copies` polygons of `size` corners each, from point `start` on."""

    tone: str
    start: int
    copies: int
    size: int


class Surface(NamedTuple):
    """One face: its corners are points start … start + size."""

    tone: str
    start: int
    size: int
    inner: bool
    open: bool
    decals: tuple[Decal, ...]


@dataclass(frozen=True, eq=False)
class Model:
    """A building ready to draw.

    points: (V, 3) metres, all corners of all polygons. lows, highs: (P, 3) boxes of the parts.
    normals, anchors: (F, 3) unit outward normal and first corner of each surface.
    parts: for each part, the range of its surfaces.
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
        """(3,) lowest corner of the whole."""
        return np.asarray(np.min(self.lows, axis=0))

    @property
    def high(self) -> Floats:
        """(3,) highest corner of the whole."""
        return np.asarray(np.max(self.highs, axis=0))


def build(parts: Iterable[Part]) -> Model:
    """Flatten parts into one Model."""
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
    return Model(
        stacked, np.array(lows), np.array(highs), normals, stacked[starts],
        tuple(surfaces), tuple(spans),
    )  # fmt: skip


def _normals(points: Floats, starts: Floats, sizes: Floats) -> Floats:
    """Unit normals: the cross product of two diagonals, or of two edges of a triangle."""
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


def joined(models: list[Model]) -> Model:
    """Several models as one, so that their parts are ordered together."""
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
    return Model(
        np.concatenate([m.points for m in models]), np.concatenate([m.lows for m in models]),
        np.concatenate([m.highs for m in models]), np.concatenate([m.normals for m in models]),
        np.concatenate([m.anchors for m in models]), tuple(surfaces), tuple(spans),
    )  # fmt: skip


def shifted(model: Model, x: float, y: float) -> Model:
    """The same model elsewhere on the ground."""
    step = np.array([x, y, 0.0])
    return Model(
        model.points + step, model.lows + step, model.highs + step, model.normals,
        model.anchors + step, model.surfaces, model.parts,
    )  # fmt: skip


def toned(model: Model, prefix: str) -> Model:
    """The same model with every tone named `prefix` + tone, to be drawn beside others."""
    surfaces = tuple(
        s._replace(
            tone=prefix + s.tone, decals=tuple(d._replace(tone=prefix + d.tone) for d in s.decals)
        )
        for s in model.surfaces
    )
    return replace(model, surfaces=surfaces)
