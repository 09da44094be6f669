"""Import, clean, split."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import output
from .app import Device, Json, Out, Source, app

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
    output.say(f"{out}: {photos!r}")


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
    from ..data.import_tools import CsvColumns, read_csv
    from ..data.table import write_photos

    columns = CsvColumns(path=path, id=photo_id, landmark=landmark, usage=usage)
    photos, missing = read_csv(file, columns, root=root)
    if len(photos):
        write_photos(out, photos)
        output.say(f"{out}: {photos!r}")
    output.finish_with_failures(missing, nothing_done=not len(photos))


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
        output.say(f"{out}: {photos!r}")
    output.finish_with_failures(problems, nothing_done=not len(photos))


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
    with output.progress() as progress:
        done = run(root, out, options, progress=progress("reading tars and folders"))
    output.result(done.counts, as_json, title=str(out))
    for line in done.notes:
        output.warn(f"note: {line}")
    photos = sum(done.counts.get(f"{name} photos", 0) for name in ("train", "index", "test"))
    failures = {line: line for lines in done.problems.values() for line in lines}
    if failures:
        output.warn(f"left out, all of them in {out / 'problems.csv'}:")
    output.finish_with_failures(failures, nothing_done=not photos)


@app.command()
def clean(
    source: Source,
    out: Out,
    min_photos: Annotated[int, typer.Option(help="Fewest photos of a landmark.")] = 4,
    against: Annotated[
        list[Path] | None,
        typer.Option(help="A table that no photo may also be in, as test.csv; may be repeated."),
    ] = None,
    places365: Annotated[
        Path | None,
        typer.Option(help="Folder with the three Places365 files: indoor photos go."),
    ] = None,
    scenes: Annotated[int, typer.Option(help="Likeliest scenes of a photo that vote.")] = 5,
    outdoor: Annotated[int, typer.Option(help="Fewest of them that are outdoors.")] = 3,
    graph: Annotated[
        str | None,
        typer.Option(help="sift, or an embedder: photos that no others support go."),
    ] = None,
    trusted: Annotated[
        int, typer.Option(help="Of 5 nearest photos, of its landmark: stays unverified; 0 = none.")
    ] = 2,
    neighbours: Annotated[int, typer.Option(help="Nearest photos that may support one.")] = 20,
    supporters: Annotated[int, typer.Option(help="Fewest of them that do.")] = 3,
    inliers: Annotated[int, typer.Option(help="Fewest matches of a supporter.")] = 30,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Drop what does not belong, list every reason, show it on a page. Nothing is deleted.

    The same command goes on where an interrupted one stopped.
    """
    from ..data.cleaning.clean_table import TableCleaning, clean_table
    from ..data.cleaning.drop import Cleaning
    from ..data.cleaning.neighbour_support import GraphCleaning

    asked = GraphCleaning(
        embedder=graph or "sift", trusted=trusted, neighbours=neighbours,
        supporters=supporters, inliers=inliers, device=device,
    )  # fmt: skip
    options = TableCleaning(
        rules=Cleaning(min_photos=min_photos, outdoor=outdoor), against=tuple(against or ()),
        places365=places365, scenes=scenes, graph=asked if graph else None, device=device,
    )  # fmt: skip
    with output.progress() as progress:
        cleaned = clean_table(source, out, options, progress=progress)
    result, photos = cleaned.result, len(cleaned.result.kept) + len(cleaned.result.dropped)
    if result.seen_before:
        output.warn(f"{result.seen_before} photos were looked at before ({cleaned.looks})")
    counts = {"photos": photos, "kept": len(result.kept), **result.counts()}
    output.result(
        counts, as_json, title=f"{out} (every drop: {cleaned.reasons}, shown on {cleaned.page})"
    )


@app.command()
def split(
    source: Source,
    out: Out,
    test: Annotated[
        float | None, typer.Option(help="Share of each landmark's photos; 0.1 unless told.")
    ] = None,
    landmarks: Annotated[
        int | None, typer.Option(help="Landmarks to validate on, instead of a share of each.")
    ] = None,
    unknown: Annotated[int, typer.Option(help="Landmarks that only queries show.")] = 0,
    query_share: Annotated[float, typer.Option(help="Of each validation landmark.")] = 0.1,
    distractors: Annotated[
        Path | None, typer.Option(help="Photos without a landmark: photos.csv or a folder.")
    ] = None,
    bank_share: Annotated[float, typer.Option(help="Of the distractors; the rest asks.")] = 0.5,
    seed: int = 0,
    as_json: Json = False,
) -> None:
    """Cut a table into train.csv and test.csv, or into train, database, queries and bank."""
    from ..core.errors import OptionError
    from ..data.folders import read_photos_or_folder
    from ..data.splits import Splitting, known_contents, split_test, split_validation
    from ..data.table import write_photos

    if landmarks is None and (unknown or distractors):
        raise OptionError("--unknown and --distractors need --landmarks, a validation set")
    if landmarks is not None and test is not None:
        raise OptionError("--test and --landmarks given; expected one of them")
    photos = read_photos_or_folder(source)
    known = known_contents(source)
    if landmarks is None:
        made = split_test(photos, test=0.1 if test is None else test, seed=seed, known=known)
    else:
        options = Splitting(
            landmarks=landmarks, unknown=unknown, query_share=query_share, bank_share=bank_share,
            seed=seed,
        )  # fmt: skip
        bank = read_photos_or_folder(distractors, labelled=False) if distractors else None
        made = split_validation(photos, options, distractors=bank, known=known)
    for name, part in made.tables.items():
        write_photos(out / f"{name}.csv", part)
    counts = {name: len(part) for name, part in made.tables.items()}
    if made.left_out:
        counts["left out: same content in another table"] = len(made.left_out)
    title = ", ".join(f"{out}/{name}.csv" for name in made.tables)
    output.result(counts, as_json, title=title)
    output.finish_with_failures(made.unreadable)
