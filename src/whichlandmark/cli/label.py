"""The verb label: plan, write, undo and watch the labels of a photo library."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import DataError, OptionError
from ..core.json_options import Span
from . import output
from .app import Device, Json, LeastConfidence, RecognizerUnlessUndo, app
from .option_types import is_said, within

if TYPE_CHECKING:
    from ..recognition.recognizer import Recognizer as OpenedRecognizer

INTERVAL = 60.0  # seconds between two looks of --watch

Folder = Annotated[Path, typer.Argument(help="The folder of photos, read with all below it.")]

Write = Annotated[
    bool, typer.Option("--write", help="Write the labels into sidecars; else only plan.")
]

Undo = Annotated[
    bool, typer.Option("--undo", help="Take everything out again that --write has written.")
]

Watch = Annotated[
    bool, typer.Option("--watch", help="Write, and go on with new photos until Ctrl-C.")
]

Gps = Annotated[
    bool,
    typer.Option(
        "--gps", help="Also write the landmark's position where neither photo nor sidecar has one."
    ),
]

Language = Annotated[
    str, typer.Option(help="Language of the landmarks' names, as fr; else their titles.")
]

KeywordRoot = Annotated[
    str, typer.Option(help="Where hierarchical keywords begin; '' = with the country.")
]

Far = Annotated[
    float,
    typer.Option(
        callback=within(Span(0, 20_100, above=True)),
        help="A photo whose own position is farther than this from the landmark, in km, gets no "
        "label.",
    ),
]

Csv = Annotated[Path | None, typer.Option("--csv", help="Also write the plan into this csv file.")]

GeoJson = Annotated[Path | None, typer.Option(help="Also write the labelled photos as a map.")]

Page = Annotated[
    Path | None, typer.Option(help="Also write the plan as a page with small pictures.")
]

Album = Annotated[
    Path | None, typer.Option(help="Also fill this folder with links, one folder a landmark.")
]

AlbumLists = Annotated[
    Path | None, typer.Option(help="Also fill this folder with lists of paths, one a landmark.")
]

State = Annotated[
    Path | None,
    typer.Option(
        help="Folder for what is remembered of the library. Default: below ~/.local/state."
    ),
]

Interval = Annotated[
    float | None,
    typer.Option(
        callback=within(Span(1, 86_400)), help="Seconds between two looks of --watch: 60."
    ),
]


@app.command()
def label(
    library: Folder,
    recognizer: RecognizerUnlessUndo = None,
    write: Write = False,
    undo: Undo = False,
    watch: Watch = False,
    above: LeastConfidence = None,
    gps: Gps = False,
    language: Language = "",
    keyword_root: KeywordRoot = "Places",
    far: Far = 20.0,
    csv_file: Csv = None,
    geojson: GeoJson = None,
    page: Page = None,
    album: Album = None,
    album_lists: AlbumLists = None,
    state: State = None,
    interval: Interval = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Label the photos of a library with the landmarks that they show, in XMP sidecars.

    Without --write nothing is written: the plan is shown. Photos are never changed.
    """
    outputs = {"--csv": csv_file, "--geojson": geojson, "--page": page, "--album": album,
               "--album-lists": album_lists}  # fmt: skip
    place = _check(library, recognizer, write=write, undo=undo, watch=watch, interval=interval,
                   outputs=outputs)  # fmt: skip
    if undo:
        _undo(place, state, as_json=as_json)
        return
    assert recognizer is not None
    kinds = ((csv_file, "table of labels"), (geojson, "map of labels"), (page, "page"))
    output.claim([(path, kind) for path, kind in kinds if path], [recognizer])
    from ..library.albums import check_album_folder
    from ..library.plan import LabelSettings
    from ..recognition.answer import GalleryFacts
    from ..recognition.folder.load import load
    from .label_run import LabelRun

    albums = {option: check_album_folder(path, place, option)
              for option in ("--album", "--album-lists") if (path := outputs[option])}  # fmt: skip
    opened = load(recognizer, device=device)
    for text in GalleryFacts.of(opened).notes[len(opened.warnings) :]:
        output.note(text)

    def settings(used: OpenedRecognizer) -> LabelSettings:
        return LabelSettings(
            _above(used, above), gps=gps, language=language, keyword_root=keyword_root, far_km=far
        )

    run = LabelRun(place, recognizer, opened, settings, state, device=device, as_json=as_json)
    if watch:
        run.watch(interval or INTERVAL)
        return
    run.once(write=write, files=outputs, albums=albums)


def _check(
    folder: Path, recognizer: Path | None, *, write: bool, undo: bool, watch: bool,
    interval: float | None, outputs: dict[str, Path | None],
) -> str:  # fmt: skip
    """The absolute path of the library. Raises OptionError for options that do not fit together,
    DataError where there is no folder.
    """
    modes = [name for name, given in (("--write", write), ("--undo", undo), ("--watch", watch))
             if given]  # fmt: skip
    if len(modes) > 1:
        raise OptionError(f"{' and '.join(modes)} given; expected one of them")
    given = [option for option, path in outputs.items() if path is not None and is_said(option)]
    if given and (undo or watch):
        raise OptionError(f"{given[0]} given with {modes[0]}; expected it with a plan or --write")
    if interval is not None and is_said("--interval") and not watch:
        raise OptionError("--interval given without --watch")
    if recognizer is None and not undo:
        raise OptionError("no recognizer given; expected -r FOLDER, made by `whichlandmark index`")
    place = os.path.abspath(os.path.expanduser(folder))
    if not os.path.isdir(place):
        what = "a file; expected a folder of photos" if os.path.exists(place) else "no such folder"
        raise DataError(f"{folder}: {what}")
    return place


def _above(opened: OpenedRecognizer, given: float | None) -> float:
    """The least confidence of a label: as given, or measured on the gallery."""
    if given is not None:
        return given
    from ..recognition.sure import sure_confidence

    found = sure_confidence(opened)
    if found.note:
        output.note(f"note: {found.note}")
    return found.confidence


def _undo(place: str, state: Path | None, *, as_json: bool) -> None:
    import dataclasses

    from ..library.label import undo
    from .label_run import list_files

    with output.progress() as start:
        undone = undo(place, state=state, progress=start("undoing"))
    if as_json:
        output.say_json(dataclasses.asdict(undone))
    else:
        parts = (
            (undone.restored, "sidecars are byte for byte as before"),
            (undone.deleted, "that were made are deleted"),
            (undone.cleaned, "keep what others have changed since, without the labels"),
            (undone.untouched, "had nothing of it left"),
            (undone.albums, "links and lists of albums are gone"),
        )
        done = [f"{count} {text}" for count, text in parts if count]
        output.say(f"undone: {'; '.join(done) or 'nothing was left to do'}")
    if undone.note:
        output.note(f"note: {undone.note}")
    list_files("sidecars that others have deleted or moved; nothing was done with them",
          dict.fromkeys(undone.gone, "not there"))  # fmt: skip
    list_files("album files are kept", undone.kept)
    if undone.failures:
        list_files("files could not be restored; the same command tries again", undone.failures)
        raise output.PartlyFailedError
