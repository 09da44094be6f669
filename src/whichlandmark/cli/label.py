"""The verb label: plan, write, undo and watch the labels of a photo library."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import DataError, OptionError, WhichLandmarkError
from ..core.json_options import Span
from . import output
from .app import Device, Json, app
from .option_types import within

if TYPE_CHECKING:
    from ..library.albums import Albums
    from ..library.label import LabelledLibrary, Written
    from ..library.plan import LabelSettings, Plan, PlannedLabel
    from ..recognition.recognizer import Recognizer

INTERVAL = 60.0  # seconds between two looks of --watch

MAX_LANDMARKS = 8  # named in the summary


@app.command()
def label(
    folder: Annotated[Path, typer.Argument(help="The folder of photos, read with all below it.")],
    recognizer: Annotated[
        Path | None,
        typer.Option(
            "--recognizer", "-r",
            help="A recognizer folder, made by `whichlandmark index`; --undo needs none.",
        ),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write the labels into sidecars; else only plan.")
    ] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Take everything out again that --write has written.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Write, and go on with new photos until Ctrl-C.")
    ] = False,
    above: Annotated[
        float | None,
        typer.Option(
            callback=within(Span(0, 1)),
            help="Least confidence of a label. Default: so that at most one in a hundred is "
            "wrong, as measured on the gallery.",
        ),
    ] = None,
    gps: Annotated[
        bool,
        typer.Option(
            "--gps",
            help="Also write the landmark's position where neither photo nor sidecar has one.",
        ),
    ] = False,
    language: Annotated[
        str, typer.Option(help="Language of the landmarks' names, as fr; else their titles.")
    ] = "",
    keyword_root: Annotated[
        str, typer.Option(help="Where hierarchical keywords begin; '' = with the country.")
    ] = "Places",
    far: Annotated[
        float,
        typer.Option(
            callback=within(Span(0, 20_100, above=True)),
            help="A photo whose own position is farther than this from the landmark, in km, gets "
            "no label.",
        ),
    ] = 20.0,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Also write the plan into this csv file.")
    ] = None,
    geojson: Annotated[
        Path | None, typer.Option("--geojson", help="Also write the labelled photos as a map.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--page", help="Also write the plan as a page with the photos.")
    ] = None,
    album: Annotated[
        Path | None,
        typer.Option("--album", help="Also fill this folder with links, one folder a landmark."),
    ] = None,
    album_lists: Annotated[
        Path | None,
        typer.Option("--album-lists", help="Also fill this folder with lists, one a landmark."),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            help="Folder for what is remembered of the library. Default: below ~/.local/state."
        ),
    ] = None,
    interval: Annotated[
        float | None,
        typer.Option(
            callback=within(Span(1, 86_400)), help="Seconds between two looks of --watch: 60."
        ),
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:  # fmt: skip
    """Label the photos of a library with the landmarks that they show, in XMP sidecars.

    Without --write nothing is written: the plan is shown. Photos are never changed.
    """
    outputs = {"--csv": csv_file, "--geojson": geojson, "--page": page, "--album": album,
               "--album-lists": album_lists}  # fmt: skip
    place = _check(folder, recognizer, write=write, undo=undo, watch=watch, interval=interval,
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

    albums = {option: check_album_folder(path, place, option)
              for option in ("--album", "--album-lists") if (path := outputs[option])}  # fmt: skip
    opened = load(recognizer, device=device)
    for text in GalleryFacts.of(opened).notes[len(opened.warnings) :]:
        output.note(text)
    settings = LabelSettings(
        _above(opened, above), gps=gps, language=language, keyword_root=keyword_root, far_km=far
    )
    run = _Run(place, recognizer, opened, settings, state, device=device, as_json=as_json)
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
    given = [option for option, path in outputs.items() if path is not None]
    if given and (undo or watch):
        raise OptionError(f"{given[0]} given with {modes[0]}; expected it with a plan or --write")
    if interval is not None and not watch:
        raise OptionError("--interval given without --watch")
    if recognizer is None and not undo:
        raise OptionError("no recognizer given; expected -r FOLDER, made by `whichlandmark index`")
    place = os.path.abspath(os.path.expanduser(folder))
    if not os.path.isdir(place):
        what = "a file; expected a folder of photos" if os.path.exists(place) else "no such folder"
        raise DataError(f"{folder}: {what}")
    return place


def _above(opened: Recognizer, given: float | None) -> float:
    """The least confidence of a label: as given, or measured on the gallery."""
    return 0.97 if given is None else given


def _undo(place: str, state: Path | None, *, as_json: bool) -> None:
    import dataclasses

    from ..library.label import undo

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
    _list("sidecars that others have deleted or moved; nothing was done with them",
          dict.fromkeys(undone.gone, "not there"))  # fmt: skip
    _list("album files are kept", undone.kept)
    if undone.failures:
        _list("files could not be restored; the same command tries again", undone.failures)
        raise output.PartlyFailedError


def _list(what: str, reasons: dict[str, str]) -> None:
    """Print how many files something is true of, and the first of them by reason."""
    from ..data.left_out import counted

    if reasons:
        output.warn(f"{len(reasons)} {what}:")
        for line in counted(reasons, named=output.MAX_LISTED):
            output.warn(f"  {line}")


class _Run:
    """One run of the verb on a library."""

    def __init__(
        self, place: str, folder: Path, opened: Recognizer, settings: LabelSettings,
        state: Path | None, *, device: str, as_json: bool,
    ) -> None:  # fmt: skip
        self.place, self.folder, self.opened = place, folder, opened
        self.settings, self.state = settings, state
        self.device, self.as_json = device, as_json
        self.labelled = 0
        self.warned: set[tuple[str, str]] = set()
        self.loaded_stamp = self.last_stamp = (0, 0)

    def library(self) -> LabelledLibrary:
        from ..library.label import LabelledLibrary

        return LabelledLibrary(self.place, self.opened, state=self.state)

    def once(self, *, write: bool, files: dict[str, Path | None], albums: dict[str, str]) -> None:
        """Plan, write what was asked for, and end with the exit code of the documentation."""
        with self.library() as library:
            with output.progress() as start:
                library.answers.update(start("recognizing"))
                plan = library.plan(str(self.folder), self.settings, start("planning"))
            for text in plan.notes:
                output.note(f"note: {text}")
            if not self.as_json:
                from .label_table import LabelTable

                LabelTable(plan).print()
            self._write_files(plan, files)
            written = None
            if write:
                with output.progress() as start:
                    written = library.write(plan, start("writing"))
            made = [self._write_albums(library, plan, option, path)
                    for option, path in albums.items()]  # fmt: skip
        self._summary(plan, written)
        lost = output.name_left_out(dict(plan.left_out))
        if not len(plan):
            raise DataError(f"{self.place}: no photo there that can be read")
        failures = {row.photo: row.why for row in plan if row.state in ("failed", "blocked")}
        failures |= written.failures if written else {}
        for found in made:
            failures |= found.failures
        if plan.counts["failed"] == len(plan):
            _list("photos could not be read", failures)
            raise DataError(f"none of the {len(plan)} photos could be read")
        _list("files could not be read or written", failures)
        if failures or lost:
            raise output.PartlyFailedError

    def _write_files(self, plan: Plan, files: dict[str, Path | None]) -> None:
        from ..library.outputs import write_csv, write_geojson

        if path := files["--csv"]:
            write_csv(path, plan)
        if path := files["--geojson"]:
            write_geojson(path, plan)
        if path := files["--page"]:
            from ..library.plan_page import write_plan_page

            with output.progress() as start:
                write_plan_page(path, plan, progress=start("page"))

    def _write_albums(self, library: LabelledLibrary, plan: Plan, option: str, path: str) -> Albums:
        from ..library.albums import write_album_lists, write_albums

        make = write_albums if option == "--album" else write_album_lists
        found = make(library.journal, plan, path)
        if found.listed:
            output.warn(
                f"{path}: is on another disk than the photos, or its disk has no hard links, so "
                "lists of the photos were written in the place of links"
            )
        output.note(
            f"{path}: {found.albums} albums, {found.added} files added, {found.removed} removed"
        )
        _list("album files are left as they are", found.kept)
        return found

    def _summary(self, plan: Plan, written: Written | None) -> None:
        """Say in words what the plan is, or what was written."""
        if self.as_json:
            from ..library.outputs import plan_object

            more = {} if written is None else {
                "written": {"new": written.new, "merged": written.merged,
                            "withdrawn": written.withdrawn, "failures": written.failures}
            }  # fmt: skip
            output.say_json(plan_object(plan) | more)
            return
        output.say(f"{len(plan)} photos: {_counts(plan, written is not None)}")
        named = [f"{title} {count}" for title, count in plan.landmarks.items()]
        if len(named) > MAX_LANDMARKS:
            named[MAX_LANDMARKS:] = [f"and {len(named) - MAX_LANDMARKS} more"]
        if named:
            output.say(f"landmarks: {', '.join(named)}")
        if written is None:
            if plan.sidecars:
                output.say(
                    "nothing was written: the same command with --write writes it, and --undo in "
                    "its place takes it out again"
                )
            return
        output.say(
            f"sidecars: {written.new} new, {written.merged} changed, of these and deleted ones "
            f"{written.withdrawn} without an earlier label"
            if written.withdrawn else f"sidecars: {written.new} new, {written.merged} changed"
        )  # fmt: skip

    def watch(self, interval: float) -> None:
        """Write, and go on with new photos, until Ctrl-C or the end of the service."""
        from ..library.watch import Watcher

        self.loaded_stamp = self._stamp()
        watcher = Watcher(
            self.place, self._label_ready, interval=interval, stamp=self._stamp, tell=output.warn
        )
        with suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        output.note(f"watching {self.place}, every {interval:g} s; Ctrl-C ends it")
        try:
            watcher.run()
        except KeyboardInterrupt:
            output.note(f"ended; {self.labelled} photos were labelled")

    def _stamp(self) -> tuple[int, int]:
        """Changes whenever the recognizer answers otherwise; as before where it cannot be read."""
        with suppress(OSError, WhichLandmarkError):
            settings = (self.folder / "recognizer.json").stat().st_mtime_ns
            self.last_stamp = (settings, self.opened.gallery.generation)
        return self.last_stamp

    def _label_ready(self, changing: Collection[str]) -> None:
        """Label the photos that are complete; print a line for each new label."""
        self._reload()
        with self.library() as library:
            library.answers.update(changing=changing)
            plan = library.plan(str(self.folder), self.settings)
            written = library.write(plan)
        done = set(written.photos)
        rows = [row for row in plan if row.photo in done and row.state == "write"]
        self.labelled += sum(row.labelled for row in rows)
        for row in rows:
            self._print_line(row)
        reasons = {row.photo: row.why for row in plan if row.state in ("failed", "blocked")}
        for name, reason in (reasons | written.failures).items():
            if (name, reason) not in self.warned:
                self.warned.add((name, reason))
                output.warn(reason if name in reason else f"{name}: {reason}")

    def _print_line(self, row: PlannedLabel) -> None:
        if self.as_json:
            from ..library.outputs import row_object

            output.say_json(row_object(row))
            return
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        what = f"{row.title} {row.confidence:.2f}" if row.labelled else row.why
        output.say(f"{now}  {row.photo}  {what}")

    def _reload(self) -> None:
        """Open the recognizer again where it was changed; the old one stays where that fails."""
        stamp = self._stamp()
        if stamp == self.loaded_stamp:
            return
        from ..recognition.folder.load import load

        try:
            opened = load(self.folder, device=self.device)
        except WhichLandmarkError as error:
            output.warn(f"the changed recognizer cannot be opened, the old one goes on: {error}")
            return
        self.opened.gallery.close()
        self.opened, self.loaded_stamp = opened, stamp
        output.note(f"{self.folder}: opened again, because it was changed")


def _counts(plan: Plan, written: bool) -> str:
    words = {"write": "labelled" if written else "would be labelled", "known": "labelled already",
             "not_sure": "not sure", "no_landmark": "no landmark", "failed": "not readable",
             "blocked": "blocked"}  # fmt: skip
    counts = plan.counts
    withdrawn = sum(row.state == "write" and not row.labelled for row in plan)
    counts["write"] -= withdrawn
    parts = [f"{counts[state]} {text}" for state, text in words.items() if counts[state]]
    if withdrawn:
        parts.insert(1, f"{withdrawn} {'lost' if written else 'would lose'} an earlier label")
    return ", ".join(parts) or "none"
