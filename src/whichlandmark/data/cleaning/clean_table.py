"""Clean a table, resumable; page of what was dropped."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...core.errors import OptionError
from ...core.files import write_text
from ...core.html import render
from ...core.images import thumbnail
from ...core.types import Photos, ProgressFor
from ...features.embedders.load import require_torch
from ..folders import read_photos_or_folder
from ..table import write_photos
from . import reasons as why
from .drop import Cleaning, CleanResult, Drop, Unsupported, clean, write_cleaning
from .neighbour_support import GraphCleaning, unsupported
from .scan import SceneVoter
from .scan_cache import ScanCache

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
class DroppedPhoto:
    """One photo that was dropped, ready to print; pictures are data: URIs, "" = none to show."""

    id: str
    landmark: str
    detail: str
    picture: str
    beside: str
    compared: bool


@dataclass(frozen=True)
class ReasonSection:
    """The photos of one reason; `cards` is a sample of `count`."""

    reason: str
    tells: str
    count: int
    cards: list[DroppedPhoto]


def write_cleaning_page(
    path: str | Path, result: CleanResult, *, title: str = "Cleaning", each: int = 24
) -> None:
    """Write the page, atomically. each: most photos shown of a reason, evenly over its list.

    A photo that cannot be read gets a placeholder. The same result gives the same bytes.
    """
    sections = [_section(reason, result, each) for reason in result.counts()]
    page = render(
        "cleaning.html",
        title=title,
        photos=len(result.kept) + len(result.dropped),
        kept=len(result.kept),
        landmarks=len({*result.kept.landmarks} - {""}),
        dropped=len(result.dropped),
        leaks=len(result.leaks),
        sections=sections,
    )
    write_text(path, page)


def _section(reason: str, result: CleanResult, each: int) -> ReasonSection:
    drops = [drop for drop in result.dropped + result.leaks if drop.reason == reason]
    places = np.unique(np.linspace(0, len(drops) - 1, min(each, len(drops))).round().astype(int))
    tells = TELLS[why.REASONS[why.place(reason)]]
    return ReasonSection(reason, tells, len(drops), [_card(drops[place]) for place in places])


def _card(drop: Drop) -> DroppedPhoto:
    readable = drop.reason != why.UNREADABLE
    return DroppedPhoto(
        id=drop.id,
        landmark=drop.landmark or "no landmark",
        detail=f"stays: {drop.detail}" if drop.reason in STAYS else drop.detail,
        picture=thumbnail(drop.path) if readable else "",
        beside=thumbnail(drop.beside),
        compared=bool(drop.beside),
    )


@dataclass(frozen=True, kw_only=True)
class TableCleaning:
    """rules: what is dropped. against: tables that no photo may also be in.
    places365: folder of the Places365 files, None = no vote; scenes: of a photo that vote.
    graph: how photos are compared with others of their landmark, None = they are not.
    device: that the Places365 network runs on.
    """

    rules: Cleaning
    against: tuple[Path, ...] = ()
    places365: Path | None = None
    scenes: int = 5
    graph: GraphCleaning | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.places365 and self.rules.outdoor > self.scenes:
            raise OptionError(
                f"{self.rules.outdoor} of {self.scenes} scenes outdoors wanted; expected at most "
                f"{self.scenes}"
            )


@dataclass(frozen=True)
class CleanedTable:
    """The result, and the files that were written: the table, the reasons, the page; looks: where
    what was seen is kept.
    """

    result: CleanResult
    reasons: Path
    page: Path
    looks: Path


def clean_table(
    source: Path, out: Path, options: TableCleaning, *, progress: ProgressFor
) -> CleanedTable:
    """Clean a table or folder into `out`; beside it, by its name: .cleaning.csv, .cleaning.html,
    .looks.sqlite (what was seen) and, with `graph`, the folder .graph (vectors).

    The same call goes on where an interrupted one stopped; photos, options and the other tables
    may change between calls. Raises OptionError when `out` is the source itself.
    """
    if source.exists() and out.exists() and out.samefile(source):
        raise OptionError(
            f"{out} given as the table and as the result; nothing is deleted here: write another "
            "file"
        )
    photos = read_photos_or_folder(source)
    against = _tables(source, options.against)
    voter = _voter(options)
    beside = {
        name: out.with_name(f"{out.stem}.{name}")
        for name in ("cleaning.csv", "cleaning.html", "looks.sqlite", "graph")
    }
    with ScanCache(beside["looks.sqlite"]) as store:
        result = clean(
            photos, options.rules, against=against, voter=voter, store=store,
            unsupported=_graph(options.graph, beside["graph"], progress),
            progress=progress("cleaning"),
        )  # fmt: skip
    write_photos(out, result.kept)
    write_cleaning(beside["cleaning.csv"], result)
    write_cleaning_page(beside["cleaning.html"], result, title=f"Cleaning of {source.name}")
    return CleanedTable(
        result, beside["cleaning.csv"], beside["cleaning.html"], beside["looks.sqlite"]
    )


def _tables(source: Path, against: tuple[Path, ...]) -> dict[str, Photos]:
    """Name → table: the file's name, or its path where names are equal."""
    names = Counter(path.name for path in against)
    tables = {}
    for path in dict.fromkeys(against):
        if path.exists() and source.exists() and path.samefile(source):
            raise OptionError(
                f"{path} given as the table and as what it must not share photos with"
            )
        name = path.name if names[path.name] == 1 else str(path)
        tables[name] = read_photos_or_folder(path)
    return tables


def _voter(options: TableCleaning) -> SceneVoter | None:
    if options.places365 is None:
        return None
    require_torch()
    from .places365 import Places365

    return Places365.load(options.places365, top=options.scenes, device=options.device)


def _graph(
    options: GraphCleaning | None, folder: Path, progress: ProgressFor
) -> Unsupported | None:
    if options is None:
        return None

    def find(photos: Photos, store: ScanCache) -> dict[int, tuple[str, str]]:
        return unsupported(photos, store, folder, options, progress=progress)

    return find
