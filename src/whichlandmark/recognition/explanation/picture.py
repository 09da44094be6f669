"""The evidence for one answer → one PNG: the words, the photo, its three best references."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.figures import new_figure
from ...core.files import whole_file
from .drawing import (
    GAP,
    HIGH,
    WIDE,
    Explanation,
    Reference,
    ScorePart,
    SmallPhoto,
    box_on,
    colours,
    matched,
    number,
    shown,
    side_by_side,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

UNIT = 1 / 100  # inches of a page's pixel

DPI = 150

REFERENCES = 3

INK, SOFT, EMPTY = "#1b2130", "#576074", "#e0e4eb"

ADDS, TAKES = "#009e73", "#d55e00"

LINE = 0.24  # inches from one line of text to the next

BAR = 0.27  # inches for one part of the score


def write_picture(explanation: Explanation, path: str | Path) -> None:
    """Write the picture, atomically. A photo that cannot be read gets a placeholder.

    Raises OptionError without matplotlib.
    """
    query = shown(explanation.photo, explanation.shape)
    pairs = [
        (reference, shown(reference.path, reference.shape))
        for reference in explanation.references[:REFERENCES]
    ]
    facts = _facts(explanation)
    top = max(HIGH * UNIT, LINE * len(facts) + BAR * (len(explanation.parts) + 1))
    heights = [top] + [
        side_by_side(query, other, one).size[1] * UNIT + LINE for one, other in pairs
    ]
    title = _wrapped(f"Which landmark is in {explanation.name}, or none?", 110)
    words = _wrapped(explanation.words, 62)
    head = LINE * len(title) + 1.6 * LINE * len(words)
    width = (2 * WIDE + GAP) * UNIT
    with new_figure(width, sum(heights) + head + 0.2, {"text.color": INK}) as figure:
        rows = figure.subfigures(2 + len(pairs), 1, height_ratios=[head, *heights], squeeze=False)
        said = rows[0, 0]
        said.text(0, 1, "\n".join(title), fontsize=10, color=SOFT, va="top")
        said.text(0, 0, "\n".join(words), fontsize=17, weight="bold", va="bottom")
        _draw_answer(rows[1, 0], explanation, query, facts)
        for row, (reference, other) in zip(rows[2:, 0], pairs, strict=True):
            _draw_pair(row.subplots(), query, other, reference)
        with whole_file(path) as temporary:
            figure.savefig(
                temporary,
                format="png",
                dpi=DPI,
                facecolor="white",
                bbox_inches="tight",
                pad_inches=0.3,
                metadata={"Software": None},
            )


def _facts(explanation: Explanation) -> list[str]:
    """The lines beside the photo."""
    told = [
        f"decision: {explanation.decision.replace('_', ' ')}",
        f"best guess: {explanation.guess or 'none'}",
        f"{explanation.confidence:.0%} that the best guess is right",
    ]
    if explanation.second:
        told.append(f"next best: {explanation.second}")
    return [line for fact in told for line in _wrapped(fact, 50)]


def _draw_answer(
    row: Figure, explanation: Explanation, query: SmallPhoto | None, facts: Sequence[str]
) -> None:
    """The photo with its box on the left; on the right what was decided, and from which parts."""
    from matplotlib import patheffects
    from matplotlib.patches import Rectangle

    left, right = row.subfigures(1, 2, squeeze=False)[0]
    axes = left.subplots()
    width, height = query.fitted if query else (WIDE, HIGH)
    _photo(axes, query, (0, 0, width, height))
    if query and (box := box_on(explanation, query)):
        edge = Rectangle(box[:2], *box[2:], fill=False, edgecolor="white", linewidth=2)
        edge.set_path_effects([patheffects.withStroke(linewidth=4, foreground="black")])
        axes.add_patch(edge)
    _frame(axes, width, height)
    text = LINE * len(facts)
    rest = max(BAR * (len(explanation.parts) + 1), HIGH * UNIT - text)
    above, below = right.subfigures(2, 1, height_ratios=[text, rest], squeeze=False)[:, 0]
    above.text(0.04, 1, "\n".join(facts), fontsize=11, va="top", linespacing=1.35)
    if explanation.parts:
        _draw_parts(below.subplots(), explanation.parts, rest / BAR - 1)


def _draw_parts(axes: Axes, parts: Sequence[ScorePart], rows: float) -> None:
    """A bar for each part of the score, to the right where it adds; there is room for `rows`."""
    values = [part.value for part in parts]
    names = [textwrap.shorten(_plain(part.name), 30, placeholder="…") for part in parts]
    bars = axes.barh(
        range(len(parts)), values, height=0.45, color=[ADDS if v >= 0 else TAKES for v in values]
    )
    axes.bar_label(bars, [number(value) for value in values], padding=4, fontsize=9)
    axes.plot([0, 0], [-0.5, len(parts) - 0.5], color=SOFT, linewidth=1)
    axes.set_yticks(range(len(parts)), names)
    most = max(map(abs, values)) or 1.0
    axes.set(xlim=(-1.5 * most, 1.5 * most), ylim=(rows - 0.5, -0.5))  # room for the numbers
    axes.tick_params(length=0, labelsize=10)
    axes.xaxis.set_visible(False)
    axes.spines[:].set_visible(False)


def _draw_pair(
    axes: Axes, query: SmallPhoto | None, other: SmallPhoto | None, found: Reference
) -> None:
    """The query beside a reference, lines between matched points, a caption."""
    side = side_by_side(query, other, found)
    _photo(axes, query, side.query)
    _photo(axes, other, side.other)
    for (x0, y0, x1, y1), rgb in zip(side.lines.tolist(), colours(len(side.lines)), strict=True):
        axes.plot(
            [x0, x1],
            [y0, y1],
            color=[c / 255 for c in rgb],
            linewidth=1,
            marker="o",
            markersize=4.5,
            markeredgecolor="black",
            markeredgewidth=0.6,
            clip_on=False,
        )
    _frame(axes, *side.size)
    told = [
        found.landmark or "no landmark",
        found.photo_id,
        f"similarity {number(found.similarity)}",
        matched(found),
    ]
    axes.set_xlabel("\n".join(_wrapped(" · ".join(told), 115)), fontsize=10, color=SOFT, loc="left")


def _photo(axes: Axes, photo: SmallPhoto | None, box: tuple[float, float, float, float]) -> None:
    """A photo in (x, y, width, height); a grey place for one that is gone."""
    x, y, width, height = box
    if photo:
        axes.imshow(photo.image, extent=(x, x + width, y + height, y), aspect="equal")
        return
    axes.fill([x, x + width, x + width, x], [y, y, y + height, y + height], color=EMPTY)
    axes.text(
        x + width / 2, y + height / 2, "photo not found", color=SOFT, ha="center", va="center"
    )


def _frame(axes: Axes, width: float, height: float) -> None:
    """Show just this much of the page, from its upper left corner, without an axis."""
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal", xticks=[], yticks=[], anchor="NW")
    axes.spines[:].set_visible(False)


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(_plain(text), width) or [""]


def _plain(text: str) -> str:
    """Without line breaks and other signs that cannot be shown."""
    return "".join(c if c.isprintable() else " " for c in text)
