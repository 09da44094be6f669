"""A plan as one page for a person: what would be written where, photo by photo, with pictures.

The page needs no other file and runs no script. Names and reasons come from files and are text.
"""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path

from ..core.files import file_url, local_path, write_text
from ..core.hardware import cpu_count
from ..core.html import render
from ..core.images import thumbnail
from ..core.types import Progress
from ..data.left_out import counted, lost_photos, printable
from ..recognition.answer import CONFIDENCE_WORDS
from .plan import Plan, PlannedLabel
from .xmp import Place

MOST_PICTURES = 500

PICTURE_SIDE = 240  # pixels

MOST_PICTURE_BYTES = 16_000_000  # of all pictures, as base64

PICTURES_AT_ONCE = 32

MOST_ROWS = 4_000  # of photos that are named; the csv has all

MOST_THREADS = 4  # that decode photos at once

STATES = {
    "write": "to be labelled", "known": "labelled already", "blocked": "blocked",
    "not_sure": "not sure", "failed": "not readable", "no_landmark": "without a landmark",
}  # fmt: skip


@dataclass(frozen=True)
class ShownPhoto:
    """A photo of the page.

    name: its path below the library. address: `file:` URL. title: the landmark. sure: the
    confidence in words, "" = there is none. picture: data: URI; "" = not among those shown. shown:
    should there be a picture? where: name of the sidecar. also: other landmarks of the label.
    position: that is written as the photo's own. known: the sidecar says it already.
    """

    name: str
    address: str
    title: str
    sure: str
    confidence: str
    why: str
    where: str
    also: str
    position: str
    known: bool
    shown: bool = False
    picture: str = ""


@dataclass(frozen=True)
class LandmarkGroup:
    """The photos of a landmark, the most doubtful first. facts: what a sidecar will say."""

    title: str
    wikidata: str
    facts: str
    new: int
    known: int
    photos: Sequence[ShownPhoto]


def write_plan_page(
    path: str | Path, plan: Plan, *, command: str = "", progress: Progress | None = None
) -> None:
    """Write the page, whole or not at all.

    Args:
        path: The file; an earlier page of this program is replaced.
        plan: What to show.
        command: That writes the labels; "" = the one for the library and recognizer of the plan.
        progress: Called with (pictures made, pictures to make).

    Raises:
        OptionError: When the file exists and is no page of this program.
    """
    groups: dict[str, list[PlannedLabel]] = {}
    for row in plan:
        if row.labelled and row.state != "blocked":
            groups.setdefault(row.landmark or "", []).append(row)
    landmarks = sorted(groups.values(), key=lambda rows: (-len(rows), rows[0].title))
    parts = {
        "unsure": [row for row in plan if row.state == "not_sure"],
        "taken_out": [row for row in plan if row.state == "write" and not row.labelled],
        "blocked": [row for row in plan if row.state == "blocked"],
        "failed": [row for row in plan if row.state == "failed"],
    }
    lists = [
        *(sorted(rows, key=lambda row: (row.confidence, row.photo)) for rows in landmarks),
        sorted(parts["unsure"], key=lambda row: (-row.confidence, row.photo)),
        *[*parts.values()][1:],
    ]
    named = {row.photo for row in islice(_in_turns(lists), MOST_ROWS)}
    with_pictures = (
        row for row in _in_turns(lists) if row.photo in named and row.state != "failed"
    )
    pictures = _pictures([*islice(with_pictures, MOST_PICTURES)], progress)
    shown = [[_shown(row, pictures) for row in rows if row.photo in named] for rows in lists]
    sections = dict(zip(parts, shown[len(landmarks) :], strict=True))
    counts = plan.counts
    counts["write"] -= len(parts["taken_out"])
    page = render(
        "plan.html",
        title=f"Labels for {printable(os.path.basename(plan.library) or plan.library)}",
        library=printable(plan.library),
        photos=len(plan),
        counts=[(words, counts[state]) for state, words in STATES.items() if counts[state]],
        to_write=counts["write"],
        taken_out=len(parts["taken_out"]),
        blocked=len(parts["blocked"]),
        above=f"{plan.above:.3g}",
        command=printable(command or _command(plan)),
        notes=[printable(text) for text in plan.notes],
        groups=[_group(rows, photos) for rows, photos in zip(landmarks, shown, strict=False)],
        sections=sections,
        totals={name: len(rows) for name, rows in parts.items()},
        left_out=[printable(text) for text in counted(lost_photos(dict(plan.left_out)), named=3)],
        pictures=len([uri for uri in pictures.values() if uri]),
        without=sum(map(len, lists)) - len(named),
    )
    write_text(path, page, "page")


def _in_turns(lists: Sequence[Sequence[PlannedLabel]]) -> Iterator[PlannedLabel]:
    """The first of each list, then the second of each, and so on."""
    for turn in zip_longest(*lists):
        yield from (row for row in turn if row is not None)


def _pictures(rows: Sequence[PlannedLabel], progress: Progress | None) -> dict[str, str]:
    """Photo → its picture, "" = it cannot be decoded; none after MOST_PICTURE_BYTES."""
    found: dict[str, str] = {}
    size = 0
    with ThreadPoolExecutor(min(cpu_count(), MOST_THREADS), "pictures") as pool:
        for start in range(0, len(rows), PICTURES_AT_ONCE):
            part = rows[start : start + PICTURES_AT_ONCE]
            made = pool.map(lambda row: thumbnail(row.file, PICTURE_SIDE), part)
            for row, uri in zip(part, made, strict=True):
                found[row.photo] = uri
                size += len(uri)
            if progress:
                progress(len(found), len(rows))
            if size > MOST_PICTURE_BYTES:
                break
    return found


def _shown(row: PlannedLabel, pictures: dict[str, str]) -> ShownPhoto:
    sure = confidence = ""
    if row.landmark is not None:
        words = (words for least, words in CONFIDENCE_WORDS if row.confidence >= least)
        sure, confidence = next(words, ""), _number(row.confidence)
    position = row.wanted.position
    return ShownPhoto(
        name=printable(row.photo),
        address=file_url(local_path(row.file)),
        title=printable(row.title),
        sure=sure,
        confidence=confidence,
        why="" if row.why.startswith("confidence ") else printable(row.why),
        where=printable(os.path.basename(row.sidecar)),
        also=printable(", ".join(row.wanted.keywords[1:])),
        position=f"{position[0]:.5f}, {position[1]:.5f}" if position else "",
        known=row.state == "known",
        shown=row.photo in pictures,
        picture=pictures.get(row.photo, ""),
    )


def _number(confidence: float) -> str:
    return f"{confidence:.3f}" if confidence < 0.9995 else "over 0.999"


def _group(rows: Sequence[PlannedLabel], photos: Sequence[ShownPhoto]) -> LandmarkGroup:
    states = Counter(row.state for row in rows)
    place, wanted = rows[0].place or Place(rows[0].title), rows[0].wanted
    facts = [f"keyword {wanted.keywords[0]}"] if wanted.keywords else []
    facts += [path.replace("|", " › ") for path in wanted.hierarchy[:1]]
    if wanted.places:
        parts = [place.name, place.city, place.country]
        if place.latitude is not None and place.longitude is not None:
            parts.append(f"at {place.latitude:.5f}, {place.longitude:.5f}")
        facts.append(f"location shown: {', '.join(filter(None, parts))}")
    return LandmarkGroup(
        title=printable(rows[0].title),
        wikidata=place.wikidata if re.fullmatch(r"Q[0-9]{1,12}", place.wikidata) else "",
        facts=printable("; ".join(facts)),
        new=states["write"],
        known=states["known"],
        photos=photos,
    )


def _command(plan: Plan) -> str:
    library, recognizer = shlex.quote(plan.library), shlex.quote(plan.recognizer)
    return f"whichlandmark label {library} -r {recognizer} --above {plan.above:.6g} --write"
