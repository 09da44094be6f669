"""The verb immich: labels into an Immich server, and off it again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import OptionError
from ..core.json_options import count
from . import output
from .app import Device, Json, LeastConfidence, RecognizerUnlessUndo, app
from .option_types import within

if TYPE_CHECKING:
    from ..library.immich import ImmichOptions, ImmichRun
    from ..library.immich_api import ImmichApi
    from ..library.immich_shapes import Server
    from ..library.immich_state import ImmichState

IN_WORDS = {  # of the counts, whose names in JSON are short
    "waiting": "without a preview yet",
    "gone": "deleted or hidden meanwhile",
    "failed": "previews not readable",
    "foreign": "labelled from elsewhere before",
}

MAX_NAMED = 20  # photos that keep their position; --json has all

Address = Annotated[str, typer.Option("--url", help="Address of Immich, as http://nas:2283.")]

KeyFile = Annotated[
    Path,
    typer.Option(
        help="File with an API key of Immich (Account Settings > API Keys), and nothing else."
    ),
]

State = Annotated[
    Path | None,
    typer.Option(
        help="Folder for what is remembered of the server. Default: below ~/.local/state."
    ),
]


Gps = Annotated[
    bool,
    typer.Option(
        "--gps",
        help="Also give photos without a position that of their landmark. Immich cannot take a "
        "position off again.",
    ),
]

Undo = Annotated[
    bool, typer.Option("--undo", help="Take off again what this program has put there.")
]

Limit = Annotated[
    int | None,
    typer.Option(callback=within(count()), help="Answer at most N photos in this run."),
]

Again = Annotated[
    bool,
    typer.Option(
        "--all",
        help="Also answer again what an earlier state of the recognizer answered, and label again "
        "what was undone.",
    ),
]

Root = Annotated[str, typer.Option(help="The tag above all of this program's.")]

Language = Annotated[
    str, typer.Option(help="Language of the landmarks' names, as fr; else their titles.")
]


@app.command()
def immich(
    url: Address,
    key_file: KeyFile,
    recognizer: RecognizerUnlessUndo = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be labelled; change nothing.")
    ] = False,
    gps: Gps = False,
    above: LeastConfidence = None,
    undo: Undo = False,
    limit: Limit = None,
    again: Again = False,
    archived: Annotated[
        bool, typer.Option("--archived", help="Photos of the archive, too.")
    ] = False,
    root: Root = "landmark",
    language: Language = "",
    state: State = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Tag the new photos of an Immich server with the landmarks that they show.

    For cron: each run goes on where the one before ended. --undo takes everything off again.
    """
    from ..library.immich import ImmichOptions
    from ..library.immich_api import PLACING, READING, TAGGING, UNDOING, ImmichApi
    from ..library.immich_client import Connection
    from ..library.immich_key import ApiKey, in_clear, server_address
    from ..library.immich_shapes import Marks
    from ..library.immich_state import ImmichState

    options = ImmichOptions(
        above=above, gps=gps, root=Marks.below(root).root, limit=limit, again=again,
        archived=archived, dry_run=dry_run, language=language,
    )  # fmt: skip
    address = server_address(url)
    if not undo and recognizer is None:
        raise OptionError("no recognizer given; expected -r FOLDER, made by `whichlandmark index`")
    if undo and dry_run:
        raise OptionError("--undo and --dry-run given; expected one of them")
    key = ApiKey.read(key_file)
    for warning in filter(None, (key.exposed(), in_clear(address))):
        output.warn(f"warning: {warning}")
    needed = (*READING, *(UNDOING if undo else TAGGING), *(PLACING if gps or undo else ()))
    with Connection(address, key, needed=needed) as connection:
        api = ImmichApi(connection)
        with ImmichState.open(address, api.server.user, state) as remembered:
            if recognizer is None or undo:
                _undo(api, remembered, options.root, as_json=as_json)
            else:
                _label(api, remembered, recognizer, options, device, as_json=as_json)


def _label(
    api: ImmichApi, state: ImmichState, recognizer: Path, options: ImmichOptions, device: str, *,
    as_json: bool,
) -> None:  # fmt: skip
    from ..library.immich import label_immich
    from ..recognition.folder.load import load

    opened = load(recognizer, device=device)
    if options.gps and not options.dry_run:
        output.note(
            "note: Immich has no request that takes a position off a photo: --undo takes the tags "
            "off, and lists the photos that keep theirs"
        )
    with output.progress() as progress:
        done = label_immich(api, state, opened, options, progress("recognizing"))
    _tell(done, api.server, api.connection.counts, as_json=as_json)


def _tell(done: ImmichRun, server: Server, requests: dict[str, int], *, as_json: bool) -> None:
    """Print what was labelled, and end with exit code 3 where photos could not be read."""
    if as_json:
        found = {
            "server": server.shown, "user": server.user_name, **done.counts, "above": done.above,
            "landmarks": dict(done.landmarks.most_common()), "photos": done.photos,
            "requests": requests,
            "failures": done.failures, "warnings": done.notes,
        }  # fmt: skip
        output.say_json(found)
    else:
        told: dict[str, float] = {
            IN_WORDS.get(name, name): number
            for name, number in done.counts.items()
            if number or name == "new"
        }
        told["above"] = done.above
        output.result(told, False, title=f"{server.shown}, {server.user_name}")
        if done.landmarks:
            output.say("landmarks:")
        for title, number in done.landmarks.most_common():
            output.say(f"  {number:6}  {title}")
        asked = sum(number for name, number in requests.items() if " " in name)
        output.note(f"{asked} requests, {requests.get('bytes', 0) / 1e6:.1f} MB")
    for note in done.notes:
        output.note(f"note: {note}")
    output.finish_with_failures(done.failures)


def _undo(api: ImmichApi, state: ImmichState, root: str, *, as_json: bool) -> None:
    from ..library.immich_undo import undo_immich

    with output.progress() as progress:
        done = undo_immich(api, state, root=root, progress=progress("undoing"))
    requests = api.connection.counts
    if as_json:
        output.say_json({**done.counts, "requests": requests, "positions kept": done.kept,
                         "warnings": done.notes})  # fmt: skip
    else:
        counts = dict(done.counts) or {"photos": 0}
        output.result(counts, False, title=f"{api.server.shown}, {api.server.user_name}: undone")
        for note in done.notes:
            output.note(f"note: {note}")
    if done.kept:
        output.warn(
            f"{len(done.kept)} photos keep their position, and the tag "
            f"{root}/position-by-whichlandmark, by which Immich finds them:"
        )
        for name, why in list(done.kept.items())[:MAX_NAMED]:
            output.warn(f"  {name}: {why}")
        if len(done.kept) > MAX_NAMED:
            output.warn(f"  and {len(done.kept) - MAX_NAMED} more; --json names all")
        raise output.PartlyFailedError
