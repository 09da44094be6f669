"""Landmarks of the state: palaces and town halls, triumphal arches."""

from __future__ import annotations

from .chance import Chance
from .curves import arch
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
    windows,
)  # fmt: skip
from .solids import Dress, Face, Part, Side, box, frustum, gable
from .stack import Stack
from .towers import statue


def palace(
    chance: Chance, *, floors: int, form: Form, centre: str, wings: int, columns: int
) -> list[Part]:
    """A long front: rows of windows, a middle block, end pavilions.

    wings: 0 none, 1 with a cornice, 2 with a hipped roof, 3 with a dome.
    """
    half, deep = chance.uniform(24.0, 30.0), chance.uniform(9.0, 12.0)
    tall = floors * chance.uniform(3.6, 4.4) + 1.0
    middle, end = half * chance.uniform(0.2, 0.28), half * 0.2
    edge = half - (2 * end if wings else 0.0)
    grid = Windows(columns=columns, rows=floors, form=form, wide=0.42, high=0.56)
    lines = [i / floors for i in range(1, floors)]
    dress = on_sides(window_grid(grid, edge - middle), lambda f, _: bands(f, lines, 0.018))
    parts: list[Part] = []
    for x0, x1 in ((-edge, -middle), (middle, edge)):
        parts.append(box((x0, 0.0, 0.0), (x1, deep, tall), "wall", dress))
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
) -> list[Part]:
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
) -> list[Part]:
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
    chance: Chance, *, openings: int, attic: float, columns: int, figure: str, panels: int
) -> list[Part]:
    """A triumphal arch: openings one sees through, half columns, an attic, figures."""
    middle, high = chance.uniform(5.0, 6.5), chance.uniform(10.0, 12.5)
    deep, pier = chance.uniform(4.5, 6.0), chance.uniform(2.6, 3.6)
    small = middle * 0.55
    spans = {1: (middle,), 2: (middle * 0.8, middle * 0.8), 3: (small, middle, small)}[openings]
    half = (sum(spans) + pier * (len(spans) + 1)) / 2
    dress = _pier(columns, panels)
    x = -half
    parts = [box((x, 0.0, 0.0), (x + pier, deep, high), "wall", dress)]
    for wide in spans:
        x += pier
        crown = high * (0.6 if wide == small else 0.86)
        parts.append(arch((x, 0.0, 0.0), (x + wide, deep, high), crown - wide / 2, wide / 2))
        x += wide
        parts.append(box((x, 0.0, 0.0), (x + pier, deep, high), "wall", dress))
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


def _pier(columns: int, panels: int) -> Dress:
    relief = Windows(columns=1, rows=panels or 1, wide=0.5, high=0.5, tone="shade", bars=(0, 0))

    def dress(face: Face, side: Side) -> None:
        if side == "top":
            return
        if side in ("front", "back"):
            if panels:
                windows(face, relief)
            if columns:
                pilasters(face, columns, 0.16, "pale")
        bands(face, (0.06,), 0.12, "base")

    return dress
