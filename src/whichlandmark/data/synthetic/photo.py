"""One photo: viewpoint, weather, exposure."""

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
from .houses import ordinary
from .light import Colour, aged, light, palette
from .renderer import Camera, Painter, SceneModel, fixed, joined, shifted, toned
from .scenery import Ground, sky_and_ground, skyline
from .seeded_random import SIDE, SeededRandom, pattern


def weather(painter: Painter, chance: SeededRandom) -> None:
    """Rain streaks or snow flakes in front of everything, on some photos."""
    kind = chance.uniform(0.0, 1.0)
    if kind < 0.05:
        _rain(painter, chance)
    elif kind < 0.1:
        _snow(painter, chance)


def _rain(painter: Painter, chance: SeededRandom) -> None:
    height, width = painter.canvas.shape[:2]
    count = chance.whole(60, 160)
    long, lean = height * chance.uniform(0.03, 0.07), chance.uniform(-0.3, 0.3)
    x, y = chance.many(count) * width, chance.many(count) * height
    low, high = np.stack([x, y], 1), np.stack([x + lean * long, y + long], 1)
    thin = np.array([1.0, 0.0])
    streaks = np.stack([low, low + thin, high + thin, high], axis=1)
    painter_colour = painter.light.flat((206, 212, 220), 1.0, far=2.0)
    for streak in fixed(streaks.reshape(-1, 2)).reshape(-1, 4, 2):
        painter.polygon(streak, painter_colour)


def _snow(painter: Painter, chance: SeededRandom) -> None:
    height, width = painter.canvas.shape[:2]
    count = chance.whole(80, 260)
    x, y = chance.many(count) * width, chance.many(count) * height
    radius = 0.8 + chance.many(count) ** 2 * 3.0
    colour = painter.light.flat((244, 246, 250), 1.4)
    unit = np.array([(cosine(45.0 * i), sine(45.0 * i)) for i in range(8)])
    flakes = np.stack([x, y], 1)[:, None] + unit[None] * radius[:, None, None]
    for flake in fixed(flakes.reshape(-1, 2)).reshape(-1, 8, 2):
        painter.polygon(flake, colour)


def developed(canvas: Image, chance: SeededRandom) -> Image:
    """The canvas (2h, 2w, 3) as a photo (h, w, 3): averaged 2 × 2, softened, exposed, grainy."""
    photo = _averaged(canvas)
    for _ in range(chance.pick((0, 0, 0, 0, 0, 0, 0, 1))):
        photo = _softened(photo)
    photo = _exposed(photo, chance)
    return _grainy(photo, chance)


def _averaged(canvas: Image) -> Image:
    wide = canvas.astype(np.uint16)
    total = wide[::2, ::2] + wide[1::2, ::2] + wide[::2, 1::2] + wide[1::2, 1::2]
    return np.asarray((total + 2) >> 2, dtype=np.uint8)


def _softened(photo: Image) -> Image:
    wide = photo.astype(np.uint16)
    wide[1:-1] = (wide[:-2] + 2 * wide[1:-1] + wide[2:] + 2) >> 2
    wide[:, 1:-1] = (wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:] + 2) >> 2
    return wide.astype(np.uint8)


def _exposed(photo: Image, chance: SeededRandom) -> Image:
    """White balance, exposure and contrast as one table of 256 values per channel."""
    warmth, green = chance.middle(-0.11, 0.11), chance.middle(-0.04, 0.04)
    gain = chance.middle(0.78, 1.26)
    contrast = chance.middle(-0.2, 0.5)
    fade = chance.pick((0.0, 0.0, 0.0, chance.uniform(0.0, 24.0)))
    tables = [_table(gain * (1.0 + by), contrast, fade) for by in (warmth, green, -warmth)]
    if chance.yes(0.03):  # black and white
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
        curve = x * x * (3.0 - 2.0 * x)  # an S: darker shadows, brighter lights
        value = 255.0 * (x + contrast * (curve - x))
        values.append(min(255, max(0, round(fade + value * (255.0 - fade) / 255.0))))
    return np.array(values, dtype=np.uint8)


def _grainy(photo: Image, chance: SeededRandom) -> Image:
    height, width = photo.shape[:2]
    strength = chance.whole(1, 8)
    raw = chance.bytes(height * width * 3).reshape(photo.shape).astype(np.int32)
    grain = ((raw & 15) + (raw >> 4) - 15) * strength // 15
    row, column = chance.whole(0, SIDE - 1), chance.whole(0, SIDE - 1)
    rows = (np.arange(height) // 2 + row) % SIDE
    columns = (np.arange(width) // 2 + column) % SIDE
    blotch = (pattern()[rows[:, None], columns][..., None] - 128) * chance.whole(0, 8) // 128
    noisy = np.clip(photo.astype(np.int32) + grain + blotch, 0, 255)
    return np.asarray(noisy, dtype=np.uint8)


BRIDGES = ("arch bridge", "hung bridge")

NEIGHBOURS = 16


def landmark_photo(landmark: Landmark, chance: SeededRandom, size: int) -> Image:
    """Draw a landmark: (H, W, 3) uint8, the long side `size` pixels."""
    model = landmark.model
    width, _, tall = (float(b - a) for a, b in zip(model.low, model.high, strict=True))
    height, wide = frame(chance, size, tall / width)
    camera = viewpoint(model, (2 * height, 2 * wide), chance)
    sun = light(chance)
    canvas = sky_and_ground((height, wide), camera, sun, chance, _ground(landmark, chance))
    painter = Painter(canvas, camera, sun, chance)
    skyline(painter, chance)
    _, radius, _ = shape_of(model)
    distance = _distance(painter, model)
    dry = landmark.kind not in BRIDGES
    if dry:
        trees(painter, chance, (distance + radius, distance + 3 * radius), chance.whole(0, 4))
    scene, colours = model, aged(landmark.colours, chance)
    if dry and chance.yes(0.35):
        scene, colours = _with_neighbours(painter, model, colours)
    painter.model(scene, colours)
    if dry:
        _in_front(painter, max(4.0, distance - radius), chance)
    weather(painter, chance)
    return developed(canvas, chance)


def _ground(landmark: Landmark, chance: SeededRandom) -> Ground:
    if landmark.kind in BRIDGES:
        return chance.pick(("water", "water", "water", "grass"))
    return chance.pick(("paving", "paving", "grass", "grass", "sand", "asphalt", "snow"))


def _distance(painter: Painter, model: SceneModel) -> float:
    """Metres from the camera to the middle of the model, along the ground."""
    (x, y), _, _ = shape_of(model)
    dx, dy = painter.camera.position[0] - x, painter.camera.position[1] - y
    return math.sqrt(dx * dx + dy * dy)


def _in_front(painter: Painter, room: float, chance: SeededRandom) -> None:
    """People and cars up to the landmark's foot; on some photos a tree in the way."""
    if chance.yes(0.7):
        crowd(painter, chance, (max(6.0, room * 0.35), room), chance.whole(1, 7))
    if chance.yes(0.2):
        trees(painter, chance, (max(5.0, room * 0.45), room), chance.whole(1, 2))
    if chance.yes(0.08):
        crowd(painter, chance, (max(3.0, room * 0.08), max(4.0, room * 0.25)), chance.whole(1, 2))


def _with_neighbours(
    painter: Painter, model: SceneModel, colours: dict[str, Colour]
) -> tuple[SceneModel, dict[str, Colour]]:
    """The landmark with ordinary buildings at its sides and behind it."""
    chance = painter.chance
    models, tones = [model], dict(colours)
    for side in chance.shuffled(("left", "right", "behind"))[: chance.whole(1, 3)]:
        other, materials = neighbour(chance.whole(0, NEIGHBOURS - 1))
        placed = _beside(model, other, side, chance)
        # Not in the way, and with a box of its own: see camera.far_to_near.
        in_the_way = _distance(painter, placed) < 0.8 * _distance(painter, model)
        if in_the_way or not all(_apart(placed, there) for there in models):
            continue
        models.append(toned(placed, f"{side} "))
        tones.update({f"{side} {tone}": rgb for tone, rgb in materials.items()})
    return joined(models), tones


def _beside(model: SceneModel, other: SceneModel, side: str, chance: SeededRandom) -> SceneModel:
    """The other building moved to a side of the model, some metres away."""
    (x0, y0, _), (x1, y1, _) = model.low.tolist(), model.high.tolist()
    half = float(other.high[0] - other.low[0]) / 2
    gap, share = chance.uniform(1.0, 9.0), chance.uniform(0.0, 1.0)
    x = {"left": x0 - gap - half, "right": x1 + gap + half, "behind": x0 + (x1 - x0) * share}[side]
    y = y1 + gap if side == "behind" else y0 + (y1 - y0) * share
    return shifted(other, x - float(other.low[0]) - half, y - float(other.low[1]))


def _apart(one: SceneModel, other: SceneModel) -> bool:
    return bool((one.low >= other.high).any() or (other.low >= one.high).any())


@lru_cache(maxsize=NEIGHBOURS)
def neighbour(number: int) -> tuple[SceneModel, dict[str, Colour]]:
    """One of the ordinary buildings that stand beside landmarks in every world."""
    chance = SeededRandom(0, f"neighbour {number}")
    return ordinary(chance), palette(chance)


ASPECTS = (0.75, 0.75, 0.667, 0.8, 0.5625, 1.0)


def frame(chance: SeededRandom, size: int, tall: float) -> tuple[int, int]:
    """(height, width) of a photo, its long side `size`; portrait more often for tall things.

    tall: height of the thing as a share of its width.
    """
    short = max(16, round(size * chance.pick(ASPECTS)))
    portrait = chance.yes(0.1 if tall < 0.7 else 0.35 if tall < 1.3 else 0.75)
    return (size, short) if portrait else (short, size)


def shape_of(model: SceneModel) -> tuple[tuple[float, float], float, float]:
    """The middle (x, y) of a model, its radius about it, and its height, in metres."""
    low, high = model.low, model.high
    x, y, z = (float(b - a) for a, b in zip(low, high, strict=True))
    middle = (float(low[0] + high[0]) / 2, float(low[1] + high[1]) / 2)
    return middle, math.sqrt(x * x + y * y) / 2, z


def viewpoint(model: SceneModel, size: tuple[int, int], chance: SeededRandom) -> Camera:
    """A camera for a canvas of (height, width) pixels that sees the model, or most of it."""
    (x, y), radius, tall = shape_of(model)
    arc = 65.0 if chance.yes(0.88) else 120.0
    azimuth = chance.middle(-arc, arc)
    near, far = max(1.55 * radius, 0.85 * tall), 4.5 * max(radius, 0.6 * tall)
    pull = chance.uniform(0.0, 1.0)
    distance = near + (max(far, near) - near) * pull * pull
    level = chance.pick((1.7, 1.7, 2.5, 6.0, 6.0, tall * 0.3, tall * 0.3, tall * 0.6, tall))
    level = max(1.6, min(level, distance * 0.5))
    where = (x + distance * sine(azimuth), y - distance * cosine(azimuth), level)
    aim = chance.uniform(0.0, 1.0) if chance.yes(0.6) else 0.0  # 0: upright lines stay upright
    rise = (tall * 0.45 - level) / distance
    pitch = max(-35.0, min(32.0, aim * rise * 57.3))
    roll = chance.middle(-4.0, 4.0) if chance.yes(0.6) else 0.0
    yaw = azimuth + chance.middle(-6.0, 6.0)
    camera = Camera(position=where, yaw=yaw, pitch=pitch, roll=roll, focal=1.0, cx=0.0, cy=0.0)
    return _framed(camera, model, size, chance)


def _framed(
    camera: Camera, model: SceneModel, size: tuple[int, int], chance: SeededRandom
) -> Camera:
    """Zoom and shift so that the model fills part of the frame, whole or cut."""
    height, width = size
    pixels, _ = camera.project(model.points)
    left, top = (float(v) for v in pixels.min(axis=0))
    right, bottom = (float(v) for v in pixels.max(axis=0))
    fit = min(width / (right - left), height / (bottom - top))
    kind = chance.uniform(0.0, 1.0)
    if kind < 0.74:  # whole
        fill, slack = chance.uniform(0.78, 1.02), 0.08
    elif kind < 0.86:  # far
        fill, slack = chance.uniform(0.52, 0.78), 0.18
    else:  # close: cut by the frame
        fill, slack = chance.uniform(1.02, 1.4), 0.14
    focal = fit * fill
    shift_x, shift_y = chance.middle(-slack, slack), chance.middle(-slack, slack * 0.8)
    cx = width * (0.5 + shift_x) - focal * (left + right) / 2
    cy = height * (0.52 + shift_y) - focal * (top + bottom) / 2
    return replace(camera, focal=focal, cx=cx, cy=cy)
