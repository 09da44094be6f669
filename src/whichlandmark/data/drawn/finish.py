"""From canvas to photo: rain and snow, averaging, softness, exposure, grain. Whole numbers only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...types import Image
from .angles import cosine, sine
from .camera import fixed
from .chance import Chance
from .noise import SIDE, pattern
from .render import Painter


def weather(painter: Painter, chance: Chance) -> None:
    """Rain streaks or snow flakes in front of everything, on some photos."""
    kind = chance.uniform(0.0, 1.0)
    if kind < 0.05:
        _rain(painter, chance)
    elif kind < 0.1:
        _snow(painter, chance)


def _rain(painter: Painter, chance: Chance) -> None:
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


def _snow(painter: Painter, chance: Chance) -> None:
    height, width = painter.canvas.shape[:2]
    count = chance.whole(80, 260)
    x, y = chance.many(count) * width, chance.many(count) * height
    radius = 0.8 + chance.many(count) ** 2 * 3.0
    colour = painter.light.flat((244, 246, 250), 1.4)
    unit = np.array([(cosine(45.0 * i), sine(45.0 * i)) for i in range(8)])
    flakes = np.stack([x, y], 1)[:, None] + unit[None] * radius[:, None, None]
    for flake in fixed(flakes.reshape(-1, 2)).reshape(-1, 8, 2):
        painter.polygon(flake, colour)


def developed(canvas: Image, chance: Chance) -> Image:
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


def _exposed(photo: Image, chance: Chance) -> Image:
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


def _grainy(photo: Image, chance: Chance) -> Image:
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
