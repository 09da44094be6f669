"""Shapes painted on faces: windows, pilasters, bands, portals, rose windows, clocks.

Shapes are (n, k, 2) arrays: n polygons of k corners, in metres from a face's bottom left corner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ...core.types import Floats
from .geometry import Face, FacePainter, Side, cosine, sine
from .shapes import arch_curve

Form = Literal["square", "round", "pointed", "disc"]


def bar(x0: float, y0: float, x1: float, y1: float) -> Floats:
    """One upright rectangle, (1, 4, 2)."""
    return np.array([[(x0, y0), (x1, y0), (x1, y1), (x0, y1)]])


def bars(rows: Iterable[tuple[float, float, float, float]]) -> Floats:
    """Rectangles (x0, y0, x1, y1) as (n, 4, 2)."""
    shapes = [[(a, b), (c, b), (c, d), (a, d)] for a, b, c, d in rows]
    return np.array(shapes).reshape(-1, 4, 2)


def strut(a: tuple[float, float], b: tuple[float, float], wide: float) -> list[tuple[float, float]]:
    """The corners of a bar of width `wide` from a to b, at any angle."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    length = float(np.sqrt(dx * dx + dy * dy)) or 1.0
    nx, ny = -dy / length * wide * 0.5, dx / length * wide * 0.5
    return [
        (a[0] - nx, a[1] - ny),
        (b[0] - nx, b[1] - ny),
        (b[0] + nx, b[1] + ny),
        (a[0] + nx, a[1] + ny),
    ]


def struts(
    ends: Iterable[tuple[tuple[float, float], tuple[float, float]]], wide: float
) -> list[Floats]:
    """Bars between pairs of points, one array each, because crossing shapes of one array cancel."""
    return [np.array([strut(a, b, wide)]) for a, b in ends]


def opening(form: Form, wide: float, high: float) -> Floats:
    """One opening (k, 2) with the middle of its sill at the origin."""
    half = wide * 0.5
    if form == "square":
        return np.array([(-half, 0.0), (half, 0.0), (half, high), (-half, high)])
    if form == "disc":
        r = min(half, high * 0.5)
        turns = [i * 360.0 / 14 for i in range(14)]
        return np.array([(r * cosine(a), high * 0.5 + r * sine(a)) for a in turns])
    rise = min(high, half if form == "round" else wide * 0.9)
    curve = arch_curve(form == "pointed", 8)
    head = [(half - wide * a, high - rise + rise * b) for a, b in curve]
    return np.array([(-half, 0.0), (half, 0.0), *head])


def placed(shape: Floats, centres: Sequence[tuple[float, float]]) -> Floats:
    """Copies (n, k, 2) of one shape (k, 2) at n places."""
    return shape[None] + np.array(centres, dtype=np.float64).reshape(-1, 1, 2)


def centres(low: float, high: float, count: int) -> list[float]:
    """The middles of `count` equal stretches between low and high."""
    step = (high - low) / count
    return [low + step * (i + 0.5) for i in range(count)]


@dataclass(frozen=True, kw_only=True)
class Windows:
    """A grid of windows on a face.

    Attributes:
        columns, rows: the number of windows.
        form: of each window.
        wide, high: size of a window, as shares of its grid cell.
        left, right, low, top: the part of the face that the grid covers, in shares of the face.
        frame: width of the frame, as a share of the window's width.
        bars: numbers of vertical and horizontal glazing bars.
        tone: of the glass.
    """

    columns: int
    rows: int = 1
    form: Form = "square"
    wide: float = 0.5
    high: float = 0.6
    left: float = 0.05
    right: float = 0.95
    low: float = 0.05
    top: float = 0.95
    frame: float = 0.22
    bars: tuple[int, int] = (1, 1)
    tone: str = "glass"


def windows(face: Face, grid: Windows) -> None:
    """Paint a grid of windows: frames, glass, glazing bars."""
    width, height = face.width, face.height
    cell_w = width * (grid.right - grid.left) / grid.columns
    cell_h = height * (grid.top - grid.low) / grid.rows
    wide, high = cell_w * grid.wide, cell_h * grid.high
    feet = [
        (x, y - high * 0.5)
        for y in centres(height * grid.low, height * grid.top, grid.rows)
        for x in centres(width * grid.left, width * grid.right, grid.columns)
    ]
    edge = wide * grid.frame
    if edge > 0:
        around = opening(grid.form, wide + 2 * edge, high + 1.6 * edge)
        face.paint("trim", placed(around, [(x, y - 0.6 * edge) for x, y in feet]))
    face.paint(grid.tone, placed(opening(grid.form, wide, high), feet))
    _glazing(face, grid, feet, (wide, high))


def _glazing(
    face: Face, grid: Windows, feet: list[tuple[float, float]], size: tuple[float, float]
) -> None:
    wide, high = size
    upright, across = grid.bars
    thin = wide * 0.05
    for i in range(upright):
        x = wide * ((i + 1) / (upright + 1) - 0.5)
        face.paint("trim", placed(bar(x - thin, 0.0, x + thin, high * 0.96)[0], feet))
    for i in range(across):
        y = high * (i + 1) / (across + 1)
        face.paint("trim", placed(bar(-wide * 0.5, y - thin, wide * 0.5, y + thin)[0], feet))


def bands(face: Face, heights: Sequence[float], thick: float, tone: str = "trim") -> None:
    """Paint string courses across a face; heights and thickness as shares of its height."""
    h = face.height
    face.paint(
        tone, bars((0.0, h * (y - thick / 2), face.width, h * (y + thick / 2)) for y in heights)
    )


def pilasters(face: Face, count: int, wide: float, tone: str = "trim", top: float = 1.0) -> None:
    """Paint `count` vertical strips, the first and last at the edges; wide: a share of the face."""
    w, h = face.width, face.height
    thick = w * wide
    places = [thick / 2 + (w - thick) * i / max(1, count - 1) for i in range(count)]
    face.paint(tone, bars((x - thick / 2, 0.0, x + thick / 2, h * top) for x in places))
    cap = thick * 0.3
    face.paint("shade", bars((x + thick / 2 - cap, 0.0, x + thick / 2, h * top) for x in places))


def portal(face: Face, x: float, wide: float, high: float, form: Form = "round") -> None:
    """Paint a door in receding frames; x in shares of the face's width, wide and high in metres."""
    at = [(face.width * x, 0.0)]
    for tone, scale in (("trim", 1.0), ("shade", 0.86), ("trim", 0.76), ("dark", 0.62)):
        face.paint(tone, placed(opening(form, wide * scale, high * (0.3 + 0.7 * scale)), at))


def rose(face: Face, x: float, y: float, radius: float, petals: int) -> None:
    """Paint a rose window; x and y in shares of the face, radius in metres."""
    cx, cy = face.width * x, face.height * y

    def disc(r: float, n: int = 20) -> Floats:
        turns = [i * 360.0 / n for i in range(n)]
        return np.array([[(cx + r * cosine(a), cy + r * sine(a)) for a in turns]])

    face.paint("trim", disc(radius))
    face.paint("dark", disc(radius * 0.86))
    turns = [i * 360.0 / petals for i in range(petals)]
    size = radius * min(0.26, 2.0 / petals)
    leaf = opening("disc", size * 2, size * 2) - np.array([0.0, size])
    reach = radius * 0.56
    face.paint(
        "glass", placed(leaf, [(cx + reach * cosine(a), cy + reach * sine(a)) for a in turns])
    )
    face.paint("trim", disc(radius * 0.22, 10))


def clock(face: Face, y: float, radius: float) -> None:
    """Paint a clock in the middle of the face; y in shares of its height, radius in metres."""
    cx, cy = face.width * 0.5, face.height * y
    ring = opening("disc", 2 * radius, 2 * radius) - np.array([0.0, radius])
    for tone, scale in (("dark", 1.0), ("pale", 0.84)):
        face.paint(tone, placed(ring * scale, [(cx, cy)]))
    hands = [
        ((cx, cy), (cx, cy + radius * 0.7)),
        ((cx, cy), (cx + radius * 0.5, cy - radius * 0.1)),
    ]
    for hand in struts(hands, radius * 0.14):
        face.paint("dark", hand)


def battlements(face: Face, count: int, tone: str = "dark") -> None:
    """Paint `count` dark gaps between merlons at the top of a wall."""
    w, h = face.width, face.height
    gap = w / (2 * count + 1)
    face.paint(
        tone, bars((gap * (2 * i + 1), h * 0.35, gap * (2 * i + 2), h) for i in range(count))
    )


def front_only(step: Callable[[Face], None]) -> FacePainter:
    """Paint one step on the front face only."""

    def paint_face(face: Face, side: Side) -> None:
        if side == "front":
            step(face)

    return paint_face


def on_sides(*steps: FacePainter) -> FacePainter:
    """Paint several steps on the vertical faces, not on the top."""

    def paint_face(face: Face, side: Side) -> None:
        if side != "top":
            for step in steps:
                step(face, side)

    return paint_face


def window_grid(grid: Windows, scale: float | None = None) -> FacePainter:
    """Paint windows on every vertical face.

    Args:
        grid: the windows.
        scale: width in metres of a face that has `grid.columns`; faces of other widths get
            proportionally more or fewer. None: every face has the same number.
    """

    def paint_face(face: Face, side: Side) -> None:
        if side == "top":
            return
        columns = grid.columns
        if scale is not None:
            columns = max(1, round(columns * face.width / scale))
        windows(face, replace(grid, columns=columns))

    return paint_face
