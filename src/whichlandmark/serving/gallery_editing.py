"""Browse, edit, feedback queue."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..core.errors import BusyError, DataError, OptionError
from ..core.files import whole_file
from ..core.images import content_hash
from ..core.types import Photos
from ..gallery.records import Credit
from ..recognition.answer import landmark_object, thumbnail_address
from ..recognition.folder.edit import open_gallery, photos_to_add, relabel_photos, remove_photos
from ..recognition.folder.fill import fill_gallery
from ..recognition.folder.load import refresh_segments
from .api_errors import ApiError, busy, invalid, not_found
from .live_recognizer import LiveRecognizer, OpenRecognizer
from .schemas import LandmarksReply, ListedPhoto, PhotosReply, RelabelledReply, RemovedReply


def landmarks(opened: OpenRecognizer, query: str, offset: int, limit: int) -> LandmarksReply:
    """Landmarks whose label, title, a name or Wikidata id holds the query, by label."""
    index, facts = opened.recognizer.index, opened.facts
    names = [str(name) for name in index.names]
    counts = np.bincount(index.codes, minlength=len(names)) if names else np.empty(0, np.int64)
    wanted = query.strip().casefold().replace("_", " ")
    found = [code for code, name in enumerate(names) if _speaks_of(opened, name, wanted)]
    page = found[offset : offset + limit]
    return {
        "total": len(found),
        "photos": len(index.codes),
        "distractors": len(index.bank_ids),
        "generation": opened.generation,
        "landmarks": [
            {**landmark_object(names[code], facts), "photos": int(counts[code]),
             "thumbnail": _first_thumbnail(opened, code)}
            for code in page
        ],
    }  # fmt: skip


def photos(opened: OpenRecognizer, landmark: str, offset: int, limit: int) -> PhotosReply:
    """The photos of one landmark. Raises ApiError 404."""
    ids = photo_ids(opened, landmark)
    page = ids[offset : offset + limit]
    credits, shown = opened.facts.gallery.credits(page), opened.facts.thumbnails
    return {
        "landmark": landmark,
        "total": len(ids),
        "photos": [
            _photo(one, credits.get(one, Credit("", "")), shown) for one in page
        ],
    }  # fmt: skip


def _photo(photo_id: str, credit: Credit, shown: bool) -> ListedPhoto:
    return {"id": photo_id, "author": credit.author, "licence": credit.licence,
            "thumbnail": thumbnail_address(photo_id) if shown else None}  # fmt: skip


def photo_ids(opened: OpenRecognizer, landmark: str) -> list[str]:
    """Ids of a landmark's photos, in gallery order. Raises ApiError 404."""
    index = opened.recognizer.index
    code = int(np.searchsorted(index.names.astype(str), landmark)) if len(index.names) else 0
    if code >= len(index.names) or str(index.names[code]) != landmark:
        raise not_found(f"No landmark {landmark!r}.")
    return [str(index.ids[row]) for row in np.flatnonzero(np.asarray(index.codes) == code)]


def thumbnail(opened: OpenRecognizer, photo_id: str) -> bytes:
    """The small JPEG that a gallery keeps of a photo. Raises ApiError 404."""
    data = opened.facts.gallery.thumbnails([photo_id]).get(photo_id)
    if not data:
        raise not_found("No picture of that photo.")
    return without_metadata(data)


def without_metadata(jpeg: bytes) -> bytes:
    """A JPEG without EXIF, comments and other words; pixels are untouched. b"" for no JPEG.

    Thumbnails made here have none; those of a gallery from elsewhere may.
    """
    kept, at = [b"\xff\xd8"], 2
    if not jpeg.startswith(b"\xff\xd8"):
        return b""
    while at + 4 <= len(jpeg) and jpeg[at] == 0xFF:
        marker = jpeg[at + 1]
        if marker == 0xDA:  # the scan: nothing but pixels follows
            return b"".join([*kept, jpeg[at:]])
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        # 0xEE tells the colour space
        wordy = marker == 0xFE or (0xE1 <= marker <= 0xEF and marker != 0xEE)
        if not wordy:
            kept.append(jpeg[at:end])
        at = end
    return b""


def _first_thumbnail(opened: OpenRecognizer, code: int) -> str | None:
    if not opened.facts.thumbnails:
        return None
    index = opened.recognizer.index
    row = int(np.argmax(np.asarray(index.codes) == code))
    return thumbnail_address(str(index.ids[row]))


def _speaks_of(opened: OpenRecognizer, name: str, wanted: str) -> bool:
    record = opened.facts.records.get(name)
    words = [name] if record is None else [name, record.title, record.wikidata,
                                           *record.names.values()]  # fmt: skip
    return any(wanted in word.casefold().replace("_", " ") for word in words)


FOLDER = "photos"  # in the recognizer folder: photos that came in by the server

SIDE = 2048  # pixels of the long side that are kept of one

Result = TypeVar("Result")


class Editor:
    """Threads may call; the gallery is changed by one at a time, at most `most` wait."""

    def __init__(self, live: LiveRecognizer, most: int) -> None:
        self.live, self.most = live, most
        self._lock = threading.Lock()
        self._waiting = threading.Semaphore(most)

    def add(self, landmark: str, jpegs: Sequence[bytes]) -> tuple[list[str], int]:
        """Keep JPEGs as files and index them; returns ids now in the gallery, and its generation.

        The same photo again is the same entry.

        Raises ApiError 422 for a name that no landmark can have, 503 when others are writing.
        """
        _named("landmark", landmark)
        folder = self.live.folder.resolve() / FOLDER
        named = {f"{content_hash(jpeg)[:40]}.jpg": jpeg for jpeg in jpegs}
        ids, paths = [f"{FOLDER}/{name}" for name in named], [str(folder / name) for name in named]
        with self._turn():
            table = _labelled(ids, paths, landmark)
            for name, jpeg in named.items():
                if not (folder / name).exists():
                    with whole_file(folder / name) as temporary:
                        temporary.write_bytes(jpeg)
            failed = self._index(table)
            self.live.refresh()
        return [one for one in ids if one not in failed], self.live.generation

    def remove(self, ids: Sequence[str], landmark: str | None = None) -> RemovedReply:
        """Forget photos, or a landmark; files that the server kept of them are deleted.

        Raises ApiError 422 for an empty name, 404 for one that is not there.
        """
        _one_choice(ids, landmark)
        with self._turn():
            paths = self._paths(ids, landmark)
            with self.live.use() as opened:
                if len(paths) >= len(opened.recognizer.index.codes):
                    raise ApiError(409, "last_photo", "These are the gallery's last photos.",
                                   "Add others first: a gallery needs one.")  # fmt: skip
            edited = _missing(lambda: remove_photos(self.live.folder, list(ids), landmark))
            self.live.refresh()
            for path in paths:
                if path.parent == self.live.folder.resolve() / FOLDER:
                    with suppress(OSError):
                        path.unlink()
        return {"removed": int(edited.counts["removed"]), "generation": self.live.generation}

    def relabel(self, ids: Sequence[str], landmark: str | None, to: str) -> RelabelledReply:
        """Give photos, or all of a landmark, another landmark. to: "" = none, for photos alone.

        Raises ApiError 422 for an empty name, 404 for one that is not there.
        """
        _one_choice(ids, landmark)
        if landmark is not None or to:
            _named("new landmark", to)
        with self._turn():
            edited = _missing(lambda: relabel_photos(self.live.folder, list(ids), landmark, to))
            self.live.refresh()
        return {"relabelled": int(edited.counts["relabelled"]), "generation": self.live.generation}

    def _index(self, table: Photos) -> set[str]:
        with open_gallery(self.live.folder) as gallery:
            failures = fill_gallery(self.live.embedder, table, gallery)
            refresh_segments(self.live.folder, gallery)
        return {failure.id for failure in failures}

    def _paths(self, ids: Sequence[str], landmark: str | None) -> list[Path]:
        """Files of the photos. Raises ApiError 404 when one is not there."""
        with open_gallery(self.live.folder) as gallery:
            stamps = gallery.stamps()
        for one in ids:
            if one not in stamps:
                raise not_found("No such photo.")
        if landmark is None:
            return [Path(stamps[one][0]) for one in ids]
        return [Path(path) for path, _, label in stamps.values() if label == landmark]

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._waiting.acquire(blocking=False):
            raise busy(5)
        try:
            with self._lock:
                yield
        except BusyError:
            raise busy(5) from None
        except OptionError as error:
            raise invalid(str(error), "Choose another name.") from None
        finally:
            self._waiting.release()


def _one_choice(ids: Sequence[str], landmark: str | None) -> None:
    """Photos or a landmark? Raises ApiError 422 for an empty name.

    In a gallery "" is the landmark of all distractors: no request may mean them by leaving a name
    out.
    """
    for one in ids:
        _named("photo", one)
    if landmark is not None:
        _named("landmark", landmark)


def _named(what: str, name: str) -> None:
    if not name.strip():
        raise invalid(f"The {what} has no name: {name!r} given.", "Give its name.")


def _labelled(ids: list[str], paths: list[str], landmark: str) -> Photos:
    table = Photos.of_columns(ids, paths, [""] * len(ids))
    try:
        return photos_to_add(table, landmark=landmark, distractors=False)
    except DataError as error:
        raise invalid(str(error), "Choose another name.") from None


def _missing(change: Callable[[], Result]) -> Result:
    """DataError of an edit: photos or landmarks that are not there."""
    try:
        return change()
    except DataError as error:
        raise not_found(str(error).split(": ", 1)[-1]) from None


HOUR = 3600


class Feedback:
    """A file that only grows, up to a limit; each line is written whole."""

    def __init__(self, path: Path, most_bytes: int) -> None:
        self.path, self.most_bytes = path, most_bytes
        self._lock = threading.Lock()

    def add(self, entry: dict[str, Any]) -> None:
        """Append one entry, with its time. Raises ApiError 503 when the queue is full.

        One `write` to a file opened for appending: lines of several processes do not mix.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        line = (json.dumps({"time": now, **entry}, ensure_ascii=True) + "\n").encode()
        with self._lock:
            try:
                self._append(line)
            except OSError as error:
                reason = error.strerror or str(error)
                raise DataError(f"{self.path}: cannot be written ({reason})") from None

    def _append(self, line: bytes) -> None:
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            size = os.fstat(file).st_size
            if size + len(line) > self.most_bytes:
                raise ApiError(
                    503, "queue_full", "The review queue is full.",
                    "The operator has to work through it first.", retry=HOUR,
                )  # fmt: skip
            if os.write(file, line) != len(line):  # a full disk: half a line must not stay
                os.ftruncate(file, size)
                raise OSError("the disk is full")
            os.fsync(file)
        finally:
            os.close(file)
