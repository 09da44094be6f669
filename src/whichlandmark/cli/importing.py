"""Verbs that bring photos in: import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import console
from .app import Json, Out, app

import_app = typer.Typer(help="Make a photos.csv from photos on disk.", no_args_is_help=True)
app.add_typer(import_app, name="import")


@import_app.command("folder")
def import_folder(
    root: Annotated[Path, typer.Argument(help="<root>/<landmark>/*.jpg")],
    out: Out,
    unlabelled: Annotated[bool, typer.Option(help="The photos show no landmark.")] = False,
) -> None:
    """A folder of photos, one sub-folder a landmark → photos.csv."""
    from ..data.folders import read_folder
    from ..data.table import write_photos

    photos = read_folder(root, labelled=not unlabelled)
    write_photos(out, photos)
    console.say(f"{out}: {photos!r}")


@import_app.command("csv")
def import_csv(
    file: Annotated[Path, typer.Argument(help="A csv file with a header.")],
    out: Out,
    path: Annotated[str, typer.Option(help="Name of the column of photo paths.")],
    photo_id: Annotated[
        str | None, typer.Option("--id", help="Column of ids; without it the path is the id.")
    ] = None,
    landmark: Annotated[
        str | None, typer.Option(help="Column of landmarks; without it no photo has one.")
    ] = None,
    usage: Annotated[
        str | None, typer.Option(help="Column of parts of a test set that are scored apart.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Folder that paths hang on; the csv's own by default.")
    ] = None,
) -> None:
    """A csv file whose columns have other names → photos.csv."""
    from ..data.any_csv import CsvColumns, read_csv
    from ..data.table import write_photos

    columns = CsvColumns(path=path, id=photo_id, landmark=landmark, usage=usage)
    photos, missing = read_csv(file, columns, root=root)
    if len(photos):
        write_photos(out, photos)
        console.say(f"{out}: {photos!r}")
    console.finish_with_failures(missing, nothing_done=not len(photos))


@import_app.command("webdataset")
def import_webdataset(
    tars: Annotated[
        list[str],
        typer.Argument(help="Tars: paths, patterns, 'photos-{000000..000012}.tar', or URLs."),
    ],
    out: Out,
    label: Annotated[
        str, typer.Option(help="What holds a photo's landmark: cls, txt, json, or none.")
    ] = "cls",
    key: Annotated[str, typer.Option(help="Of --label json: the landmark's key.")] = "landmark",
) -> None:
    """WebDataset tars, left as they are → photos.csv of addresses into them."""
    from ..data.table import write_photos
    from ..data.webdataset import label_of, read_webdataset

    photos, problems = read_webdataset(tars, label_of(label, key))
    if len(photos):
        write_photos(out, photos)
        console.say(f"{out}: {photos!r}")
    console.finish_with_failures(problems, nothing_done=not len(photos))


@import_app.command("gldv2")
def import_gldv2(
    root: Annotated[Path, typer.Argument(help="A Google Landmarks v2 folder.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the tables.")],
    all_photos: Annotated[
        bool, typer.Option("--all", help="All of train.csv, not the choice of train_clean.csv.")
    ] = False,
    no_md5: Annotated[
        bool, typer.Option("--no-md5", help="Do not check tars: reads their headers only.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Google Landmarks v2, unpacked or in its tars → train.csv, index.csv, test.csv and names."""
    from ..data.gldv2 import Gldv2Options
    from ..data.gldv2 import import_gldv2 as run

    options = Gldv2Options(all_photos=all_photos, md5=not no_md5)
    with console.progress() as progress:
        done = run(root, out, options, progress=progress("reading tars and folders"))
    console.result(done.counts, as_json, title=str(out))
    for line in done.notes:
        console.warn(f"note: {line}")
    photos = sum(done.counts.get(f"{name} photos", 0) for name in ("train", "index", "test"))
    failures = {line: line for lines in done.problems.values() for line in lines}
    if failures:
        console.warn(f"left out, all of them in {out / 'problems.csv'}:")
    console.finish_with_failures(failures, nothing_done=not photos)
