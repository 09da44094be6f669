"""Backgrounds: sky with clouds, ground in perspective, and hills, woods or a city behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...core.types import Image
from .geometry import cosine, sine
from .light import Colour, Light
from .renderer import Camera, Painter, to_fixed_point
from .seeded_random import NOISE_SIDE, SeededRandom, noise_pattern

Ground = Literal["paving", "grass", "sand", "snow", "water", "asphalt"]

GROUNDS: dict[Ground, tuple[Colour, int]] = {  # colour, strength of its texture
    "paving": ((168, 162, 152), 60), "grass": ((96, 126, 62), 90), "sand": ((198, 176, 132), 50),
    "snow": ((226, 230, 236), 36), "water": ((70, 100, 120), 90), "asphalt": ((104, 104, 108), 50),
}  # fmt: skip


@dataclass(frozen=True)
class Horizon:
    """The horizon on the canvas: y = intercept + slope · x, in canvas pixels."""

    intercept: float
    slope: float

    def y(self, x: float) -> float:
        return self.intercept + self.slope * x


def horizon(camera: Camera) -> Horizon:
    """The horizon_line on the canvas on which infinitely distant points of the ground appear."""
    tangent = sine(camera.pitch) / cosine(camera.pitch)
    slope = sine(camera.roll) / cosine(camera.roll)
    x = camera.cx + camera.focal * tangent * -sine(camera.roll)
    y = camera.cy + camera.focal * tangent * cosine(camera.roll)
    return Horizon(y - slope * x, slope)


def sky_and_ground(
    size: tuple[int, int], camera: Camera, light: Light, rng: SeededRandom, ground: Ground
) -> Image:
    """A canvas (2h, 2w, 3) of sky and ground for a photo of (h, w), computed at half its scale."""
    height, width = size
    horizon_line = horizon(camera)
    x = np.arange(width, dtype=np.float64) * 2.0
    y = np.arange(height, dtype=np.float64)[:, None] * 2.0
    below = y - (horizon_line.intercept + horizon_line.slope * x)
    sky = _sky(below, light, rng)
    land = _ground(below, x, camera, light, rng, ground)
    picture = np.where((below > 0.0)[..., None], land, sky).astype(np.uint8)
    return np.repeat(np.repeat(picture, 2, axis=0), 2, axis=1)


def _sky(below: NDArray[np.float64], light: Light, rng: SeededRandom) -> NDArray[np.int32]:
    height, width = below.shape
    share = np.clip(-below * (256.0 / (2.2 * height)), 0.0, 256.0).astype(np.int32)[..., None]
    low, high = (np.array(c, dtype=np.int32) for c in (light.horizon, light.zenith))
    colour = low + (high - low) * share // 256
    rows = (np.arange(height) * rng.integer(2, 3) + rng.integer(0, NOISE_SIDE - 1)) % NOISE_SIDE
    columns = (np.arange(width) + rng.integer(0, NOISE_SIDE - 1)) % NOISE_SIDE
    cover = 255 - int(light.clouds * 190)
    dense = np.clip((noise_pattern()[rows[:, None], columns] - cover) * 5, 0, 220)[..., None]
    white = np.array(light.flat_colour((240, 240, 244), 1.2), dtype=np.int32)
    return np.asarray(colour + (white - colour) * dense // 256)


def _ground(
    below: NDArray[np.float64],
    x: NDArray[np.float64],
    camera: Camera,
    light: Light,
    rng: SeededRandom,
    ground: Ground,
) -> NDArray[np.int32]:
    rgb, strength = GROUNDS[ground]
    down = np.maximum(below, 1.0)
    depth = max(1.0, camera.position[2]) * camera.focal / down
    grain = rng.uniform(4.0, 9.0)
    stretch = 4.0 if ground == "water" else 1.5  # because waves are wide from left to right
    rows = np.floor(depth * (grain * stretch)).astype(np.int64) + rng.integer(0, 255)
    columns = np.floor((x - camera.cx) * depth * (grain / camera.focal)).astype(np.int64)
    texture = noise_pattern()[rows % NOISE_SIDE, columns % NOISE_SIDE] - 128
    # Distant ground has no texture, because its grain would be finer than a pixel.
    fade = np.clip(down * (256.0 / below.shape[0]), 0.0, 256.0).astype(np.int32)
    shade = (texture * fade // 256 * strength // 128)[..., None]
    base = np.array(light.flat_colour(rgb, 0.9), dtype=np.int32)
    if ground == "water":
        base = (base + np.array(light.horizon, dtype=np.int32)) // 2
    near = np.clip(base + shade * base // 256, 0, 255)
    far = np.clip(256 - down * (512.0 / below.shape[0]), 0.0, 200.0).astype(np.int32)[..., None]
    low = np.array(light.horizon, dtype=np.int32)
    far = far * (1 + int(light.haze * 8)) // 9
    return np.asarray(near + (low - near) * far // 256)


def skyline(painter: Painter, rng: SeededRandom) -> None:
    """Draw up to two rows of hills, woods or a city along the horizon."""
    horizon_line = horizon(painter.camera)
    for _ in range(rng.integer(0, 2)):
        kind = rng.choice((_hills, _city, _forest, _city))
        kind(painter, horizon_line, rng)


def _hills(painter: Painter, horizon_line: Horizon, rng: SeededRandom) -> None:
    height, width = painter.canvas.shape[:2]
    tall = height * rng.uniform(0.03, 0.2)
    row = noise_pattern()[rng.integer(0, NOISE_SIDE - 1)]
    start, step = rng.integer(0, NOISE_SIDE - 1), rng.integer(1, 3)
    xs = [width * i / 40 for i in range(-1, 42)]
    tops = [
        horizon_line.y(x) - tall * int(row[(start + i * step) % NOISE_SIDE]) / 255
        for i, x in enumerate(xs)
    ]
    points = [
        *zip(xs, tops, strict=True),
        (xs[-1], horizon_line.y(xs[-1]) + 2),
        (xs[0], horizon_line.y(xs[0]) + 2),
    ]
    colour = rng.choice(((92, 112, 84), (112, 118, 124), (134, 122, 98), (82, 98, 104)))
    painter.polygon(
        to_fixed_point(np.array(points)), painter.light.flat_colour(colour, haze_factor=3.0)
    )


def _city(painter: Painter, horizon_line: Horizon, rng: SeededRandom) -> None:
    height, width = painter.canvas.shape[:2]
    tall = height * rng.uniform(0.05, 0.22)
    x = -rng.uniform(0.0, 0.1) * width
    while x < width:
        wide = width * rng.uniform(0.03, 0.11)
        foot, top = horizon_line.y(x + wide / 2) + 2, tall * rng.uniform(0.3, 1.0)
        grey = rng.integer(96, 190)
        wall = (grey, grey - rng.integer(0, 12), grey - rng.integer(0, 24))
        block = [(x, foot), (x + wide, foot), (x + wide, foot - top), (x, foot - top)]
        painter.polygon(
            to_fixed_point(np.array(block)), painter.light.flat_colour(wall, 0.6, haze_factor=2.5)
        )
        _city_windows(painter, (x, foot - top), (wide, top), rng)
        x += wide * rng.uniform(0.9, 1.3)


def _city_windows(
    painter: Painter, at: tuple[float, float], size: tuple[float, float], rng: SeededRandom
) -> None:
    (x, y), (wide, tall) = at, size
    columns, rows = max(1, int(wide / 7)), max(1, int(tall / 9))
    shapes = []
    for i in range(columns):
        for j in range(rows):
            a, b = x + wide * (i + 0.3) / columns, y + tall * (j + 0.25) / rows
            c, d = a + wide * 0.35 / columns, b + tall * 0.4 / rows
            shapes.append([(a, b), (c, b), (c, d), (a, d)])
    lit = painter.light.lit > rng.uniform(0.0, 1.0)
    dark = painter.light.flat_colour((84, 88, 96), 0.5, haze_factor=2.0)
    colour = (206, 170, 108) if lit else dark
    points = to_fixed_point(np.array(shapes).reshape(-1, 2)).reshape(-1, 4, 2)
    painter.polygons(points, colour)


def _forest(painter: Painter, horizon_line: Horizon, rng: SeededRandom) -> None:
    height, width = painter.canvas.shape[:2]
    tall = height * rng.uniform(0.02, 0.07)
    green = rng.choice(((64, 92, 52), (78, 98, 58), (98, 92, 52), (58, 80, 60)))
    x = -tall
    while x < width + tall:
        r = tall * rng.uniform(0.6, 1.1)
        y = horizon_line.y(x) - r * 0.5
        disc = [(x + r * cosine(30.0 * i), y + r * sine(30.0 * i)) for i in range(12)]
        painter.polygon(
            to_fixed_point(np.array(disc)),
            painter.light.flat_colour(green, rng.uniform(0.4, 0.9), haze_factor=1.8),
        )
        x += r * rng.uniform(0.5, 0.9)
