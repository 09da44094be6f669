"""Flat and near things without a landmark: walls, textures, lights, things on a table."""

from __future__ import annotations

import numpy as np

from ...types import Image
from .angles import cosine, sine
from .billboards import Spot
from .camera import Camera, fixed
from .chance import Chance
from .finish import developed
from .light import Colour, light, palette
from .noise import SIDE, pattern
from .render import Painter
from .viewpoint import frame


def tiles(chance: Chance, size: int) -> Image:
    """A flat wall: bricks, checks, stripes or rows of windows seen straight on."""
    painter = sheet(chance, size)
    height, width = painter.canvas.shape[:2]
    kind = chance.whole(0, 3)
    step = chance.uniform(0.05, 0.2) * width
    tall = step * chance.uniform(0.4, 1.4)
    one, two = (
        chance.pick(tuple(palette(chance).values())),
        chance.pick(tuple(palette(chance).values())),
    )
    rise = chance.uniform(-0.15, 0.15)
    for j in range(-2, int(height / tall) + 3):
        for i in range(-2, int(width / step) + 3):
            shift = step * 0.5 * (j % 2) if kind == 0 else 0.0
            x, y = i * step + shift, j * tall + rise * i * step
            inner = {0: 0.94, 1: 1.0, 2: 1.0, 3: 0.6}[kind]
            colour = one if kind in (0, 3) or (i + (j if kind == 1 else 0)) % 2 else two
            w, h = step * inner, tall * (inner if kind != 0 else 0.88)
            corners = [(x, y), (x + w, y + rise * w), (x + w, y + h + rise * w), (x, y + h)]
            painter.polygon(
                fixed(np.array(corners)), painter.light.flat(colour, chance.uniform(0.7, 1.0))
            )
    return developed(painter.canvas, chance)


def sheet(chance: Chance, size: int) -> Painter:
    """A plain background with a cloudy pattern."""
    height, width = frame(chance, size, chance.uniform(0.3, 1.6))
    camera = Camera(
        position=(0.0, 0.0, 1.0), yaw=0.0, pitch=0.0, roll=0.0, focal=1.0, cx=0.0, cy=0.0
    )
    sun = light(chance)
    rows = (np.arange(2 * height) * chance.whole(1, 3) // 2 + chance.whole(0, 255)) % SIDE
    columns = (np.arange(2 * width) * chance.whole(1, 3) // 2 + chance.whole(0, 255)) % SIDE
    shade = (pattern()[rows[:, None], columns] - 128)[..., None] * chance.whole(10, 120) // 128
    base = np.array([chance.whole(40, 220) for _ in range(3)], dtype=np.int32)
    canvas = np.clip(base + shade, 0, 255).astype(np.uint8)
    return Painter(np.ascontiguousarray(canvas), camera, sun, chance)


def texture(chance: Chance, size: int) -> Image:
    """A plain surface: plaster, lawn, sand."""
    return developed(sheet(chance, size).canvas, chance)


def blobs(chance: Chance, size: int) -> Image:
    """Lights out of focus."""
    painter = sheet(chance, size)
    height, width = painter.canvas.shape[:2]
    for _ in range(chance.whole(10, 40)):
        colour = (chance.whole(60, 255), chance.whole(60, 255), chance.whole(60, 255))
        at = (width * chance.uniform(0.0, 1.0), height * chance.uniform(0.0, 1.0))
        disc(painter, at, width * chance.uniform(0.02, 0.12), 1.0, colour)
    return developed(painter.canvas, chance)


def disc(
    painter: Painter, at: tuple[float, float], radius: float, tall: float, colour: Colour
) -> None:
    points = [
        (at[0] + radius * cosine(18.0 * i), at[1] + radius * tall * sine(18.0 * i))
        for i in range(20)
    ]
    painter.polygon(fixed(np.array(points)), colour)


def still_life(chance: Chance, size: int) -> Image:
    """Things close by: cups, bottles, books, fruit."""
    painter = sheet(chance, size)
    height, width = painter.canvas.shape[:2]
    for _ in range(chance.whole(1, 4)):
        tint = (chance.whole(50, 230), chance.whole(50, 230), chance.whole(50, 230))
        _thing(
            painter,
            (width * chance.uniform(0.15, 0.85), height * chance.uniform(0.55, 0.95)),
            width * chance.uniform(0.12, 0.3),
            tint,
        )
    return developed(painter.canvas, chance)


# Outlines (x, height) in shares of half the thing's width.
CUP = ((-0.8, 0), (0.8, 0), (1, 1.7), (-1, 1.7))
BOTTLE = ((-0.5, 0), (0.5, 0), (0.5, 2.2), (0.16, 2.8),
          (0.16, 3.6), (-0.16, 3.6), (-0.16, 2.8), (-0.5, 2.2))  # fmt: skip
LABEL = ((-0.48, 0.6), (0.48, 0.6), (0.48, 1.6), (-0.48, 1.6))
PAGES = ((-1, 0), (1, 0.2), (1, 0.6), (-1, 0.4))
COVER = ((-1, 0.4), (1, 0.6), (1.5, 1.4), (-0.5, 1.2))


def _thing(painter: Painter, at: tuple[float, float], wide: float, tint: Colour) -> None:
    """A fruit, cup, bottle or book that stands at a place on the canvas."""
    (x, y), r = at, wide * 0.5
    dark: Colour = (tint[0] * 2 // 3, tint[1] * 2 // 3, tint[2] * 2 // 3)
    foot = Spot(x, y, r)
    kind = painter.chance.pick(("fruit", "cup", "bottle", "book"))
    if kind == "fruit":
        disc(painter, (x, y - r), r, 1.0, dark)
        disc(painter, (x - r * 0.12, y - r * 1.12), r * 0.84, 1.0, tint)
        disc(painter, (x - r * 0.35, y - r * 1.4), r * 0.18, 1.0, (246, 244, 238))
    elif kind == "cup":
        disc(painter, (x + r, y - r * 0.8), r * 0.5, 1.0, dark)
        painter.polygon(foot.points(CUP), tint)
        disc(painter, (x, y - r * 1.7), r, 0.25, dark)
    elif kind == "bottle":
        painter.polygon(foot.points(BOTTLE), dark)
        painter.polygon(foot.points(LABEL), tint)
    else:
        painter.polygon(foot.points(PAGES), (236, 232, 220))
        painter.polygon(foot.points(COVER), tint)
