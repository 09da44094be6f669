"""Verbs from table to table: clean, split."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import console
from .app import Json, Out, Source, app


@app.command()
def clean(
    source: Source,
    out: Out,
    min_photos: Annotated[int, typer.Option(help="Fewest photos of a landmark.")] = 4,
    as_json: Json = False,
) -> None:
    """Drop unreadable photos, duplicates and landmarks with too few photos; list every reason."""
    from ..data.cleaning import Cleaning, write_cleaning
    from ..data.cleaning import clean as clean_photos
    from ..data.folders import read_photos_or_folder
    from ..data.table import write_photos

    photos = read_photos_or_folder(source)
    with console.progress() as progress:
        result = clean_photos(
            photos, Cleaning(min_photos=min_photos), progress=progress("cleaning")
        )
    write_photos(out, result.kept)
    reasons = out.with_name(f"{out.stem}.cleaning.csv")
    write_cleaning(reasons, result)
    counts = {"photos": len(photos), "kept": len(result.kept), **result.counts()}
    console.result(counts, as_json, title=f"{out} (every drop: {reasons})")


@app.command()
def split(
    source: Source,
    out: Out,
    test: Annotated[float, typer.Option(help="Share of each landmark's photos.")] = 0.1,
    seed: int = 0,
    as_json: Json = False,
) -> None:
    """Cut a table into train.csv and test.csv, within each landmark."""
    from ..data.folders import read_photos_or_folder
    from ..data.table import write_photos

    parts = read_photos_or_folder(source).split(test=test, seed=seed)
    for name, part in zip(("train", "test"), parts, strict=True):
        write_photos(out / f"{name}.csv", part)
    counts = {"train": len(parts[0]), "test": len(parts[1])}
    console.result(counts, as_json, title=f"{out}/train.csv, {out}/test.csv")
