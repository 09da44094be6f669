"""Write an explanation as one self-contained HTML page, or as a picture (`picture.py`).

Style and photos are inside the page; it has no scripts and loads nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...core.errors import OptionError
from ...core.files import write_text
from ...core.html import credit_html, render
from ...core.images import data_uri, jpeg, thumbnail
from .drawing import (
    LONG_SIDE,
    Explanation,
    NearDistractor,
    Reference,
    ScorePart,
    SideBySide,
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
from .picture import write_picture

BAR_WIDTH = 120  # pixels for a part of the score, half of them for each sign


@dataclass(frozen=True)
class PairView:
    """A query beside a reference for the template.

    picture: a data: URI, "" = missing; credit: HTML, "" = nothing is known.
    """

    reference: Reference
    picture: str
    side: SideBySide
    strokes: list[str]
    numbers: list[str]
    alt: str
    credit: str


@dataclass(frozen=True)
class PartView:
    """A part of the score with its bar, from the middle to the right when it adds."""

    part: ScorePart
    value: str
    left: float
    width: float
    adds: bool


def write_explanation(explanation: Explanation, path: str | Path) -> None:
    """Write the page (.html) or the picture (.png), atomically.

    A photo that cannot be read gets a placeholder. Equal explanations give equal pages.
    Raises OptionError for another suffix.
    """
    suffix = Path(path).suffix.lower()
    if suffix in (".html", ".htm"):
        write_text(path, page(explanation), "page")
    elif suffix == ".png":
        write_picture(explanation, path)
    else:
        raise OptionError(f"{path}: explanations are written as .html or .png; name it so")


def page(explanation: Explanation) -> str:
    """The HTML of the page."""
    query = load_small_photo(explanation.photo, explanation.shape)
    return render(
        "explanation.html",
        e=explanation,
        confidence=confidence_text(explanation),
        score=score_text(explanation),
        query=data_uri(jpeg(query.image, LONG_SIDE)) if query else "",
        size=query.fitted if query else (0, 0),
        box=query_box(explanation, query) if query else None,
        pairs=[_pair(query, one, _credit(explanation, one)) for one in explanation.references],
        parts=_bars(explanation.parts),
        bar=BAR_WIDTH,
        distractors=[
            (near, thumbnail(near.path), format_number(near.similarity), _credit(explanation, near))
            for near in explanation.distractors
        ],
    )


def _credit(explanation: Explanation, photo: Reference | NearDistractor) -> str:
    credit = explanation.credits.get(photo.photo_id)
    return credit_html(**credit._asdict()) if credit else ""


def _pair(query: SmallPhoto | None, reference: Reference, credit: str) -> PairView:
    other = load_small_photo(reference.path, reference.shape)
    side = side_by_side(query, other, reference)
    numbers = [f"similarity {format_number(reference.similarity)}"]
    if reference.penalty is not None:
        numbers.append(f"similarity to distractors {format_number(reference.penalty)}")
    drawn = len(side.lines)
    note = f", {drawn} of them drawn" if drawn and drawn < (reference.inliers or 0) else ""
    numbers.append(inlier_text(reference) + note)
    left = "your photo" if query else "your photo, which is not found,"
    right = f"gallery photo {reference.photo_id}" + ("" if other else ", which is not found")
    return PairView(
        reference=reference,
        picture=data_uri(jpeg(other.image, LONG_SIDE)) if other else "",
        side=side,
        strokes=["#{:02x}{:02x}{:02x}".format(*colour) for colour in line_colours(drawn)],
        numbers=numbers,
        alt=f"On the left {left} on the right {right}: {inlier_text(reference)}",
        credit=credit,
    )


def _bars(parts: tuple[ScorePart, ...]) -> list[PartView]:
    """Bars on one scale: the largest part fills its half."""
    most = max((abs(part.value) for part in parts), default=0.0) or 1.0
    half = BAR_WIDTH / 2
    views = []
    for part in parts:
        width = half * abs(part.value) / most
        adds = part.value >= 0
        views.append(
            PartView(part, format_number(part.value), half if adds else half - width, width, adds)
        )
    return views
