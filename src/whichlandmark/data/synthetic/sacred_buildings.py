"""Religious landmarks: cathedrals, domed buildings, temples, stepped pyramids."""

from __future__ import annotations

from .facades import (
    Windows,
    bands,
    bar,
    front_only,
    on_sides,
    pilasters,
    portal,
    rose,
    window_grid,
    windows,
)
from .geometry import Face, FacePainter, Round, Side, Solid, box, frustum, gable, round_solid
from .seeded_random import SeededRandom
from .shapes import Profile, Stack
from .towers import tower_top

WEST_FRONT_DEPTH = 7.4  # metres that towers or side fronts take; the aisles begin behind them

# A dome's height as a share of its radius.
DOME_HEIGHTS: dict[Profile, float] = {
    "round": 1.0, "flat": 0.7, "pointed": 1.35, "onion": 1.5, "bell": 1.2,
}  # fmt: skip

CORNERS = ((-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0))


def cathedral(
    rng: SeededRandom, *, towers: int, top: str, bays: int, petals: int, stages: int
) -> list[Solid]:
    """A cathedral: a long nave behind a west front with towers, portals and a rose window."""
    half, long = rng.uniform(5.0, 6.5), rng.uniform(30.0, 40.0)
    wide, tall = rng.uniform(2.8, 3.6), rng.uniform(17.0, 21.0)
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
            parts += _west_tower(rng, (sign * (half + wide), wide), (tall, stages), top)
        else:
            x0, x1 = sorted((sign * half, sign * (half + 2 * wide)))
            parts.append(box((x0, 0.0, 0.0), (x1, WEST_FRONT_DEPTH, tall * 0.55), "wall", door))
    if towers == 0:  # then a small tower is on the ridge
        rider = Stack(0.0, long * 0.62, ridge)
        rider.block(2.2, 5.0)
        parts += rider.parts + tower_top(rng, (0.0, long * 0.62, rider.z), 2.2, top)
    return parts


def _nave(size: tuple[float, float, float], ridge: float, bays: int) -> list[Solid]:
    """The nave with its aisles, clerestory and roof."""
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
        parts.append(box((x0, WEST_FRONT_DEPTH, 0.0), (x1, long, low * 0.9), "wall", walls))
    return parts


def _west_tower(
    rng: SeededRandom, plan: tuple[float, float], size: tuple[float, int], top: str
) -> list[Solid]:
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
    return tower.parts + tower_top(rng, (x, half, tower.z), half, top)


def domed(
    rng: SeededRandom, *, profile: Profile, minarets: int, small: int, drum: int, porch: str
) -> list[Solid]:
    """A block under a large dome on a drum, with minarets and small domes around it."""
    half, tall = rng.uniform(10.0, 13.0), rng.uniform(9.0, 12.0)
    grid = Windows(columns=5, rows=2, form="round", wide=0.42, high=0.66)
    walls = on_sides(lambda f, _: bands(f, (0.5,), 0.03), window_grid(grid))
    pile = Stack()
    pile.block(half, tall, "wall", walls)
    pile.block(half + 0.5, 0.9, "trim")
    roof = pile.z
    radius = half * rng.uniform(0.56, 0.64)
    panes = Windows(columns=1, form="round", wide=0.5, high=0.7, tone="dark")
    pile.ring(radius, radius * (0.25 + 0.2 * drum), "wall", window_grid(panes))
    pile.ring(radius * 1.06, 0.7, "trim")
    pile.dome(radius, radius * DOME_HEIGHTS[profile], profile, ribs=rng.bernoulli(0.5))
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


def _minaret(x: float, y: float, tall: float) -> list[Solid]:
    tower = Stack(x, y, sides=8)
    radius = 1.5
    for step in (1.25, 0.8, 0.5):
        tower.ring(radius, tall * step)
        tower.ring(radius * 1.1, 0.8, "trim", top=radius * 1.5)
        radius *= 0.82
    tower.ring(radius, tall * 0.5, "roof", top=0.0)
    return tower.parts


def _porch(half: float, tall: float, porch: str) -> list[Solid]:
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


def temple(
    rng: SeededRandom, *, columns: int, steps: int, pediment: str, order: str, depth: int
) -> list[Solid]:
    """A temple: columns around a hall, on steps, under a low roof; the front row is at y = 0."""
    gap, high = rng.uniform(2.3, 3.0), rng.uniform(8.0, 11.0)
    half, deep = gap * (columns - 1) / 2, gap * depth
    thick = gap * rng.uniform(0.26, 0.34)
    parts = []
    for i in range(steps):
        out, z = 1.2 + 0.7 * (steps - 1 - i), 0.7 * i
        parts.append(box((-half - out, -out, z), (half + out, deep + out, z + 0.7), "base"))
    floor = 0.7 * steps
    spots = [(-half + gap * i, 0.0) for i in range(columns)]
    spots += [(sign * half, gap * j) for sign in (-1, 1) for j in range(1, depth + 1)]
    for at in spots:
        parts += _column(at, (floor, floor + high), thick, order)
    door = front_only(lambda f: portal(f, 0.5, gap * 1.1, high * 0.7, "square"))
    inner = half - gap * 0.7
    parts.append(box((-inner, gap * 0.9, floor), (inner, deep, floor + high), "shade", door))
    out = thick * 1.7
    frieze = Windows(
        columns=columns * 2 - 1, wide=0.4, high=0.5, low=0.45, frame=0.0, bars=(1, 0), tone="shade"
    )
    low, top = (-half - out, -out, floor + high), (half + out, deep + out, floor + high + 2.0)
    parts.append(box(low, top, "wall", window_grid(frieze)))
    return parts + _temple_roof((half, out, deep), floor + high + 2.0, pediment, columns)


def _temple_roof(
    size: tuple[float, float, float], z: float, pediment: str, columns: int
) -> list[Solid]:
    half, out, deep = size
    if pediment == "gable":
        relief = Windows(
            columns=5,
            form="round",
            wide=0.5,
            high=0.7,
            left=0.3,
            right=0.7,
            low=0.1,
            top=0.5,
            tone="shade",
            bars=(0, 0),
        )
        peak = (half + out, deep + out, z + half * 0.34)
        painted = front_only(lambda f: windows(f, relief))
        return [gable((-half - out, -out, z), peak, "y", "roof", painted)]
    if pediment == "attic":
        panel = window_grid(Windows(columns=columns - 1, wide=0.7, tone="shade", bars=(2, 0)))
        return [box((-half, 0.0, z), (half, deep, z + half * 0.4), "wall", panel)]
    pile = Stack(0.0, deep / 2, z + 1.0)
    radius = min(2 * half, deep) * 0.36
    pile.dome(radius, radius, "round")
    return [box((-half, 0.0, z), (half, deep, z + 1.0), "trim"), *pile.parts]


def _column(
    at: tuple[float, float], span: tuple[float, float], thick: float, order: str
) -> list[Solid]:
    (x, y), (low, high) = at, span
    neck = high - {"plain": 0.5, "slab": 0.9, "flared": 1.4}[order]
    shaft = round_solid(
        Round(x=x, y=y, z0=low, z1=neck, radius=thick, top=thick * 0.84, sides=8),
        "pale",
        on_sides(lambda f, _: pilasters(f, 2, 0.2, "shade")),
    )
    if order == "flared":
        bell = Round(x=x, y=y, z0=neck, z1=high, radius=thick * 0.85, top=thick * 1.42, sides=8)
        return [shaft, round_solid(bell, "trim")]
    r = thick * 1.3
    return [shaft, box((x - r, y - r, neck), (x + r, y + r, high), "trim")]


def stepped_pyramid(
    rng: SeededRandom, *, steps: int, stairs: int, shrine: str, slope: float, panels: int
) -> list[Solid]:
    """A stepped pyramid: terraces that shrink upwards, broad stairs, a shrine on top."""
    half, rise = rng.uniform(17.0, 22.0), rng.uniform(2.4, 3.4)
    last = half * rng.uniform(0.26, 0.36)
    paint_face = _terrace(stairs, panels, half * 0.16)
    lean = (rise * slope, rise * slope)
    parts = []
    for i in range(steps):
        r, z = half + (last - half) * i / (steps - 1), rise * i
        parts.append(frustum((-r, -r, z), (r, r, z + rise), lean, "wall", paint_face))
    return parts + _shrine((last * 0.6, rng.uniform(3.6, 5.0)), rise * steps, shrine)


def _shrine(size: tuple[float, float], z: float, shrine: str) -> list[Solid]:
    half, high = size
    if shrine == "none":
        return []
    pile = Stack(z=z, sides=10)
    doors = Windows(
        columns=3 if shrine == "comb" else 1, wide=0.5, high=0.8, low=0.0, top=0.8, tone="dark"
    )
    pile.block(half, high, "wall", window_grid(doors))
    if shrine == "comb":  # a pierced wall along the ridge
        holes = window_grid(Windows(columns=6, rows=2, tone="dark"))
        top = (half, 0.6, pile.z + high)
        pile.parts.append(box((-half, -0.6, pile.z), top, "trim", holes))
    elif shrine == "roof":
        pile.pyramid(half * 1.2, high * 0.9)
    else:
        pile.dome(half, half, "bell")
    return pile.parts


def _terrace(stairs: int, panels: int, wide: float) -> FacePainter:
    """Paint one terrace: a rim, sunken panels, and a stair 2 · wide metres wide on some sides.

    stairs: the number of sides with a stair, 1, 2 or 4.
    """
    climbed: dict[int, tuple[Side, ...]] = {
        1: ("front",), 2: ("front", "back"), 4: ("front", "right", "back", "left"),
    }  # fmt: skip

    def paint_face(face: Face, side: Side) -> None:
        if side == "top":
            return
        bands(face, (0.93,), 0.12, "trim")
        if panels:
            count = max(2, round(panels * face.width / 30.0))
            windows(
                face,
                Windows(
                    columns=count, low=0.1, top=0.85, high=0.5, tone="shade", frame=0.0, bars=(0, 0)
                ),
            )
        if side in climbed[stairs]:
            _stair(face, wide)

    return paint_face


def _stair(face: Face, wide: float) -> None:
    """Paint a stair in the middle of a face: pale side walls and five dark treads."""
    middle, edge = face.width / 2, wide * 1.15
    face.paint("pale", bar(middle - edge, 0.0, middle + edge, face.height))
    share = wide / face.width
    treads = Windows(
        columns=1,
        rows=5,
        wide=1.0,
        high=0.5,
        left=0.5 - share,
        right=0.5 + share,
        low=0.0,
        top=1.0,
        frame=0.0,
        bars=(0, 0),
        tone="shade",
    )
    windows(face, treads)
