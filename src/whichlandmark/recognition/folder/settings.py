"""Settings on disk: rules and fit in `recognizer.json`, whitening in `whitening-….safetensors`.

Also `state.json`: what was changed by hand, what failed, and which runs have not finished.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...core.disks import file_lock, read_error
from ...core.errors import DataError, GalleryError, ModelError, OptionError
from ...core.files import atomic_file, read_json, write_json
from ...core.json_options import from_json, to_json
from ...core.types import Photos
from ...gallery.address import has_gallery
from ...gallery.index.projection import Projection
from ..calibration import Calibration, Sure
from ..decision import Fitted
from ..rules import Rules
from ..stacker import Stacker

FORMAT_VERSION = 2

STATE_FILE = "state.json"

LOCK_FILE = ".gallery.lock"  # held while several files of the folder are written together

# What a first run may have left in a folder before it made a gallery; each name is enough.
OWN_FILES = (STATE_FILE, LOCK_FILE, "recognizer.json", "embedder/embedder.json", "shards")

PHOTO_FOLDER = "photos"  # in the recognizer folder, for photos added through a server

_OWN_PHOTO = re.compile(rf"{PHOTO_FOLDER}/[0-9a-f]{{40}}\.jpg", re.ASCII)  # the id of such a photo

# Rules that change nothing that is fitted: thresholds, location prior, search effort.
RULES_WITHOUT_FIT = {"answer_above", "doubt_above", "false_answers", "location_km", "recall"}


def require_folder(folder: Path) -> None:
    """Raises DataError when there is no such recognizer folder."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such recognizer folder; make one with `whichlandmark index`")


def require_place(folder: Path) -> None:
    """Raises OptionError unless `folder` is new, empty or a recognizer folder.

    The files of a recognizer among photos or documents would be read as theirs later.
    """
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"{folder}: is a file; expected a new folder, or a recognizer folder")
    if not folder.is_dir() or has_gallery(folder):
        return
    if any((folder / name).exists() for name in OWN_FILES):
        return
    others = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    if others:
        shown = ", ".join(others[:3]) + (" …" if len(others) > 3 else "")
        raise OptionError(
            f"{folder}: holds other things ({shown}) and is no recognizer folder; give a new "
            f"folder, such as {folder / 'recognizer'}"
        )


def own_photo(folder: Path, photo_id: str) -> Path | None:
    """The file of a photo that a server stored in the folder, wherever that is now; else None."""
    file = folder.resolve() / photo_id if _OWN_PHOTO.fullmatch(photo_id) else None
    return file if file and file.exists() else None


@dataclass(frozen=True)
class UnfinishedRun:
    """A run that has begun to store photos and has not ended.

    verb: "index" or "gallery add"; table: digest of its table; places: the folders of its
    photos; photos: how many the gallery has when it has finished.
    """

    verb: str
    table: str
    places: list[str]
    photos: int

    @classmethod
    def of(cls, verb: str, table: Photos, photos: int) -> UnfinishedRun:
        """The run of a table, after which the gallery has this number of photos."""
        digest = hashlib.sha256()
        for one in zip(table.ids, table.paths, strict=True):
            digest.update("\0".join((*one, "")).encode("utf-8", "surrogateescape"))
        places = []  # above the folders of the landmark photos, above those of the distractors
        for named in (True, False):
            paths = table.paths[(table.landmarks != "") == named].tolist()
            with suppress(ValueError):  # of different drives
                if paths:
                    parents = {os.path.dirname(os.path.dirname(path)) for path in paths}
                    places.append(os.path.commonpath(parents))
        return cls(verb, digest.hexdigest()[:32], places, photos)

    def covers(self, other: UnfinishedRun) -> bool:
        """Does the end of this run also end `other`? Where both are of the same table or places."""
        same = self.table == other.table or (
            bool(other.places) and set(other.places) <= set(self.places)
        )
        return same and self.verb in (other.verb, "index")


@dataclass
class FolderState:
    """What a recognizer folder remembers of the runs and edits so far, in `state.json`.

    Attributes:
        unfinished: Runs that were interrupted, or still run.
        failed: Photo id → why the last run that had it could not read it.
        relabelled: Id → the landmark before it was changed by hand.
        renamed: Landmark → its new name, for new photos under the old one; "" = distractors.
        removed: Digest of the id → content hash, of photos that were removed by hand. No name is
            kept of a removed photo.
        damaged: Why the file could not be read; "" = it could. Not written.
    """

    unfinished: list[UnfinishedRun] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    relabelled: dict[str, str] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    removed: dict[str, str] = field(default_factory=dict)
    damaged: str = ""

    def forget_unless(self, generation: int) -> None:
        """Forget the edits of an old gallery, where a new one is in its folder (generation 0)."""
        for table in (self.failed, self.relabelled, self.renamed, self.removed):
            if not generation:
                table.clear()

    def warnings(self, photos: int) -> list[str]:
        """What everything that reads the gallery has to say. photos: in the gallery now."""
        found = [
            "the gallery is unfinished: "
            + (
                f"{photos} of {run.photos} photos are in it, because "
                if photos < run.photos
                else ""
            )
            + f"`{run.verb}` was interrupted or still runs; the same command finishes it"
            for run in self.unfinished
        ]
        return found + ([self.damaged] if self.damaged else [])

    def unfinished_field(self, photos: int) -> dict[str, int] | None:
        """The same as numbers, for JSON; None = all runs have finished."""
        if not self.unfinished:
            return None
        return {"photos": photos, "of": max(photos, *(run.photos for run in self.unfinished))}


def id_digest(photo_id: str) -> str:
    """A name of a removed photo that does not tell the photo's name."""
    return hashlib.sha256(photo_id.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def read_state(folder: Path) -> FolderState:
    """The state of a folder, empty where there is none; of a damaged file only that it is so."""
    path = folder / STATE_FILE
    try:
        if not path.exists():
            return FolderState()
        record = read_json(path)
        record["unfinished"] = [UnfinishedRun(**run) for run in record["unfinished"]]
        if record.pop("format") != 1:
            raise ValueError("of another format")
        state = FolderState(**record)
        tables = (state.failed, state.relabelled, state.renamed, state.removed)
        if not all(isinstance(table, dict) for table in tables):
            raise TypeError("not a table")
        return state
    except (DataError, OSError, KeyError, TypeError, ValueError) as error:
        return FolderState(
            damaged=f"{path}: damaged ({error}), so it is not known whether every run has "
            "finished, and what was changed by hand; delete it and run `index` again"
        )


@contextmanager
def changing_state(folder: Path) -> Iterator[FolderState]:
    """The state to change; it is written at the end, where it has changed.

    Raises GalleryError when it is damaged, because it would be overwritten.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with file_lock(folder / f".{STATE_FILE}.lock"):
        state = read_state(folder)
        if state.damaged:
            raise GalleryError(state.damaged)
        before = to_json(state)
        yield state
        after = to_json(state)
        if after != before:
            after.pop("damaged")
            write_json(folder / STATE_FILE, {"format": 1, **after})


def write_settings(folder: Path, rules: Rules, fitted: Fitted, generation: int) -> None:
    """Write both files. generation: of the gallery that was fitted on.

    The whitening is written first, under a name made from its content, so that an interruption
    leaves the old pair usable.
    """
    geometric = fitted.geometric_stacker
    record = {
        "format": FORMAT_VERSION,
        "rules": to_json(rules),
        "calibration": to_json(fitted.calibration),
        "stacker": to_json(fitted.stacker) if fitted.stacker else None,
        "geometric": to_json(geometric) if geometric else None,
        "negatives": list(fitted.negatives),
        "own_queries": fitted.own_queries,
        "sure": to_json(fitted.sure) if fitted.sure else None,
    }
    with file_lock(folder / LOCK_FILE):  # of two processes one would delete the other's whitening
        whitening = _write_whitening(folder, fitted.projection)
        record |= {"whitening": whitening, "generation": generation}
        write_json(folder / "recognizer.json", record)
        for old in folder.glob("whitening-*.safetensors"):
            if old.name != whitening:
                old.unlink(missing_ok=True)


def read_settings(folder: Path) -> tuple[Rules, Fitted | None, int]:
    """The stored rules, what was fitted, and the gallery generation it was fitted on.

    Default rules, None and −1 when nothing is stored yet, because an index run was interrupted.

    Raises:
        GalleryError: When either file is damaged.
    """
    path = folder / "recognizer.json"
    if not path.exists():
        return Rules(), None, -1
    record = read_json(path)
    try:
        if record["format"] != FORMAT_VERSION:
            raise GalleryError(
                f"{path}: of format {record['format']}, not {FORMAT_VERSION}; run "
                "`whichlandmark index` on the same photos again"
            )
        fitted = Fitted(
            projection=_read_whitening(folder, record["whitening"]),
            stacker=_optional(Stacker, record["stacker"]),
            geometric_stacker=_optional(Stacker, record["geometric"]),
            calibration=from_json(Calibration, record["calibration"]),
            negatives=tuple(
                -math.inf if score is None else float(score) for score in record["negatives"]
            ),
            own_queries=record.get("own_queries"),
            sure=from_json(Sure, record["sure"]) if record.get("sure") else None,
        )
        return from_json(Rules, record["rules"]), fitted, int(record["generation"])
    except (KeyError, TypeError, ValueError, OptionError, ModelError) as error:
        raise GalleryError(
            f"{path}: damaged ({error}); delete it and run `whichlandmark tune {folder}`"
        ) from None


def stored_rules(folder: Path) -> Rules | None:
    """The rules of an earlier run; None when there are none, or they are damaged."""
    try:
        return read_settings(folder)[0] if (folder / "recognizer.json").exists() else None
    except GalleryError:
        return None


def reusable_fit(stored: Rules, rules: Rules, fitted: Fitted | None) -> Fitted | None:
    """What was fitted for the stored rules, if the new rules need the same; else None."""
    changed = {name for name in vars(rules) if getattr(rules, name) != getattr(stored, name)}
    return fitted if changed <= RULES_WITHOUT_FIT else None


def _optional(cls: type[Stacker], values: dict[str, Any] | None) -> Stacker | None:
    return None if values is None else from_json(cls, values)


def _write_whitening(folder: Path, projection: Projection | None) -> str | None:
    if projection is None:
        return None
    from safetensors.numpy import save

    data = save(projection.to_arrays())
    name = f"whitening-{hashlib.sha256(data).hexdigest()[:12]}.safetensors"
    with atomic_file(folder / name) as temporary:
        Path(temporary).write_bytes(data)
    return name


def _read_whitening(folder: Path, name: str | None) -> Projection | None:
    if name is None:
        return None
    from safetensors.numpy import load

    path = folder / Path(name).name
    try:
        data = path.read_bytes()
    except PermissionError as error:
        raise GalleryError(read_error(path, error)) from None
    except OSError as error:
        raise GalleryError(
            f"{path}: missing ({error}); run `whichlandmark tune {folder}` to fit it again"
        ) from None
    if hashlib.sha256(data).hexdigest()[:12] != path.stem.removeprefix("whitening-"):
        raise GalleryError(f"{path}: damaged; run `whichlandmark tune {folder}` to fit it again")
    return Projection.from_arrays(load(data))
