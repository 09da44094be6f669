"""Ordinary buildings, drawn beside landmarks and as distractors: houses, apartments, sheds."""

from __future__ import annotations

from .facades import Form, Windows, bands, on_sides, pilasters, portal, window_grid, windows
from .geometry import Face, FacePainter, Side, Solid, box, frustum, gable
from .renderer import SceneModel, build
from .seeded_random import SeededRandom


def house(rng: SeededRandom) -> SceneModel:
    """A family house: one to three storeys, a gabled or hipped roof, a chimney."""
    half, deep = rng.uniform(3.5, 6.0), rng.uniform(6.0, 10.0)
    floors = rng.integer(1, 3)
    tall = floors * 2.9
    form: Form = rng.choice(("square", "square", "round"))
    grid = Windows(
        columns=rng.integer(2, 4),
        rows=floors,
        form=form,
        wide=rng.uniform(0.3, 0.45),
        high=rng.uniform(0.4, 0.55),
        bars=(1, rng.integer(0, 1)),
    )
    door = rng.uniform(0.2, 0.8)
    parts = [box((-half, 0.0, 0.0), (half, deep, tall), "wall", _front_door(grid, door))]
    low, peak = (-half, 0.0, tall), (half, deep, tall + rng.uniform(0.4, 0.9) * half)
    roof = rng.integer(0, 3)
    if roof <= 1:
        parts.append(gable(low, peak, "x" if roof else "y"))
    elif roof == 2:
        parts.append(frustum(low, peak, (half * 0.6, deep * 0.5), "roof"))
    else:
        parts.append(box(low, (half, deep, tall + 0.6), "trim"))
    if rng.bernoulli(0.5):
        x = half + 0.05
        parts.append(box((x, deep * 0.4, 0.0), (x + 3.5, deep * 0.9, 2.6), "wall"))
    return build(parts)


def _front_door(grid: Windows, door: float) -> FacePainter:
    def paint_face(face: Face, side: Side) -> None:
        if side == "top":
            return
        windows(face, grid)
        if side == "front":
            portal(face, door, 1.3, 2.3, "square")

    return paint_face


def apartment_block(rng: SeededRandom) -> SceneModel:
    """An apartment block: a grid of windows, balconies or bands, a flat roof."""
    half, deep = rng.uniform(7.0, 15.0), rng.uniform(8.0, 12.0)
    floors = rng.integer(4, 10)
    tall = floors * 2.9
    grid = Windows(
        columns=rng.integer(4, 9),
        rows=floors,
        wide=rng.uniform(0.35, 0.7),
        high=rng.uniform(0.4, 0.6),
        frame=rng.choice((0.0, 0.1, 0.2)),
        bars=(1, 0),
    )
    style = rng.integer(0, 2)
    lines = [(i + 0.12) / floors for i in range(floors)]

    def paint_face(face: Face, side: Side) -> None:
        if side == "top":
            return
        if style == 1:
            bands(face, lines, 0.016, "trim")
        windows(face, grid)
        if style == 2:
            pilasters(face, strips, 0.02, "shade")

    strips = rng.integer(3, 6)
    parts: list[Solid] = [box((-half, 0.0, 0.0), (half, deep, tall), "wall", paint_face)]
    parts.append(box((-half, 0.0, tall), (half, deep, tall + 0.8), "trim"))
    if rng.bernoulli(0.6):
        parts.append(box((-2.0, deep * 0.3, tall + 0.8), (2.0, deep * 0.7, tall + 3.4), "shade"))
    return build(parts)


def shed(rng: SeededRandom) -> SceneModel:
    """A warehouse or shop: low, long, with a gate."""
    half, deep, tall = (
        rng.uniform(6.0, 12.0),
        rng.uniform(8.0, 14.0),
        rng.uniform(4.0, 6.5),
    )
    grid = Windows(columns=rng.integer(3, 8), wide=0.7, high=0.25, low=0.55, top=0.95)
    gate = on_sides(
        window_grid(grid), lambda f, s: portal(f, 0.5, 3.6, 3.4, "square") if s == "front" else None
    )
    parts = [box((-half, 0.0, 0.0), (half, deep, tall), "wall", gate)]
    parts.append(gable((-half, 0.0, tall), (half, deep, tall + 2.0), rng.choice(("x", "y"))))
    return build(parts)


def ordinary_building(rng: SeededRandom) -> SceneModel:
    """A random one of these buildings."""
    return rng.choice((house, house, apartment_block, shed))(rng)
