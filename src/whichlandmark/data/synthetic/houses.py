"""Buildings nobody travels for: houses, blocks of flats, sheds. Neighbours and distractors."""

from __future__ import annotations

from .facades import Form, Windows, bands, on_sides, pilasters, portal, window_grid, windows
from .geometry import Dress, Face, Side, Solid, box, frustum, gable
from .renderer import SceneModel, build
from .seeded_random import SeededRandom


def house(chance: SeededRandom) -> SceneModel:
    """A family house: one to three storeys, a gabled or hipped roof, a chimney."""
    half, deep = chance.uniform(3.5, 6.0), chance.uniform(6.0, 10.0)
    floors = chance.whole(1, 3)
    tall = floors * 2.9
    form: Form = chance.pick(("square", "square", "round"))
    grid = Windows(
        columns=chance.whole(2, 4), rows=floors, form=form, wide=chance.uniform(0.3, 0.45),
        high=chance.uniform(0.4, 0.55), bars=(1, chance.whole(0, 1)),
    )  # fmt: skip
    door = chance.uniform(0.2, 0.8)
    parts = [box((-half, 0.0, 0.0), (half, deep, tall), "wall", _front_door(grid, door))]
    low, peak = (-half, 0.0, tall), (half, deep, tall + chance.uniform(0.4, 0.9) * half)
    roof = chance.whole(0, 3)
    if roof <= 1:
        parts.append(gable(low, peak, "x" if roof else "y"))
    elif roof == 2:
        parts.append(frustum(low, peak, (half * 0.6, deep * 0.5), "roof"))
    else:
        parts.append(box(low, (half, deep, tall + 0.6), "trim"))
    if chance.yes(0.5):
        x = half + 0.05
        parts.append(box((x, deep * 0.4, 0.0), (x + 3.5, deep * 0.9, 2.6), "wall"))
    return build(parts)


def _front_door(grid: Windows, door: float) -> Dress:
    def dress(face: Face, side: Side) -> None:
        if side == "top":
            return
        windows(face, grid)
        if side == "front":
            portal(face, door, 1.3, 2.3, "square")

    return dress


def flats(chance: SeededRandom) -> SceneModel:
    """A block of flats: a grid of windows, balconies or bands, a flat roof."""
    half, deep = chance.uniform(7.0, 15.0), chance.uniform(8.0, 12.0)
    floors = chance.whole(4, 10)
    tall = floors * 2.9
    grid = Windows(
        columns=chance.whole(4, 9), rows=floors, wide=chance.uniform(0.35, 0.7),
        high=chance.uniform(0.4, 0.6), frame=chance.pick((0.0, 0.1, 0.2)), bars=(1, 0),
    )  # fmt: skip
    style = chance.whole(0, 2)
    lines = [(i + 0.12) / floors for i in range(floors)]

    def dress(face: Face, side: Side) -> None:
        if side == "top":
            return
        if style == 1:
            bands(face, lines, 0.016, "trim")
        windows(face, grid)
        if style == 2:
            pilasters(face, chance_columns, 0.02, "shade")

    chance_columns = chance.whole(3, 6)
    parts: list[Solid] = [box((-half, 0.0, 0.0), (half, deep, tall), "wall", dress)]
    parts.append(box((-half, 0.0, tall), (half, deep, tall + 0.8), "trim"))
    if chance.yes(0.6):
        parts.append(box((-2.0, deep * 0.3, tall + 0.8), (2.0, deep * 0.7, tall + 3.4), "shade"))
    return build(parts)


def shed(chance: SeededRandom) -> SceneModel:
    """A warehouse or shop: low, long, with a gate."""
    half, deep, tall = (
        chance.uniform(6.0, 12.0),
        chance.uniform(8.0, 14.0),
        chance.uniform(4.0, 6.5),
    )
    grid = Windows(columns=chance.whole(3, 8), wide=0.7, high=0.25, low=0.55, top=0.95)
    gate = on_sides(
        window_grid(grid), lambda f, s: portal(f, 0.5, 3.6, 3.4, "square") if s == "front" else None
    )
    parts = [box((-half, 0.0, 0.0), (half, deep, tall), "wall", gate)]
    parts.append(gable((-half, 0.0, tall), (half, deep, tall + 2.0), chance.pick(("x", "y"))))
    return build(parts)


def ordinary(chance: SeededRandom) -> SceneModel:
    """Any of these buildings."""
    return chance.pick((house, house, flats, shed))(chance)
