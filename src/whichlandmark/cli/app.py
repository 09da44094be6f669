"""The Typer app, and the options that several verbs share."""

from __future__ import annotations

from contextlib import ExitStack
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from ..core.hardware import stop_busy_waiting
from ..core.json_options import SHARE
from ..recognition.rules import SCORES
from . import option_types, output
from .config import FILE_NAME, VARIABLE, merged, read_config
from .option_types import one_of
from .verbs import LazyVerbs, listed_verbs

# Options that may stand anywhere on the line, because they mean the same for every verb.
ANYWHERE = ("--debug", "--quiet", "-q", "--no-config", "--show-config")

HELP = {"--help", "-h", "--version"}

CONFIG = "whichlandmark.config"  # of the context: the config files that were read

# After Ctrl-C, by the same command.
RESUMING_VERBS = (
    "demo", "fetch", "clean", "train", "index", "gallery", "label", "discover", "immich",
    "embed",
)  # fmt: skip


class VerbsInOrder(TyperGroup):
    """A group of commands in the order of VERBS, with the options of ANYWHERE."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands: Any = LazyVerbs(app)

    def format_help(self, context: Any, formatter: Any) -> None:
        """Write the help, with the verbs as VERBS lists them."""
        listed = copy(self)
        listed.commands = listed_verbs()
        super(VerbsInOrder, listed).format_help(context, formatter)

    def parse_args(self, context: Any, arguments: list[str]) -> list[str]:
        """Parse a command line; the options of ANYWHERE before "--" count as before the verb.

        The options of config files become defaults.
        """
        end = arguments.index("--") if "--" in arguments else len(arguments)
        moved = [text for text in arguments[:end] if text in ANYWHERE]
        rest = [text for text in arguments[:end] if text not in ANYWHERE]
        verb = next((text for text in rest if text in self.commands), "")
        own = False  # of `train`, --config is the file of its settings
        if any(text.partition("=")[0] == "--config" for text in rest):
            own = bool(verb) and any("--config" in p.opts for p in self.commands[verb].params)
        given = None
        for at, text in enumerate(rest[: rest.index(verb) if own else None]):
            if text == "--config" and at + 1 < len(rest):
                given = rest[at + 1]
                moved += rest[at : at + 2]
                del rest[at : at + 2]
            elif text.startswith("--config="):
                given = text.partition("=")[2]
                moved.append(rest.pop(at))
            if given is not None:
                break
        if not rest and moved and "--show-config" not in moved:
            rest = ["--help"]
        if not (context.resilient_parsing or HELP.intersection(rest)):
            files = read_config(self, given, none="--no-config" in moved)
            context.default_map, context.meta[CONFIG] = merged(files), files
        return super().parse_args(context, [*moved, *rest, *arguments[end:]])


if TYPE_CHECKING:
    from ..core.types import Photos

app = typer.Typer(
    name="whichlandmark",
    cls=VerbsInOrder,
    help="Recognize which landmark a photo shows, or that it shows none.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)

# These verbs train, and passive waiting slows torch training by a sixth, because torch
# synchronises its threads at every layer: they keep busy-waiting.
BUSY_WAITING_VERBS = ("train", "demo")

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

Device = Annotated[
    str,
    typer.Option(
        callback=option_types.device,
        autocompletion=option_types.complete_words("auto", "cpu", "cuda"),
        help="auto (a GPU if there is one, else the CPU), cpu or cuda.",
    ),
]

OutTable = Annotated[Path, typer.Option("-o", "--out", help="The photo table (csv) to write.")]

OutTables = Annotated[Path, typer.Option("-o", "--out", help="Folder to write the tables into.")]

OutEmbedder = Annotated[Path, typer.Option("-o", "--out", help="The embedder folder to write.")]

GalleryAddress = Annotated[
    str | None,
    typer.Option(
        "--gallery",
        help="Keep the gallery on a database server: postgresql://HOST/DATABASE?gallery=NAME. "
        "Without it: in one file in the recognizer folder.",
    ),
]

SearchWhere = Annotated[
    str | None,
    typer.Option(
        "--search",
        help="Where the gallery is searched: here (index files in the folder; the default of a new "
        "one), there (on the gallery's server), or qdrant://HOST:6334/NAME, a search index there.",
    ),
]


def read_source(source: Path, *, labelled: bool = True) -> Photos:
    """Read a photo table or a folder of photos, and name the files of the folder that are not used.

    When photos are among them, the command ends with exit code 3. labelled: as in `read_folder`.
    """
    from ..data.folders import read_photos_or_folder

    photos = read_photos_or_folder(source, labelled=labelled)
    output.settings.files_left_out += len(photos.left_out)
    output.settings.photos_left_out |= output.name_left_out(photos.left_out)
    return photos


Source = Annotated[
    Path,
    typer.Argument(
        help="A photos.csv, or a folder with one sub-folder of photos for each landmark."
    ),
]

Distractors = Annotated[
    Path | None,
    typer.Option(
        "--distractors", help="Photos that show no landmark: a photos.csv or a folder of photos."
    ),
]

LandmarksTable = Annotated[
    Path | None,
    typer.Option("--landmarks", help="landmarks.csv: titles, names and coordinates of landmarks."),
]

CreditsTable = Annotated[
    Path | None,
    typer.Option("--credits", help="credits.csv: author, licence and source of photos by id."),
]

Relabel = Annotated[
    bool,
    typer.Option(
        "--relabel",
        help="Take the landmarks of these photos also where the gallery has the same photo under "
        "another landmark, or its landmark was changed by hand.",
    ),
]

Restore = Annotated[
    bool,
    typer.Option("--restore", help="Add photos again that `gallery remove` has removed."),
]

# readable=False: what is read says more about a folder that may not be read.
RecognizerArgument = Annotated[
    Path,
    typer.Argument(
        help="A recognizer folder, made by `whichlandmark index`.",
        readable=False,
        autocompletion=option_types.complete_recognizers,
    ),
]

RecognizerFolder = Annotated[
    Path,
    typer.Option(
        "--recognizer",
        "-r",
        envvar="WHICHLANDMARK_RECOGNIZER",
        autocompletion=option_types.complete_recognizers,
        help=f"A recognizer folder, made by `whichlandmark index`; {FILE_NAME} may name it.",
    ),
]

RecognizerUnlessUndo = Annotated[
    Path | None,
    typer.Option(
        "--recognizer", "-r",
        envvar="WHICHLANDMARK_RECOGNIZER",
        autocompletion=option_types.complete_recognizers,
        help="A recognizer folder, made by `whichlandmark index`; --undo needs none.",
    ),
]  # fmt: skip

RecognizerUnlessProtocol = Annotated[
    Path | None,
    typer.Option(
        "--recognizer", "-r",
        envvar="WHICHLANDMARK_RECOGNIZER",
        autocompletion=option_types.complete_recognizers,
        help="A recognizer folder, made by `whichlandmark index`; a benchmark needs none.",
    ),
]  # fmt: skip

LeastConfidence = Annotated[
    float | None,
    typer.Option(
        callback=option_types.within(SHARE),
        help="Least confidence of a label. Default: so that at most one in a hundred is wrong, as "
        "measured on the gallery.",
    ),
]

RulesFile = Annotated[
    Path | None,
    typer.Option(
        "--rules",
        help="JSON file of rules, instead of the recognizer's own; see docs/recognition.md.",
    ),
]

ScoreName = Annotated[
    str | None,
    typer.Option(
        callback=one_of(*SCORES),
        autocompletion=option_types.complete_words(*SCORES),
        help=f"Score to rank by: {', '.join(SCORES)}. Default: the recognizer's own; learned in a "
        "new one.",
    ),
]


def _print_version(wanted: bool) -> None:
    if wanted:
        import whichlandmark

        output.say(f"whichlandmark {whichlandmark.__version__}")
        raise typer.Exit


def _show_config(context: typer.Context, wanted: bool) -> None:
    """Print the config files that hold here, and what they set."""
    if wanted:
        files = context.meta.get(CONFIG) or []
        if not files:
            output.say(f"no {FILE_NAME}, here or in ~/.config/whichlandmark")
        for file in reversed(files):
            where = " (in the current folder)" if file.here else ""
            where = " (not read: another user's)" if file.foreign else where
            output.say(f"{file.path}{where}")
            for line in file.settings():
                output.say(f"  {line}")
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
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", "-q", help="No progress and no notes on stderr; also after the verb."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; also after the verb.")
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            help=f"Config file, instead of ./{FILE_NAME} and ~/.config/whichlandmark/{FILE_NAME}; "
            f"also {VARIABLE}.",
        ),
    ] = None,
    no_config: Annotated[
        bool, typer.Option("--no-config", help="Read no config file; also after the verb.")
    ] = False,
    show_config: Annotated[
        bool,
        typer.Option(
            "--show-config",
            callback=_show_config,
            is_eager=True,
            help="Print the config files that hold here and what they set, and exit.",
        ),
    ] = False,
) -> None:
    output.settings.debug, output.settings.quiet = debug, quiet
    for file in context.meta.get(CONFIG) or []:
        if file.foreign:
            output.note(f"{file.path} is another user's and is not read; --config reads it")
        if names := file.used_by(context.invoked_subcommand or ""):
            output.note(f"options of {file.path}: {', '.join(names)}")
    output.settings.until_end = context.with_resource(ExitStack())
    output.settings.resumes = context.invoked_subcommand in RESUMING_VERBS
    if context.invoked_subcommand not in BUSY_WAITING_VERBS:
        stop_busy_waiting()  # now, because numpy and FAISS read the setting when they are loaded
