"""Rooms: photos that cleaning should drop."""

from __future__ import annotations

import numpy as np

from ...types import Image
from .billboards import Spot
from .camera import fixed
from .chance import Chance
from .closeups import disc, sheet
from .finish import developed
from .light import Colour
from .render import Painter


def indoor(chance: Chance, size: int) -> Image:
    """A room: floor, three walls, a window or picture, furniture, a lamp."""
    painter = sheet(chance, size)
    height, width = (float(v) for v in painter.canvas.shape[:2])
    left, right = width * chance.uniform(0.05, 0.3), width * chance.uniform(0.7, 0.95)
    top, foot = height * chance.uniform(0.06, 0.22), height * chance.uniform(0.62, 0.78)
    wall = (chance.whole(150, 235), chance.whole(145, 225), chance.whole(130, 215))
    side = (wall[0] * 7 // 8, wall[1] * 7 // 8, wall[2] * 7 // 8)
    floor = chance.pick(((146, 104, 70), (120, 112, 104), (172, 140, 100)))
    faces: list[tuple[list[tuple[float, float]], Colour]] = [
        ([(0, 0), (left, top), (left, foot), (0, height)], side),
        ([(width, 0), (right, top), (right, foot), (width, height)], side),
        ([(0, 0), (width, 0), (right, top), (left, top)], (238, 236, 230)),
        ([(0, height), (left, foot), (right, foot), (width, height)], floor),
        ([(left, top), (right, top), (right, foot), (left, foot)], wall),
    ]
    for corners, colour in faces:
        painter.polygon(fixed(np.array(corners)), colour)
    _furnish(painter, (left, right), (top, foot))
    return developed(painter.canvas, chance)


def _furnish(painter: Painter, across: tuple[float, float], down: tuple[float, float]) -> None:
    chance = painter.chance
    (left, right), (top, foot) = across, down
    wide, tall = right - left, foot - top
    for i in range(chance.whole(1, 3)):
        at = (left + wide * (0.08 + 0.31 * i), top + tall * chance.uniform(0.12, 0.3))
        _picture(
            painter, at, (wide * chance.uniform(0.14, 0.26), tall * chance.uniform(0.25, 0.45))
        )
    for _ in range(chance.whole(1, 3)):
        x, y = left + wide * chance.uniform(0.1, 0.9), foot + tall * chance.uniform(0.05, 0.35)
        _cupboard(painter, Spot(x, y, tall * 0.5))
    x = left + wide * chance.uniform(0.3, 0.7)
    _rectangle(painter, (x - 1.5, 0.0, x + 1.5, top + 14.0), (60, 60, 60))
    disc(painter, (x, top + 18.0), wide * 0.06, 0.6, (255, 240, 200))


def _picture(painter: Painter, at: tuple[float, float], size: tuple[float, float]) -> None:
    """A window or a framed picture."""
    (x, y), (w, h) = at, size
    view = painter.chance.pick(((170, 204, 230), (96, 120, 90), (190, 150, 110), (40, 44, 66)))
    edge = (x - w * 0.1, y - h * 0.1, x + w * 1.1, y + h * 1.1)
    _rectangle(painter, edge, (104, 78, 56))
    _rectangle(painter, (x, y, x + w, y + h), view)


def _cupboard(painter: Painter, at: Spot) -> None:
    """A sofa, cupboard or table: a block with a top and a line across."""
    chance = painter.chance
    colour = (chance.whole(50, 200), chance.whole(40, 160), chance.whole(40, 160))
    dark: Colour = (colour[0] // 2, colour[1] // 2, colour[2] // 2)
    w, h = chance.uniform(0.25, 0.6), chance.uniform(0.25, 0.8)
    line = h * 0.5
    painter.polygon(at.points([(-w, 0), (w, 0), (w, h), (-w, h)]), colour)
    painter.polygon(at.points([(-w, h), (w, h), (w * 0.85, h + 0.12), (-w * 0.85, h + 0.12)]), dark)
    painter.polygon(at.points([(-w, line), (w, line), (w, line + 0.04), (-w, line + 0.04)]), dark)


def _rectangle(painter: Painter, edges: tuple[float, float, float, float], colour: Colour) -> None:
    x0, y0, x1, y1 = edges
    corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    painter.polygon(fixed(corners), colour)
