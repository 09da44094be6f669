"""Photos without a landmark."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from ...core.types import Image
from .billboards import Spot, crowd, spot, tree, trees
from .geometry import cosine, sine
from .houses import flats, house, ordinary
from .light import Colour, light, palette
from .photo import developed, frame, shape_of, viewpoint, weather
from .renderer import Camera, Painter, SceneModel, fixed, joined, shifted, toned
from .scenery import sky_and_ground, skyline
from .seeded_random import SIDE, SeededRandom, pattern


def tiles(chance: SeededRandom, size: int) -> Image:
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


def sheet(chance: SeededRandom, size: int) -> Painter:
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


def texture(chance: SeededRandom, size: int) -> Image:
    """A plain surface: plaster, lawn, sand."""
    return developed(sheet(chance, size).canvas, chance)


def blobs(chance: SeededRandom, size: int) -> Image:
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


def still_life(chance: SeededRandom, size: int) -> Image:
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


Scene = Literal["anything", "indoor"]

Drawing = Callable[[SeededRandom, int], Image]


def scene_photo(scene: Scene, chance: SeededRandom, size: int) -> Image:
    """A photo that shows no landmark: (H, W, 3) uint8, the long side `size` pixels."""
    if scene == "indoor":
        return indoor(chance, size)
    hard: tuple[Drawing, ...] = (one_house, one_house, street, blocks, mountains, wood, tiles)
    easy: tuple[Drawing, ...] = (cloudscape, texture, still_life, blobs, field)
    return chance.pick(hard if chance.yes(0.7) else easy)(chance, size)


def one_house(chance: SeededRandom, size: int) -> Image:
    """An ordinary building, as landmarks are photographed."""
    return _buildings([(ordinary(chance), palette(chance))], chance, size)


def street(chance: SeededRandom, size: int) -> Image:
    """A row of houses."""
    kind = chance.pick((house, house, ordinary))
    return _buildings(
        [(kind(chance), palette(chance)) for _ in range(chance.whole(3, 5))], chance, size
    )


def blocks(chance: SeededRandom, size: int) -> Image:
    """Blocks of flats."""
    return _buildings(
        [(flats(chance), palette(chance)) for _ in range(chance.whole(1, 3))], chance, size
    )


def _buildings(
    buildings: list[tuple[SceneModel, dict[str, Colour]]], chance: SeededRandom, size: int
) -> Image:
    models, colours = [], {}
    x = 0.0
    gap = chance.pick((0.05, 1.0, 4.0))
    for number, (model, tones) in enumerate(buildings):
        placed = shifted(model, x - float(model.low[0]), chance.uniform(-1.5, 1.5))
        models.append(toned(placed, f"{number} "))
        colours.update({f"{number} {tone}": rgb for tone, rgb in tones.items()})
        x += float(model.high[0] - model.low[0]) + gap
    row = joined(models)
    wide, _, tall = (float(b - a) for a, b in zip(row.low, row.high, strict=True))
    height, width = frame(chance, size, tall / wide)
    camera = viewpoint(row, (2 * height, 2 * width), chance)
    painter = _stage((height, width), camera, chance)
    _, radius, _ = shape_of(row)
    trees(painter, chance, (3.0 * radius, 5.0 * radius), chance.whole(0, 4))
    painter.model(row, colours)
    crowd(painter, chance, (5.0, max(6.0, radius)), chance.whole(0, 6))
    trees(painter, chance, (6.0, max(7.0, 1.2 * radius)), chance.pick((0, 0, 0, 1, 2)))
    weather(painter, chance)
    return developed(painter.canvas, chance)


def _stage(size: tuple[int, int], camera: Camera, chance: SeededRandom) -> Painter:
    """Sky, ground and skyline to draw upon."""
    sun = light(chance)
    ground = chance.pick(("paving", "grass", "grass", "sand", "snow", "asphalt", "water"))
    canvas = sky_and_ground(size, camera, sun, chance, ground)  # type: ignore[arg-type]
    painter = Painter(canvas, camera, sun, chance)
    skyline(painter, chance)
    return painter


def _open_view(chance: SeededRandom, size: int) -> Painter:
    """Open country seen by somebody standing in it."""
    height, width = frame(chance, size, chance.uniform(0.3, 1.6))
    camera = Camera(
        position=(0.0, 0.0, chance.uniform(1.6, 8.0)), yaw=0.0, pitch=0.0,
        roll=chance.middle(-4.0, 4.0), focal=2.0 * width * chance.uniform(0.8, 1.6),
        cx=float(width), cy=2.0 * height * chance.uniform(0.3, 0.75),
    )  # fmt: skip
    return _stage((height, width), camera, chance)


def field(chance: SeededRandom, size: int) -> Image:
    """Open country with a few trees, perhaps a street lamp or people."""
    painter = _open_view(chance, size)
    trees(painter, chance, (25.0, 120.0), chance.whole(0, 6))
    crowd(painter, chance, (8.0, 60.0), chance.whole(0, 6))
    weather(painter, chance)
    return developed(painter.canvas, chance)


def wood(chance: SeededRandom, size: int) -> Image:
    """Trees near and far."""
    painter = _open_view(chance, size)
    for depth in sorted(
        (chance.uniform(8.0, 60.0) for _ in range(chance.whole(8, 22))), reverse=True
    ):
        tree(painter, spot(painter, chance, depth, (-0.1, 1.1)), chance)
    weather(painter, chance)
    return developed(painter.canvas, chance)


def mountains(chance: SeededRandom, size: int) -> Image:
    """Peaks with lit and shaded flanks; rocks in front."""
    painter = _open_view(chance, size)
    height, width = painter.canvas.shape[:2]
    base = chance.pick(((134, 126, 118), (150, 128, 104), (112, 118, 128)))
    for row in range(chance.whole(2, 4)):
        foot = painter.camera.cy + height * 0.06 * row
        for _ in range(chance.whole(1, 4)):
            x, tall = (
                width * chance.uniform(-0.1, 1.1),
                height * chance.uniform(0.1, 0.5) / (1 + row * 0.6),
            )
            _peak(painter, (x, foot), (tall * chance.uniform(0.6, 1.3), tall), base)
    weather(painter, chance)
    return developed(painter.canvas, chance)


def _peak(
    painter: Painter, foot: tuple[float, float], size: tuple[float, float], base: Colour
) -> None:
    chance = painter.chance
    (x, y), (wide, tall) = foot, size
    steps = 7
    ridge = [
        (x + wide * chance.middle(-0.12, 0.12) * i / steps, y - tall + tall * i / steps)
        for i in range(steps + 1)
    ]
    for sign, share in ((-1.0, 1.0), (1.0, 0.3)):
        side = [
            (
                x + sign * wide * (i / steps + chance.uniform(-0.06, 0.06)),
                y - tall + tall * i / steps,
            )
            for i in range(1, steps + 1)
        ]
        painter.polygon(
            fixed(np.array([*ridge, *reversed(side)])), painter.light.flat(base, share, far=1.5)
        )
        if tall > 90:
            snow = [*ridge[:3], *reversed(side[:2])]
            painter.polygon(fixed(np.array(snow)), painter.light.flat((232, 236, 242), share))


def cloudscape(chance: SeededRandom, size: int) -> Image:
    """Nothing but sky."""
    height, width = frame(chance, size, chance.uniform(0.3, 1.6))
    camera = Camera(
        position=(0.0, 0.0, 1.7), yaw=0.0, pitch=0.0, roll=chance.middle(-8.0, 8.0), focal=1.0,
        cx=float(width), cy=2.0 * height * chance.uniform(1.2, 1.5),
    )  # fmt: skip
    return developed(sky_and_ground((height, width), camera, light(chance), chance, "sand"), chance)


def indoor(chance: SeededRandom, size: int) -> Image:
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
