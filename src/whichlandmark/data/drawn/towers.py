"""Towers of stone: campaniles, victory columns, what ends a tower."""

from __future__ import annotations

from .chance import Chance
from .curves import PROFILES, Profile
from .patterns import (
    Form,
    Windows,
    bands,
    clock,
    front_only,
    on_sides,
    pilasters,
    portal,
    window_grid,
)  # fmt: skip
from .solids import Dress, Part, box
from .stack import Stack


def campanile(
    chance: Chance, *, stages: int, openings: int, top: str, form: Form, dial: bool
) -> list[Part]:
    """A square bell tower: stages between cornices, an open belfry, a roof."""
    half, stage = chance.uniform(3.6, 5.0), chance.uniform(6.0, 8.5)
    strips = chance.whole(2, 4)
    tower = Stack()
    tower.block(half + 0.8, 1.2, "base")
    for number in range(stages):
        windows = window_grid(
            Windows(columns=1 + number % 2, form=form, wide=0.2, high=0.4, frame=0.35)
        )
        face: Dress = windows
        if dial and number == stages - 1:
            face = on_sides(lambda f, _: clock(f, 0.5, half * 0.6))
        steps = [on_sides(lambda f, _: pilasters(f, strips, 0.09)), face]
        if number == 0:
            steps.append(front_only(lambda f: portal(f, 0.5, 2.6, 4.0, form)))
        tower.block(half, stage, "wall", on_sides(*steps))
        tower.block(half + 0.45, 0.8, "trim")
    belfry = Windows(columns=openings, form=form, wide=0.62, high=0.78, tone="dark", frame=0.14)
    tower.block(half, stage * 0.85, "wall", window_grid(belfry))
    tower.block(half + 0.7, 0.9, "trim")
    return tower.parts + tower_top(chance, (0.0, 0.0, tower.z), half, top)


def tower_top(chance: Chance, at: tuple[float, float, float], half: float, top: str) -> list[Part]:
    """What ends a square tower: a pyramid, spire, lantern, battlements or a dome's profile."""
    high = chance.uniform(0.9, 1.2) * half
    tower = Stack(*at, sides=8, turn=22.5)
    if top == "pyramid":
        tower.pyramid(half, 2.2 * high, dress=on_sides(lambda f, _: bands(f, (0.2, 0.4), 0.03)))
    elif top == "spire":
        tower.block(half, high * 0.5)
        lines = on_sides(lambda f, _: bands(f, (0.12, 0.3, 0.5), 0.02))
        tower.ring(half * 0.95, high * 4.5, "roof", lines, top=0.0)
    elif top == "lantern":
        opening = Windows(columns=1, form="round", wide=0.5, high=0.75, tone="dark")
        tower.ring(half * 0.7, 1.5 * high, "wall", window_grid(opening))
        tower.ring(half * 0.85, 1.7 * high, "roof", top=0.0)
    elif top == "battlements":
        _crenellate(tower, half * 1.12)
    else:
        profile: Profile = next(name for name in PROFILES if name == top)
        tower.dome(half * 0.92, 2.2 * high, profile, ribs=True)
        tower.ring(half * 0.08, 0.8 * high, "accent", top=0.0)
    return tower.parts


def _crenellate(tower: Stack, wide: float) -> None:
    """A jutting platform with three merlons a side."""
    tower.block(wide, 0.8, "trim")
    gap = 2 * wide / 5
    for i in range(3):
        for j in range(3):
            if i != 1 or j != 1:
                x, y = tower.x - wide + 2 * gap * i, tower.y - wide + 2 * gap * j
                high = (x + gap, y + gap, tower.z + gap)
                tower.parts.append(box((x, y, tower.z), high, "wall"))


def column(
    chance: Chance, *, steps: int, rings: int, top: str, fluted: bool, sides: int
) -> list[Part]:
    """A victory column: stepped base, pedestal, shaft with rings, a figure on top."""
    half, high = chance.uniform(2.2, 3.2), chance.uniform(18.0, 27.0)
    pile = Stack(sides=sides)
    for i in range(steps):
        pile.block(half * (3.0 - 0.45 * i), 0.9, "base")
    relief = Windows(columns=1, wide=0.7, high=0.6, tone="shade", bars=(3, 2))
    pile.block(half * 1.5, 4.5, "wall", window_grid(relief))
    pile.block(half * 1.7, 0.8, "trim")
    grooves = on_sides(lambda f, _: pilasters(f, 2, 0.22, "shade")) if fluted else None
    for i in range(rings + 1):
        radius = half * (1.0 - 0.06 * i)
        pile.ring(radius, high / (rings + 1), "wall", grooves, top=radius * 0.96)
        if i < rings:
            pile.ring(radius * 1.18, 0.9, "trim")
    pile.ring(half * 0.9, 1.2, "trim", top=half * 1.4)
    pile.block(half * 1.5, 0.6, "trim")
    return pile.parts + statue((0.0, 0.0, pile.z), half, top)


# (lower radius, upper radius, height): the radii as shares of the figure's scale.
_FIGURES: dict[str, tuple[tuple[float, float, float], ...]] = {
    "statue": ((0.75, 0.5, 2.6), (0.7, 0.4, 1.0), (0.32, 0.3, 0.8)),
    "urn": ((0.5, 0.9, 1.0), (0.9, 1.2, 1.4), (1.2, 0.3, 0.8)),
    "obelisk": ((1.1, 0.75, 5.0), (0.75, 0.0, 1.2)),
}


def statue(at: tuple[float, float, float], half: float, top: str) -> list[Part]:
    """A statue, an urn, an obelisk or a ball on a pedestal; `half` scales it (metres)."""
    pile = Stack(*at, sides=6)
    if top == "ball":
        pile.dome(half, half * 2.2, "onion", tone="accent")
    for low, high, tall in _FIGURES.get(top, ()):
        pile.ring(half * low, tall, "accent", top=half * high)
    return pile.parts
