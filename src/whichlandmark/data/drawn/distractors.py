"""Photos without a landmark: hard ones (buildings, nature, patterns), easy ones, rooms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from ...types import Image
from .backdrop import sky_and_ground, skyline
from .billboards import crowd, spot, tree, trees
from .camera import Camera, fixed
from .chance import Chance
from .closeups import blobs, still_life, texture, tiles
from .finish import developed, weather
from .houses import flats, house, ordinary
from .indoor import indoor
from .light import Colour, light, palette
from .model import Model, joined, shifted, toned
from .render import Painter
from .viewpoint import frame, shape_of, viewpoint

Scene = Literal["anything", "indoor"]


Drawing = Callable[[Chance, int], Image]


def scene_photo(scene: Scene, chance: Chance, size: int) -> Image:
    """A photo that shows no landmark: (H, W, 3) uint8, the long side `size` pixels."""
    if scene == "indoor":
        return indoor(chance, size)
    hard: tuple[Drawing, ...] = (one_house, one_house, street, blocks, mountains, wood, tiles)
    easy: tuple[Drawing, ...] = (cloudscape, texture, still_life, blobs, field)
    return chance.pick(hard if chance.yes(0.7) else easy)(chance, size)


def one_house(chance: Chance, size: int) -> Image:
    """An ordinary building, as landmarks are photographed."""
    return _buildings([(ordinary(chance), palette(chance))], chance, size)


def street(chance: Chance, size: int) -> Image:
    """A row of houses."""
    kind = chance.pick((house, house, ordinary))
    return _buildings(
        [(kind(chance), palette(chance)) for _ in range(chance.whole(3, 5))], chance, size
    )


def blocks(chance: Chance, size: int) -> Image:
    """Blocks of flats."""
    return _buildings(
        [(flats(chance), palette(chance)) for _ in range(chance.whole(1, 3))], chance, size
    )


def _buildings(
    buildings: list[tuple[Model, dict[str, Colour]]], chance: Chance, size: int
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


def _stage(size: tuple[int, int], camera: Camera, chance: Chance) -> Painter:
    """Sky, ground and skyline to draw upon."""
    sun = light(chance)
    ground = chance.pick(("paving", "grass", "grass", "sand", "snow", "asphalt", "water"))
    canvas = sky_and_ground(size, camera, sun, chance, ground)  # type: ignore[arg-type]
    painter = Painter(canvas, camera, sun, chance)
    skyline(painter, chance)
    return painter


def _open_view(chance: Chance, size: int) -> Painter:
    """Open country seen by somebody standing in it."""
    height, width = frame(chance, size, chance.uniform(0.3, 1.6))
    camera = Camera(
        position=(0.0, 0.0, chance.uniform(1.6, 8.0)), yaw=0.0, pitch=0.0,
        roll=chance.middle(-4.0, 4.0), focal=2.0 * width * chance.uniform(0.8, 1.6),
        cx=float(width), cy=2.0 * height * chance.uniform(0.3, 0.75),
    )  # fmt: skip
    return _stage((height, width), camera, chance)


def field(chance: Chance, size: int) -> Image:
    """Open country with a few trees, perhaps a street lamp or people."""
    painter = _open_view(chance, size)
    trees(painter, chance, (25.0, 120.0), chance.whole(0, 6))
    crowd(painter, chance, (8.0, 60.0), chance.whole(0, 6))
    weather(painter, chance)
    return developed(painter.canvas, chance)


def wood(chance: Chance, size: int) -> Image:
    """Trees near and far."""
    painter = _open_view(chance, size)
    for depth in sorted(
        (chance.uniform(8.0, 60.0) for _ in range(chance.whole(8, 22))), reverse=True
    ):
        tree(painter, spot(painter, chance, depth, (-0.1, 1.1)), chance)
    weather(painter, chance)
    return developed(painter.canvas, chance)


def mountains(chance: Chance, size: int) -> Image:
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


def cloudscape(chance: Chance, size: int) -> Image:
    """Nothing but sky."""
    height, width = frame(chance, size, chance.uniform(0.3, 1.6))
    camera = Camera(
        position=(0.0, 0.0, 1.7), yaw=0.0, pitch=0.0, roll=chance.middle(-8.0, 8.0), focal=1.0,
        cx=float(width), cy=2.0 * height * chance.uniform(1.2, 1.5),
    )  # fmt: skip
    return developed(sky_and_ground((height, width), camera, light(chance), chance, "sand"), chance)
