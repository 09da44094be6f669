"""Where the photographer stands, and what the frame shows."""

from __future__ import annotations

import math
from dataclasses import replace

from .angles import cosine, sine
from .camera import Camera
from .chance import Chance
from .model import Model

ASPECTS = (0.75, 0.75, 0.667, 0.8, 0.5625, 1.0)


def frame(chance: Chance, size: int, tall: float) -> tuple[int, int]:
    """(height, width) of a photo, its long side `size`; portrait more often for tall things.

    tall: height of the thing as a share of its width.
    """
    short = max(16, round(size * chance.pick(ASPECTS)))
    portrait = chance.yes(0.1 if tall < 0.7 else 0.35 if tall < 1.3 else 0.75)
    return (size, short) if portrait else (short, size)


def shape_of(model: Model) -> tuple[tuple[float, float], float, float]:
    """The middle (x, y) of a model, its radius about it, and its height, in metres."""
    low, high = model.low, model.high
    x, y, z = (float(b - a) for a, b in zip(low, high, strict=True))
    middle = (float(low[0] + high[0]) / 2, float(low[1] + high[1]) / 2)
    return middle, math.sqrt(x * x + y * y) / 2, z


def viewpoint(model: Model, size: tuple[int, int], chance: Chance) -> Camera:
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


def _framed(camera: Camera, model: Model, size: tuple[int, int], chance: Chance) -> Camera:
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
