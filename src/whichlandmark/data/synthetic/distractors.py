"""Draw photos without a landmark: ordinary buildings, landscapes, surfaces, objects, rooms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from ...core.types import Image
from .billboards import Spot, crowd, random_spot, tree, trees
from .geometry import cosine, sine
from .houses import apartment_block, house, ordinary_building
from .light import Colour, palette, random_light
from .photo import develop, draw_weather, extent_of, photo_shape, random_viewpoint
from .renderer import Camera, Painter, SceneModel, joined, shifted, to_fixed_point, with_tone_prefix
from .scenery import sky_and_ground, skyline
from .seeded_random import NOISE_SIDE, SeededRandom, noise_pattern

# Outlines (x, height) in shares of half the thing's width.
CUP = ((-0.8, 0), (0.8, 0), (1, 1.7), (-1, 1.7))

BOTTLE = ((-0.5, 0), (0.5, 0), (0.5, 2.2), (0.16, 2.8),
          (0.16, 3.6), (-0.16, 3.6), (-0.16, 2.8), (-0.5, 2.2))  # fmt: skip

LABEL = ((-0.48, 0.6), (0.48, 0.6), (0.48, 1.6), (-0.48, 1.6))

PAGES = ((-1, 0), (1, 0.2), (1, 0.6), (-1, 0.4))

COVER = ((-1, 0.4), (1, 0.6), (1.5, 1.4), (-0.5, 1.2))

Scene = Literal["anything", "indoor"]

Drawing = Callable[[SeededRandom, int], Image]


def tiles(rng: SeededRandom, size: int) -> Image:
    """A flat wall seen from the front: bricks, checks, stripes or rows of windows."""
    painter = patterned_background(rng, size)
    height, width = painter.canvas.shape[:2]
    kind = rng.integer(0, 3)
    step = rng.uniform(0.05, 0.2) * width
    tall = step * rng.uniform(0.4, 1.4)
    one, two = (
        rng.choice(tuple(palette(rng).values())),
        rng.choice(tuple(palette(rng).values())),
    )
    rise = rng.uniform(-0.15, 0.15)
    for j in range(-2, int(height / tall) + 3):
        for i in range(-2, int(width / step) + 3):
            shift = step * 0.5 * (j % 2) if kind == 0 else 0.0
            x, y = i * step + shift, j * tall + rise * i * step
            inner = {0: 0.94, 1: 1.0, 2: 1.0, 3: 0.6}[kind]
            colour = one if kind in (0, 3) or (i + (j if kind == 1 else 0)) % 2 else two
            w, h = step * inner, tall * (inner if kind != 0 else 0.88)
            corners = [(x, y), (x + w, y + rise * w), (x + w, y + h + rise * w), (x, y + h)]
            painter.polygon(
                to_fixed_point(np.array(corners)),
                painter.light.flat_colour(colour, rng.uniform(0.7, 1.0)),
            )
    return develop(painter.canvas, rng)


def patterned_background(rng: SeededRandom, size: int) -> Painter:
    """A painter with a plain background of one colour and noise."""
    height, width = photo_shape(rng, size, rng.uniform(0.3, 1.6))
    camera = Camera(
        position=(0.0, 0.0, 1.0), yaw=0.0, pitch=0.0, roll=0.0, focal=1.0, cx=0.0, cy=0.0
    )
    sun = random_light(rng)
    rows = (np.arange(2 * height) * rng.integer(1, 3) // 2 + rng.integer(0, 255)) % NOISE_SIDE
    columns = (np.arange(2 * width) * rng.integer(1, 3) // 2 + rng.integer(0, 255)) % NOISE_SIDE
    shade = (noise_pattern()[rows[:, None], columns] - 128)[..., None] * rng.integer(10, 120) // 128
    base = np.array([rng.integer(40, 220) for _ in range(3)], dtype=np.int32)
    canvas = np.clip(base + shade, 0, 255).astype(np.uint8)
    return Painter(np.ascontiguousarray(canvas), camera, sun, rng)


def texture(rng: SeededRandom, size: int) -> Image:
    """A plain surface: plaster, lawn, sand."""
    return develop(patterned_background(rng, size).canvas, rng)


def blobs(rng: SeededRandom, size: int) -> Image:
    """Coloured lights, out of focus."""
    painter = patterned_background(rng, size)
    height, width = painter.canvas.shape[:2]
    for _ in range(rng.integer(10, 40)):
        colour = (rng.integer(60, 255), rng.integer(60, 255), rng.integer(60, 255))
        at = (width * rng.uniform(0.0, 1.0), height * rng.uniform(0.0, 1.0))
        disc(painter, at, width * rng.uniform(0.02, 0.12), 1.0, colour)
    return develop(painter.canvas, rng)


def disc(
    painter: Painter, at: tuple[float, float], radius: float, tall: float, colour: Colour
) -> None:
    points = [
        (at[0] + radius * cosine(18.0 * i), at[1] + radius * tall * sine(18.0 * i))
        for i in range(20)
    ]
    painter.polygon(to_fixed_point(np.array(points)), colour)


def still_life(rng: SeededRandom, size: int) -> Image:
    """One to four objects nearby: cups, bottles, books, fruit."""
    painter = patterned_background(rng, size)
    height, width = painter.canvas.shape[:2]
    for _ in range(rng.integer(1, 4)):
        tint = (rng.integer(50, 230), rng.integer(50, 230), rng.integer(50, 230))
        _draw_object(
            painter,
            (width * rng.uniform(0.15, 0.85), height * rng.uniform(0.55, 0.95)),
            width * rng.uniform(0.12, 0.3),
            tint,
        )
    return develop(painter.canvas, rng)


def _draw_object(painter: Painter, at: tuple[float, float], wide: float, tint: Colour) -> None:
    """Draw a fruit, cup, bottle or book with its foot at a canvas position."""
    (x, y), r = at, wide * 0.5
    dark: Colour = (tint[0] * 2 // 3, tint[1] * 2 // 3, tint[2] * 2 // 3)
    foot = Spot(x, y, r)
    kind = painter.rng.choice(("fruit", "cup", "bottle", "book"))
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


def scene_photo(scene: Scene, rng: SeededRandom, size: int) -> Image:
    """A photo that shows no landmark: (H, W, 3) uint8, the long side `size` pixels."""
    if scene == "indoor":
        return indoor(rng, size)
    hard: tuple[Drawing, ...] = (one_house, one_house, street, blocks, mountains, forest, tiles)
    easy: tuple[Drawing, ...] = (cloudscape, texture, still_life, blobs, field)
    return rng.choice(hard if rng.bernoulli(0.7) else easy)(rng, size)


def one_house(rng: SeededRandom, size: int) -> Image:
    """An ordinary building, photographed like a landmark."""
    return _buildings([(ordinary_building(rng), palette(rng))], rng, size)


def street(rng: SeededRandom, size: int) -> Image:
    """A row of houses."""
    kind = rng.choice((house, house, ordinary_building))
    return _buildings([(kind(rng), palette(rng)) for _ in range(rng.integer(3, 5))], rng, size)


def blocks(rng: SeededRandom, size: int) -> Image:
    """One to three apartment blocks."""
    return _buildings(
        [(apartment_block(rng), palette(rng)) for _ in range(rng.integer(1, 3))], rng, size
    )


def _buildings(
    buildings: list[tuple[SceneModel, dict[str, Colour]]], rng: SeededRandom, size: int
) -> Image:
    models, colours = [], {}
    x = 0.0
    gap = rng.choice((0.05, 1.0, 4.0))
    for number, (model, tones) in enumerate(buildings):
        placed = shifted(model, x - float(model.low[0]), rng.uniform(-1.5, 1.5))
        models.append(with_tone_prefix(placed, f"{number} "))
        colours.update({f"{number} {tone}": rgb for tone, rgb in tones.items()})
        x += float(model.high[0] - model.low[0]) + gap
    row = joined(models)
    wide, _, tall = (float(b - a) for a, b in zip(row.low, row.high, strict=True))
    height, width = photo_shape(rng, size, tall / wide)
    camera = random_viewpoint(row, (2 * height, 2 * width), rng)
    painter = _stage((height, width), camera, rng)
    _, radius, _ = extent_of(row)
    trees(painter, rng, (3.0 * radius, 5.0 * radius), rng.integer(0, 4))
    painter.model(row, colours)
    crowd(painter, rng, (5.0, max(6.0, radius)), rng.integer(0, 6))
    trees(painter, rng, (6.0, max(7.0, 1.2 * radius)), rng.choice((0, 0, 0, 1, 2)))
    draw_weather(painter, rng)
    return develop(painter.canvas, rng)


def _stage(size: tuple[int, int], camera: Camera, rng: SeededRandom) -> Painter:
    """A painter with sky, ground and skyline."""
    sun = random_light(rng)
    ground = rng.choice(("paving", "grass", "grass", "sand", "snow", "asphalt", "water"))
    canvas = sky_and_ground(size, camera, sun, rng, ground)  # type: ignore[arg-type]
    painter = Painter(canvas, camera, sun, rng)
    skyline(painter, rng)
    return painter


def _open_view(rng: SeededRandom, size: int) -> Painter:
    """A painter with open country, from 1.6 to 8 metres above the ground."""
    height, width = photo_shape(rng, size, rng.uniform(0.3, 1.6))
    camera = Camera(
        position=(0.0, 0.0, rng.uniform(1.6, 8.0)),
        yaw=0.0,
        pitch=0.0,
        roll=rng.triangular(-4.0, 4.0),
        focal=2.0 * width * rng.uniform(0.8, 1.6),
        cx=float(width),
        cy=2.0 * height * rng.uniform(0.3, 0.75),
    )
    return _stage((height, width), camera, rng)


def field(rng: SeededRandom, size: int) -> Image:
    """Open country with a few trees, perhaps a street lamp or people."""
    painter = _open_view(rng, size)
    trees(painter, rng, (25.0, 120.0), rng.integer(0, 6))
    crowd(painter, rng, (8.0, 60.0), rng.integer(0, 6))
    draw_weather(painter, rng)
    return develop(painter.canvas, rng)


def forest(rng: SeededRandom, size: int) -> Image:
    """A wood: trees at 8 to 60 metres."""
    painter = _open_view(rng, size)
    for depth in sorted((rng.uniform(8.0, 60.0) for _ in range(rng.integer(8, 22))), reverse=True):
        tree(painter, random_spot(painter, rng, depth, (-0.1, 1.1)), rng)
    draw_weather(painter, rng)
    return develop(painter.canvas, rng)


def mountains(rng: SeededRandom, size: int) -> Image:
    """Rows of mountains with lit and shaded flanks, some with snow."""
    painter = _open_view(rng, size)
    height, width = painter.canvas.shape[:2]
    base = rng.choice(((134, 126, 118), (150, 128, 104), (112, 118, 128)))
    for row in range(rng.integer(2, 4)):
        foot = painter.camera.cy + height * 0.06 * row
        for _ in range(rng.integer(1, 4)):
            x, tall = (
                width * rng.uniform(-0.1, 1.1),
                height * rng.uniform(0.1, 0.5) / (1 + row * 0.6),
            )
            _peak(painter, (x, foot), (tall * rng.uniform(0.6, 1.3), tall), base)
    draw_weather(painter, rng)
    return develop(painter.canvas, rng)


def _peak(
    painter: Painter, foot: tuple[float, float], size: tuple[float, float], base: Colour
) -> None:
    rng = painter.rng
    (x, y), (wide, tall) = foot, size
    steps = 7
    ridge = [
        (x + wide * rng.triangular(-0.12, 0.12) * i / steps, y - tall + tall * i / steps)
        for i in range(steps + 1)
    ]
    for sign, share in ((-1.0, 1.0), (1.0, 0.3)):
        side = [
            (
                x + sign * wide * (i / steps + rng.uniform(-0.06, 0.06)),
                y - tall + tall * i / steps,
            )
            for i in range(1, steps + 1)
        ]
        painter.polygon(
            to_fixed_point(np.array([*ridge, *reversed(side)])),
            painter.light.flat_colour(base, share, haze_factor=1.5),
        )
        if tall > 90:
            snow = [*ridge[:3], *reversed(side[:2])]
            painter.polygon(
                to_fixed_point(np.array(snow)), painter.light.flat_colour((232, 236, 242), share)
            )


def cloudscape(rng: SeededRandom, size: int) -> Image:
    """A sky with clouds."""
    height, width = photo_shape(rng, size, rng.uniform(0.3, 1.6))
    camera = Camera(
        position=(0.0, 0.0, 1.7),
        yaw=0.0,
        pitch=0.0,
        roll=rng.triangular(-8.0, 8.0),
        focal=1.0,
        cx=float(width),
        cy=2.0 * height * rng.uniform(1.2, 1.5),
    )
    return develop(sky_and_ground((height, width), camera, random_light(rng), rng, "sand"), rng)


def indoor(rng: SeededRandom, size: int) -> Image:
    """A room: floor, three walls, a window or picture, furniture, a lamp."""
    painter = patterned_background(rng, size)
    height, width = (float(v) for v in painter.canvas.shape[:2])
    left, right = width * rng.uniform(0.05, 0.3), width * rng.uniform(0.7, 0.95)
    top, foot = height * rng.uniform(0.06, 0.22), height * rng.uniform(0.62, 0.78)
    wall = (rng.integer(150, 235), rng.integer(145, 225), rng.integer(130, 215))
    side = (wall[0] * 7 // 8, wall[1] * 7 // 8, wall[2] * 7 // 8)
    floor = rng.choice(((146, 104, 70), (120, 112, 104), (172, 140, 100)))
    faces: list[tuple[list[tuple[float, float]], Colour]] = [
        ([(0, 0), (left, top), (left, foot), (0, height)], side),
        ([(width, 0), (right, top), (right, foot), (width, height)], side),
        ([(0, 0), (width, 0), (right, top), (left, top)], (238, 236, 230)),
        ([(0, height), (left, foot), (right, foot), (width, height)], floor),
        ([(left, top), (right, top), (right, foot), (left, foot)], wall),
    ]
    for corners, colour in faces:
        painter.polygon(to_fixed_point(np.array(corners)), colour)
    _furnish(painter, (left, right), (top, foot))
    return develop(painter.canvas, rng)


def _furnish(painter: Painter, across: tuple[float, float], down: tuple[float, float]) -> None:
    rng = painter.rng
    (left, right), (top, foot) = across, down
    wide, tall = right - left, foot - top
    for i in range(rng.integer(1, 3)):
        at = (left + wide * (0.08 + 0.31 * i), top + tall * rng.uniform(0.12, 0.3))
        _picture(painter, at, (wide * rng.uniform(0.14, 0.26), tall * rng.uniform(0.25, 0.45)))
    for _ in range(rng.integer(1, 3)):
        x, y = left + wide * rng.uniform(0.1, 0.9), foot + tall * rng.uniform(0.05, 0.35)
        _cupboard(painter, Spot(x, y, tall * 0.5))
    x = left + wide * rng.uniform(0.3, 0.7)
    _rectangle(painter, (x - 1.5, 0.0, x + 1.5, top + 14.0), (60, 60, 60))
    disc(painter, (x, top + 18.0), wide * 0.06, 0.6, (255, 240, 200))


def _picture(painter: Painter, at: tuple[float, float], size: tuple[float, float]) -> None:
    """Draw a window or a framed picture."""
    (x, y), (w, h) = at, size
    view = painter.rng.choice(((170, 204, 230), (96, 120, 90), (190, 150, 110), (40, 44, 66)))
    edge = (x - w * 0.1, y - h * 0.1, x + w * 1.1, y + h * 1.1)
    _rectangle(painter, edge, (104, 78, 56))
    _rectangle(painter, (x, y, x + w, y + h), view)


def _cupboard(painter: Painter, at: Spot) -> None:
    """Draw a piece of furniture: a block with a top and a line across."""
    rng = painter.rng
    colour = (rng.integer(50, 200), rng.integer(40, 160), rng.integer(40, 160))
    dark: Colour = (colour[0] // 2, colour[1] // 2, colour[2] // 2)
    w, h = rng.uniform(0.25, 0.6), rng.uniform(0.25, 0.8)
    line = h * 0.5
    painter.polygon(at.points([(-w, 0), (w, 0), (w, h), (-w, h)]), colour)
    painter.polygon(at.points([(-w, h), (w, h), (w * 0.85, h + 0.12), (-w * 0.85, h + 0.12)]), dark)
    painter.polygon(at.points([(-w, line), (w, line), (w, line + 0.04), (-w, line + 0.04)]), dark)


def _rectangle(painter: Painter, edges: tuple[float, float, float, float], colour: Colour) -> None:
    x0, y0, x1, y1 = edges
    corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    painter.polygon(to_fixed_point(corners), colour)
