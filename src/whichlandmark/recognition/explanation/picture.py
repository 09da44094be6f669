"""Write an explanation as one PNG: the answer, the photo, its three best references."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.figures import new_figure
from ...core.files import atomic_file
from ...gallery.records import Credit
from .drawing import (
    GAP,
    MAX_HEIGHT,
    MAX_WIDTH,
    Explanation,
    Reference,
    ScorePart,
    SmallPhoto,
    confidence_text,
    format_number,
    inlier_text,
    line_colours,
    load_small_photo,
    query_box,
    score_text,
    side_by_side,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INCHES_PER_PIXEL = 1 / 100

DPI = 150

REFERENCES = 3  # references drawn

TEXT_COLOUR, CAPTION_COLOUR, PLACEHOLDER_COLOUR = "#1b2130", "#576074", "#e0e4eb"

POSITIVE_COLOUR, NEGATIVE_COLOUR = "#009e73", "#d55e00"

LINE_HEIGHT = 0.24  # inches

BAR_HEIGHT = 0.27  # inches, of one part of the score with its margin


def write_picture(explanation: Explanation, path: str | Path) -> None:
    """Write the picture, atomically. A photo that cannot be read gets a placeholder.

    Raises OptionError without matplotlib.
    """
    query = load_small_photo(explanation.photo, explanation.shape)
    pairs = [
        (reference, load_small_photo(reference.path, reference.shape))
        for reference in explanation.references[:REFERENCES]
    ]
    facts = _facts(explanation)
    top = max(
        MAX_HEIGHT * INCHES_PER_PIXEL,
        LINE_HEIGHT * len(facts) + BAR_HEIGHT * (len(explanation.parts) + 1),
    )
    heights = [top] + [
        side_by_side(query, other, one).size[1] * INCHES_PER_PIXEL + LINE_HEIGHT
        for one, other in pairs
    ]
    title = _wrapped(f"Which landmark is in {explanation.name}, or none?", 110)
    words = _wrapped(explanation.words, 62)
    head = LINE_HEIGHT * len(title) + 1.6 * LINE_HEIGHT * len(words)
    width = (2 * MAX_WIDTH + GAP) * INCHES_PER_PIXEL
    with new_figure(width, sum(heights) + head + 0.2, {"text.color": TEXT_COLOUR}) as figure:
        rows = figure.subfigures(2 + len(pairs), 1, height_ratios=[head, *heights], squeeze=False)
        heading = rows[0, 0]
        heading.text(0, 1, "\n".join(title), fontsize=10, color=CAPTION_COLOUR, va="top")
        heading.text(0, 0, "\n".join(words), fontsize=17, weight="bold", va="bottom")
        _draw_answer(rows[1, 0], explanation, query, facts)
        for row, (reference, other) in zip(rows[2:, 0], pairs, strict=True):
            credit = explanation.credits.get(reference.photo_id)
            _draw_pair(row.subplots(), query, other, reference, credit)
        with atomic_file(path, "picture") as temporary:
            figure.savefig(
                temporary,
                format="png",
                dpi=DPI,
                facecolor="white",
                bbox_inches="tight",
                pad_inches=0.3,
                metadata={"Software": "whichlandmark"},
            )


def _facts(explanation: Explanation) -> list[str]:
    """The lines of text beside the photo."""
    lines = [
        *([explanation.why] if explanation.why else []),
        f"decision: {explanation.decision.replace('_', ' ')}",
        f"best guess: {explanation.guess or 'none'}",
        f"{confidence_text(explanation)} that the best guess is right",
    ]
    if score := score_text(explanation):
        lines.append(f"score: {score}")
    if explanation.second:
        lines.append(f"next best: {explanation.second}")
    return [part for line in lines for part in _wrapped(line, 50)]


def _draw_answer(
    row: Figure, explanation: Explanation, query: SmallPhoto | None, facts: Sequence[str]
) -> None:
    """On the left the photo with its box; on the right the decision and the parts of the score."""
    from matplotlib import patheffects
    from matplotlib.patches import Rectangle

    left, right = row.subfigures(1, 2, squeeze=False)[0]
    axes = left.subplots()
    width, height = query.fitted if query else (MAX_WIDTH, MAX_HEIGHT)
    _photo(axes, query, (0, 0, width, height))
    if query and (box := query_box(explanation, query)):
        edge = Rectangle(box[:2], *box[2:], fill=False, edgecolor="white", linewidth=2)
        edge.set_path_effects([patheffects.withStroke(linewidth=4, foreground="black")])
        axes.add_patch(edge)
    _frame(axes, width, height)
    text = LINE_HEIGHT * len(facts)
    rest = max(BAR_HEIGHT * (len(explanation.parts) + 1), MAX_HEIGHT * INCHES_PER_PIXEL - text)
    above, below = right.subfigures(2, 1, height_ratios=[text, rest], squeeze=False)[:, 0]
    above.text(0.04, 1, "\n".join(facts), fontsize=11, va="top", linespacing=1.35)
    if explanation.parts:
        _draw_parts(below.subplots(), explanation.parts, rest / BAR_HEIGHT - 1)


def _draw_parts(axes: Axes, parts: Sequence[ScorePart], rows: float) -> None:
    """A bar for each part of the score, to the right where it adds. rows: bars that fit."""
    values = [part.value for part in parts]
    names = [textwrap.shorten(_plain(part.title), 40, placeholder="…") for part in parts]
    bars = axes.barh(
        range(len(parts)),
        values,
        height=0.45,
        color=[POSITIVE_COLOUR if v >= 0 else NEGATIVE_COLOUR for v in values],
    )
    axes.bar_label(bars, [format_number(value) for value in values], padding=4, fontsize=9)
    axes.plot([0, 0], [-0.5, len(parts) - 0.5], color=CAPTION_COLOUR, linewidth=1)
    axes.set_yticks(range(len(parts)), names)
    most = max(map(abs, values)) or 1.0
    axes.set(xlim=(-2.2 * most, 1.8 * most), ylim=(rows - 0.5, -0.5))  # room for the numbers
    axes.tick_params(length=0, labelsize=10)
    axes.xaxis.set_visible(False)
    axes.spines[:].set_visible(False)


def _draw_pair(
    axes: Axes,
    query: SmallPhoto | None,
    other: SmallPhoto | None,
    reference: Reference,
    credit: Credit | None,
) -> None:
    """The query beside a reference, lines between matched points, a caption."""
    side = side_by_side(query, other, reference)
    _photo(axes, query, side.query)
    _photo(axes, other, side.other)
    for (x0, y0, x1, y1), rgb in zip(
        side.lines.tolist(), line_colours(len(side.lines)), strict=True
    ):
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
    caption = [
        reference.landmark or "no landmark",
        reference.photo_id,
        f"similarity {format_number(reference.similarity)}",
        inlier_text(reference),
        *([f"photo: {', '.join(filter(None, credit[:2]))}"] if credit and any(credit[:2]) else []),
    ]
    axes.set_xlabel(
        "\n".join(_wrapped(" · ".join(caption), 115)), fontsize=10, color=CAPTION_COLOUR, loc="left"
    )


def _photo(axes: Axes, photo: SmallPhoto | None, box: tuple[float, float, float, float]) -> None:
    """A photo in a box (x, y, width, height); a grey area for a missing one."""
    x, y, width, height = box
    if photo:
        axes.imshow(photo.image, extent=(x, x + width, y + height, y), aspect="equal")
        return
    axes.fill(
        [x, x + width, x + width, x], [y, y, y + height, y + height], color=PLACEHOLDER_COLOUR
    )
    axes.text(
        x + width / 2,
        y + height / 2,
        "photo not found",
        color=CAPTION_COLOUR,
        ha="center",
        va="center",
    )


def _frame(axes: Axes, width: float, height: float) -> None:
    """Limit the axes to this size, from the upper left corner, and hide them."""
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal", xticks=[], yticks=[], anchor="NW")
    axes.spines[:].set_visible(False)


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(_plain(text), width) or [""]


def _plain(text: str) -> str:
    """Replace line breaks and other unprintable characters by spaces."""
    return "".join(c if c.isprintable() else " " for c in text)
