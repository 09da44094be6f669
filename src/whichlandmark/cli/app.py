"""The app, and the options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import OptionError
from ..core.hardware import stop_busy_waiting
from ..recognition.rules import SCORES
from . import output

app = typer.Typer(
    name="whichlandmark",
    help="Which landmark is in this photo, or none?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

# Passive waiting slows torch's training by a sixth: its threads meet at every layer.
TRAINING = ("train", "demo")

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]

Out = Annotated[Path, typer.Option("-o", "--out", help="Where the result goes.")]

GalleryAddress = Annotated[
    str | None,
    typer.Option(
        "--gallery",
        help="Keep the gallery there: qdrant://HOST:6334/NAME or "
        "postgresql://HOST/DATABASE?gallery=NAME. Without it: in a file in the folder.",
    ),
]

SearchWhere = Annotated[
    str,
    typer.Option(
        "--search",
        help="Of a gallery on a server: here (vectors are kept in the folder too) or there.",
    ),
]


def require_gallery(gallery: str | None, search: str) -> None:
    """Raises OptionError when --search is given for a gallery that is in a file."""
    if gallery is None and search != "here":
        raise OptionError(f"--search {search} without --gallery; only a server can be told where")


Source = Annotated[Path, typer.Argument(help="photos.csv, or a folder <landmark>/*.jpg")]

RecognizerFolder = Annotated[
    Path, typer.Option("--recognizer", "-r", help="A folder made by index.")
]

RulesFile = Annotated[
    Path | None, typer.Option("--rules", help="JSON file of rules; see docs/recognition.md.")
]

ScoreName = Annotated[
    str | None,
    typer.Option(help=f"{', '.join(SCORES)}. Default: that of the recognizer."),
]


def _print_version(wanted: bool) -> None:
    if wanted:
        import whichlandmark

        output.say(f"whichlandmark {whichlandmark.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    output.settings.debug = debug
    if context.invoked_subcommand not in TRAINING:
        stop_busy_waiting()  # before any library is loaded
