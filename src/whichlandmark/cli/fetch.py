"""The verb fetch: public data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import DataError, OptionError
from ..core.json_options import count
from ..core.results import FOLDER
from . import output
from .app import Json, app
from .option_types import within

if TYPE_CHECKING:
    from ..collect.gldv2_download import FetchOptions, FetchResult

fetch_app = typer.Typer(
    help="Fetch a public data set, whole or in part, from the web.", no_args_is_help=True
)

app.add_typer(fetch_app, name="fetch")

Out = Annotated[
    Path | None, typer.Option("-o", "--out", help="Folder to fetch into; what is there stays.")
]

Parts = Annotated[
    list[str] | None,
    typer.Option("--part", help="train (the default), index or test; may be repeated."),
]

Landmarks = Annotated[
    list[str] | None,
    typer.Option(
        help="Only photos of these landmarks: ids such as 47378,150591, or a file with ids."
    ),
]

Categories = Annotated[
    list[str] | None,
    typer.Option(
        "--category",
        help="Only photos of landmarks with these words in their name, without regard to accents "
        "and case; may be repeated.",
    ),
]

Largest = Annotated[
    int | None,
    typer.Option(callback=within(count()), help="Only the N landmarks with most photos."),
]

Limit = Annotated[
    int | None, typer.Option(callback=within(count()), help="At most N photos of each landmark.")
]

Offsets = Annotated[
    Path | None,
    typer.Option(
        help="Table of where photos are in the tars (--write-offsets, or a train.csv that `import "
        "gldv2` made from tars): saves the search for each."
    ),
]


@fetch_app.command("gldv2")
def fetch_gldv2(
    out: Out = None,
    part: Parts = None,
    landmarks: Landmarks = None,
    category: Categories = None,
    largest: Largest = None,
    limit: Limit = None,
    clean: Annotated[bool, typer.Option("--clean", help="Only photos of train_clean.csv.")] = False,
    offsets: Offsets = None,
    whole_tars: Annotated[
        bool, typer.Option("--whole-tars", help="Fetch whole tars: train is 500 GB.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Fetch the tables only; count photos, requests, megabytes."),
    ] = False,
    write_offsets: Annotated[
        Path | None,
        typer.Option(help="Instead of fetching: write the --offsets table of the tars in --from."),
    ] = None,
    tars: Annotated[
        Path | None, typer.Option("--from", help="With --write-offsets: the folder of the tars.")
    ] = None,
    api: Annotated[str | None, typer.Option(hidden=True)] = None,
    as_json: Json = False,
) -> None:
    """Fetch Google Landmarks v2, or the photos of some of its landmarks, for `import gldv2`.

    Photos of some landmarks are cut out of the tars on the server. The same command resumes.
    """
    if write_offsets or tars:
        _write_offsets(write_offsets, tars, as_json=as_json)
        return
    if out is None:
        raise OptionError("no folder to fetch into given; expected -o FOLDER")
    from ..collect.gldv2_download import FetchOptions
    from ..collect.gldv2_download import fetch_gldv2 as run
    from ..data.gldv2_tables import landmark_ids

    options = FetchOptions(
        parts=tuple(dict.fromkeys(part or ["train"])),
        landmarks=tuple(one for text in landmarks or () for one in landmark_ids(text)),
        categories=tuple(category or ()), largest=largest, limit=limit, clean=clean,
        offsets=offsets, whole_tars=whole_tars, dry_run=dry_run,
    )  # fmt: skip
    options.check()
    output.claim([(out, FOLDER)], [offsets])
    with output.progress() as progress:
        done = run(out, options, progress=progress, api=api)
    _tell(out, options, done, as_json=as_json)


def _tell(out: Path, options: FetchOptions, done: FetchResult, *, as_json: bool) -> None:
    """Print what was done and what was left out, and end with exit code 3 or 4 for the latter."""
    from ..data.gldv2 import SUBSET_FOLDER

    output.result(done.counts, as_json, title=f"{out} (dry run)" if options.dry_run else str(out))
    for line in done.notes:
        output.note(f"note: {line}")
    failures = [line for lines in done.problems.values() for line in lines]
    if failures:
        output.warn(f"left out (the full list is in {out / 'problems.csv'}):")
        for line in failures:
            output.warn(line)
    if not options.dry_run:
        here = sum(done.counts.get(f"{name} {when}", 0) for name in ("photos", "tars")
                   for when in ("fetched", "here before"))  # fmt: skip
        if not here:
            raise DataError(f"nothing was fetched; {out} has none of the photos asked for")
        every = " --all" if (out / SUBSET_FOLDER / "train.csv").is_file() else ""
        output.note(f"next: whichlandmark import gldv2 {out} -o TABLES{every}")
    if failures:
        raise output.PartlyFailedError


def _write_offsets(out: Path | None, tars: Path | None, *, as_json: bool) -> None:
    from ..data.gldv2_tables import write_offsets

    if out is None or tars is None:
        raise OptionError("--write-offsets FILE and --from FOLDER_OF_TARS belong together")
    output.claim([(out, "table of offsets")], [tars])
    with output.progress() as progress:
        counts, damaged = write_offsets(tars, out, progress=progress("reading tars"))
    output.result(counts, as_json, title=str(out))
    output.finish_with_failures(damaged, nothing_done=not counts["photos"])
