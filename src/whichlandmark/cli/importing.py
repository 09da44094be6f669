"""Verbs that bring photos in: import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import console
from .app import Out, app

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
