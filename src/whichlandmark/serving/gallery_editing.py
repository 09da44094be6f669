"""Browse and edit the gallery of the running server."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..core.disks import require_writable
from ..core.errors import BusyError, DataError, OptionError
from ..core.files import atomic_file
from ..core.images import content_hash
from ..core.types import Photos
from ..gallery.records import Credit
from ..recognition.answer import landmark_object, thumbnail_address
from ..recognition.folder.edit import (
    ExistsError,
    credit_photos,
    describe_landmark,
    open_gallery,
    photos_to_add,
    relabel_photos,
    remove_photos,
)
from ..recognition.folder.load import refresh_index_files
from ..recognition.folder.settings import PHOTO_FOLDER, read_state
from ..recognition.folder.update import GalleryUpdate, UpdateOptions, fill_gallery
from .api_errors import ApiError, busy, invalid, not_found
from .live_recognizer import LiveRecognizer, OpenRecognizer
from .schemas import (
    AddedReply,
    CreditReply,
    LandmarksReply,
    ListedPhoto,
    PhotosReply,
    RecordReply,
    RelabelledReply,
    RemovedReply,
)

log = logging.getLogger("whichlandmark")

MAX_SIDE = 2048  # pixels of the long side of an added photo

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class SentPhoto:
    """A photo to add. jpeg: as it is stored; sent_hash: content hash of the file as sent."""

    jpeg: bytes
    sent_hash: str = ""


def landmarks(opened: OpenRecognizer, query: str, offset: int, limit: int) -> LandmarksReply:
    """Landmarks whose label, title, Wikidata id or a name contains the query, sorted by label.

    The search ignores case and takes "_" for a blank. offset, limit: which of them.
    """
    index, facts = opened.recognizer.index, opened.facts
    names = [str(name) for name in index.names]
    counts = np.bincount(index.codes, minlength=len(names)) if names else np.empty(0, np.int64)
    wanted = query.strip().casefold().replace("_", " ")
    found = [code for code, name in enumerate(names) if _matches(opened, name, wanted)]
    page = found[offset : offset + limit]
    return {
        "total": len(found),
        "photos": len(index.codes),
        "distractors": len(index.distractor_ids),
        "generation": opened.generation,
        "landmarks": [
            {**landmark_object(names[code], facts.records), "photos": int(counts[code]),
             "thumbnail": _first_thumbnail(opened, code)}
            for code in page
        ],
    }  # fmt: skip


def photos(opened: OpenRecognizer, landmark: str, offset: int, limit: int) -> PhotosReply:
    """One page of a landmark's photos. Raises ApiError 404."""
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
            "source": credit.source,
            "thumbnail": thumbnail_address(photo_id) if shown else None}  # fmt: skip


def record(opened: OpenRecognizer, landmark: str) -> RecordReply:
    """What the gallery says of a landmark. Raises ApiError 404."""
    photo_ids(opened, landmark)
    return {**landmark_object(landmark, opened.facts.records), "generation": opened.generation}


def credit(opened: OpenRecognizer, photo_id: str) -> CreditReply:
    """Landmark and credit of a photo. Raises ApiError 404."""
    gallery = opened.facts.gallery
    found = gallery.stamps([photo_id]).get(photo_id)
    if found is None:
        raise not_found("No such photo.")
    shown = _photo(photo_id, gallery.credits([photo_id])[photo_id], opened.facts.thumbnails)
    return {**shown, "landmark": found[2], "generation": opened.generation}


def photo_ids(opened: OpenRecognizer, landmark: str) -> list[str]:
    """Ids of a landmark's photos, in gallery order. Raises ApiError 404."""
    index = opened.recognizer.index
    code = int(np.searchsorted(index.names.astype(str), landmark)) if len(index.names) else 0
    if code >= len(index.names) or str(index.names[code]) != landmark:
        raise not_found(f"No landmark {landmark!r}.")
    return [str(index.ids[row]) for row in np.flatnonzero(np.asarray(index.codes) == code)]


def thumbnail(opened: OpenRecognizer, photo_id: str) -> bytes:
    """The JPEG thumbnail that the gallery stores for a photo. Raises ApiError 404."""
    data = opened.facts.gallery.thumbnails([photo_id]).get(photo_id)
    if not data:
        raise not_found("No thumbnail of that photo.")
    return without_metadata(data)


def without_metadata(jpeg: bytes) -> bytes:
    """Remove EXIF, comments and application segments from a JPEG without re-encoding it.

    Thumbnails made by this package have none, but a gallery may come from elsewhere.

    Returns:
        The JPEG; b"" when the input is not a JPEG.
    """
    parts, at = [b"\xff\xd8"], 2
    if not jpeg.startswith(b"\xff\xd8"):
        return b""
    while at + 4 <= len(jpeg) and jpeg[at] == 0xFF:
        marker = jpeg[at + 1]
        if marker == 0xDA:  # start of scan: only pixels follow
            return b"".join([*parts, jpeg[at:]])
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        # 0xEE is kept because it defines the colour space
        metadata = marker == 0xFE or (0xE1 <= marker <= 0xEF and marker != 0xEE)
        if not metadata:
            parts.append(jpeg[at:end])
        at = end
    return b""


def _first_thumbnail(opened: OpenRecognizer, code: int) -> str | None:
    if not opened.facts.thumbnails:
        return None
    index = opened.recognizer.index
    row = int(np.argmax(np.asarray(index.codes) == code))
    return thumbnail_address(str(index.ids[row]))


def _matches(opened: OpenRecognizer, name: str, wanted: str) -> bool:
    record = opened.facts.records.get(name)
    words = [name] if record is None else [name, record.title, record.wikidata,
                                           *record.names.values()]  # fmt: skip
    return any(wanted in word.casefold().replace("_", " ") for word in words)


class Editor:
    """Changes the gallery, one change at a time. Safe to call from several threads.

    Args:
        max_waiting: changes that may be running or waiting; more are refused with 503.
    """

    def __init__(self, live: LiveRecognizer, max_waiting: int) -> None:
        self.live = live
        self._lock = threading.Lock()
        self._waiting = threading.Semaphore(max_waiting)

    def add(self, landmark: str, photos: Sequence[SentPhoto], *, move: bool = False) -> AddedReply:
        """Store photos as files and index them. Adding the same photo again changes nothing.

        Args:
            landmark: Of all these photos.
            photos: None = only the name is checked.
            move: Photos that the gallery has under another landmark get this one.

        Returns:
            What became of each photo; `failed` is empty.

        Raises:
            ApiError: 422 for an invalid landmark name, 503 when too many changes are waiting.
        """
        _check_name("landmark", landmark)
        if not photos:
            return {"added": [], "already_there": [], "other_landmark": [], "moved": [],
                    "failed": [], "generation": self.live.generation}  # fmt: skip
        folder = self.live.folder.resolve() / PHOTO_FOLDER
        named = {f"{content_hash(photo.jpeg)[:40]}.jpg": photo for photo in photos}
        ids = {f"{PHOTO_FOLDER}/{name}": folder / name for name in named}
        with self._exclusive():
            table = _photo_table(list(ids), [str(path) for path in ids.values()], landmark)
            written = []
            for name, photo in named.items():
                if not (folder / name).exists():
                    with atomic_file(folder / name) as temporary:
                        temporary.write_bytes(photo.jpeg)
                    written.append(folder / name)
            sent = {one: named[path.name].sent_hash for one, path in ids.items()}
            update, landmarks = self._index(table, sent, move=move)
            changes = update.changes
            for path in written:
                if f"{PHOTO_FOLDER}/{path.name}" not in landmarks:  # there as another file
                    path.unlink(missing_ok=True)
            self.live.refresh()
        told = {*changes.added, *changes.problems, *changes.there, *changes.moved}
        there = [*changes.there.values(), *(one for one in ids if one not in told)]
        return {
            "added": changes.added, "already_there": there,
            "other_landmark": [{"id": one, "landmark": landmarks.get(one, "")}
                               for one in changes.other_landmark_ids],
            "moved": sorted(update.taught), "failed": [], "generation": self.live.generation,
        }  # fmt: skip

    def remove(self, ids: Sequence[str], landmark: str | None = None) -> RemovedReply:
        """Remove photos, or a landmark with all its photos, and the files stored by the server.

        Raises:
            ApiError: 422 for an empty name, 404 for an unknown one, 409 for the last photos.
        """
        _check_names(ids, landmark)
        with self._exclusive():
            with self.live.use() as opened:
                found = opened.facts.gallery.stamps(ids)
                if any(one not in found for one in ids):
                    raise not_found("No such photo.")
                named = [one for one in found if found[one][2]]
                named += photo_ids(opened, landmark) if landmark is not None else []
                if len(named) >= len(opened.recognizer.index.codes):
                    raise ApiError(
                        409,
                        "last_photo",
                        "The gallery has no other photos.",
                        "Add others first, because a gallery needs at least one.",
                    )
            edited = _or_not_found(lambda: remove_photos(self.live.folder, list(ids), landmark))
            self.live.refresh()
        return {"removed": int(edited.counts["removed"]), "generation": self.live.generation}

    def relabel(
        self, ids: Sequence[str], landmark: str | None, to: str, *, merge: bool = False
    ) -> RelabelledReply:
        """Move photos, or all photos of a landmark, to another landmark.

        Args:
            to: the other landmark; "" makes single photos distractors.
            merge: a whole landmark may become part of one that exists.

        Raises:
            ApiError: 422 for an empty name, 404 for an unknown one, 409 where a landmark is renamed
                to one that exists, without `merge`.
        """
        _check_names(ids, landmark)
        if landmark is not None or to:
            _check_name("new landmark", to)
        with self._exclusive():
            try:
                edited = _or_not_found(
                    lambda: relabel_photos(self.live.folder, list(ids), landmark, to, merge=merge)
                )
            except ExistsError:
                raise ApiError(
                    409,
                    "landmark_exists",
                    f"There is a landmark {to!r} already.",
                    f'To put all photos of {landmark!r} there, send "merge": true too.',
                ) from None
            self.live.refresh()
        return {"relabelled": int(edited.counts["relabelled"]), "generation": self.live.generation}

    def describe(self, landmark: str, changes: dict[str, Any]) -> RecordReply:
        """Change fields of a landmark's record; None = remove.

        Raises:
            ApiError: 404 for an unknown landmark, 422 for a value that no record may have.
        """
        with self._exclusive():
            _or_not_found(lambda: describe_landmark(self.live.folder, landmark))
            _or_invalid(lambda: describe_landmark(self.live.folder, landmark, changes))
            self.live.refresh()
        with self.live.use() as opened:
            return record(opened, landmark)

    def credit(self, photo_id: str, changes: dict[str, str | None]) -> CreditReply:
        """Change the credit of a photo; None = remove. Raises ApiError as `describe` does."""
        with self._exclusive():
            with self.live.use() as opened:
                credit(opened, photo_id)
            _or_invalid(lambda: credit_photos(self.live.folder, [photo_id], None, changes))
            self.live.refresh()
        with self.live.use() as opened:
            return credit(opened, photo_id)

    def _index(
        self, table: Photos, sent: dict[str, str], *, move: bool
    ) -> tuple[GalleryUpdate, dict[str, str]]:
        """Index photos; what changed, and the landmarks of those that the gallery has by now.

        sent: id → content hash of the file as it was sent.
        """
        options = UpdateOptions(relabel=move, restore=True, corrects=False, explicit=True)
        with open_gallery(self.live.folder) as gallery:
            update = GalleryUpdate(
                table,
                gallery,
                read_state(self.live.folder),
                options,
                also=sent,
                folder=self.live.folder,
            )
            fill_gallery(self.live.embedder, update.prepare(), update)
            refresh_index_files(self.live.folder, gallery)
            there = gallery.stamps([*table.ids, *update.changes.other_landmark_ids])
        update.settle(self.live.folder)
        return update, {one: found[2] for one, found in there.items()}

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Run one change at a time.

        Raises ApiError 503 when too many are waiting, or the folder cannot be written.
        """
        if not self._waiting.acquire(blocking=False):
            raise busy(5)
        try:
            with self._lock:
                _require_writable(self.live.folder)
                yield
        except BusyError:
            raise busy(5) from None
        except OptionError as error:
            raise invalid(str(error), "Choose another name.") from None
        finally:
            self._waiting.release()


def _require_writable(folder: Path) -> None:
    try:
        require_writable(folder, folder=True)
    except DataError as error:
        log.warning("%s", error)
        message, hint = "The gallery cannot be written.", "Report this to the operator."
        raise ApiError(503, "storage", message, hint, retry=60) from None


def _check_names(ids: Sequence[str], landmark: str | None) -> None:
    """Raises ApiError 422 for an empty name.

    In a gallery "" is the landmark of all distractors, so a missing name must not select them.
    """
    for one in ids:
        _check_name("photo", one)
    if landmark is not None:
        _check_name("landmark", landmark)


def _check_name(what: str, name: str) -> None:
    if not name.strip():
        raise invalid(f"The name of the {what} is empty: {name!r} given.", "Give a name.")


def _photo_table(ids: list[str], paths: list[str], landmark: str) -> Photos:
    table = Photos.of_columns(ids, paths, [""] * len(ids))
    return _or_invalid(lambda: photos_to_add(table, landmark=landmark, distractors=False))


def _or_invalid(change: Callable[[], Result]) -> Result:
    """Run an edit. Its DataError (a value that is not allowed) becomes ApiError 422."""
    try:
        return change()
    except DataError as error:
        raise invalid(str(error)) from None


def _or_not_found(change: Callable[[], Result]) -> Result:
    """Run an edit. Its DataError (unknown photo or landmark) becomes ApiError 404."""
    try:
        return change()
    except DataError as error:
        raise not_found(str(error).split(": ", 1)[-1]) from None
