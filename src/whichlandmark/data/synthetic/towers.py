"""Tall landmarks: pagodas, lattice towers, high-rises, bell towers, victory columns."""

from __future__ import annotations

from functools import partial

import numpy as np

from .facades import (
    Form,
    Windows,
    bands,
    bars,
    clock,
    front_only,
    on_sides,
    pilasters,
    portal,
    strut,
    window_grid,
    windows,
)
from .geometry import Face, FacePainter, Side, Solid, box
from .seeded_random import SeededRandom
from .shapes import PROFILES, Profile, Stack, arch_curve, lattice

# (lower radius, upper radius, height): the radii as shares of the figure's scale.
_FIGURES: dict[str, tuple[tuple[float, float, float], ...]] = {
    "statue": ((0.75, 0.5, 2.6), (0.7, 0.4, 1.0), (0.32, 0.3, 0.8)),
    "urn": ((0.5, 0.9, 1.0), (0.9, 1.2, 1.4), (1.2, 0.3, 0.8)),
    "obelisk": ((1.1, 0.75, 5.0), (0.75, 0.0, 1.2)),
}


def pagoda(
    rng: SeededRandom, *, tiers: int, sides: int, eaves: str, finial: str, form: Form
) -> list[Solid]:
    """Storeys under wide roofs, each smaller than the one below."""
    stretch = 1.4142 if sides == 4 else 1.08  # circumradius / half width
    radius, storey = stretch * rng.uniform(6.0, 8.0), rng.uniform(2.6, 3.6)
    shrink, reach = rng.uniform(0.5, 0.7), rng.uniform(1.4, 1.6)
    bays = 3 if sides == 4 else 1
    grid = Windows(columns=bays, form=form, wide=0.46, high=0.6, frame=0.12, bars=(2, 2))
    posts = on_sides(lambda f, _: pilasters(f, bays + 1, 0.06, "accent"), window_grid(grid))
    tower = Stack(sides=sides, turn=0.0 if sides == 4 else 22.5)
    tower.ring(radius * 1.7, 1.0, "base", top=radius * 1.6)
    for number in range(tiers):
        wide = radius * (1.0 - shrink * number / tiers)
        tower.ring(wide, storey, "wall", posts)
        _eaves(tower, (wide, storey), reach, eaves == "flared")
        storey *= 0.95
    if finial == "cone":
        tower.ring(wide * 0.9, storey * 1.2, "roof", top=0.0)
    for i in range(5 if finial == "rings" else 1):
        tower.ring(1.0 - 0.12 * i, 0.5, "accent")
        tower.ring(0.35, 0.4, "accent")
    tower.ring(0.35, 3.0, "accent", top=0.0)
    return tower.parts


def _eaves(tower: Stack, size: tuple[float, float], reach: float, flared: bool) -> None:
    """An overhanging roof: one slope, or a flat slope below a steep one."""
    wide, storey = size
    tiles = on_sides(lambda f, _: _tiles(f, 7 if tower.sides == 4 else 4))
    if not flared:
        tower.ring(wide * reach, storey * 0.55, "roof", tiles, top=wide * 0.92)
        return
    tower.ring(wide * reach, storey * 0.3, "roof", tiles, top=wide * 1.16)
    tower.ring(wide * 1.16, storey * 0.48, "roof", tiles, top=wide * 0.9)


def _tiles(face: Face, count: int) -> None:
    """Paint the ridges of a tiled roof and its bright lower edge."""
    w = face.width
    ridges = [w * i / count for i in range(1, count)]
    face.paint("dark", bars((x - w * 0.012, 0.0, x + w * 0.012, face.height) for x in ridges))
    bands(face, (0.06,), 0.12, "trim")


def lattice_tower(
    rng: SeededRandom, *, levels: int, arched: bool, platforms: int, cap: str, brace: str
) -> list[Solid]:
    """An iron tower: a lattice that tapers in levels, platforms, a cabin or a mast on top."""
    half, high = rng.uniform(11.0, 15.0), rng.uniform(62.0, 84.0)
    waist = rng.uniform(0.28, 0.4)
    rail = on_sides(lambda f, _: pilasters(f, 13, 0.02, "dark"))
    tower = Stack(sides=8)
    r = half
    for number in range(levels):
        share = (number + 1) / levels
        step = high / levels * (1.35 - 0.7 * number / (levels - 1))
        slope = (1.0 - share) * (1.0 - waist * share) * (1.0 - waist * (1 - share) * share * 2)
        narrower = half * (0.08 + 0.92 * slope)
        girders = partial(_girders, brace=brace, arched=arched and number == 0)
        low, top = (-r, -r, tower.z), (r, r, tower.z + step)
        tower.parts.append(lattice(low, top, (r - narrower, r - narrower), girders))
        tower.z, r = tower.z + step, narrower
        if number < platforms:
            tower.block(r * 1.18 + 0.4, 1.8, "metal", rail)
    if cap == "cabin":
        tower.block(r * 1.9, 2.4, "metal", window_grid(Windows(columns=3, wide=0.6, high=0.5)))
    elif cap == "dome":
        tower.dome(r * 1.7, 3.4, "round", tone="metal")
    tower.ring(0.6, high * 0.13, "metal", top=0.1)
    return tower.parts


def _girders(face: Face, _side: Side, *, brace: str, arched: bool) -> None:
    """Paint the bars of one side of a level: legs, rims, and the bracing between them."""
    w, h = face.width, face.height
    leg = w * 0.13
    face.paint("metal", bars([(0.0, 0.0, leg, h), (w - leg, 0.0, w, h)]))
    face.paint("metal", bars([(0.0, h * 0.93, w, h)]))
    if arched:
        outer = [(w * a, h * 0.62 * b) for a, b in arch_curve(False, 12)]
        inner = [(w * (0.08 + 0.84 * a), h * 0.54 * b) for a, b in arch_curve(False, 12)]
        face.paint("metal", np.array([outer + inner[::-1]]))
    low = h * 0.6 if arched else 0.0
    panels = 2 if arched else 1
    thin = w * 0.05
    for i in range(panels):
        a, b = leg + (w - 2 * leg) * i / panels, leg + (w - 2 * leg) * (i + 1) / panels
        up, down = strut((a, low), (b, h), thin), strut((a, h), (b, low), thin)
        if brace in ("cross", "rise"):
            face.paint("metal", np.array([up]))
        if brace in ("cross", "fall"):
            face.paint("metal", np.array([down]))
        if brace == "ladder":
            rungs = [low + (h - low) * k / 4 for k in (1, 2, 3)]
            face.paint("metal", bars((a, y - thin / 2, b, y + thin / 2) for y in rungs))


def high_rise(rng: SeededRandom, *, plan: str, setbacks: int, crown: str, skin: str) -> list[Solid]:
    """A modern tower with glass or banded walls that gets narrower in steps."""
    half, high = rng.uniform(9.0, 12.0), rng.uniform(70.0, 105.0)
    sides, columns, stretch = {
        "square": (4, 9, 1.4142), "hexagon": (6, 6, 1.04), "round": (16, 2, 1.04),
    }[plan]  # fmt: skip
    floors = rng.integer(9, 13)
    tower = Stack(sides=sides, turn=0.0 if sides == 4 else 180.0 / sides)
    for number in range(setbacks + 1):
        radius = half * (1.0 - 0.17 * number) * stretch
        step = high * (0.5, 0.27, 0.18, 0.12)[number] * (1.5 if setbacks == 0 else 1.0)
        rows = max(2, round(floors * step / high * 1.6))
        tower.ring(radius, step, "wall", on_sides(partial(_skin, skin=skin, grid=(columns, rows))))
        tower.ring(radius * 1.02, 1.2, "trim")
    _crown(tower, radius * 0.9, high, crown)
    return tower.parts


def _crown(tower: Stack, radius: float, high: float, crown: str) -> None:
    if crown == "pyramid":
        tower.ring(radius, radius * 1.8, "roof", top=0.0)
    elif crown == "spire":
        tower.ring(radius * 0.6, 4.0, "wall", top=radius * 0.4)
        tower.ring(radius * 0.18, high * 0.3 - 4.0, "metal", top=0.0)
    elif crown == "disc":
        tower.ring(radius * 0.5, 5.0)
        tower.sides = 16
        tower.ring(radius * 1.25, 3.0, "trim")
    else:
        tower.ring(radius * 0.7, 3.0, "shade")


def _skin(face: Face, _side: Side, *, skin: str, grid: tuple[int, int]) -> None:
    """Paint windows in a grid, in vertical strips or in bands."""
    columns, rows = grid
    if skin == "grid":
        shape = Windows(columns=columns, rows=rows * 2, wide=0.66, frame=0.0, bars=(0, 0))
        windows(face, shape)
    elif skin == "upright":
        shape = Windows(
            columns=columns, wide=0.56, high=0.97, frame=0.0, bars=(0, 0), low=0.0, top=1.0
        )
        windows(face, shape)
        bands(face, [i / rows for i in range(1, rows)], 0.012, "shade")
    else:
        shape = Windows(
            columns=1, rows=rows * 2, wide=1.0, high=0.52, frame=0.0, bars=(columns - 1, 0)
        )
        windows(face, shape)


def campanile(
    rng: SeededRandom, *, stages: int, openings: int, top: str, form: Form, dial: bool
) -> list[Solid]:
    """A square bell tower: stages between cornices, an open belfry, a roof."""
    half, stage = rng.uniform(3.6, 5.0), rng.uniform(6.0, 8.5)
    strips = rng.integer(2, 4)
    tower = Stack()
    tower.block(half + 0.8, 1.2, "base")
    for number in range(stages):
        windows = window_grid(
            Windows(columns=1 + number % 2, form=form, wide=0.2, high=0.4, frame=0.35)
        )
        face: FacePainter = windows
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
    return tower.parts + tower_top(rng, (0.0, 0.0, tower.z), half, top)


def tower_top(
    rng: SeededRandom, at: tuple[float, float, float], half: float, top: str
) -> list[Solid]:
    """A square tower's top: "pyramid", "spire", "lantern", "battlements" or a dome's profile."""
    high = rng.uniform(0.9, 1.2) * half
    tower = Stack(*at, sides=8, turn=22.5)
    if top == "pyramid":
        tower.pyramid(
            half, 2.2 * high, paint_face=on_sides(lambda f, _: bands(f, (0.2, 0.4), 0.03))
        )
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
    """Add an overhanging platform with three merlons on each side."""
    tower.block(wide, 0.8, "trim")
    gap = 2 * wide / 5
    for i in range(3):
        for j in range(3):
            if i != 1 or j != 1:
                x, y = tower.x - wide + 2 * gap * i, tower.y - wide + 2 * gap * j
                high = (x + gap, y + gap, tower.z + gap)
                tower.parts.append(box((x, y, tower.z), high, "wall"))


def column(
    rng: SeededRandom, *, steps: int, rings: int, top: str, fluted: bool, sides: int
) -> list[Solid]:
    """A victory column: stepped base, pedestal, shaft with rings, a figure on top."""
    half, high = rng.uniform(2.2, 3.2), rng.uniform(18.0, 27.0)
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


def statue(at: tuple[float, float, float], half: float, top: str) -> list[Solid]:
    """A statue, an urn, an obelisk or a ball on a pedestal; `half` scales it (metres)."""
    pile = Stack(*at, sides=6)
    if top == "ball":
        pile.dome(half, half * 2.2, "onion", tone="accent")
    for low, high, tall in _FIGURES.get(top, ()):
        pile.ring(half * low, tall, "accent", top=half * high)
    return pile.parts
