"""Landmarks of worship under towers and domes: cathedrals, domed churches."""

from __future__ import annotations

from .chance import Chance
from .curves import Profile
from .patterns import Windows, bands, front_only, on_sides, pilasters, portal, rose, window_grid
from .solids import Face, Part, box, gable
from .stack import Stack
from .towers import tower_top

DEEP = 7.4  # metres of the west front that towers or side fronts take; aisles begin behind


def cathedral(
    chance: Chance, *, towers: int, top: str, bays: int, petals: int, stages: int
) -> list[Part]:
    """A long nave behind a front with towers, portals and a rose window."""
    half, long = chance.uniform(5.0, 6.5), chance.uniform(30.0, 40.0)
    wide, tall = chance.uniform(2.8, 3.6), chance.uniform(17.0, 21.0)
    ridge = tall + half * 0.9

    def middle(face: Face) -> None:
        rose(face, 0.5, 0.66, half * 0.52, petals)
        portal(face, 0.5, half * 0.95, tall * 0.36, "pointed")
        bands(face, (0.42, 0.92), 0.025)

    parts = _nave((half, long, tall), ridge, bays)
    parts.append(box((-half, 0.0, 0.0), (half, 5.0, tall), "wall", front_only(middle)))
    parts.append(gable((-half, 0.0, tall), (half, 5.0, ridge), "y"))
    door = front_only(lambda f: portal(f, 0.5, 2.6, 5.0, "pointed"))
    for number, sign in enumerate((-1.0, 1.0)):
        if number < towers:
            parts += _west_tower(chance, (sign * (half + wide), wide), (tall, stages), top)
        else:
            x0, x1 = sorted((sign * half, sign * (half + 2 * wide)))
            parts.append(box((x0, 0.0, 0.0), (x1, DEEP, tall * 0.55), "wall", door))
    if towers == 0:  # a small tower rides on the ridge instead
        rider = Stack(0.0, long * 0.62, ridge)
        rider.block(2.2, 5.0)
        parts += rider.parts + tower_top(chance, (0.0, long * 0.62, rider.z), 2.2, top)
    return parts


def _nave(size: tuple[float, float, float], ridge: float, bays: int) -> list[Part]:
    """The long body: aisles, clerestory, roof."""
    half, long, tall = size
    lancets = Windows(columns=bays, form="pointed", wide=0.38, high=0.72, frame=0.2)
    walls = on_sides(lambda f, _: pilasters(f, bays + 1, 0.03), window_grid(lancets))
    low = tall * 0.5
    parts = [
        box((-half, 5.0, low), (half, long, tall), "wall", walls),
        gable((-half, 5.0, tall), (half, long, ridge), "y"),
        box((-half, 5.0, 0.0), (half, long, low), "wall"),
    ]
    for sign in (-1.0, 1.0):
        x0, x1 = sorted((sign * half, sign * half * 1.7))
        parts.append(box((x0, DEEP, 0.0), (x1, long, low * 0.9), "wall", walls))
    return parts


def _west_tower(
    chance: Chance, plan: tuple[float, float], size: tuple[float, int], top: str
) -> list[Part]:
    (x, half), (tall, stages) = plan, size
    step = tall * 1.42 / stages
    tower = Stack(x, half)
    edges = on_sides(lambda f, _: pilasters(f, 2, 0.14))
    door = front_only(lambda f: portal(f, 0.5, half * 1.1, step * 0.7, "pointed"))
    tower.block(half, step, "wall", on_sides(edges, door))
    tower.block(half, 0.6, "trim")
    for number in range(1, stages):
        opening = Windows(columns=1 + number % 2, form="pointed", wide=0.42, high=0.66, tone="dark")
        tower.block(half, step, "wall", on_sides(edges, window_grid(opening)))
        tower.block(half, 0.6, "trim")
    return tower.parts + tower_top(chance, (x, half, tower.z), half, top)


# A dome's height as a share of its radius.
HEIGHTS: dict[Profile, float] = {
    "round": 1.0, "flat": 0.7, "pointed": 1.35, "onion": 1.5, "bell": 1.2,
}  # fmt: skip
CORNERS = ((-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0))


def domed(
    chance: Chance, *, profile: Profile, minarets: int, small: int, drum: int, porch: str
) -> list[Part]:
    """A block under a great dome on a drum, with slender towers and small domes around."""
    half, tall = chance.uniform(10.0, 13.0), chance.uniform(9.0, 12.0)
    grid = Windows(columns=5, rows=2, form="round", wide=0.42, high=0.66)
    walls = on_sides(lambda f, _: bands(f, (0.5,), 0.03), window_grid(grid))
    pile = Stack()
    pile.block(half, tall, "wall", walls)
    pile.block(half + 0.5, 0.9, "trim")
    roof = pile.z
    radius = half * chance.uniform(0.56, 0.64)
    panes = Windows(columns=1, form="round", wide=0.5, high=0.7, tone="dark")
    pile.ring(radius, radius * (0.25 + 0.2 * drum), "wall", window_grid(panes))
    pile.ring(radius * 1.06, 0.7, "trim")
    pile.dome(radius, radius * HEIGHTS[profile], profile, ribs=chance.yes(0.5))
    pile.ring(0.9, 1.6, "trim")
    pile.ring(0.6, 2.4, "accent", top=0.0)
    parts = pile.parts + _porch(half, tall, porch)
    for x, y in CORNERS[:small]:
        turret = Stack(x * half * 0.86, y * half * 0.86, roof, sides=8)
        turret.ring(half * 0.13, half * 0.13)
        turret.dome(half * 0.13, half * 0.18, profile)
        parts += turret.parts
    for x, y in CORNERS[:minarets]:
        parts += _minaret(x * (half + 3.6), y * (half + 3.6), tall)
    return parts


def _minaret(x: float, y: float, tall: float) -> list[Part]:
    tower = Stack(x, y, sides=8)
    radius = 1.5
    for step in (1.25, 0.8, 0.5):
        tower.ring(radius, tall * step)
        tower.ring(radius * 1.1, 0.8, "trim", top=radius * 1.5)
        radius *= 0.82
    tower.ring(radius, tall * 0.5, "roof", top=0.0)
    return tower.parts


def _porch(half: float, tall: float, porch: str) -> list[Part]:
    y0, y1 = -half - 4.0, -half - 0.5
    if porch == "iwan":
        wide, high = half * 0.55, tall * 1.25
        deep = front_only(lambda f: portal(f, 0.5, half * 0.75, tall, "pointed"))
        return [box((-wide, y0, 0.0), (wide, y1, high), "wall", deep)]
    if porch == "pediment":
        wide, high = half * 0.6, tall * 0.72
        fluted = front_only(lambda f: pilasters(f, 6, 0.08, "pale"))
        return [
            box((-wide, y0, 0.0), (wide, y1, high), "shade", fluted),
            gable((-wide, y0, high), (wide, y1, tall), "y"),
        ]
    wide = half * 0.9
    arcade = Windows(columns=5, form="round", wide=0.7, high=0.8, tone="dark", frame=0.1)
    return [box((-wide, y0, 0.0), (wide, y1, tall * 0.5), "wall", window_grid(arcade))]
