"""Label a photo library: plan what is written into sidecars, write it, and undo all of it."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from ..core.errors import DataError
from ..core.files import local_path, valid_text
from ..core.progress import progress_for
from ..core.types import Progress
from ..recognition.folder.load import load
from ..recognition.recognizer import Recognizer
from ..recognition.sure import sure_confidence
from .albums import remove_albums
from .answers import LibraryAnswers
from .journal import JOURNAL_FILE, Journal, SidecarChange, library_of
from .plan import LabelSettings, Plan, WantedSidecar
from .planner import Planner, mix_notes, sidecar_now
from .sidecar_changes import SidecarNow
from .sidecar_files import digest_of, read_sidecar, why_not_written
from .sidecars import SIDECAR, embedded, sidecar_of
from .state import held_state, state_folder

FOLDERS_REMEMBERED = 16  # whose files were listed last


@dataclass(eq=False)
class Written:
    """What `write` did.

    Attributes:
        new: Sidecars that were made.
        merged: Existing sidecars that got or lost items of ours.
        withdrawn: Of these, those that lost all of them, and sidecars of ours that were deleted.
        failures: Path of a sidecar → why it was not written.
        photos: The photos whose sidecars were written, as paths below the library.
    """

    new: int = 0
    merged: int = 0
    withdrawn: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    photos: list[str] = field(default_factory=list)


@dataclass(eq=False)
class Undone:
    """What `undo` did.

    Attributes:
        restored: Sidecars that are byte for byte as before the first label.
        deleted: Sidecars of ours that were deleted.
        cleaned: Sidecars that others have changed since, from which only our items were taken.
        untouched: Sidecars in which nothing of ours was left.
        gone: Paths of sidecars that others have deleted or moved; nothing was done with them.
        albums: Links and lists of albums that were deleted.
        kept: Path of a file of an album → why it was not.
        failures: Path of a sidecar → why it is as it was.
        note: What to look at where nothing was done; "" = nothing.
    """

    restored: int = 0
    deleted: int = 0
    cleaned: int = 0
    untouched: int = 0
    gone: list[str] = field(default_factory=list)
    albums: int = 0
    kept: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    note: str = ""


def label_folder(
    folder: str | Path,
    recognizer: Recognizer | str | Path,
    settings: LabelSettings | None = None,
    *,
    write: bool = False,
    state: str | Path | None = None,
    progress: bool | Progress | None = None,
) -> Plan:
    """Plan the labels of a photo library, and write them into sidecars when told to.

    Photos are never changed. `undo` takes out again what was written.

    Args:
        folder: The library, read with all below it.
        recognizer: A recognizer, or its folder.
        settings: How photos are labelled; None = so that at most one label in a hundred is wrong,
            as measured on the gallery, and nothing else.
        write: Write the labels?
        state: The folder for what is remembered of the library; None = one below ~/.local/state.
        progress: True = show it; a function = call it with (photos answered, photos to answer).

    Returns:
        The plan, with a row for each photo. After writing, `failures` has the sidecars that could
        not be written.

    Raises:
        DataError: When there is no such folder, or a file in the state folder cannot be used.
        OptionError: When the state folder lies in the library.
        BusyError: When another process works on this library.
    """
    path = "" if isinstance(recognizer, Recognizer) else str(recognizer)
    opened = recognizer if isinstance(recognizer, Recognizer) else load(recognizer)
    used = settings or LabelSettings(sure_confidence(opened).confidence)
    with (
        progress_for(progress, "recognizing") as move,
        LabelledLibrary(folder, opened, state=state) as library,
    ):
        library.answers.update(move)
        plan = library.plan(path, used)
        return replace(plan, failures=library.write(plan).failures) if write else plan


class LabelledLibrary:
    """A library whose answers and journal are open: one process has them at a time.

    A context manager. `answers.update()` answers its photos, `plan` says what would be written,
    `write` writes it.
    """

    def __init__(
        self, library: str | Path, recognizer: Recognizer, *, state: str | Path | None = None
    ) -> None:
        """
        Args:
            library: The folder of photos.
            recognizer: Answers them.
            state: The state folder; None = the one of `state_folder`.

        Raises:
            BusyError: When another process works on this library.
            DataError: When a file in the state folder is damaged, or cannot be written.
        """
        self.library = os.path.abspath(os.path.expanduser(library))
        with ExitStack() as opened:
            self.answers = opened.enter_context(
                LibraryAnswers(self.library, recognizer, state=state)
            )
            self.journal = opened.enter_context(Journal(self.answers.state, self.library))
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()

    def plan(
        self, recognizer: str, settings: LabelSettings, progress: Progress | None = None
    ) -> Plan:
        """What would be written for the photos that the last update found.

        Args:
            recognizer: Path of the recognizer folder, for readers of the plan.
            settings: How photos are labelled.
            progress: Called with (sidecars looked at, all that are concerned).
        """
        used = self.answers.recognizer
        name = used.gallery.name
        gallery = os.path.realpath(name) if os.path.exists(name) else name
        planner = Planner(
            gallery, used.index.names, used.records, self.journal, settings,
            sidecar_of=Sidecars(), embedded=embedded,
        )  # fmt: skip
        rows = self.answers.rows(language=settings.language)
        found = planner.plan(rows, progress)
        return Plan(
            self.library,
            recognizer,
            settings.above,
            found.rows,
            (*found.notes, *mix_notes(planner.confidences, planner.sure, used.rules.known_share)),
            self.answers.left_out,
            found.sidecars,
        )

    def write(self, plan: Plan, progress: Progress | None = None) -> Written:
        """Write what a plan says. A sidecar that cannot be written is listed; the rest goes on.

        progress: called with (sidecars written, all of them).
        """
        written = Written()
        changes = self._changes(plan.sidecars, written)
        try:
            for done, (change, reason) in enumerate(self.journal.apply(changes), 1):
                if progress:
                    progress(done, len(plan.sidecars))
                _count(change, reason, written)
        except KeyboardInterrupt:
            self.journal.settle()
            raise
        return written

    def _changes(
        self, sidecars: Sequence[WantedSidecar], written: Written
    ) -> Iterator[SidecarChange]:
        """The changes of sidecars as they are now, which may differ from what was planned."""
        for wanted in sidecars:
            photo = next((path for path in wanted.photos.values() if os.path.exists(path)), None)
            if photo is None:
                written.failures[valid_text(wanted.path)] = "the photo is gone since it was read"
                continue
            try:
                now = sidecar_now(self.journal, wanted.path, [*wanted.photos])
                found = embedded(photo)
                change = now.change([*wanted.photos], wanted.labels, found, wanted.position)
                if change and (reason := why_not_written(wanted.path)):
                    raise DataError(reason)
            except DataError as error:
                written.failures[valid_text(wanted.path)] = str(error)
                continue
            if change:
                written.photos += wanted.photos
                yield change


def _count(change: SidecarChange, reason: str, written: Written) -> None:
    file = change.file
    if reason:
        written.failures[valid_text(file.sidecar)] = reason
    elif file.before is None:
        written.new += 1
    else:
        written.merged += file.after is not None
        written.withdrawn += change.entry is None or not change.entry.added


class Sidecars:
    """The path of each photo's sidecar, existing or to be made; lists each folder once."""

    def __init__(self) -> None:
        self._names: dict[str, dict[str, list[str]]] = {}  # folder → start of names → names

    def __call__(self, photo: str) -> str:
        folder, name = os.path.split(photo)
        if folder not in self._names:
            if len(self._names) >= FOLDERS_REMEMBERED:
                self._names.pop(next(iter(self._names)))
            self._names[folder] = self._listed(folder)
        return sidecar_of(photo, self._names[folder].get(_start(name), [name]))[0]

    def _listed(self, folder: str) -> dict[str, list[str]]:
        """Names by what they begin with: a photo and its sidecar are alike up to the first dot."""
        found: dict[str, list[str]] = {}
        try:
            for name in os.listdir(folder):
                found.setdefault(_start(name), []).append(name)
        except OSError:  # writing says it
            pass
        return found


def _start(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold().partition(".")[0]


def undo(
    library: str | Path, *, state: str | Path | None = None, progress: Progress | None = None
) -> Undone:
    """Take everything out of a library's sidecars that `write` has put into them, in all runs,
    and take away the albums that were made.

    A sidecar that is as it was left gets its bytes and its time back; one that was made is deleted.
    From one that others have changed since, only our items are taken.

    Args:
        library: The folder of photos.
        state: The state folder; None = the one of `state_folder`.
        progress: Called with (sidecars done, all of them).

    Raises:
        DataError: When nothing was written here.
        BusyError: When another process works on this library.
    """
    top = os.path.abspath(os.path.expanduser(library))
    folder = state_folder(top, state)
    if not (folder / JOURNAL_FILE).exists():
        hint = _moved(folder)
        raise DataError(
            f"{valid_text(top)}: nothing was written here by `label --write`, as {folder} says"
            + (f"; {hint}" if hint else "")
        )
    if not os.path.isdir(top):
        raise DataError(f"{valid_text(top)}: no such folder; is its disk mounted?")
    undone = Undone()
    with held_state(folder), Journal(folder, top) as journal:
        _follow_moved(journal, top)
        paths = [*journal.sidecars()]
        exact: dict[str, bool] = {}
        changes = _undo_changes(journal, paths, undone, exact)
        try:
            for done, (change, reason) in enumerate(journal.apply(changes), 1):
                if progress:
                    progress(done, len(paths))
                if reason:
                    undone.failures[valid_text(change.file.sidecar)] = reason
                elif change.file.after is None:
                    undone.deleted += 1
                elif exact[change.file.sidecar]:
                    undone.restored += 1
                else:
                    undone.cleaned += 1
        except KeyboardInterrupt:
            journal.settle()
            raise
        journal.forget(map(local_path, undone.gone))
        albums = remove_albums(journal)
        undone.albums, undone.kept = albums.removed, albums.kept
        undone.failures |= albums.failures
    if not paths and not undone.albums:
        undone.note = _moved(folder)
    return undone


def _undo_changes(
    journal: Journal, paths: Sequence[str], undone: Undone, exact: dict[str, bool]
) -> Iterator[SidecarChange]:
    """The changes that undo; what needs none is counted. exact: sidecar → is it as we left it?"""
    for path in paths:
        entry = journal.entry(path)
        try:
            now = SidecarNow(path, entry)
            if now.content is None:
                if entry and not entry.forgotten:
                    undone.gone.append(valid_text(path))
                continue
            change = now.undo()
            if change and (reason := why_not_written(path)):
                raise DataError(reason)
        except DataError as error:
            undone.failures[valid_text(path)] = str(error)
            continue
        if change is None:
            journal.drop([path])
            undone.untouched += 1
            continue
        exact[path] = now.is_as_left
        yield change


def _follow_moved(journal: Journal, top: str) -> None:
    """Find sidecars that were moved within the library, as we left them, with their photos."""
    known = set(journal.sidecars())
    missing = Counter(
        entry.digest for path in known
        if not os.path.lexists(path) and (entry := journal.entry(path))
    )  # fmt: skip
    if not missing:
        return
    for folder, _, names in os.walk(top):
        for name in names:
            path = os.path.join(folder, name)
            if not name.lower().endswith(SIDECAR) or path in known:
                continue
            try:
                content = read_sidecar(path)
            except DataError:
                continue
            if content is None or not missing[digest_of(content)]:
                continue
            if entry := journal.moved_from(content):
                journal.move(entry, path, ())
                missing[entry.digest] -= 1


def _moved(folder: Path) -> str:
    """Where the journal may be of a library that was moved: state folders whose library is gone."""
    others = [
        str(path.parent) for path in sorted(folder.parent.glob(f"*/{JOURNAL_FILE}"))
        if (home := library_of(path)) and not os.path.isdir(local_path(home))
    ]  # fmt: skip
    if not others:
        return ""
    return (
        "if the folder was moved or renamed since it was labelled, give the state folder of its "
        f"old place: {' or '.join(f'--state {path}' for path in others[:5])}"
    )
