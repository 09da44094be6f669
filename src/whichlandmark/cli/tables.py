"""Verbs from table to table: clean, split."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import console
from .app import Device, Json, Out, Source, app


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
    from ..data.cleaning import Cleaning
    from ..graph_cleaning import GraphCleaning
    from ..table_cleaning import TableCleaning, clean_table

    asked = GraphCleaning(
        embedder=graph or "sift", trusted=trusted, neighbours=neighbours,
        supporters=supporters, inliers=inliers, device=device,
    )  # fmt: skip
    options = TableCleaning(
        rules=Cleaning(min_photos=min_photos, outdoor=outdoor), against=tuple(against or ()),
        places365=places365, scenes=scenes, graph=asked if graph else None, device=device,
    )  # fmt: skip
    with console.progress() as progress:
        cleaned = clean_table(source, out, options, progress=progress)
    result, photos = cleaned.result, len(cleaned.result.kept) + len(cleaned.result.dropped)
    if result.seen_before:
        console.warn(f"{result.seen_before} photos were looked at before ({cleaned.looks})")
    counts = {"photos": photos, "kept": len(result.kept), **result.counts()}
    console.result(
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
    from ..data.folders import read_photos_or_folder
    from ..data.splits import Splitting, known_contents, split_test, split_validation
    from ..data.table import write_photos
    from ..errors import OptionError

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
    console.result(counts, as_json, title=title)
    console.finish_with_failures(made.unreadable)
