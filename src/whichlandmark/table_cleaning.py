"""Clean a table: photos.csv → clean.csv, every dropped photo with its reason; resumable."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from .cleaning_page import write_cleaning_page
from .data.cleaning import Cleaning, CleanResult, Unsupported, clean, write_cleaning
from .data.folders import read_photos_or_folder
from .data.look_store import LookStore
from .data.looks import Voter
from .data.table import write_photos
from .errors import OptionError
from .graph_cleaning import GraphCleaning, unsupported
from .loading import require_torch
from .types import Photos, ProgressFor


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
class Cleaned:
    """The result, and the files that were written: the table, the reasons, the page; looks: where
    what was seen is kept.
    """

    result: CleanResult
    reasons: Path
    page: Path
    looks: Path


def clean_table(
    source: Path, out: Path, options: TableCleaning, *, progress: ProgressFor
) -> Cleaned:
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
    with LookStore(beside["looks.sqlite"]) as store:
        result = clean(
            photos, options.rules, against=against, voter=voter, store=store,
            unsupported=_graph(options.graph, beside["graph"], progress),
            progress=progress("cleaning"),
        )  # fmt: skip
    write_photos(out, result.kept)
    write_cleaning(beside["cleaning.csv"], result)
    write_cleaning_page(beside["cleaning.html"], result, title=f"Cleaning of {source.name}")
    return Cleaned(result, beside["cleaning.csv"], beside["cleaning.html"], beside["looks.sqlite"])


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


def _voter(options: TableCleaning) -> Voter | None:
    if options.places365 is None:
        return None
    require_torch()
    from .net.places365 import Places365

    return Places365.load(options.places365, top=options.scenes, device=options.device)


def _graph(
    options: GraphCleaning | None, folder: Path, progress: ProgressFor
) -> Unsupported | None:
    if options is None:
        return None

    def find(photos: Photos, store: LookStore) -> dict[int, tuple[str, str]]:
        return unsupported(photos, store, folder, options, progress=progress)

    return find
