"""Verbs that make photo tables: import, clean."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from ..core.errors import DataError
from ..core.json_options import count
from . import output
from .app import Device, Json, OutTable, OutTables, Source, app
from .option_types import one_of, within

if TYPE_CHECKING:
    from ..core.types import Photos

import_app = typer.Typer(
    help="Make a photo table (photos.csv) from photos that you have, or collect photos.",
    no_args_is_help=True,
)

app.add_typer(import_app, name="import")


@import_app.command("folder")
def import_folder(
    root: Annotated[
        Path, typer.Argument(help="A folder with one sub-folder of photos for each landmark.")
    ],
    out: OutTable,
    unlabelled: Annotated[
        bool, typer.Option(help="The photos show no landmark; sub-folders are not landmarks.")
    ] = False,
    level: Annotated[
        int | None,
        typer.Option(
            callback=within(count(1, 100)),
            help="Which folder below ROOT names the landmark: 1 = the first, 2 = the second. By "
            "default the first that is not a part (train) or a date (2019).",
        ),
    ] = None,
) -> None:
    """Make a photos.csv from a folder with one sub-folder of photos for each landmark.

    Files that are not used are counted by reason, and all listed beside it in X.left_out.csv.
    """
    from ..data.folders import read_folder

    output.claim(
        [(out, "photo table"), (output.left_out_list(out), "list of files left out")], [root]
    )
    photos = read_folder(root, labelled=not unlabelled, level=level)
    _write_imported(out, photos, {})


def _write_imported(out: Path, photos: Photos, problems: dict[str, str]) -> None:
    """Write the table, count what is not in it, and end with exit code 3 or 4 where photos are not.

    problems: row, sample or file → why it is not in the table.
    """
    from ..data.table import write_photos

    if len(photos):
        write_photos(out, photos)
        output.say(f"{out}: {photos!r}")
    left_out = problems | photos.left_out
    lost = output.name_left_out(left_out, out if len(photos) else None)
    if not len(photos):
        raise DataError(f"none of the {len(left_out)} photos could be read; {out} is not written")
    if problems or lost:
        raise output.PartlyFailedError


@import_app.command("csv")
def import_csv(
    file: Annotated[Path, typer.Argument(help="A csv file whose first line names its columns.")],
    out: OutTable,
    path: Annotated[str, typer.Option(help="Name of the column of photo paths.")],
    photo_id: Annotated[
        str | None,
        typer.Option("--id", help="Name of the column of ids; without it the path is the id."),
    ] = None,
    landmark: Annotated[
        str | None,
        typer.Option(help="Name of the column of landmarks; without it no photo has a landmark."),
    ] = None,
    usage: Annotated[
        str | None,
        typer.Option(
            help="Name of the column of the parts of a test set that are scored separately, such "
            "as Public and Private."
        ),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(help="Folder that relative paths start from; the csv file's own by default."),
    ] = None,
) -> None:
    """Make a photos.csv from a csv file whose columns have other names."""
    from ..data.import_tools import CsvColumns, read_csv

    output.claim(
        [(out, "photo table"), (output.left_out_list(out), "list of files left out")], [file, root]
    )
    columns = CsvColumns(path=path, id=photo_id, landmark=landmark, usage=usage)
    photos, missing = read_csv(file, columns, root=root)
    _write_imported(out, photos, missing)


@import_app.command("webdataset")
def import_webdataset(
    tars: Annotated[
        list[str],
        typer.Argument(
            help="Tars: paths, patterns such as 'photos-{000000..000012}.tar', or URLs."
        ),
    ],
    out: OutTable,
    label: Annotated[
        str,
        typer.Option(
            callback=one_of("cls", "txt", "json", "none"),
            help="The file of a sample that holds its landmark: cls, txt or json; or none, for "
            "photos without a landmark.",
        ),
    ] = "cls",
    key: Annotated[
        str, typer.Option(help="With --label json: the key of the landmark in that file.")
    ] = "landmark",
) -> None:
    """Make a photos.csv of photos inside WebDataset tars, which are not unpacked."""
    from ..data.webdataset import label_source, read_webdataset

    output.claim(
        [(out, "photo table"), (output.left_out_list(out), "list of files left out")], tars
    )
    photos, problems = read_webdataset(tars, label_source(label, key))
    _write_imported(out, photos, problems)


@import_app.command("gldv2")
def import_gldv2(
    root: Annotated[Path, typer.Argument(help="The folder of Google Landmarks v2.")],
    out: OutTables,
    all_photos: Annotated[
        bool,
        typer.Option(
            "--all", help="All photos of train.csv, not the selection of train_clean.csv."
        ),
    ] = False,
    no_md5: Annotated[
        bool,
        typer.Option(
            "--no-md5",
            help="Do not compare the tars with their md5 files; only their headers are read.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Make train.csv, index.csv, test.csv, landmarks.csv and credits.csv from Google Landmarks v2.

    Its photos may be unpacked or in their tars.
    """
    from ..data.gldv2 import Gldv2Options
    from ..data.gldv2 import import_gldv2 as run

    tables = [(out / f"{name}.csv", "photo table") for name in ("train", "index", "test")]
    lists = [(out / f"{name}.csv", f"list of {name}") for name in ("landmarks", "problems")]
    output.claim([*tables, *lists, (out / "credits.csv", "table of credits")], [root])
    options = Gldv2Options(all_photos=all_photos, md5=not no_md5)
    with output.progress() as progress:
        done = run(root, out, options, progress=progress("reading tars and folders"))
    output.result(done.counts, as_json, title=str(out))
    for line in done.notes:
        output.warn(f"note: {line}")
    photos = sum(done.counts.get(f"{name} photos", 0) for name in ("train", "index", "test"))
    failures = {line: line for lines in done.problems.values() for line in lines}
    if failures:
        output.warn(f"left out (the full list is in {out / 'problems.csv'}):")
    output.finish_with_failures(failures, nothing_done=not photos)


Against = Annotated[
    list[Path] | None,
    typer.Option(
        help="Drop photos that are also in this table, such as a test set; may be repeated."
    ),
]

Places365 = Annotated[
    Path | None,
    typer.Option(help="Drop indoor photos: the folder with the three Places365 files."),
]

Scenes = Annotated[
    int,
    typer.Option(
        callback=within(count(1, 365)),
        help="With --places365: number of most likely scenes of a photo that vote on indoors "
        "or outdoors.",
    ),
]

Outdoor = Annotated[
    int,
    typer.Option(
        callback=within(count(0, 365)),
        help="With --places365: minimum number of them that are outdoor scenes.",
    ),
]

Graph = Annotated[
    str | None,
    typer.Option(
        metavar="[EMBEDDER]",
        help="Drop photos that no other photo of their landmark supports. The nearest photos are "
        "found by lite0 unless another embedder is named: sift, timm:NAME or a folder.",
    ),
]


class CleanCommand(TyperCommand):
    """The verb clean, whose option --graph may stand without a value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As the library's, with the default embedder after a bare --graph."""
        named: list[str] = []
        for here, following in itertools.zip_longest(args, args[1:], fillvalue="-"):
            named.append(here)
            if here == "--graph" and following.startswith("-"):
                named.append("default")
        return super().parse_args(ctx, named)


Trusted = Annotated[
    int,
    typer.Option(
        callback=within(count(0, 5)),
        help="With --graph: skip the geometric check if at least this many of the 5 nearest "
        "photos show the same landmark (0: check all).",
    ),
]

Neighbours = Annotated[
    int,
    typer.Option(callback=within(count()), help="With --graph: neighbours considered per photo."),
]

Supporters = Annotated[
    int,
    typer.Option(
        callback=within(count()), help="With --graph: minimum number of supporting neighbours."
    ),
]

Inliers = Annotated[
    int,
    typer.Option(
        callback=within(count()),
        help="With --graph: minimum number of geometric matches (inliers) with a supporting "
        "neighbour.",
    ),
]


@app.command(cls=CleanCommand)
def clean(
    source: Source,
    out: OutTable,
    min_photos: Annotated[
        int,
        typer.Option(
            callback=within(count()),
            help="Drop landmarks that are left with fewer photos than this.",
        ),
    ] = 4,
    against: Against = None,
    places365: Places365 = None,
    scenes: Scenes = 5,
    outdoor: Outdoor = 3,
    graph: Graph = None,
    trusted: Trusted = 2,
    neighbours: Neighbours = 20,
    supporters: Supporters = 3,
    inliers: Inliers = 30,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Drop unreadable, duplicate and doubtful photos from a table; list every reason.

    A page beside the new table shows what was dropped. No photo file is deleted. The same
    command resumes an interrupted run.
    """
    from ..data.cleaning.clean_table import CleanTableOptions, clean_table
    from ..data.cleaning.drop import CleaningRules
    from ..data.cleaning.neighbour_support import SupportOptions

    graph_rules = SupportOptions(
        embedder=None if graph == "default" else graph, trusted=trusted, neighbours=neighbours,
        supporters=supporters, inliers=inliers, device=device,
    )  # fmt: skip
    options = CleanTableOptions(
        rules=CleaningRules(min_photos=min_photos, outdoor=outdoor), against=tuple(against or ()),
        places365=places365, scenes=scenes, support=graph_rules if graph else None, device=device,
    )  # fmt: skip
    output.claim([(out, "photo table")], [source])
    with output.progress() as progress:
        cleaned = clean_table(source, out, options, progress=progress)
    result, photos = cleaned.result, len(cleaned.result.kept) + len(cleaned.result.dropped)
    if result.scanned_before:
        output.warn(
            f"{result.scanned_before} photos were scanned by an earlier run ({cleaned.scan_cache})"
        )
    counts = {"photos": photos, "kept": len(result.kept), **result.counts()}
    if cleaned.left_out:
        counts["files not used"] = len(cleaned.left_out)
    output.result(
        counts, as_json, title=f"{out} (dropped photos: {cleaned.drops}, shown on {cleaned.page})"
    )
    lost = output.name_left_out(cleaned.left_out, out)
    output.settings.not_decoded |= result.unreadable()
    if not len(result.kept):
        first = "; ".join(f"{drop.id}: {drop.detail}" for drop in result.dropped[:3])
        raise DataError(f"no photo of {photos} is left ({first or 'the table is empty'})")
    if lost:
        raise output.PartlyFailedError
