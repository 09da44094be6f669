"""One run of the verb label: its table, its summary, and the watching of a folder."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import DataError, WhichLandmarkError
from ..core.files import local_path, text_of_bytes
from . import output
from .answers import MIN_TABLE_WIDTH, cells, fitted

if TYPE_CHECKING:
    from ..library.albums import Albums
    from ..library.label import LabelledLibrary, Written
    from ..library.plan import LabelSettings, Plan, PlannedLabel
    from ..recognition.recognizer import Recognizer

MAX_LANDMARKS = 8  # named in the summary


class LabelRun:
    """One run of the verb on a library."""

    def __init__(
        self, place: str, folder: Path, opened: Recognizer,
        settings_for: Callable[[Recognizer], LabelSettings],
        state: Path | None, *, device: str, as_json: bool,
    ) -> None:  # fmt: skip
        self.place, self.folder, self.opened = place, folder, opened
        self.settings_for, self.settings = settings_for, settings_for(opened)
        self.state = state
        self.device, self.as_json = device, as_json
        self.labelled, self.looked = 0, False
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
            list_files("photos could not be read", failures)
            raise DataError(f"none of the {len(plan)} photos could be read")
        list_files("files could not be read or written", failures)
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
                write_plan_page(path, plan, command=_write_command(), progress=start("page"))

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
        list_files("album files are left as they are", found.kept)
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
        above = f"labels from confidence {plan.above:.3g}"
        output.say(f"{len(plan)} photos: {_counts(plan, written is not None)} ({above})")
        named = [f"{title} {count}" for title, count in plan.landmarks.items()]
        if len(named) > MAX_LANDMARKS:
            named[MAX_LANDMARKS:] = [f"and {len(named) - MAX_LANDMARKS} more"]
        if named:
            output.say(f"landmarks: {', '.join(named)}")
        if written is None:
            if plan.sidecars:
                output.say(
                    f"nothing was written yet; `{_write_command()}` writes it, and with --undo in "
                    "the place of --write takes it out again"
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
            if self.looked:
                library.answers.update(changing=changing)
            else:  # all that is there
                with output.progress() as start:
                    library.answers.update(start("recognizing"), changing=changing)
            self.looked = True
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
        self.settings = self.settings_for(opened)
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


def _write_command() -> str:
    """The command that was given, with --write."""
    given = [text for text in sys.argv[1:] if text != "--write"]
    return shlex.join(["whichlandmark", *given, "--write"])


def list_files(what: str, reasons: dict[str, str]) -> None:
    """Print how many files something is true of, and the first of them by reason."""
    from ..data.left_out import counted

    if reasons:
        output.warn(f"{len(reasons)} {what}:")
        for line in counted(reasons, named=output.MAX_LISTED):
            output.warn(f"  {line}")


class LabelTable:
    """What would be written, one line for each photo that is concerned, on stdout.

    A terminal gets lines of its width, where names are cut; a file or pipe gets whole names.
    """

    def __init__(self, plan: Plan) -> None:
        self.rows = [row for row in plan if _is_shown(row, plan.above)]
        self.width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0

    def print(self) -> None:
        if not self.rows:
            return
        narrow = 0 < self.width < MIN_TABLE_WIDTH
        sizes = [_widest((row.photo for row in self.rows), 5, 60),
                 _widest((row.title for row in self.rows), 8, 40)]  # fmt: skip
        rest = self.width - 30
        if self.width and sum(sizes) > rest:
            sizes = [max(rest // 2, rest - sizes[1]), 0]
            sizes[1] = rest - sizes[0]
        if not narrow:
            self._line(("photo", "landmark", "sure", "what"), sizes)
        for row in self.rows:
            sure = f"{row.confidence:.2f}"
            columns = (row.photo, row.title, sure, _what(row))
            if narrow:
                output.say(fitted(row.photo, self.width, keep_end=True).rstrip())
                output.say(fitted(f"  {row.title} {sure}, {columns[3]}", self.width).rstrip())
            else:
                self._line(columns, sizes)

    def _line(self, columns: Sequence[str], sizes: Sequence[int]) -> None:
        photo, title, sure, what = (output.visible(text) for text in columns)
        if self.width:
            photo, title = fitted(photo, sizes[0], keep_end=True), fitted(title, sizes[1])
            what = fitted(what, self.width - sum(sizes) - 10)
        else:
            photo += " " * (sizes[0] - cells(photo))
            title += " " * (sizes[1] - cells(title))
        output.say(f"{photo}  {title}  {sure:<4}  {what}".rstrip())


def _widest(texts: Iterable[str], least: int, most: int) -> int:
    return max(least, min(most, max(cells(output.visible(text)) for text in texts)))


def _is_shown(row: PlannedLabel, above: float) -> bool:
    """Does a row say more than the summary does?"""
    contradicted = row.decision == "landmark" and row.confidence >= above
    return row.state in ("write", "blocked") or (row.state == "not_sure" and contradicted)


def _what(row: PlannedLabel) -> str:
    if row.state == "blocked":
        return f"blocked: {row.why}"
    if not row.labelled:
        return row.why
    name = text_of_bytes(os.path.basename(local_path(row.sidecar)))
    return f"into {name}" if os.path.exists(local_path(row.sidecar)) else f"new {name}"
