"""Landmarks of the city: palaces, castles, triumphal arches, arenas."""

from __future__ import annotations

from .chance import Chance
from .patterns import (
    Form, Windows, bands, battlements, on_sides, pilasters, portal, window_grid, windows,
)  # fmt: skip
from .solids import Face, Part, Profile, Round, Side, arch, box, dome, frustum, gable, turned
from .towers import _figure, tower_top


def palace(
    chance: Chance, *, floors: int, form: Form, centre: str, wings: int, columns: int
) -> list[Part]:
    """A long front: rows of windows, a middle block with pediment or dome, end pavilions."""
    half, deep = chance.uniform(24.0, 30.0), chance.uniform(9.0, 12.0)
    storey = chance.uniform(3.6, 4.4)
    tall = floors * storey + 1.0
    mid, end = half * chance.uniform(0.2, 0.28), half * 0.2
    parts: list[Part] = []
    edge = half - (2 * end if wings else 0.0)
    grid = Windows(columns=columns, rows=floors, form=form, wide=0.42, high=0.56)
    dress = on_sides(window_grid(grid, edge - mid), lambda f, _: bands(f, [i / floors for i in range(1, floors)], 0.018))
    for x0, x1 in ((-edge, -mid), (mid, edge)):
        parts.append(box((x0, 0.0, 0.0), (x1, deep, tall), "wall", dress))
        parts.append(box((x0, 0.0, tall), (x1, deep, tall + 0.8), "trim"))
        parts.append(frustum((x0, 0.0, tall + 0.8), (x1, deep, tall + 3.4), (0.0, deep * 0.4), "roof"))
    parts += _centre(mid, (deep, tall), (floors, form), centre)
    if wings:
        side = Windows(columns=3, rows=floors, form=form, wide=0.42, high=0.6)
        for x in (-half + end, half - end):
            parts.append(box((x - end, -2.0, 0.0), (x + end, deep + 2.0, tall + 1.5), "wall", on_sides(window_grid(side), lambda f, _: pilasters(f, 2, 0.08))))
            z = tall + 1.5
            if wings == 2:
                parts.append(frustum((x - end, -2.0, z), (x + end, deep + 2.0, z + 4.5), (end * 0.5, end * 0.5), "roof"))
            elif wings == 3:
                parts += dome(Round(x=x, y=deep / 2, z0=z, z1=z + end * 1.2, radius=end, sides=8, turn=22.5), "round")
            else:
                parts.append(box((x - end - 0.4, -2.4, z), (x + end + 0.4, deep + 2.4, z + 1.0), "trim"))
    return parts


def _centre(
    mid: float, size: tuple[float, float], rows: tuple[int, Form], centre: str
) -> list[Part]:
    (deep, tall), (floors, form) = size, rows
    front, top = -3.0, tall + 2.0
    grid = Windows(columns=5, rows=floors, form=form, wide=0.44, high=0.6)

    def dress(face: Face, side: Side) -> None:
        if side == "top":
            return
        windows(face, grid)
        pilasters(face, 6, 0.035, "pale")
        if side == "front":
            portal(face, 0.5, mid * 0.42, tall * 0.34)

    parts = [box((-mid, front, 0.0), (mid, deep, top), "wall", dress)]
    low = (-mid, front, top)
    if centre == "pediment":
        parts.append(gable(low, (mid, deep, top + mid * 0.55), "y"))
    elif centre == "mansard":
        attic = on_sides(window_grid(Windows(columns=4, form="round", wide=0.3, high=0.5)))
        parts.append(frustum(low, (mid, deep, top + mid * 1.1), (mid * 0.3, mid * 0.3), "roof", attic))
    elif centre == "clock":
        parts.append(box(low, (mid, deep, top + 1.0), "trim"))
        y, r = deep * 0.4, mid * 0.4
        from .patterns import clock

        parts.append(box((-r, y - r, top + 1.0), (r, y + r, top + 1.0 + r * 3), "wall", on_sides(lambda f, _: clock(f, 0.6, r * 0.7))))
        parts.append(frustum((-r, y - r, top + 1.0 + r * 3), (r, y + r, top + 1.0 + r * 5), (r, r), "roof"))
    else:
        y, r = deep * 0.4, mid * 0.72
        panes = on_sides(window_grid(Windows(columns=1, form="round", wide=0.5, high=0.7)))
        parts.append(turned(Round(y=y, z0=top, z1=top + r * 0.8, radius=r, sides=12), "wall", panes))
        parts += dome(Round(y=y, z0=top + r * 0.8, z1=top + r * 2.0, radius=r * 1.04, sides=12), "round", ribs=True)
        parts.append(turned(Round(y=y, z0=top + r * 2.0, z1=top + r * 2.8, radius=r * 0.14, sides=8), "trim"))
    return parts


def castle(
    chance: Chance, *, towers: int, caps: str, keep: str, gate: Form, slits: int
) -> list[Part]:
    """Walls between round towers, a gatehouse, a keep behind."""
    half, tall = chance.uniform(15.0, 19.0), chance.uniform(8.0, 10.0)
    r = chance.uniform(3.0, 3.8)
    wall = on_sides(lambda f, _: bands(f, (0.8,), 0.03, "shade"), window_grid(Windows(columns=slits, wide=0.08, high=0.3, form="square", frame=0.2, tone="dark", bars=(0, 0)), 2 * half))
    parts: list[Part] = []
    inner = half - r
    for y in (-half, half):
        for x0, x1 in ((-inner, -4.0), (4.0, inner)):
            parts += _wall((x0, y - 1.0), (x1, y + 1.0), tall, wall)
    for x in (-half, half):
        parts += _wall((x - 1.0, -inner), (x + 1.0, inner), tall, wall)
    corners = [(-half, -half), (half, -half), (half, half), (-half, half)]
    for i, (x, y) in enumerate(corners):
        high = tall * (1.5 if i < towers else 1.15)
        parts += _round_tower(x, y, (r, high), caps if i < towers else "battlements", slits)
    parts += _gatehouse(half, tall, gate)
    low = 0.0
    size = half * 0.42
    for share in (1.0, 0.8) if keep == "stepped" else (1.0,):
        w = size * share
        high = low + tall * (2.1 if low == 0.0 else 0.7)
        grid = Windows(columns=3, rows=3 if low == 0.0 else 1, form=gate, wide=0.24, high=0.42)
        parts.append(box((-w, -w, low), (w, w, high), "wall", on_sides(window_grid(grid), lambda f, _: pilasters(f, 2, 0.07))))
        low = high
    parts += tower_top(chance, (0.0, 0.0, low), size * (0.8 if keep == "stepped" else 1.0), "pyramid" if keep == "roofed" else "battlements")
    return parts


def _wall(low: tuple[float, float], high: tuple[float, float], tall: float, dress: object) -> list[Part]:
    (x0, y0), (x1, y1) = low, high
    teeth = on_sides(lambda f, _: battlements(f, max(2, round(f.width / 2.2))))
    return [
        box((x0, y0, 0.0), (x1, y1, tall), "wall", dress),  # type: ignore[arg-type]
        box((x0, y0, tall), (x1, y1, tall + 1.4), "trim", teeth),
    ]


def _round_tower(
    x: float, y: float, size: tuple[float, float], cap: str, slits: int
) -> list[Part]:
    r, high = size
    grid = Windows(columns=1, rows=max(1, slits - 2), wide=0.16, high=0.3, tone="dark", frame=0.3, bars=(0, 0))
    parts = [
        turned(Round(x=x, y=y, z0=0.0, z1=high, radius=r * 1.04, top=r, sides=10), "wall", on_sides(window_grid(grid))),
        turned(Round(x=x, y=y, z0=high, z1=high + 1.0, radius=r, top=r * 1.18, sides=10), "trim"),
    ]
    z = high + 1.0
    if cap == "cone":
        parts.append(turned(Round(x=x, y=y, z0=z, z1=z + r * 2.6, radius=r * 1.25, top=0.0, sides=10), "roof"))
    elif cap == "dome":
        parts += dome(Round(x=x, y=y, z0=z, z1=z + r * 1.3, radius=r * 1.1, sides=10), "pointed")
    else:
        teeth = on_sides(lambda f, _: battlements(f, 1))
        parts.append(turned(Round(x=x, y=y, z0=z, z1=z + 1.5, radius=r * 1.18, sides=10), "wall", teeth))
    return parts


def _gatehouse(half: float, tall: float, gate: Form) -> list[Part]:
    parts: list[Part] = []
    for y, front in ((-half, True), (half, False)):
        low, high = (-4.0, y - 2.0, 0.0), (4.0, y + 2.0, tall * 1.3)

        def dress(face: Face, side: Side) -> None:
            if side in ("front", "back"):
                portal(face, 0.5, 4.6, tall * 0.75, gate)
                windows(face, Windows(columns=3, wide=0.24, high=0.6, low=0.66, top=0.92, tone="dark", form=gate))

        parts.append(box(low, high, "wall", dress))
        teeth = on_sides(lambda f, _: battlements(f, 3))
        parts.append(box((-4.0, y - 2.0, tall * 1.3), (4.0, y + 2.0, tall * 1.3 + 1.4), "trim", teeth))
    return parts


def gate(
    chance: Chance, *, openings: int, attic: float, columns: int, figure: str, panels: int
) -> list[Part]:
    """A triumphal arch: openings one sees through, half columns, an attic, figures."""
    middle, high = chance.uniform(5.0, 6.5), chance.uniform(10.0, 12.5)
    deep, pier = chance.uniform(4.5, 6.0), chance.uniform(2.6, 3.6)
    small = middle * 0.55
    spans = {1: (middle,), 2: (middle * 0.8, middle * 0.8), 3: (small, middle, small)}[openings]
    total = sum(spans) + pier * (len(spans) + 1)
    parts: list[Part] = []
    x = -total / 2
    relief = Windows(columns=1, rows=panels, wide=0.5, high=0.5, tone="shade", bars=(0, 0)) if panels else None
    for i in range(len(spans) + 1):
        def dress(face: Face, side: Side) -> None:
            if side in ("front", "back"):
                if relief:
                    windows(face, relief)
                if columns:
                    pilasters(face, columns, 0.16, "pale")
            if side != "top":
                bands(face, (0.06,), 0.12, "base")

        parts.append(box((x, 0.0, 0.0), (x + pier, deep, high), "wall", dress))
        x += pier
        if i < len(spans):
            wide = spans[i]
            crown = high * (0.86 if wide >= middle * 0.8 else 0.6)
            parts.append(arch((x, 0.0, 0.0), (x + wide, deep, high), crown - wide / 2, wide / 2))
            x += wide
    half = total / 2
    parts.append(box((-half - 0.6, -0.6, high), (half + 0.6, deep + 0.6, high + 1.1), "trim"))
    z = high + 1.1
    plate = on_sides(window_grid(Windows(columns=max(1, openings), wide=0.8, high=0.5, tone="shade", bars=(5, 3)), total))
    parts.append(box((-half, 0.0, z), (half, deep, z + attic * high), "wall", plate))
    z += attic * high
    parts.append(box((-half - 0.3, -0.3, z), (half + 0.3, deep + 0.3, z + 0.7), "trim"))
    return parts + _figures(z + 0.7, (half, deep), figure)


def _figures(z: float, size: tuple[float, float], figure: str) -> list[Part]:
    half, deep = size
    places = {"none": (), "middle": (0.0,), "ends": (-half * 0.8, half * 0.8), "row": (-half * 0.75, -half * 0.25, half * 0.25, half * 0.75)}[figure]
    return [part.moved(x, deep / 2) for x in places for part in _figure(z, 1.3, "statue")]


def arena(
    chance: Chance, *, tiers: int, form: Form, top: str, sides: int, pilaster: bool
) -> list[Part]:
    """A round wall of arcades, storey upon storey."""
    radius, storey = chance.uniform(17.0, 21.0), chance.uniform(5.0, 6.5)
    parts = [turned(Round(z0=0.0, z1=1.0, radius=radius * 1.06, sides=sides), "base")]
    z = 1.0
    per_side = 48 // sides

    for number in range(tiers):
        grid = Windows(columns=per_side, form=form, wide=0.52, high=0.72, tone="dark", frame=0.14, bars=(0, 0))

        def dress(face: Face, side: Side, grid: Windows = grid) -> None:
            if side != "top":
                windows(face, grid)
                if pilaster:
                    pilasters(face, per_side + 1, 0.05)

        r = radius * (1.0 - 0.02 * number)
        parts.append(turned(Round(z0=z, z1=z + storey, radius=r, sides=sides), "wall", dress))
        z += storey
        parts.append(turned(Round(z0=z, z1=z + 0.7, radius=r * 1.025, sides=sides), "trim"))
        z += 0.7
    if top == "attic":
        small = Windows(columns=max(1, per_side // 2), wide=0.2, high=0.4, tone="dark")
        parts.append(turned(Round(z0=z, z1=z + storey * 0.8, radius=r * 0.98, sides=sides), "wall", on_sides(window_grid(small))))
    elif top == "cone":
        parts.append(turned(Round(z0=z, z1=z + storey * 1.4, radius=r * 0.96, top=r * 0.2, sides=sides), "roof", on_sides(lambda f, _: pilasters(f, 2, 0.04, "dark"))))
    elif top == "dome":
        parts += dome(Round(z0=z, z1=z + r * 0.62, radius=r * 0.9, sides=sides), "round", ribs=True)
    else:
        parts.append(turned(Round(z0=z, z1=z + storey * 0.7, radius=r * 0.62, sides=sides), "wall"))
        parts.append(turned(Round(z0=z + storey * 0.7, z1=z + storey * 1.6, radius=r * 0.66, top=0.0, sides=sides), "roof"))
    return parts


__all__ = ["Profile", "arena", "castle", "gate", "palace"]
