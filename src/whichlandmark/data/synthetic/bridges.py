"""Bridges: arched stone bridges, suspension bridges and cable-stayed bridges."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ...core.types import Floats
from .facades import Windows, bands, bars, on_sides, pilasters, struts, window_grid
from .geometry import Face, Round, Solid, box, frustum, round_solid
from .seeded_random import SeededRandom
from .shapes import arch, screen
from .towers import tower_top


def arch_bridge(
    rng: SeededRandom, *, spans: int, pointed: bool, gate: str, rise: float, piers: str
) -> list[Solid]:
    """A stone bridge: piers, open arches, parapets, gate towers."""
    half, deep = rng.uniform(24.0, 32.0), rng.uniform(5.0, 7.0)
    wide = half * 2 / (spans + (spans + 1) * 0.28)
    pier = wide * 0.28
    deck = rng.uniform(9.0, 12.0)
    courses = on_sides(lambda f, _: bands(f, (0.2, 0.4, 0.6, 0.8), 0.02, "shade"))
    curve = deck * rise * 0.55
    parts = [box((-half, 0.0, 0.0), (-half + pier, deep, deck), "wall", courses)]
    for number in range(spans):
        x = -half + pier + number * (wide + pier)
        low, high = (x, 0.0, 0.0), (x + wide, deep, deck)
        parts.append(arch(low, high, deck * 0.78 - curve, curve, "wall", pointed))
        low, high = (x + wide, 0.0, 0.0), (x + wide + pier, deep, deck)
        parts.append(box(low, high, "wall", courses))
        if number < spans - 1:
            parts += _cutwater(x + wide + pier / 2, pier, deck, piers)
    parts += _parapet(half, deep, deck, spans * 6)
    for sign in {"none": (), "one": (-1.0,), "two": (-1.0, 1.0), "middle": (0.0,)}[gate]:
        parts += _gate_tower(rng, sign * (half - deep * 0.5), deep, deck + 0.6)
    return parts


def _parapet(half: float, deep: float, deck: float, posts: int) -> list[Solid]:
    rail = on_sides(lambda f, _: pilasters(f, posts, 0.006, "shade"))
    z = deck + 0.6
    return [
        box((-half, -0.3, deck), (half, deep + 0.3, z), "trim"),
        box((-half, -0.3, z), (half, 0.1, z + 1.2), "wall", rail),
        box((-half, deep - 0.1, z), (half, deep + 0.3, z + 1.2), "wall", rail),
    ]


def _cutwater(x: float, pier: float, deck: float, piers: str) -> list[Solid]:
    r = pier * 0.5
    if piers == "round":
        return [
            round_solid(Round(x=x, y=-r - 0.3, z0=0.0, z1=deck * 0.55, radius=r, sides=8), "base")
        ]
    if piers == "turret":
        return [
            round_solid(
                Round(x=x, y=-r - 0.35, z0=0.0, z1=deck + 2.6, radius=r * 0.9, sides=6), "base"
            )
        ]
    if piers == "wedge":
        return [
            frustum(
                (x - r, -2 * r - 0.3, 0.0), (x + r, -0.3, deck * 0.75), (r * 0.9, r * 0.4), "base"
            )
        ]
    return []


def _gate_tower(rng: SeededRandom, x: float, deep: float, z: float) -> list[Solid]:
    """A tower on the deck, between the parapets."""
    half = deep * 0.5 - 0.12
    y = deep * 0.5
    grid = Windows(columns=1, rows=2, form="round", wide=0.3, high=0.5, tone="dark")
    body = box(
        (x - half, y - half, z), (x + half, y + half, z + 11.0), "wall", on_sides(window_grid(grid))
    )
    return [body, *tower_top(rng, (x, y, z + 11.0), half, "pyramid")]


def suspension_bridge(
    rng: SeededRandom, *, towers: int, frame: str, cables: str, hangers: int, truss: bool
) -> list[Solid]:
    """A suspension or cable-stayed bridge."""
    half, deep = rng.uniform(36.0, 46.0), rng.uniform(6.0, 8.0)
    deck, high = rng.uniform(8.0, 11.0), rng.uniform(32.0, 40.0)
    places = {1: (0.0,), 2: (-half * 0.5, half * 0.5), 3: (-half * 0.62, 0.0, half * 0.62)}[towers]
    paint_face = on_sides(
        lambda f, s: _truss(f, towers * 12, truss) if s in ("front", "back") else None
    )
    parts = [box((-half, 0.0, deck - 2.2), (half, deep, deck), "metal", paint_face)]
    for x in places:
        parts += _portal_frame(x, deep, (deck, high), frame)
        for y in (1.0, deep - 1.0):
            parts.append(box((x - 1.6, y - 1.0, 0.0), (x + 1.6, y + 1.0, deck - 2.2), "base"))
    courses = on_sides(lambda f, _: bands(f, (0.3, 0.6), 0.03, "shade"))
    for x0, x1 in ((-half - 7.0, -half), (half, half + 7.0)):
        parts.append(box((x0, -0.5, 0.0), (x1, deep + 0.5, deck), "wall", courses))
    if cables == "sag":
        shapes = _sags(places, half, high - deck, hangers)
    else:
        shapes = _fans(places, half, high - deck, hangers, parallel=cables == "harp")
    for y in (-0.3, deep + 0.2):
        parts.append(screen((-half, y, deck), (half, y + 0.1, high), "metal", shapes))
    return parts


def _truss(face: Face, count: int, truss: bool) -> None:
    if not truss:
        bands(face, (0.3, 0.9), 0.12, "trim")
        return
    w, h = face.width, face.height
    step = w / count
    slots = [
        [(step * (i + 0.1), h * 0.15), (step * (i + 0.9), h * 0.15), (step * (i + 0.5), h * 0.8)]
        for i in range(count)
    ]
    face.paint("dark", np.array(slots))


def _portal_frame(x: float, deep: float, levels: tuple[float, float], frame: str) -> list[Solid]:
    """Two legs beside the road and the beams that join them."""
    deck, high = levels
    top = high + 2.0
    legs = [
        box(
            (x - 1.1, y0, deck),
            (x + 1.1, y1, top),
            "wall",
            on_sides(lambda f, _: bands(f, (0.25, 0.5, 0.75), 0.02, "shade")),
        )
        for y0, y1 in ((0.0, 1.1), (deep - 1.1, deep))
    ]
    beams = {
        "single": (0.95,),
        "double": (0.55, 0.95),
        "triple": (0.4, 0.67, 0.95),
        "crown": (0.88,),
    }[frame]
    for share in beams:
        z = deck + (top - deck) * share
        legs.append(box((x - 0.9, 1.1, z - 1.1), (x + 0.9, deep - 1.1, z), "trim"))
    if frame == "crown":
        legs.append(
            frustum((x - 1.8, -0.2, top), (x + 1.8, deep + 0.2, top + 4.0), (1.6, 1.0), "trim")
        )
    return legs


def _sags(places: tuple[float, ...], half: float, tall: float, hangers: int) -> list[Floats]:
    """Cables that hang between tower tops in parabolas, and the vertical hangers below them."""
    knots = [(-half, 0.04), *((x, 1.0) for x in places), (half, 0.04)]
    main: list[tuple[tuple[float, float], tuple[float, float]]] = []
    feet: list[tuple[float, float]] = []
    for (xa, ha), (xb, hb) in pairwise(knots):
        sag = 0.82 if ha == hb else 0.16

        def on_cable(t: float, a: float = ha, b: float = hb, sag: float = sag) -> float:
            return tall * max(0.03, a + (b - a) * t - sag * 4 * t * (1 - t))

        start, reach = xa + half, xb - xa
        main += pairwise([(start + reach * i / 12, on_cable(i / 12)) for i in range(13)])
        count = max(3, round(hangers * reach / half))
        feet += [(start + reach * i / count, on_cable(i / count)) for i in range(1, count)]
    return [bars((x - 0.14, 0.0, x + 0.14, y) for x, y in feet), *struts(main, 0.7)]


def _fans(
    places: tuple[float, ...],
    half: float,
    tall: float,
    hangers: int,
    parallel: bool = False,
) -> list[Floats]:
    """Straight cables from each tower down to the deck: parallel (a harp), or a fan."""
    reach = half / len(places) * 0.95
    ends = []
    for x in places:
        for sign in (-1.0, 1.0):
            for i in range(1, hangers + 1):
                share = i / hangers
                top = tall * (share if parallel else 0.82 + 0.18 * share)
                foot = min(2 * half, max(0.0, x + half + sign * reach * share))
                ends.append(((x + half, top), (foot, 0.0)))
    return struts(ends, 0.32)
