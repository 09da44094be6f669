"""Landmarks that stand upright: campaniles, pagodas, lattice towers, high-rises, columns."""

from __future__ import annotations

import numpy as np

from .chance import Chance
from .patterns import (
    Form, Windows, bands, bars, clock, on_sides, pilasters, portal, strut, window_grid, windows,
)  # fmt: skip
from .solids import (
    PROFILES, Dress, Face, Part, Profile, Round, Side, arch_curve, box, dome, frustum, lattice, turned,
)  # fmt: skip


def slab(half: float, z0: float, z1: float, tone: str = "trim", dress: Dress | None = None) -> Part:
    """A square block about the axis, `half` metres to each side."""
    return box((-half, -half, z0), (half, half, z1), tone, dress)


def campanile(
    chance: Chance, *, stages: int, openings: int, top: str, form: Form, dial: bool
) -> list[Part]:
    """A square bell tower: stages between cornices, an open belfry, a roof."""
    half, stage = chance.uniform(3.6, 5.0), chance.uniform(6.0, 8.5)
    parts = [slab(half + 0.8, 0.0, 1.2, "base")]
    z = 1.2
    strips = chance.whole(2, 4)
    for number in range(stages):
        grid = Windows(columns=1 + number % 2, form=form, wide=0.2, high=0.4, frame=0.35)
        steps = [lambda f, _: pilasters(f, strips, 0.09), window_grid(grid)]
        if number == 0:
            steps.append(lambda f, s: portal(f, 0.5, 2.6, 4.0, form) if s == "front" else None)
        if dial and number == stages - 1:
            steps[1] = lambda f, _: clock(f, 0.5, half * 0.6)
        parts.append(slab(half, z, z + stage, "wall", on_sides(*steps)))
        parts.append(slab(half + 0.45, z + stage, z + stage + 0.8))
        z += stage + 0.8
    belfry = Windows(columns=openings, form=form, wide=0.62, high=0.78, tone="dark", frame=0.14)
    parts.append(slab(half, z, z + stage * 0.85, "wall", on_sides(window_grid(belfry))))
    z += stage * 0.85
    parts.append(slab(half + 0.7, z, z + 0.9))
    return parts + tower_top(chance, (0.0, 0.0, z + 0.9), half, top)


def tower_top(chance: Chance, at: tuple[float, float, float], half: float, top: str) -> list[Part]:
    """What ends a square tower: pyramid, spire, dome, lantern or battlements."""
    x, y, z = at
    high = chance.uniform(0.9, 1.2) * half
    low = (x - half, y - half, z)
    if top == "pyramid":
        peak = (x + half, y + half, z + 2.2 * high)
        return [frustum(low, peak, (half, half), "roof", on_sides(lambda f, _: bands(f, (0.2, 0.4), 0.03)))]
    if top == "spire":
        foot = box(low, (x + half, y + half, z + high * 0.5), "wall")
        needle = Round(x=x, y=y, z0=z + high * 0.5, z1=z + high * 5.0, radius=half * 0.95, top=0.0, sides=8, turn=22.5)
        return [foot, turned(needle, "roof", on_sides(lambda f, _: bands(f, (0.12, 0.3, 0.5), 0.02)))]
    if top in PROFILES:
        shape = Round(x=x, y=y, z0=z, z1=z + 2.2 * high, radius=half * 0.92, sides=8, turn=22.5)
        ball = Round(x=x, y=y, z0=z + 2.2 * high, z1=z + 3.0 * high, radius=half * 0.08, top=0.0, sides=6)
        return [*dome(shape, top, ribs=True), turned(ball, "accent")]  # type: ignore[arg-type]
    if top == "lantern":
        drum = Round(x=x, y=y, z0=z, z1=z + 1.5 * high, radius=half * 0.7, sides=8)
        cap = Round(x=x, y=y, z0=z + 1.5 * high, z1=z + 3.2 * high, radius=half * 0.85, top=0.0, sides=8)
        grid = Windows(columns=1, form="round", wide=0.5, high=0.75, tone="dark")
        return [turned(drum, "wall", on_sides(window_grid(grid))), turned(cap, "roof")]
    wide = half * 1.12
    count = 3
    gap = 2 * wide / (2 * count - 1)
    teeth = []
    for i in range(count):
        for j in range(count):
            if i in (0, count - 1) or j in (0, count - 1):
                a, b = x - wide + 2 * gap * i, y - wide + 2 * gap * j
                teeth.append(box((a, b, z + 0.8), (a + gap, b + gap, z + 0.8 + gap), "wall"))
    return [box((x - wide, y - wide, z), (x + wide, y + wide, z + 0.8), "trim"), *teeth]


def pagoda(
    chance: Chance, *, tiers: int, sides: int, eaves: str, finial: str, form: Form
) -> list[Part]:
    """Storeys under wide roofs, each smaller than the one below."""
    radius, storey = chance.uniform(6.0, 8.0), chance.uniform(2.6, 3.6)
    shrink, reach = chance.uniform(0.5, 0.7), chance.uniform(1.4, 1.6)
    turn = 0.0 if sides == 4 else 22.5
    stretch = 1.4142 if sides == 4 else 1.08

    def ring(z0: float, z1: float, low: float, high: float, tone: str, dress: Dress | None) -> Part:
        shape = Round(z0=z0, z1=z1, radius=low * stretch, top=high * stretch, sides=sides, turn=turn)
        return turned(shape, tone, dress)

    tiles = on_sides(lambda f, _: _tiles(f, 7 if sides == 4 else 4))
    per_side = 3 if sides == 4 else 1
    grid = Windows(columns=per_side, form=form, wide=0.46, high=0.6, frame=0.12, bars=(2, 2))
    parts = [ring(0.0, 1.0, radius * 1.7, radius * 1.6, "base", None)]
    z = 1.0
    for number in range(tiles_count := tiers):
        r = radius * (1.0 - shrink * number / tiles_count)
        dress = on_sides(lambda f, _: pilasters(f, per_side + 1, 0.06, "accent"), window_grid(grid))
        parts.append(ring(z, z + storey, r, r, "wall", dress))
        z += storey
        rise = storey * (0.55 if eaves == "straight" else 0.3)
        if eaves == "flared":
            parts.append(ring(z, z + rise, r * reach, r * 1.16, "roof", tiles))
            z += rise
            parts.append(ring(z, z + rise * 1.6, r * 1.16, r * 0.9, "roof", tiles))
            z += rise * 1.6
        else:
            parts.append(ring(z, z + rise, r * reach, r * 0.92, "roof", tiles))
            z += rise
        storey *= 0.95
    r *= 0.9
    if finial == "cone":
        parts.append(ring(z, z + storey * 1.2, r, 0.0, "roof", tiles))
        z += storey * 1.2
    for i in range(5 if finial == "rings" else 1):
        wide = 0.9 - 0.12 * i
        parts.append(ring(z, z + 0.5, wide, wide, "accent", None))
        parts.append(ring(z + 0.5, z + 0.9, 0.3, 0.3, "accent", None))
        z += 0.9
    parts.append(ring(z, z + 3.0, 0.3, 0.0, "accent", None))
    return parts


def _tiles(face: Face, count: int) -> None:
    """Ridges of tiles down a roof, and its bright edge."""
    w = face.width
    thin = w * 0.012
    face.paint("dark", bars((w * i / count - thin, 0.0, w * i / count + thin, face.height) for i in range(1, count)))
    bands(face, (0.06,), 0.12, "trim")


def lattice_tower(
    chance: Chance, *, levels: int, arched: bool, platforms: int, cap: str, brace: str
) -> list[Part]:
    """An iron tower: a cage that tapers in levels, platforms, a cabin or a mast on top."""
    half, high = chance.uniform(11.0, 15.0), chance.uniform(62.0, 84.0)
    waist = chance.uniform(0.28, 0.4)
    parts: list[Part] = []
    z, r = 0.0, half
    for number in range(levels):
        share = (number + 1) / levels
        step = high / levels * (1.35 - 0.7 * number / max(1, levels - 1))
        slope = (1.0 - share) ** 1 * (1.0 - waist * share)
        after = half * (0.08 + 0.92 * slope * (1.0 - waist * (1 - share) * share * 2))
        inset = r - after
        opened = arched and number == 0
        dress: Dress = lambda f, _, o=opened: _girders(f, brace, o)  # type: ignore[misc]
        parts.append(lattice((-r, -r, z), (r, r, z + step), (inset, inset), dress))
        z, r = z + step, after
        if number < platforms:
            deck = r * 1.18 + 0.4
            rail = on_sides(lambda f, _: pilasters(f, 13, 0.02, "dark"))
            parts.append(slab(deck, z, z + 1.8, "metal", rail))
            z += 1.8
    if cap == "cabin":
        grid = Windows(columns=3, wide=0.6, high=0.5)
        parts.append(slab(r * 1.9, z, z + 2.4, "metal", on_sides(window_grid(grid))))
        z += 2.4
    if cap == "dome":
        parts += dome(Round(z0=z, z1=z + 3.4, radius=r * 1.7, sides=8), "round", "metal")
        z += 3.4
    parts.append(frustum((-0.5, -0.5, z), (0.5, 0.5, z + high * 0.13), (0.4, 0.4), "metal"))
    return parts


def _girders(face: Face, brace: str, arched: bool) -> None:
    """Bars of one cage side: its legs, its rims, and the bracing between."""
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


def high_rise(
    chance: Chance, *, plan: str, setbacks: int, crown: str, skin: str
) -> list[Part]:
    """A modern tower of glass and bands, stepping back as it rises."""
    half, high = chance.uniform(9.0, 12.0), chance.uniform(70.0, 105.0)
    sides = {"square": 4, "hexagon": 6, "round": 16}[plan]
    turn = 0.0 if sides == 4 else 180.0 / sides
    stretch = 1.4142 if sides == 4 else 1.04
    columns, floors = {4: 9, 6: 6, 16: 2}[sides], chance.whole(9, 13)
    parts = []
    z = 0.0
    for number in range(setbacks + 1):
        r = half * (1.0 - 0.17 * number) * stretch
        step = high * (0.5, 0.27, 0.18, 0.12)[number] * (1.5 if setbacks == 0 else 1.0)
        rows = max(2, round(floors * step / high * 1.6))
        dress = on_sides(lambda f, _, n=rows: _skin(f, skin, columns, n))  # type: ignore[misc]
        parts.append(turned(Round(z0=z, z1=z + step, radius=r, sides=sides, turn=turn), "wall", dress))
        rim = Round(z0=z + step, z1=z + step + 1.2, radius=r * 1.02, sides=sides, turn=turn)
        parts.append(turned(rim, "trim"))
        z += step + 1.2
    r *= 0.9
    if crown == "pyramid":
        parts.append(turned(Round(z0=z, z1=z + r * 1.8, radius=r, top=0.0, sides=sides, turn=turn), "roof"))
    elif crown == "spire":
        parts.append(turned(Round(z0=z, z1=z + 4.0, radius=r * 0.6, top=r * 0.4, sides=sides, turn=turn)))
        parts.append(turned(Round(z0=z + 4.0, z1=z + high * 0.3, radius=r * 0.18, top=0.0, sides=6), "metal"))
    elif crown == "disc":
        parts.append(turned(Round(z0=z, z1=z + 5.0, radius=r * 0.5, sides=8)))
        parts.append(turned(Round(z0=z + 5.0, z1=z + 8.0, radius=r * 1.25, sides=16), "trim"))
    else:
        parts.append(turned(Round(z0=z, z1=z + 3.0, radius=r * 0.7, sides=sides, turn=turn), "shade"))
    return parts


def _skin(face: Face, skin: str, columns: int, rows: int) -> None:
    if skin == "grid":
        windows(face, Windows(columns=columns, rows=rows * 2, wide=0.66, high=0.6, frame=0.0, bars=(0, 0)))
    elif skin == "upright":
        windows(face, Windows(columns=columns, rows=1, wide=0.56, high=0.97, frame=0.0, bars=(0, 0), top=1.0, low=0.0))
        bands(face, [i / rows for i in range(1, rows)], 0.012, "shade")
    else:
        windows(face, Windows(columns=1, rows=rows * 2, wide=1.0, high=0.52, frame=0.0, bars=(columns - 1, 0)))


def column(
    chance: Chance, *, steps: int, rings: int, top: str, fluted: bool, sides: int
) -> list[Part]:
    """A victory column: stepped base, pedestal, shaft with rings, a figure on top."""
    half, high = chance.uniform(2.2, 3.2), chance.uniform(18.0, 27.0)
    parts = []
    z = 0.0
    for i in range(steps):
        parts.append(slab(half * (3.0 - 0.45 * i), z, z + 0.9, "base"))
        z += 0.9
    relief = Windows(columns=1, wide=0.7, high=0.6, tone="shade", bars=(3, 2))
    parts.append(slab(half * 1.5, z, z + 4.5, "wall", on_sides(window_grid(relief))))
    parts.append(slab(half * 1.7, z + 4.5, z + 5.3))
    z += 5.3
    grooves = on_sides(lambda f, _: pilasters(f, 2, 0.22, "shade")) if fluted else None
    piece = high / (rings + 1)
    for i in range(rings + 1):
        r = half * (1.0 - 0.06 * i)
        parts.append(turned(Round(z0=z, z1=z + piece, radius=r, top=r * 0.96, sides=sides), "wall", grooves))
        z += piece
        if i < rings:
            parts.append(turned(Round(z0=z, z1=z + 0.9, radius=r * 1.18, sides=sides), "trim"))
            z += 0.9
    parts.append(turned(Round(z0=z, z1=z + 1.2, radius=half * 0.9, top=half * 1.4, sides=sides), "trim"))
    parts.append(slab(half * 1.5, z + 1.2, z + 1.8))
    return parts + _figure(z + 1.8, half, top)


def _figure(z: float, half: float, top: str) -> list[Part]:
    if top == "ball":
        return dome(Round(z0=z, z1=z + half * 2.2, radius=half, sides=8), "onion", "accent")
    if top == "urn":
        shapes = ((0.5, 0.9, 1.0), (0.9, 1.2, 1.4), (1.2, 0.3, 0.8))
    elif top == "obelisk":
        shapes = ((1.1, 0.75, 5.0), (0.75, 0.0, 1.2))
    else:  # a statue: robe, shoulders, head
        shapes = ((0.75, 0.5, 2.6), (0.7, 0.4, 1.0), (0.32, 0.3, 0.8))
    parts = []
    for low, high, tall in shapes:
        parts.append(turned(Round(z0=z, z1=z + tall, radius=half * low, top=half * high, sides=6), "accent"))
        z += tall
    return parts


__all__ = ["Profile", "campanile", "column", "high_rise", "lattice_tower", "pagoda", "slab", "tower_top"]
