"""Draw one photo of a landmark: viewpoint, surroundings, weather, exposure and noise."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ...core.types import Image
from .billboards import crowd, trees
from .families import Landmark
from .geometry import cosine, sine
from .houses import ordinary_building
from .light import Colour, palette, random_light, weathered
from .renderer import Camera, Painter, SceneModel, joined, shifted, to_fixed_point, with_tone_prefix
from .scenery import Ground, sky_and_ground, skyline
from .seeded_random import NOISE_SIDE, SeededRandom, noise_pattern

BRIDGES = ("arch bridge", "hung bridge")

NEIGHBOUR_BUILDINGS = 16

ASPECT_RATIOS = (0.75, 0.75, 0.667, 0.8, 0.5625, 1.0)  # short side / long side


def draw_weather(painter: Painter, rng: SeededRandom) -> None:
    """Draw rain streaks or snow flakes over one photo in ten."""
    kind = rng.uniform(0.0, 1.0)
    if kind < 0.05:
        _rain(painter, rng)
    elif kind < 0.1:
        _snow(painter, rng)


def _rain(painter: Painter, rng: SeededRandom) -> None:
    height, width = painter.canvas.shape[:2]
    count = rng.integer(60, 160)
    long, lean = height * rng.uniform(0.03, 0.07), rng.uniform(-0.3, 0.3)
    x, y = rng.random(count) * width, rng.random(count) * height
    low, high = np.stack([x, y], 1), np.stack([x + lean * long, y + long], 1)
    thin = np.array([1.0, 0.0])
    streaks = np.stack([low, low + thin, high + thin, high], axis=1)
    painter_colour = painter.light.flat_colour((206, 212, 220), 1.0, haze_factor=2.0)
    for streak in to_fixed_point(streaks.reshape(-1, 2)).reshape(-1, 4, 2):
        painter.polygon(streak, painter_colour)


def _snow(painter: Painter, rng: SeededRandom) -> None:
    height, width = painter.canvas.shape[:2]
    count = rng.integer(80, 260)
    x, y = rng.random(count) * width, rng.random(count) * height
    radius = 0.8 + rng.random(count) ** 2 * 3.0
    colour = painter.light.flat_colour((244, 246, 250), 1.4)
    unit = np.array([(cosine(45.0 * i), sine(45.0 * i)) for i in range(8)])
    flakes = np.stack([x, y], 1)[:, None] + unit[None] * radius[:, None, None]
    for flake in to_fixed_point(flakes.reshape(-1, 2)).reshape(-1, 8, 2):
        painter.polygon(flake, colour)


def develop(canvas: Image, rng: SeededRandom) -> Image:
    """Turn the canvas (2h, 2w, 3) into a photo (h, w, 3): downscale, blur, expose, add noise."""
    photo = _downscaled(canvas)
    for _ in range(rng.choice((0, 0, 0, 0, 0, 0, 0, 1))):
        photo = _blurred(photo)
    photo = _exposed(photo, rng)
    return _with_noise(photo, rng)


def _downscaled(canvas: Image) -> Image:
    wide = canvas.astype(np.uint16)
    total = wide[::2, ::2] + wide[1::2, ::2] + wide[::2, 1::2] + wide[1::2, 1::2]
    return np.asarray((total + 2) >> 2, dtype=np.uint8)


def _blurred(photo: Image) -> Image:
    wide = photo.astype(np.uint16)
    wide[1:-1] = (wide[:-2] + 2 * wide[1:-1] + wide[2:] + 2) >> 2
    wide[:, 1:-1] = (wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:] + 2) >> 2
    return wide.astype(np.uint8)


def _exposed(photo: Image, rng: SeededRandom) -> Image:
    """Apply white balance, exposure and contrast, as a table of 256 values per channel."""
    warmth, green = rng.triangular(-0.11, 0.11), rng.triangular(-0.04, 0.04)
    gain = rng.triangular(0.78, 1.26)
    contrast = rng.triangular(-0.2, 0.5)
    fade = rng.choice((0.0, 0.0, 0.0, rng.uniform(0.0, 24.0)))
    tables = [_table(gain * (1.0 + by), contrast, fade) for by in (warmth, green, -warmth)]
    if rng.bernoulli(0.03):  # black and white
        grey = (
            photo[..., 0] * np.uint32(77)
            + photo[..., 1] * np.uint32(150)
            + photo[..., 2] * np.uint32(29)
        ) >> 8
        photo = np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    return np.stack([table[photo[..., i]] for i, table in enumerate(tables)], axis=2)


def _table(gain: float, contrast: float, fade: float) -> NDArray[np.uint8]:
    values = []
    for i in range(256):
        x = min(1.0, i / 255.0 * gain)
        curve = x * x * (3.0 - 2.0 * x)  # S-shaped: darker shadows, brighter highlights
        value = 255.0 * (x + contrast * (curve - x))
        values.append(min(255, max(0, round(fade + value * (255.0 - fade) / 255.0))))
    return np.array(values, dtype=np.uint8)


def _with_noise(photo: Image, rng: SeededRandom) -> Image:
    height, width = photo.shape[:2]
    strength = rng.integer(1, 8)
    raw = rng.bytes(height * width * 3).reshape(photo.shape).astype(np.int32)
    grain = ((raw & 15) + (raw >> 4) - 15) * strength // 15
    row, column = rng.integer(0, NOISE_SIDE - 1), rng.integer(0, NOISE_SIDE - 1)
    rows = (np.arange(height) // 2 + row) % NOISE_SIDE
    columns = (np.arange(width) // 2 + column) % NOISE_SIDE
    blotch = (noise_pattern()[rows[:, None], columns][..., None] - 128) * rng.integer(0, 8) // 128
    noisy = np.clip(photo.astype(np.int32) + grain + blotch, 0, 255)
    return np.asarray(noisy, dtype=np.uint8)


def landmark_photo(landmark: Landmark, rng: SeededRandom, size: int) -> Image:
    """Draw a landmark: (H, W, 3) uint8, the long side `size` pixels."""
    model = landmark.model
    width, _, tall = (float(b - a) for a, b in zip(model.low, model.high, strict=True))
    height, wide = photo_shape(rng, size, tall / width)
    camera = random_viewpoint(model, (2 * height, 2 * wide), rng)
    sun = random_light(rng)
    canvas = sky_and_ground((height, wide), camera, sun, rng, _ground(landmark, rng))
    painter = Painter(canvas, camera, sun, rng)
    skyline(painter, rng)
    _, radius, _ = extent_of(model)
    distance = _distance(painter, model)
    on_land = landmark.kind not in BRIDGES
    if on_land:
        trees(painter, rng, (distance + radius, distance + 3 * radius), rng.integer(0, 4))
    scene, colours = model, weathered(landmark.colours, rng)
    if on_land and rng.bernoulli(0.35):
        scene, colours = _with_neighbours(painter, model, colours)
    painter.model(scene, colours)
    if on_land:
        _draw_foreground(painter, max(4.0, distance - radius), rng)
    draw_weather(painter, rng)
    return develop(canvas, rng)


def _ground(landmark: Landmark, rng: SeededRandom) -> Ground:
    if landmark.kind in BRIDGES:
        return rng.choice(("water", "water", "water", "grass"))
    return rng.choice(("paving", "paving", "grass", "grass", "sand", "asphalt", "snow"))


def _distance(painter: Painter, model: SceneModel) -> float:
    """Metres from the camera to the middle of the model, measured on the ground."""
    (x, y), _, _ = extent_of(model)
    dx, dy = painter.camera.position[0] - x, painter.camera.position[1] - y
    return math.sqrt(dx * dx + dy * dy)


def _draw_foreground(painter: Painter, distance: float, rng: SeededRandom) -> None:
    """Draw people, cars and some trees between the camera and the landmark, `distance` metres
    away.
    """
    if rng.bernoulli(0.7):
        crowd(painter, rng, (max(6.0, distance * 0.35), distance), rng.integer(1, 7))
    if rng.bernoulli(0.2):
        trees(painter, rng, (max(5.0, distance * 0.45), distance), rng.integer(1, 2))
    if rng.bernoulli(0.08):
        near, far = max(3.0, distance * 0.08), max(4.0, distance * 0.25)
        crowd(painter, rng, (near, far), rng.integer(1, 2))


def _with_neighbours(
    painter: Painter, model: SceneModel, colours: dict[str, Colour]
) -> tuple[SceneModel, dict[str, Colour]]:
    """The landmark with up to three ordinary buildings beside or behind it."""
    rng = painter.rng
    models, tones = [model], dict(colours)
    for side in rng.shuffled(("left", "right", "behind"))[: rng.integer(1, 3)]:
        other, materials = neighbour_building(rng.integer(0, NEIGHBOUR_BUILDINGS - 1))
        placed = _beside(model, other, side, rng)
        # Buildings must not hide the landmark, nor overlap, because `far_to_near` cannot order
        # overlapping boxes.
        hides = _distance(painter, placed) < 0.8 * _distance(painter, model)
        if hides or not all(_disjoint(placed, earlier) for earlier in models):
            continue
        models.append(with_tone_prefix(placed, f"{side} "))
        tones.update({f"{side} {tone}": rgb for tone, rgb in materials.items()})
    return joined(models), tones


def _beside(model: SceneModel, other: SceneModel, side: str, rng: SeededRandom) -> SceneModel:
    """The other building moved to one side of the model, 1 to 9 metres away."""
    (x0, y0, _), (x1, y1, _) = model.low.tolist(), model.high.tolist()
    half = float(other.high[0] - other.low[0]) / 2
    gap, share = rng.uniform(1.0, 9.0), rng.uniform(0.0, 1.0)
    x = {"left": x0 - gap - half, "right": x1 + gap + half, "behind": x0 + (x1 - x0) * share}[side]
    y = y1 + gap if side == "behind" else y0 + (y1 - y0) * share
    return shifted(other, x - float(other.low[0]) - half, y - float(other.low[1]))


def _disjoint(one: SceneModel, other: SceneModel) -> bool:
    return bool((one.low >= other.high).any() or (other.low >= one.high).any())


@lru_cache(maxsize=NEIGHBOUR_BUILDINGS)
def neighbour_building(number: int) -> tuple[SceneModel, dict[str, Colour]]:
    """One of the ordinary buildings that are drawn beside landmarks, the same in every world."""
    rng = SeededRandom(0, f"neighbour {number}")
    return ordinary_building(rng), palette(rng)


def photo_shape(rng: SeededRandom, size: int, height_to_width: float) -> tuple[int, int]:
    """(height, width) of a photo whose long side is `size`; more often portrait for tall subjects.

    height_to_width: of the subject.
    """
    short = max(16, round(size * rng.choice(ASPECT_RATIOS)))
    portrait = rng.bernoulli(
        0.1 if height_to_width < 0.7 else 0.35 if height_to_width < 1.3 else 0.75
    )
    return (size, short) if portrait else (short, size)


def extent_of(model: SceneModel) -> tuple[tuple[float, float], float, float]:
    """The middle (x, y) of a model, its radius about the middle, and its height, in metres."""
    low, high = model.low, model.high
    x, y, z = (float(b - a) for a, b in zip(low, high, strict=True))
    middle = (float(low[0] + high[0]) / 2, float(low[1] + high[1]) / 2)
    return middle, math.sqrt(x * x + y * y) / 2, z


def random_viewpoint(model: SceneModel, size: tuple[int, int], rng: SeededRandom) -> Camera:
    """A camera for a canvas of (height, width) pixels that shows all or most of the model."""
    (x, y), radius, tall = extent_of(model)
    arc = 65.0 if rng.bernoulli(0.88) else 120.0
    azimuth = rng.triangular(-arc, arc)
    near, far = max(1.55 * radius, 0.85 * tall), 4.5 * max(radius, 0.6 * tall)
    pull = rng.uniform(0.0, 1.0)
    distance = near + (max(far, near) - near) * pull * pull
    level = rng.choice((1.7, 1.7, 2.5, 6.0, 6.0, tall * 0.3, tall * 0.3, tall * 0.6, tall))
    level = max(1.6, min(level, distance * 0.5))
    where = (x + distance * sine(azimuth), y - distance * cosine(azimuth), level)
    aim = rng.uniform(0.0, 1.0) if rng.bernoulli(0.6) else 0.0  # 0: vertical lines stay vertical
    rise = (tall * 0.45 - level) / distance
    pitch = max(-35.0, min(32.0, aim * rise * 57.3))
    roll = rng.triangular(-4.0, 4.0) if rng.bernoulli(0.6) else 0.0
    yaw = azimuth + rng.triangular(-6.0, 6.0)
    camera = Camera(position=where, yaw=yaw, pitch=pitch, roll=roll, focal=1.0, cx=0.0, cy=0.0)
    return _framed(camera, model, size, rng)


def _framed(camera: Camera, model: SceneModel, size: tuple[int, int], rng: SeededRandom) -> Camera:
    """Zoom and shift the camera so that the model fills part of the photo or is cut off by it."""
    height, width = size
    pixels, _ = camera.project(model.points)
    left, top = (float(v) for v in pixels.min(axis=0))
    right, bottom = (float(v) for v in pixels.max(axis=0))
    fit = min(width / (right - left), height / (bottom - top))
    kind = rng.uniform(0.0, 1.0)
    if kind < 0.74:  # whole
        fill, slack = rng.uniform(0.78, 1.02), 0.08
    elif kind < 0.86:  # far
        fill, slack = rng.uniform(0.52, 0.78), 0.18
    else:  # close: cut off at the photo's edges
        fill, slack = rng.uniform(1.02, 1.4), 0.14
    focal = fit * fill
    shift_x, shift_y = rng.triangular(-slack, slack), rng.triangular(-slack, slack * 0.8)
    cx = width * (0.5 + shift_x) - focal * (left + right) / 2
    cy = height * (0.52 + shift_y) - focal * (top + bottom) / 2
    return replace(camera, focal=focal, cx=cx, cy=cy)
