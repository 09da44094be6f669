"""Landmarks of worship: cathedrals, domed churches, temples, stepped pyramids."""

from __future__ import annotations

from .chance import Chance
from .patterns import (
    Form, Windows, bands, on_sides, pilasters, portal, rose, window_grid, windows,
)  # fmt: skip
from .solids import Dress, Face, Part, Profile, Round, Side, box, dome, frustum, gable, turned
from .towers import tower_top


def cathedral(
    chance: Chance, *, towers: int, top: str, bays: int, petals: int, stages: int
) -> list[Part]:
    """A long nave behind a front with towers, portals and a rose window."""
    nave, long = chance.uniform(5.0, 6.5), chance.uniform(30.0, 40.0)
    wide, tall = chance.uniform(2.8, 3.6), chance.uniform(17.0, 21.0)
    parts = _nave(nave, long, tall, bays)

    def middle(face: Face, side: Side) -> None:
        if side == "front":
            rose(face, 0.5, 0.66, nave * 0.52, petals)
            portal(face, 0.5, nave * 0.95, tall * 0.36, "pointed")
            bands(face, (0.42, 0.92), 0.025)

    parts.append(box((-nave, 0.0, 0.0), (nave, 5.0, tall), "wall", middle))
    parts.append(gable((-nave, 0.0, tall), (nave, 5.0, tall + nave * 0.9), "y"))
    sides = {0: (), 1: (-1.0,), 2: (-1.0, 1.0)}[towers]
    for sign in sides:
        centre = sign * (nave + wide)
        parts += _west_tower(chance, (centre, wide), (tall, stages), top)
    for sign in (-1.0, 1.0):
        if sign not in sides:  # a side aisle's front where no tower stands
            x0, x1 = sorted((sign * nave, sign * (nave + 2 * wide)))
            door = on_sides(lambda f, s: portal(f, 0.5, 2.6, 5.0, "pointed") if s == "front" else None)
            parts.append(box((x0, 0.0, 0.0), (x1, 5.0, tall * 0.55), "wall", door))
    if towers == 0:
        parts += tower_top(chance, (0.0, long * 0.62, tall + nave * 0.9 + 5.0), 2.2, top)
        parts.append(box((-2.2, long * 0.62 - 2.2, tall + nave * 0.9), (2.2, long * 0.62 + 2.2, tall + nave * 0.9 + 5.0), "wall"))
    return parts


def _nave(nave: float, long: float, tall: float, bays: int) -> list[Part]:
    lancets = window_grid(Windows(columns=bays, form="pointed", wide=0.38, high=0.72, frame=0.2))
    walls = on_sides(lambda f, _: pilasters(f, bays + 1, 0.03), lancets)
    aisle = nave * 1.7
    low = tall * 0.5
    parts = [
        box((-nave, 5.0, low), (nave, long, tall), "wall", walls),
        gable((-nave, 5.0, tall), (nave, long, tall + nave * 0.9), "y"),
        box((-nave, 5.0, 0.0), (nave, long, low), "wall"),
    ]
    for sign in (-1.0, 1.0):
        x0, x1 = sorted((sign * nave, sign * aisle))
        parts.append(box((x0, 5.0, 0.0), (x1, long, low * 0.9), "wall", walls))
    return parts


def _west_tower(
    chance: Chance, plan: tuple[float, float], size: tuple[float, int], top: str
) -> list[Part]:
    (x, half), (tall, stages) = plan, size
    parts = []
    z, step = 0.0, tall * 1.25 / stages
    for number in range(stages):
        form: Form = "pointed" if number else "square"
        grid = Windows(columns=1 + number % 2, form=form, wide=0.42, high=0.66, tone="dark" if number else "glass")

        def dress(face: Face, side: Side, grid: Windows = grid, number: int = number) -> None:
            if side != "top":
                pilasters(face, 2, 0.14)
                if number or side != "front":
                    windows(face, grid)
                else:
                    portal(face, 0.5, half * 1.1, step * 0.7, "pointed")

        parts.append(box((x - half, 0.0, z), (x + half, 2 * half, z + step), "wall", dress))
        z += step
        parts.append(box((x - half, 0.0, z), (x + half, 2 * half, z + 0.6), "trim"))
        z += 0.6
    return parts + tower_top(chance, (x, half, z), half, top)


def domed(
    chance: Chance, *, profile: Profile, minarets: int, small: int, drum: int, porch: str
) -> list[Part]:
    """A block under a great dome on a drum, with slender towers and small domes around."""
    half, tall = chance.uniform(10.0, 13.0), chance.uniform(9.0, 12.0)
    grid = Windows(columns=5, rows=2, form="round", wide=0.42, high=0.66)
    parts = [
        box((-half, -half, 0.0), (half, half, tall), "wall", on_sides(lambda f, _: bands(f, (0.5,), 0.03), window_grid(grid))),
        box((-half - 0.5, -half - 0.5, tall), (half + 0.5, half + 0.5, tall + 0.9), "trim"),
    ]
    z = tall + 0.9
    wide = half * chance.uniform(0.62, 0.74)
    panes = Windows(columns=1, form="round", wide=0.5, high=0.7, tone="dark")
    neck = wide * (0.25 + 0.2 * drum)
    parts.append(turned(Round(z0=z, z1=z + neck, radius=wide, sides=12), "wall", on_sides(window_grid(panes))))
    parts.append(turned(Round(z0=z + neck, z1=z + neck + 0.7, radius=wide * 1.06, sides=12), "trim"))
    height = wide * {"round": 1.0, "flat": 0.7, "pointed": 1.35, "onion": 1.5, "bell": 1.2}[profile]
    top = z + neck + 0.7 + height
    parts += dome(Round(z0=z + neck + 0.7, z1=top, radius=wide, sides=12), profile, ribs=chance.yes(0.5))
    parts.append(turned(Round(z0=top, z1=top + 1.6, radius=0.9, sides=8), "trim"))
    parts.append(turned(Round(z0=top + 1.6, z1=top + 4.0, radius=0.6, top=0.0, sides=6), "accent"))
    corner = half * 0.78
    spots = [(-corner, -corner), (corner, -corner), (corner, corner), (-corner, corner)]
    for x, y in spots[:small]:
        r = half * 0.19
        parts.append(turned(Round(x=x, y=y, z0=z, z1=z + r, radius=r, sides=8), "wall"))
        parts += dome(Round(x=x, y=y, z0=z + r, z1=z + r * 2.4, radius=r, sides=8), profile)
    for x, y in [(-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0), (1.0, 1.0)][:minarets]:
        parts += _minaret(chance, x * (half + 3.6), y * (half + 3.6), tall)
    return parts + _porch(half, tall, porch)


def _minaret(chance: Chance, x: float, y: float, tall: float) -> list[Part]:
    parts = []
    z, r = 0.0, 1.5
    for step in (1.25, 0.8, 0.5):
        parts.append(turned(Round(x=x, y=y, z0=z, z1=z + tall * step, radius=r, sides=8), "wall"))
        z += tall * step
        parts.append(turned(Round(x=x, y=y, z0=z, z1=z + 0.8, radius=r * 1.1, top=r * 1.5, sides=8), "trim"))
        z += 0.8
        r *= 0.82
    parts.append(turned(Round(x=x, y=y, z0=z, z1=z + tall * 0.5, radius=r, top=0.0, sides=8), "roof"))
    return parts


def _porch(half: float, tall: float, porch: str) -> list[Part]:
    y0, y1 = -half - 4.0, -half - 0.5
    if porch == "iwan":
        gate = on_sides(lambda f, s: portal(f, 0.5, half * 0.75, tall * 1.0, "pointed") if s == "front" else None)
        return [box((-half * 0.55, y0, 0.0), (half * 0.55, y1, tall * 1.25), "wall", gate)]
    if porch == "pediment":
        w = half * 0.6
        fluted = on_sides(lambda f, s: pilasters(f, 6, 0.08, "pale") if s == "front" else None)
        return [
            box((-w, y0, 0.0), (w, y1, tall * 0.72), "shade", fluted),
            gable((-w, y0, tall * 0.72), (w, y1, tall * 1.0), "y"),
        ]
    arcade = window_grid(Windows(columns=5, form="round", wide=0.7, high=0.8, tone="dark", frame=0.1))
    return [box((-half * 0.9, y0, 0.0), (half * 0.9, y1, tall * 0.5), "wall", on_sides(arcade))]


def temple(
    chance: Chance, *, columns: int, steps: int, pediment: str, order: str, depth: int
) -> list[Part]:
    """Columns around a hall, on steps, under a low roof."""
    gap, high = chance.uniform(2.3, 3.0), chance.uniform(8.0, 11.0)
    wide, deep = gap * (columns - 1), gap * depth
    parts = []
    z = 0.0
    for i in range(steps):
        out = 1.2 + 0.7 * (steps - 1 - i)
        parts.append(box((-wide / 2 - out, -out, z), (wide / 2 + out, deep + out, z + 0.7), "base"))
        z += 0.7
    thick = gap * chance.uniform(0.26, 0.34)
    spots = [(-wide / 2 + gap * i, 0.0) for i in range(columns)]
    rows = [gap * j for j in range(1, depth + 1)]
    spots += [(sign * wide / 2, y) for sign in (-1, 1) for y in rows]
    for x, y in spots:
        parts += _column(x, y, (z, z + high), thick, order)
    door = on_sides(lambda f, s: portal(f, 0.5, gap * 1.1, high * 0.7, "square") if s == "front" else None)
    parts.append(box((-wide / 2 + gap * 0.7, gap * 0.9, z), (wide / 2 - gap * 0.7, deep, z + high), "shade", door))
    z += high
    out = thick * 1.7
    blocks = on_sides(lambda f, _: windows(f, Windows(columns=columns * 2 - 1, wide=0.4, high=0.5, low=0.45, top=0.95, frame=0.0, bars=(1, 0), tone="shade")))
    parts.append(box((-wide / 2 - out, -out, z), (wide / 2 + out, deep + out, z + 2.0), "wall", blocks))
    z += 2.0
    low, peak = (-wide / 2 - out, -out, z), (wide / 2 + out, deep + out, z + wide * 0.17)
    if pediment == "gable":
        relief = lambda f, s: _relief(f) if s == "front" else None  # noqa: E731
        parts.append(gable(low, peak, "y", "roof", relief))
    elif pediment == "attic":
        panel = Windows(columns=columns - 1, wide=0.7, high=0.5, tone="shade", bars=(2, 0))
        parts.append(box((-wide / 2, 0.0, z), (wide / 2, deep, z + wide * 0.2), "wall", on_sides(window_grid(panel))))
    else:
        r = min(wide, deep) * 0.36
        parts.append(box((-wide / 2, 0.0, z), (wide / 2, deep, z + 1.0), "trim"))
        parts += dome(Round(y=deep / 2, z0=z + 1.0, z1=z + 1.0 + r, radius=r, sides=12), "round")
    return parts


def _relief(face: Face) -> None:
    w, h = face.width, face.height
    grid = Windows(columns=5, wide=0.5, high=0.7, left=0.3, right=0.7, low=0.1, top=0.5, form="round", tone="shade", bars=(0, 0))
    if w > 0 and h > 0:
        windows(face, grid)


def _column(x: float, y: float, span: tuple[float, float], thick: float, order: str) -> list[Part]:
    low, high = span
    head = {"plain": 0.5, "slab": 0.9, "flared": 1.4}[order]
    shaft = turned(
        Round(x=x, y=y, z0=low, z1=high - head, radius=thick, top=thick * 0.84, sides=8), "pale",
        on_sides(lambda f, _: pilasters(f, 2, 0.2, "shade")),
    )  # fmt: skip
    if order == "flared":
        shape = Round(x=x, y=y, z0=high - head, z1=high, radius=thick * 0.85, top=thick * 1.5, sides=8)
        return [shaft, turned(shape, "trim")]
    r = thick * 1.3
    return [shaft, box((x - r, y - r, high - head), (x + r, y + r, high), "trim")]


def stepped_pyramid(
    chance: Chance, *, steps: int, stairs: int, shrine: str, slope: float, panels: int
) -> list[Part]:
    """Terraces that shrink upwards, broad stairs, a shrine on the top."""
    half, rise = chance.uniform(17.0, 22.0), chance.uniform(2.4, 3.4)
    last = half * chance.uniform(0.26, 0.36)
    parts = []
    z = 0.0
    for i in range(steps):
        r = half + (last - half) * i / max(1, steps - 1)
        dress = _terrace(stairs, panels, half * 0.16)
        lean = rise * slope
        parts.append(frustum((-r, -r, z), (r, r, z + rise), (lean, lean), "wall", dress))
        z += rise
    room = last * 0.6
    high = chance.uniform(3.6, 5.0)
    if shrine != "none":
        doors = window_grid(Windows(columns=3 if shrine == "comb" else 1, wide=0.5, high=0.8, low=0.0, top=0.8, tone="dark"))
        parts.append(box((-room, -room, z), (room, room, z + high), "wall", on_sides(doors)))
        z += high
    if shrine == "comb":
        parts.append(box((-room, -0.6, z), (room, 0.6, z + high), "trim", on_sides(window_grid(Windows(columns=6, rows=2, tone="dark")))))
    elif shrine == "roof":
        parts.append(frustum((-room * 1.2, -room * 1.2, z), (room * 1.2, room * 1.2, z + high * 0.9), (room, room), "roof"))
    elif shrine == "dome":
        parts += dome(Round(z0=z, z1=z + room, radius=room, sides=10), "bell")
    return parts


def _terrace(stairs: int, panels: int, wide: float) -> Dress:
    """One terrace: sunk panels, and a stair on 1, 2 or 4 of its sides."""
    with_stair = {1: ("front",), 2: ("front", "back"), 4: ("front", "right", "back", "left")}[stairs]

    def dress(face: Face, side: Side) -> None:
        if side == "top":
            return
        bands(face, (0.93,), 0.12, "trim")
        if panels:
            count = max(2, round(panels * face.width / 30.0))
            windows(face, Windows(columns=count, wide=0.5, high=0.5, tone="shade", frame=0.0, bars=(0, 0), low=0.1, top=0.85))
        if side in with_stair:
            middle = 0.5
            share = wide / face.width
            grid = Windows(columns=1, rows=5, wide=1.0, high=0.5, left=middle - share, right=middle + share, low=0.0, top=1.0, frame=0.0, bars=(0, 0), tone="shade")
            _stair(face, middle, share)
            windows(face, grid)

    return dress


def _stair(face: Face, middle: float, share: float) -> None:
    from .patterns import bar

    w = face.width
    face.paint("pale", bar(w * (middle - share * 1.15), 0.0, w * (middle + share * 1.15), face.height))
