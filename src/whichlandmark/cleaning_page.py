"""What cleaning dropped → one self-contained HTML page: thumbnails under each reason.

No script, nothing fetched: style and pictures are inside the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from .data import reasons as why
from .data.cleaning import CleanResult, Drop
from .files import write_text
from .thumbnails import thumbnail

TELLS = {
    why.UNREADABLE: "The decoder's words say why.",
    why.ALSO_IN: "The picture stands in that table too, which no photo of this one may.",
    why.CONFLICTING: "Nobody can tell which landmark is right: all of them go.",
    why.DUPLICATE: "The same bytes; the other one stays.",
    why.NEAR_DUPLICATE: "One photograph, re-encoded, resized or cropped; the larger one stays.",
    why.NOT_OUTDOOR: "Too few of its likeliest scenes are outdoors.",
    why.UNSUPPORTED: "Too few of its nearest photos show the same thing by geometry; "
    "beside it, the nearest one of the landmark.",
    why.TOO_FEW: "What the other reasons left is too little to learn the landmark from.",
    why.LEAK: "Only a person can tell which landmark is right. These photos stay.",
}

STAYS = (why.DUPLICATE, why.NEAR_DUPLICATE)  # their detail names the photo that stays


@dataclass(frozen=True)
class Card:
    """One photo that was dropped, ready to print; pictures are data: URIs, "" = none to show."""

    id: str
    landmark: str
    detail: str
    picture: str
    beside: str
    compared: bool


@dataclass(frozen=True)
class Section:
    """The photos of one reason; `cards` is a sample of `count`."""

    reason: str
    tells: str
    count: int
    cards: list[Card]


def write_cleaning_page(
    path: str | Path, result: CleanResult, *, title: str = "Cleaning", each: int = 24
) -> None:
    """Write the page, atomically. each: most photos shown of a reason, evenly over its list.

    A photo that cannot be read gets a placeholder. The same result gives the same bytes.
    """
    from jinja2 import Environment, StrictUndefined

    source = resources.files(__package__).joinpath("templates/cleaning.html")
    jinja = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    sections = [_section(reason, result, each) for reason in result.counts()]
    page = jinja.from_string(source.read_text(encoding="utf-8")).render(
        title=title,
        photos=len(result.kept) + len(result.dropped),
        kept=len(result.kept),
        landmarks=len({*result.kept.landmarks} - {""}),
        dropped=len(result.dropped),
        leaks=len(result.leaks),
        sections=sections,
    )
    write_text(path, page)


def _section(reason: str, result: CleanResult, each: int) -> Section:
    drops = [drop for drop in result.dropped + result.leaks if drop.reason == reason]
    places = np.unique(np.linspace(0, len(drops) - 1, min(each, len(drops))).round().astype(int))
    tells = TELLS[why.REASONS[why.place(reason)]]
    return Section(reason, tells, len(drops), [_card(drops[place]) for place in places])


def _card(drop: Drop) -> Card:
    readable = drop.reason != why.UNREADABLE
    return Card(
        id=drop.id,
        landmark=drop.landmark or "no landmark",
        detail=f"stays: {drop.detail}" if drop.reason in STAYS else drop.detail,
        picture=thumbnail(drop.path) if readable else "",
        beside=thumbnail(drop.beside),
        compared=bool(drop.beside),
    )
