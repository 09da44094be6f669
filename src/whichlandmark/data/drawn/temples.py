"""Landmarks of antiquity: temples with columns, stepped pyramids."""

from __future__ import annotations

from .chance import Chance
from .patterns import (
    Windows,
    bands,
    bar,
    front_only,
    on_sides,
    pilasters,
    portal,
    window_grid,
    windows,
)  # fmt: skip
from .solids import Dress, Face, Part, Round, Side, box, frustum, gable, turned
from .stack import Stack


def temple(
    chance: Chance, *, columns: int, steps: int, pediment: str, order: str, depth: int
) -> list[Part]:
    """Columns around a hall, on steps, under a low roof. The front row stands at y = 0."""
    gap, high = chance.uniform(2.3, 3.0), chance.uniform(8.0, 11.0)
    half, deep = gap * (columns - 1) / 2, gap * depth
    thick = gap * chance.uniform(0.26, 0.34)
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
) -> list[Part]:
    half, out, deep = size
    if pediment == "gable":
        relief = Windows(
            columns=5, form="round", wide=0.5, high=0.7, left=0.3, right=0.7, low=0.1, top=0.5,
            tone="shade", bars=(0, 0),
        )  # fmt: skip
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
) -> list[Part]:
    (x, y), (low, high) = at, span
    neck = high - {"plain": 0.5, "slab": 0.9, "flared": 1.4}[order]
    shaft = turned(
        Round(x=x, y=y, z0=low, z1=neck, radius=thick, top=thick * 0.84, sides=8), "pale",
        on_sides(lambda f, _: pilasters(f, 2, 0.2, "shade")),
    )  # fmt: skip
    if order == "flared":
        bell = Round(x=x, y=y, z0=neck, z1=high, radius=thick * 0.85, top=thick * 1.42, sides=8)
        return [shaft, turned(bell, "trim")]
    r = thick * 1.3
    return [shaft, box((x - r, y - r, neck), (x + r, y + r, high), "trim")]


def stepped_pyramid(
    chance: Chance, *, steps: int, stairs: int, shrine: str, slope: float, panels: int
) -> list[Part]:
    """Terraces that shrink upwards, broad stairs, a shrine on the top."""
    half, rise = chance.uniform(17.0, 22.0), chance.uniform(2.4, 3.4)
    last = half * chance.uniform(0.26, 0.36)
    dress = _terrace(stairs, panels, half * 0.16)
    lean = (rise * slope, rise * slope)
    parts = []
    for i in range(steps):
        r, z = half + (last - half) * i / (steps - 1), rise * i
        parts.append(frustum((-r, -r, z), (r, r, z + rise), lean, "wall", dress))
    return parts + _shrine((last * 0.6, chance.uniform(3.6, 5.0)), rise * steps, shrine)


def _shrine(size: tuple[float, float], z: float, shrine: str) -> list[Part]:
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


def _terrace(stairs: int, panels: int, wide: float) -> Dress:
    """One terrace: a rim, sunk panels, and a stair (2 · wide metres) on 1, 2 or 4 sides."""
    climbed: dict[int, tuple[Side, ...]] = {
        1: ("front",), 2: ("front", "back"), 4: ("front", "right", "back", "left"),
    }  # fmt: skip

    def dress(face: Face, side: Side) -> None:
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

    return dress


def _stair(face: Face, wide: float) -> None:
    """Pale side walls and five dark treads in the middle of a face."""
    middle, edge = face.width / 2, wide * 1.15
    face.paint("pale", bar(middle - edge, 0.0, middle + edge, face.height))
    share = wide / face.width
    treads = Windows(
        columns=1, rows=5, wide=1.0, high=0.5, left=0.5 - share, right=0.5 + share, low=0.0,
        top=1.0, frame=0.0, bars=(0, 0), tone="shade",
    )  # fmt: skip
    windows(face, treads)
