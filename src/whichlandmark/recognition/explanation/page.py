"""The evidence for one answer → one self-contained HTML page, or a picture (`picture.py`).

No script, nothing fetched: style and photos are inside the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...core.errors import OptionError
from ...core.files import write_text
from ...core.html import render
from ...core.images import data_uri, jpeg, thumbnail
from .drawing import (
    SIDE,
    Explanation,
    Reference,
    ScorePart,
    SideBySide,
    SmallPhoto,
    box_on,
    colours,
    matched,
    number,
    shown,
    side_by_side,
)
from .picture import write_picture

BAR = 120  # width of a part's bar, both halves


@dataclass(frozen=True)
class PairView:
    """A query beside a reference, ready to print. Pictures are data: URIs, "" = gone."""

    reference: Reference
    picture: str
    side: SideBySide
    strokes: list[str]
    numbers: list[str]
    alt: str


@dataclass(frozen=True)
class PartView:
    """A part of the score with its bar, which grows from the middle: right when it adds."""

    part: ScorePart
    value: str
    left: float
    width: float
    adds: bool


def write_explanation(explanation: Explanation, path: str | Path) -> None:
    """Write the page (.html) or the picture (.png), atomically.

    A photo that cannot be read gets a placeholder. The same evidence gives the same page.
    Raises OptionError for another suffix.
    """
    suffix = Path(path).suffix.lower()
    if suffix in (".html", ".htm"):
        write_text(path, page(explanation))
    elif suffix == ".png":
        write_picture(explanation, path)
    else:
        raise OptionError(f"{path}: explanations are written as .html or .png; name it so")


def page(explanation: Explanation) -> str:
    """The page as text."""
    query = shown(explanation.photo, explanation.shape)
    return render(
        "explanation.html",
        e=explanation,
        confidence=f"{explanation.confidence:.0%}",
        query=data_uri(jpeg(query.image, SIDE)) if query else "",
        size=query.fitted if query else (0, 0),
        box=box_on(explanation, query) if query else None,
        pairs=[_pair(query, reference) for reference in explanation.references],
        parts=_bars(explanation.parts),
        bar=BAR,
        distractors=[
            (pulled, thumbnail(pulled.path), number(pulled.similarity))
            for pulled in explanation.distractors
        ],
    )


def _pair(query: SmallPhoto | None, reference: Reference) -> PairView:
    other = shown(reference.path, reference.shape)
    side = side_by_side(query, other, reference)
    numbers = [f"similarity {number(reference.similarity)}"]
    if reference.penalty is not None:
        numbers.append(f"like distractors {number(reference.penalty)}")
    drawn = len(side.lines)
    told = f", {drawn} of them drawn" if drawn and drawn < (reference.inliers or 0) else ""
    numbers.append(matched(reference) + told)
    where = "the query" if query else "the query, which is not found,"
    there = f"gallery photo {reference.photo_id}" + ("" if other else ", which is not found")
    return PairView(
        reference=reference,
        picture=data_uri(jpeg(other.image, SIDE)) if other else "",
        side=side,
        strokes=["#{:02x}{:02x}{:02x}".format(*colour) for colour in colours(drawn)],
        numbers=numbers,
        alt=f"On the left {where} on the right {there}: {matched(reference)}",
    )


def _bars(parts: tuple[ScorePart, ...]) -> list[PartView]:
    """Bars on one scale: the largest part fills its half."""
    most = max((abs(part.value) for part in parts), default=0.0) or 1.0
    half = BAR / 2
    views = []
    for part in parts:
        width = half * abs(part.value) / most
        adds = part.value >= 0
        views.append(
            PartView(part, number(part.value), half if adds else half - width, width, adds)
        )
    return views
