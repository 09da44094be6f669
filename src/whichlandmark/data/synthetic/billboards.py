"""Flat upright objects around landmarks: trees, people, street lamps, cars."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .geometry import cosine, sine
from .light import Colour
from .renderer import Painter, to_fixed_point
from .seeded_random import SeededRandom

Pairs = Sequence[tuple[float, float]]

CLOTHES: tuple[Colour, ...] = (
    (178, 60, 54), (60, 84, 140), (70, 70, 76), (206, 190, 120), (92, 130, 96), (230, 228, 222),
)  # fmt: skip

LEGS = ((-0.16, 0), (-0.03, 0), (0, 0.4), (0.03, 0), (0.16, 0), (0.17, 0.5), (-0.17, 0.5))

COAT = ((-0.2, 0.42), (0.2, 0.42), (0.25, 0.78), (0.12, 0.84), (-0.12, 0.84), (-0.25, 0.78))


@dataclass(frozen=True)
class Spot:
    """Where an object is drawn: canvas pixels of its foot, and pixels per metre at that depth."""

    x: float
    y: float
    scale: float

    def points(self, shape: Pairs) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
        """A shape in metres (x right, y up, the foot at the origin) → canvas coordinates."""
        flat = [(self.x + a * self.scale, self.y - b * self.scale) for a, b in shape]
        return to_fixed_point(np.array(flat))


def random_spot(
    painter: Painter, rng: SeededRandom, depth: float, across: tuple[float, float]
) -> Spot:
    """A random spot `depth` metres away; `across` limits it, in shares of the canvas' width."""
    camera = painter.camera
    width = painter.canvas.shape[1]
    pixel = width * rng.uniform(*across)
    scale = camera.focal / depth
    lateral = (pixel - camera.cx) / scale
    cy, sy = cosine(camera.yaw), sine(camera.yaw)
    x, y, _ = camera.position
    foot = np.array([[x - sy * depth + cy * lateral, y + cy * depth + sy * lateral, 0.0]])
    pixels, _ = camera.project(foot)
    return Spot(float(pixels[0, 0]), float(pixels[0, 1]), scale)


def _disc(x: float, y: float, r: float, sides: int = 10, tall: float = 1.0) -> Pairs:
    turn = 360.0 / sides
    return [(x + r * cosine(turn * i), y + r * tall * sine(turn * i)) for i in range(sides)]


def tree(painter: Painter, at: Spot, rng: SeededRandom) -> None:
    """Draw a conifer, or a broad-leaved tree in green or autumn colours."""
    tall = rng.uniform(5.0, 11.0)
    light = painter.light
    bark = light.flat_colour((84, 66, 50), 0.5)
    w = tall * 0.035
    painter.polygon(
        at.points([(-w, 0), (w, 0), (w * 0.6, tall * 0.6), (-w * 0.6, tall * 0.6)]), bark
    )
    green = rng.choice(((72, 104, 48), (88, 112, 50), (58, 88, 54), (130, 106, 44), (136, 82, 44)))
    if rng.bernoulli(0.25):
        for i in range(4):
            low, r = tall * (0.15 + 0.2 * i), tall * (0.26 - 0.055 * i)
            shape = [(-r, low), (r, low), (0.0, low + tall * 0.36)]
            painter.polygon(at.points(shape), light.flat_colour((52, 84, 58), 0.4 + 0.2 * i))
        return
    spread = tall * rng.uniform(0.2, 0.3)
    for layer in range(3):  # dark leaves first, bright ones over them
        colour = light.flat_colour(green, 0.25 + 0.4 * layer)
        for _ in range(7):
            x = rng.triangular(-1.2, 1.2) * spread - 0.06 * layer * tall
            y = tall * 0.66 + rng.triangular(-1.0, 1.0) * spread + 0.05 * layer * tall
            r = spread * rng.uniform(0.3, 0.62 - 0.12 * layer)
            painter.polygon(at.points(_disc(x, y, r, 9, 0.85)), colour)


def person(painter: Painter, at: Spot, rng: SeededRandom) -> None:
    """Draw a standing person: legs, coat, head."""
    tall = rng.uniform(1.55, 1.9)
    light = painter.light
    skin = rng.choice(((226, 186, 158), (184, 138, 106), (122, 84, 62)))
    for shape, share in ((LEGS, 0.5), (COAT, 0.8)):  # heights are shares of the person's
        grown = [(x, y * tall) for x, y in shape]
        painter.polygon(at.points(grown), light.flat_colour(rng.choice(CLOTHES), share))
    painter.polygon(at.points(_disc(0.0, 0.92 * tall, 0.11, 8, 1.2)), light.flat_colour(skin, 0.8))


def lamp(painter: Painter, at: Spot, rng: SeededRandom) -> None:
    """Draw a street lamp, which glows at dusk and at night."""
    tall = rng.uniform(4.0, 6.5)
    dark = painter.light.flat_colour((58, 60, 62), 0.4)
    painter.polygon(at.points([(-0.12, 0), (0.12, 0), (0.06, tall), (-0.06, tall)]), dark)
    painter.polygon(at.points([(-0.25, 0), (0.25, 0), (0.15, 0.7), (-0.15, 0.7)]), dark)
    glow: Colour = (
        (255, 226, 160) if painter.light.lit > 0.3 else painter.light.flat_colour((210, 208, 200))
    )
    arms = rng.choice(((0.0,), (-0.7, 0.7)))
    for x in arms:
        if x:
            a, b = sorted((0.0, x))
            painter.polygon(
                at.points([(a, tall - 0.15), (b, tall - 0.15), (b, tall), (a, tall)]), dark
            )
        painter.polygon(at.points(_disc(x, tall + 0.2, 0.3, 8)), glow)


def car(painter: Painter, at: Spot, rng: SeededRandom) -> None:
    """Draw a car from its side."""
    light = painter.light
    body = rng.choice(((170, 50, 46), (58, 78, 120), (200, 200, 204), (50, 52, 56), (212, 176, 70)))
    flip = rng.choice((-1.0, 1.0))

    def shape(points: Pairs) -> Pairs:
        return [(flip * x, y) for x, y in points]

    outline = [
        (-2.1, 0.3),
        (2.1, 0.3),
        (2.15, 0.75),
        (1.3, 0.9),
        (0.8, 1.42),
        (-1.1, 1.42),
        (-1.8, 0.9),
        (-2.15, 0.8),
    ]
    painter.polygon(at.points(shape(outline)), light.flat_colour(body, 0.8))
    for glass in (
        [(-0.1, 0.9), (1.05, 0.9), (0.65, 1.32), (-0.1, 1.32)],
        [(-1.5, 0.9), (-0.25, 0.9), (-0.25, 1.32), (-1.0, 1.32)],
    ):
        painter.polygon(at.points(shape(glass)), light.flat_colour((70, 84, 98), 0.8))
    for x in (-1.3, 1.3):
        painter.polygon(at.points(_disc(flip * x, 0.33, 0.34)), light.flat_colour((34, 34, 36)))
        painter.polygon(
            at.points(_disc(flip * x, 0.33, 0.16, 8)), light.flat_colour((150, 150, 152))
        )


DrawObject = Callable[[Painter, Spot, SeededRandom], None]


def crowd(painter: Painter, rng: SeededRandom, depths: tuple[float, float], count: int) -> None:
    """Draw `count` people, cars and lamps between two depths in metres, distant ones first."""
    kinds: Sequence[DrawObject] = (person, person, person, car, lamp)
    for depth in sorted((rng.uniform(*depths) for _ in range(count)), reverse=True):
        at = random_spot(painter, rng, depth, (-0.05, 1.05))
        rng.choice(kinds)(painter, at, rng)


def trees(painter: Painter, rng: SeededRandom, depths: tuple[float, float], count: int) -> None:
    """Draw `count` trees between two depths in metres, distant ones first, mostly at the sides."""
    for depth in sorted((rng.uniform(*depths) for _ in range(count)), reverse=True):
        across = rng.choice(((-0.15, 0.25), (0.75, 1.15), (-0.1, 1.1)))
        tree(painter, random_spot(painter, rng, depth, across), rng)
