"""Clean a photo table (resumable), and write an HTML page of the photos that were dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from ...core.errors import DataError, OptionError
from ...core.files import write_text
from ...core.hardware import check_device
from ...core.html import render
from ...core.images import thumbnail
from ...core.json_options import Span, check_fields, count
from ...core.results import check_results
from ...core.types import Photos, ProgressFor, true_landmarks
from ...features.embedders.load import require_torch
from ..folders import read_photos_or_folder
from ..table import write_photos
from . import reasons
from .drop import CleaningRules, CleanResult, Drop, FindUnsupported, clean, write_cleaning
from .neighbour_support import SupportOptions, find_unsupported
from .scan import SceneVoter
from .scan_cache import ScanCache

# Printed under each reason's heading on the page.
EXPLANATIONS = {
    reasons.UNREADABLE: "The photo could not be decoded; the decoder's message is shown.",
    reasons.ALSO_IN: "The same picture is in the table that was given with --against.",
    reasons.CONFLICTING: "Files with the same bytes are labelled with different landmarks. It "
    "cannot be decided automatically which label is right, so all of them are dropped.",
    reasons.DUPLICATE: "Files with the same bytes; one of them is kept.",
    reasons.NEAR_DUPLICATE: "The same photograph, re-encoded, resized or cropped; the version with "
    "the most pixels is kept.",
    reasons.NOT_OUTDOOR: "Too few of the scene categories predicted for the photo are outdoors.",
    reasons.UNSUPPORTED: "Too few of the nearest photos of the same landmark match the photo "
    "geometrically. The nearest photo of the landmark is shown on the right.",
    reasons.TOO_FEW: "After all other drops, the landmark has fewer photos than --min-photos.",
    reasons.LEAK: "Versions of the same photograph are labelled with different landmarks. They are "
    "kept, because only a person can decide which label is right.",
}

# Their detail names the photo that is kept.
REASONS_NAMING_THE_KEPT_PHOTO = (reasons.DUPLICATE, reasons.NEAR_DUPLICATE)


@dataclass(frozen=True)
class DroppedPhoto:
    """One dropped photo, ready to print.

    picture, compared_picture: data: URIs of this photo and of the photo that it was compared with,
    "" = cannot be shown. compared: there is a photo that it was compared with.
    """

    id: str
    landmark: str
    detail: str
    picture: str
    compared_picture: str
    compared: bool


@dataclass(frozen=True)
class ReasonSection:
    """The photos dropped for one reason; `cards` is a sample of all `count`."""

    reason: str
    explanation: str
    count: int
    cards: list[DroppedPhoto]


def write_cleaning_page(
    path: str | Path, result: CleanResult, *, title: str = "Cleaning", photos_per_reason: int = 24
) -> None:
    """Write the page of dropped photos, atomically.

    photos_per_reason: maximum; they are sampled evenly from the list. A photo that cannot be read
    gets a placeholder. The same result gives the same bytes.
    """
    sections = []
    for reason in result.counts():
        drops = [drop for drop in result.dropped + result.leaks if drop.reason == reason]
        shown = np.linspace(0, len(drops) - 1, min(photos_per_reason, len(drops)))
        cards = [_card(drops[i]) for i in np.unique(shown.round().astype(int))]
        explanation = EXPLANATIONS[reasons.REASONS[reasons.reason_order(reason)]]
        sections.append(ReasonSection(reason, explanation, len(drops), cards))
    page = render(
        "cleaning.html",
        title=title,
        photos=len(result.kept) + len(result.dropped),
        kept=len(result.kept),
        landmarks=len({name for cell in {*result.kept.landmarks} for name in true_landmarks(cell)}),
        dropped=len(result.dropped),
        leaks=len(result.leaks),
        sections=sections,
    )
    write_text(path, page, "page")


def _card(drop: Drop) -> DroppedPhoto:
    readable = drop.reason != reasons.UNREADABLE
    names_kept = drop.reason in REASONS_NAMING_THE_KEPT_PHOTO
    return DroppedPhoto(
        id=drop.id,
        landmark=drop.landmark or "no landmark",
        detail=f"kept: {drop.detail}" if names_kept else drop.detail,
        picture=thumbnail(drop.path) if readable else "",
        compared_picture=thumbnail(drop.compared_path),
        compared=bool(drop.compared_path),
    )


@dataclass(frozen=True, kw_only=True)
class CleanTableOptions:
    """How to clean a table.

    rules: what is dropped. against: other tables; a photo that is also in one of them is dropped.
    places365: folder of the Places365 files, None = indoor photos are not dropped.
    scenes: likeliest scenes of a photo that are counted as indoors or outdoors.
    support: how photos are compared with others of their landmark, None = they are not.
    device: runs the Places365 network.
    """

    rules: CleaningRules
    against: tuple[Path, ...] = ()
    places365: Path | None = None
    scenes: int = 5
    support: SupportOptions | None = None
    device: str = "auto"

    spans: ClassVar[Mapping[str, Span]] = {"scenes": count(1, 365)}

    def __post_init__(self) -> None:
        check_fields(self)
        check_device(self.device)
        if self.places365 and self.rules.outdoor > self.scenes:
            raise OptionError(
                f"outdoor {self.rules.outdoor} given with {self.scenes} scenes; expected at most "
                f"{self.scenes}"
            )


@dataclass(frozen=True)
class CleanedTable:
    """The result, and the files that were written: the csv of drops, the page, the scan cache.

    left_out: path → reason of the files of the folders that are not in the tables.
    """

    result: CleanResult
    drops: Path
    page: Path
    scan_cache: Path
    left_out: dict[str, str]


def clean_table(
    source: Path, out: Path, options: CleanTableOptions, *, progress: ProgressFor
) -> CleanedTable:
    """Clean a table or a folder of photos, and write the cleaned table. No photo is deleted.

    For out = x.csv, these files are written into the same folder: x.cleaning.csv (every drop and
    its reason), x.cleaning.html (the photos), x.looks.sqlite (scan cache) and, with
    `options.support`, the folder x.graph (vectors). The same call resumes an interrupted one;
    photos, options and the other tables may change between calls.

    Args:
        source: A photos.csv or a folder of photos.
        out: The table to write.
        options: What is dropped.
        progress: Name of a step → its progress callback.

    Raises:
        OptionError: When a file to write is an input, or was not written by an earlier call.
    """
    written = {
        name: out.with_name(f"{out.stem}.{name}")
        for name in ("cleaning.csv", "cleaning.html", "looks.sqlite", "graph")
    }
    check_results(
        [(out, "photo table"), (written["cleaning.csv"], "list of dropped photos"),
         (written["cleaning.html"], "page")],
        [source, *options.against],
    )  # fmt: skip
    photos = read_photos_or_folder(source)
    against = _other_tables(source, options.against)
    voter = _voter(options)
    with ScanCache(written["looks.sqlite"]) as cache:
        result = clean(
            photos,
            options.rules,
            against=against,
            voter=voter,
            find_unsupported=_support_check(options.support, written["graph"], progress),
            cache=cache,
            progress=progress("cleaning"),
        )
    write_photos(out, result.kept)
    write_cleaning(written["cleaning.csv"], result)
    write_cleaning_page(written["cleaning.html"], result, title=f"Cleaning of {source.name}")
    left_out = dict(photos.left_out)
    for table in against.values():
        left_out |= table.left_out
    return CleanedTable(
        result, written["cleaning.csv"], written["cleaning.html"], written["looks.sqlite"],
        left_out,
    )  # fmt: skip


def _other_tables(source: Path, against: tuple[Path, ...]) -> dict[str, Photos]:
    """Name → table; a table is named by its file name, or by its path when file names are equal."""
    names = Counter(path.name for path in against)
    tables = {}
    for path in dict.fromkeys(against):
        if path.exists() and source.exists() and path.samefile(source):
            raise OptionError(f"{path} given as the table and with --against; give another table")
        name = path.name if names[path.name] == 1 else str(path)
        try:
            tables[name] = read_photos_or_folder(path)
        except DataError:  # such as a folder of queries without landmarks
            tables[name] = read_photos_or_folder(path, labelled=False)
    return tables


def _voter(options: CleanTableOptions) -> SceneVoter | None:
    if options.places365 is None:
        return None
    require_torch()
    from .places365 import Places365

    return Places365.load(options.places365, top=options.scenes, device=options.device)


def _support_check(
    options: SupportOptions | None, folder: Path, progress: ProgressFor
) -> FindUnsupported | None:
    if options is None:
        return None

    def find(photos: Photos, cache: ScanCache) -> dict[int, tuple[str, str]]:
        return find_unsupported(photos, cache, folder, options, progress=progress)

    return find
