"""Landmarks with round walls: castles, arenas."""

from __future__ import annotations

from .chance import Chance
from .patterns import (
    Form,
    Windows,
    bands,
    battlements,
    on_sides,
    pilasters,
    portal,
    window_grid,
    windows,
)  # fmt: skip
from .solids import Dress, Face, Part, Side, box
from .stack import Stack
from .towers import tower_top


def castle(
    chance: Chance, *, towers: int, caps: str, keep: str, gate: Form, slits: int
) -> list[Part]:
    """Walls between round towers, a gatehouse, a keep behind.

    towers: how many of the four corners have tall towers.
    """
    half, tall = chance.uniform(15.0, 19.0), chance.uniform(8.0, 10.0)
    radius = chance.uniform(3.0, 3.8)
    slit = Windows(columns=slits, wide=0.08, high=0.3, frame=0.2, tone="dark", bars=(0, 0))
    wall = on_sides(lambda f, _: bands(f, (0.8,), 0.03, "shade"), window_grid(slit, 2 * half))
    inner = half - 1.05 * radius
    parts: list[Part] = []
    for y in (-half, half):
        for x0, x1 in ((-inner, -4.0), (4.0, inner)):
            parts += _wall((x0, y - 1.0), (x1, y + 1.0), tall, wall)
        parts += _gatehouse(y, tall, gate)
    for x in (-half, half):
        parts += _wall((x - 1.0, -inner), (x + 1.0, inner), tall, wall)
    corners = [(-half, -half), (half, -half), (half, half), (-half, half)]
    for i, at in enumerate(corners):
        chosen = i < towers
        size = (radius, tall * (1.5 if chosen else 1.25))
        parts += _round_tower(at, size, caps if chosen else "battlements", slits)
    return parts + _keep(chance, (half * 0.42, tall), keep, gate)


def _wall(
    low: tuple[float, float], high: tuple[float, float], tall: float, dress: Dress
) -> list[Part]:
    (x0, y0), (x1, y1) = low, high
    teeth = on_sides(lambda f, _: battlements(f, max(2, round(f.width / 2.2))))
    return [
        box((x0, y0, 0.0), (x1, y1, tall), "wall", dress),
        box((x0, y0, tall), (x1, y1, tall + 1.4), "trim", teeth),
    ]


def _round_tower(
    at: tuple[float, float], size: tuple[float, float], cap: str, slits: int
) -> list[Part]:
    radius, high = size
    slit = Windows(
        columns=1, rows=max(1, slits - 2), wide=0.16, high=0.3, tone="dark", frame=0.3, bars=(0, 0)
    )
    tower = Stack(*at, sides=10)
    tower.ring(radius * 1.04, high, "wall", window_grid(slit), top=radius)
    tower.ring(radius, 1.0, "trim", top=radius * 1.18)
    if cap == "cone":
        tower.ring(radius * 1.25, radius * 2.6, "roof", top=0.0)
    elif cap == "dome":
        tower.dome(radius * 1.1, radius * 1.3, "pointed")
    else:
        tower.ring(radius * 1.18, 1.5, "wall", on_sides(lambda f, _: battlements(f, 1)))
    return tower.parts


def _gatehouse(y: float, tall: float, gate: Form) -> list[Part]:
    """A tower over the gate in the wall at `y`, with doors on both sides."""
    row = Windows(columns=3, wide=0.24, high=0.6, low=0.66, top=0.92, tone="dark", form=gate)

    def dress(face: Face, side: Side) -> None:
        if side in ("front", "back"):
            portal(face, 0.5, 4.6, tall * 0.75, gate)
            windows(face, row)

    tower = Stack(0.0, y)
    top = tall * 1.3
    tower.parts.append(box((-4.0, y - 2.0, 0.0), (4.0, y + 2.0, top), "wall", dress))
    teeth = on_sides(lambda f, _: battlements(f, 3))
    tower.parts.append(box((-4.0, y - 2.0, top), (4.0, y + 2.0, top + 1.4), "trim", teeth))
    return tower.parts


def _keep(chance: Chance, size: tuple[float, float], keep: str, form: Form) -> list[Part]:
    half, tall = size
    edges = on_sides(lambda f, _: pilasters(f, 2, 0.07))
    grid = Windows(columns=3, rows=3, form=form, wide=0.24, high=0.42)
    tower = Stack()
    tower.block(half, tall * 2.1, "wall", on_sides(window_grid(grid), edges))
    if keep == "stepped":
        half *= 0.8
        upper = Windows(columns=3, form=form, wide=0.24, high=0.42)
        tower.block(half, tall * 0.7, "wall", on_sides(window_grid(upper), edges))
    top = "pyramid" if keep == "roofed" else "battlements"
    return tower.parts + tower_top(chance, (0.0, 0.0, tower.z), half, top)


def arena(
    chance: Chance, *, tiers: int, form: Form, top: str, sides: int, pilaster: bool
) -> list[Part]:
    """A round wall of arcades, storey upon storey."""
    radius, storey = chance.uniform(17.0, 21.0), chance.uniform(5.0, 6.5)
    bays = 48 // sides
    grid = Windows(
        columns=bays, form=form, wide=0.52, high=0.72, tone="dark", frame=0.14, bars=(0, 0)
    )
    steps = [window_grid(grid)]
    if pilaster:
        steps.append(on_sides(lambda f, _: pilasters(f, bays + 1, 0.05)))
    ring = Stack(sides=sides)
    ring.ring(radius * 1.06, 1.0, "base")
    for _ in range(tiers):
        ring.ring(radius, storey, "wall", on_sides(*steps))
        ring.ring(radius * 1.025, 0.7, "trim")
        radius *= 0.98
    _arena_top(ring, (radius, storey), top, bays)
    return ring.parts


def _arena_top(ring: Stack, size: tuple[float, float], top: str, bays: int) -> None:
    radius, storey = size
    if top == "attic":
        small = Windows(columns=max(1, bays // 2), wide=0.2, high=0.4, tone="dark")
        ring.ring(radius, storey * 0.8, "wall", window_grid(small))
    elif top == "cone":
        lines = on_sides(lambda f, _: pilasters(f, 2, 0.04, "dark"))
        ring.ring(radius * 0.96, storey * 1.4, "roof", lines, top=radius * 0.2)
    elif top == "dome":
        ring.dome(radius * 0.9, radius * 0.62, "round", ribs=True)
    else:
        ring.ring(radius * 0.62, storey * 0.7)
        ring.ring(radius * 0.66, storey * 0.9, "roof", top=0.0)
