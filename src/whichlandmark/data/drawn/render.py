"""Draw a model on a canvas: parts from far to near, faces, and what is painted on them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ...types import Image
from .camera import SHIFT, Camera, far_to_near, fixed
from .chance import Chance
from .light import Colour, Light
from .model import Decal, Model, Surface
from .solids import Point

LAMPLIGHT: tuple[Colour, ...] = ((255, 214, 132), (250, 196, 110), (255, 232, 176))


@dataclass
class Painter:
    """One photo being drawn. canvas: (H, W, 3) uint8, changed in place."""

    canvas: Image
    camera: Camera
    light: Light
    chance: Chance

    def polygon(self, points: NDArray[np.int32], colour: Colour) -> None:
        """Fill one polygon (k, 2), in sixteenths of a pixel."""
        cv2.fillPoly(self.canvas, [points], colour, cv2.LINE_8, SHIFT)

    def polygons(self, points: NDArray[np.int32], colour: Colour) -> None:
        """Fill (n, k, 2) polygons that do not overlap."""
        cv2.fillPoly(self.canvas, list(points), colour, cv2.LINE_8, SHIFT)

    def model(self, model: Model, colours: dict[str, Colour]) -> None:
        """Draw a model; `colours` gives its tones."""
        pixels, _ = self.camera.project(model.points)
        points = fixed(pixels)
        eye = np.array(self.camera.position) - model.anchors
        normals = model.normals
        facing = eye[:, 0] * normals[:, 0] + eye[:, 1] * normals[:, 1] + eye[:, 2] * normals[:, 2]
        towards: list[bool] = (facing > 0.0).tolist()
        directions: list[list[float]] = normals.tolist()
        for part in far_to_near(model.lows, model.highs, self.camera.position):
            span = model.parts[part]
            for i in _drawing_order(model, span, towards):
                x, y, z = directions[i]
                sign = 1.0 if towards[i] else -1.0
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
            self.polygon(corners, self.light.on(tone, normal))
        for decal in surface.decals:
            end = decal.start + decal.copies * decal.size
            shapes = points[decal.start : end].reshape(decal.copies, decal.size, 2)
            colour = self.light.on(colours[decal.tone], normal)
            if decal.tone.endswith("glass") and self.light.lit > 0.0:
                self._lit_windows(decal, shapes, colour)
            else:
                self.polygons(shapes, colour)

    def _lit_windows(self, decal: Decal, shapes: NDArray[np.int32], colour: Colour) -> None:
        bright = self.chance.many(decal.copies) < self.light.lit
        if not bright.all():
            self.polygons(shapes[~bright], colour)
        if bright.any():
            self.polygons(shapes[bright], self.chance.pick(LAMPLIGHT))


def _drawing_order(model: Model, span: range, towards: list[bool]) -> list[int]:
    """A part's visible surfaces: far sides of open ones, then inner ones, then outer ones."""
    surfaces = model.surfaces
    behind = [i for i in span if surfaces[i].open and not towards[i]]
    inside = [i for i in span if surfaces[i].inner and towards[i]]
    outside = [i for i in span if towards[i] and not surfaces[i].inner]
    return behind + inside + outside
