"""Secular landmarks: palaces, triumphal arches, castles, arenas."""

from __future__ import annotations

from .facades import (
    Form,
    Windows,
    bands,
    battlements,
    clock,
    front_only,
    on_sides,
    pilasters,
    portal,
    window_grid,
    windows,
)
from .geometry import Face, FacePainter, Side, Solid, box, frustum, gable
from .seeded_random import SeededRandom
from .shapes import Stack, arch
from .towers import statue, tower_top


def palace(
    rng: SeededRandom, *, floors: int, form: Form, centre: str, wings: int, columns: int
) -> list[Solid]:
    """A palace with a long front: rows of windows, a middle block, end pavilions.

    wings: 0 none, 1 with a cornice, 2 with a hipped roof, 3 with a dome.
    """
    half, deep = rng.uniform(24.0, 30.0), rng.uniform(9.0, 12.0)
    tall = floors * rng.uniform(3.6, 4.4) + 1.0
    middle, end = half * rng.uniform(0.2, 0.28), half * 0.2
    edge = half - (2 * end if wings else 0.0)
    grid = Windows(columns=columns, rows=floors, form=form, wide=0.42, high=0.56)
    lines = [i / floors for i in range(1, floors)]
    paint_face = on_sides(window_grid(grid, edge - middle), lambda f, _: bands(f, lines, 0.018))
    parts: list[Solid] = []
    for x0, x1 in ((-edge, -middle), (middle, edge)):
        parts.append(box((x0, 0.0, 0.0), (x1, deep, tall), "wall", paint_face))
        parts.append(box((x0, 0.0, tall), (x1, deep, tall + 0.8), "trim"))
        low, peak = (x0, 0.0, tall + 0.8), (x1, deep, tall + 3.4)
        parts.append(frustum(low, peak, (0.0, deep * 0.4), "roof"))
    parts += _middle_block(middle, (deep, tall), (floors, form), centre)
    if wings:
        pavilion = Windows(columns=3, rows=floors, form=form, wide=0.42, high=0.6)
        for x in (-half + end, half - end):
            parts += _pavilion((x - end, x + end), (deep, tall + 1.5), pavilion, wings)
    return parts


def _pavilion(
    across: tuple[float, float], size: tuple[float, float], grid: Windows, roof: int
) -> list[Solid]:
    (x0, x1), (deep, tall) = across, size
    walls = on_sides(window_grid(grid), lambda f, _: pilasters(f, 2, 0.08))
    body = box((x0, -2.0, 0.0), (x1, deep + 2.0, tall), "wall", walls)
    wide = x1 - x0
    if roof == 1:
        return [body, box((x0, -2.4, tall), (x1, deep + 2.4, tall + 1.0), "trim")]
    if roof == 2:
        peak = (x1, deep + 2.0, tall + 4.5)
        return [body, frustum((x0, -2.0, tall), peak, (wide / 4, wide / 4), "roof")]
    pile = Stack((x0 + x1) / 2, deep / 2, tall, sides=8, turn=22.5)
    pile.dome(wide / 2, wide * 0.6, "round")
    return [body, *pile.parts]


def _middle_block(
    half: float, size: tuple[float, float], rows: tuple[int, Form], centre: str
) -> list[Solid]:
    (deep, tall), (floors, form) = size, rows
    low, top = (-half, -3.0, tall + 2.0), tall + 2.0
    walls = on_sides(
        window_grid(Windows(columns=5, rows=floors, form=form, wide=0.44, high=0.6)),
        lambda f, _: pilasters(f, 6, 0.035, "pale"),
        front_only(lambda f: portal(f, 0.5, half * 0.42, tall * 0.34)),
    )
    body = box((-half, -3.0, 0.0), (half, deep, top), "wall", walls)
    if centre == "pediment":
        return [body, gable(low, (half, deep, top + half * 0.55), "y")]
    if centre == "mansard":
        attic = window_grid(Windows(columns=4, form="round", wide=0.3, high=0.5))
        slope = (half * 0.3, half * 0.3)
        return [body, frustum(low, (half, deep, top + half * 1.1), slope, "roof", attic)]
    pile = Stack(0.0, deep * 0.4, top)
    if centre == "clock":
        r = half * 0.4
        pile.block(r, r * 3, "wall", on_sides(lambda f, _: clock(f, 0.6, r * 0.7)))
        pile.pyramid(r, r * 2)
    else:
        r = half * 0.72
        panes = window_grid(Windows(columns=1, form="round", wide=0.5, high=0.7))
        pile.ring(r, r * 0.8, "wall", panes)
        pile.dome(r * 1.04, r * 1.2, "round", ribs=True)
        pile.ring(r * 0.14, r * 0.8, "trim")
    return [body, *pile.parts]


def gate(
    rng: SeededRandom, *, openings: int, attic: float, columns: int, figure: str, panels: int
) -> list[Solid]:
    """A triumphal arch: openings, half columns, an attic, figures on top."""
    middle, high = rng.uniform(5.0, 6.5), rng.uniform(10.0, 12.5)
    deep, pier = rng.uniform(4.5, 6.0), rng.uniform(2.6, 3.6)
    small = middle * 0.55
    spans = {1: (middle,), 2: (middle * 0.8, middle * 0.8), 3: (small, middle, small)}[openings]
    half = (sum(spans) + pier * (len(spans) + 1)) / 2
    paint_face = _pier(columns, panels)
    x = -half
    parts = [box((x, 0.0, 0.0), (x + pier, deep, high), "wall", paint_face)]
    for wide in spans:
        x += pier
        crown = high * (0.6 if wide == small else 0.86)
        parts.append(arch((x, 0.0, 0.0), (x + wide, deep, high), crown - wide / 2, wide / 2))
        x += wide
        parts.append(box((x, 0.0, 0.0), (x + pier, deep, high), "wall", paint_face))
    parts.append(box((-half - 0.6, -0.6, high), (half + 0.6, deep + 0.6, high + 1.1), "trim"))
    z, top = high + 1.1, high + 1.1 + attic * high
    plate = Windows(columns=openings, wide=0.8, high=0.5, tone="shade", bars=(5, 3))
    parts.append(box((-half, 0.0, z), (half, deep, top), "wall", window_grid(plate, half * 2)))
    parts.append(box((-half - 0.3, -0.3, top), (half + 0.3, deep + 0.3, top + 0.7), "trim"))
    for share in {
        "none": (),
        "middle": (0.0,),
        "ends": (-0.8, 0.8),
        "row": (-0.75, -0.25, 0.25, 0.75),
    }[figure]:
        parts += statue((half * share, deep / 2, top + 0.7), 1.3, "statue")
    return parts


def _pier(columns: int, panels: int) -> FacePainter:
    relief = Windows(columns=1, rows=panels or 1, wide=0.5, high=0.5, tone="shade", bars=(0, 0))

    def paint_face(face: Face, side: Side) -> None:
        if side == "top":
            return
        if side in ("front", "back"):
            if panels:
                windows(face, relief)
            if columns:
                pilasters(face, columns, 0.16, "pale")
        bands(face, (0.06,), 0.12, "base")

    return paint_face


def castle(
    rng: SeededRandom, *, towers: int, caps: str, keep: str, gate: Form, slits: int
) -> list[Solid]:
    """A castle: walls between round towers, gatehouses, a keep in the middle.

    towers: how many of the four corners have tall towers.
    """
    half, tall = rng.uniform(15.0, 19.0), rng.uniform(8.0, 10.0)
    radius = rng.uniform(3.0, 3.8)
    slit = Windows(columns=slits, wide=0.08, high=0.3, frame=0.2, tone="dark", bars=(0, 0))
    wall = on_sides(lambda f, _: bands(f, (0.8,), 0.03, "shade"), window_grid(slit, 2 * half))
    inner = half - 1.05 * radius
    parts: list[Solid] = []
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
    return parts + _keep(rng, (half * 0.42, tall), keep, gate)


def _wall(
    low: tuple[float, float], high: tuple[float, float], tall: float, paint_face: FacePainter
) -> list[Solid]:
    (x0, y0), (x1, y1) = low, high
    teeth = on_sides(lambda f, _: battlements(f, max(2, round(f.width / 2.2))))
    return [
        box((x0, y0, 0.0), (x1, y1, tall), "wall", paint_face),
        box((x0, y0, tall), (x1, y1, tall + 1.4), "trim", teeth),
    ]


def _round_tower(
    at: tuple[float, float], size: tuple[float, float], cap: str, slits: int
) -> list[Solid]:
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


def _gatehouse(y: float, tall: float, gate: Form) -> list[Solid]:
    """A tower over the gate in the wall at `y`, with gates on both sides."""
    row = Windows(columns=3, wide=0.24, high=0.6, low=0.66, top=0.92, tone="dark", form=gate)

    def paint_face(face: Face, side: Side) -> None:
        if side in ("front", "back"):
            portal(face, 0.5, 4.6, tall * 0.75, gate)
            windows(face, row)

    tower = Stack(0.0, y)
    top = tall * 1.3
    tower.parts.append(box((-4.0, y - 2.0, 0.0), (4.0, y + 2.0, top), "wall", paint_face))
    teeth = on_sides(lambda f, _: battlements(f, 3))
    tower.parts.append(box((-4.0, y - 2.0, top), (4.0, y + 2.0, top + 1.4), "trim", teeth))
    return tower.parts


def _keep(rng: SeededRandom, size: tuple[float, float], keep: str, form: Form) -> list[Solid]:
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
    return tower.parts + tower_top(rng, (0.0, 0.0, tower.z), half, top)


def arena(
    rng: SeededRandom, *, tiers: int, form: Form, top: str, sides: int, pilaster: bool
) -> list[Solid]:
    """An arena: a round wall of arcades in several storeys."""
    radius, storey = rng.uniform(17.0, 21.0), rng.uniform(5.0, 6.5)
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
