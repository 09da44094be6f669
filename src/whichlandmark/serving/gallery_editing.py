"""Edit the gallery of the running server; what was removed can be put back for a minute."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ..core.disks import require_writable
from ..core.errors import BusyError, DataError, OptionError
from ..core.types import SEPARATOR
from ..gallery.records import check_text
from ..recognition.folder.edit import (
    ExistsError,
    credit_photos,
    describe_landmark,
    ids_of_landmark,
    open_gallery,
    relabel_photos,
    remove_photos,
)
from ..recognition.folder.own_photos import (
    CopiedPhotos,
    SentPhoto,
    StoredPhotos,
    copy_photos,
    put_back,
    store_photos,
)
from .api_errors import ApiError, busy, storage
from .gallery_browsing import landmark, photo, unknown_landmark, unknown_photo
from .live_recognizer import LiveRecognizer
from .schemas import (
    AddedReply,
    ChangedLandmarkReply,
    CreditReply,
    RelabelledReply,
    RemovedReply,
    UndoneReply,
)

log = logging.getLogger("whichlandmark")

MAX_SIDE = 2048  # pixels of the long side of an added photo

UNDO_SECONDS = 60

UNDO_PHOTOS = 200  # the most that one removal may have to be undone

UNDO_BYTES = 256_000_000  # of all removals that can be undone

Result = TypeVar("Result")


class RemovedForNow:
    """Removed photos that can be put back for `UNDO_SECONDS`, in the memory of this process."""

    def __init__(self, max_bytes: int = UNDO_BYTES) -> None:
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[CopiedPhotos, threading.Timer]] = {}

    def keep(self, copied: CopiedPhotos, token: str = "") -> str:
        """Keep photos, in place of the oldest where there is no room; returns their token.

        token: "" = a new one.
        """
        token = token or secrets.token_urlsafe(24)
        timer = threading.Timer(UNDO_SECONDS, self.take, [token])
        timer.daemon = True
        with self._lock:
            sizes = [one.size for one, _ in self._kept.values()]
            while self._kept and sum(sizes) + copied.size > self.max_bytes:
                self._kept.pop(next(iter(self._kept)))[1].cancel()
                sizes.pop(0)
            self._kept[token] = (copied, timer)
        timer.start()
        return token

    def take(self, token: str) -> CopiedPhotos | None:
        """The photos of a token, which are forgotten; None = they are forgotten already."""
        with self._lock:
            copied, timer = self._kept.pop(token, (None, None))
        if timer is not None:
            timer.cancel()
        return copied


class Editor:
    """Changes the gallery, one change at a time. Safe to call from several threads.

    Args:
        max_waiting: changes that may be running or waiting; more are refused with 503.
    """

    def __init__(self, live: LiveRecognizer, max_waiting: int) -> None:
        self.live = live
        self.removed = RemovedForNow()
        self._lock = threading.Lock()
        self._waiting = threading.Semaphore(max_waiting)

    def add(self, name: str, photos: Sequence[SentPhoto], *, move: bool = False) -> AddedReply:
        """Store photos as files and index them. Adding the same photo again changes nothing.

        Args:
            name: The landmark of all these photos.
            photos: None = only the name is checked.
            move: Photos that the gallery has under another landmark get this one.

        Returns:
            What became of each photo; `failed` is empty.

        Raises:
            ApiError: 422 for an invalid landmark name, 503 when too many changes are waiting.
        """
        check_new_name(name)
        return self.added_reply(self.store(name, photos, move=move))

    def added_reply(self, done: StoredPhotos) -> AddedReply:
        """What became of photos, as a reply."""
        return {
            "added": done.added, "already_there": done.there,
            "other_landmark": [{"id": one, "landmark": other}
                               for one, other in done.elsewhere.items()],
            "moved": done.moved, "failed": [], "generation": self.live.generation,
        }  # fmt: skip

    def store(self, name: str, photos: Sequence[SentPhoto], *, move: bool = True) -> StoredPhotos:
        """As `add`; name: "" = the photos show no landmark."""
        if name:
            check_new_name(name)
        with self.exclusive():
            folder, embedder = self.live.folder, self.live.embedder
            done = _or_invalid(
                "invalid_name", lambda: store_photos(folder, embedder, name, photos, move=move)
            )
            if photos:
                self.live.refresh()
        return done

    def remove(self, ids: Sequence[str], name: str | None = None) -> RemovedReply:
        """Remove photos, or a landmark with all its photos, and the files stored by the server.

        Up to `UNDO_PHOTOS` are kept in memory for `UNDO_SECONDS`, for `undo`.

        Raises:
            ApiError: 422 for an empty name, 404 for an unknown one, 409 for the last photos.
        """
        _check_names(ids, name)
        folder = self.live.folder
        with self.exclusive():
            copied = None
            with open_gallery(folder) as gallery:
                stamps = gallery.stamps(None if name is not None else ids)
                if name is not None:
                    ids = _or_unknown(name, lambda: ids_of_landmark(gallery, stamps, name))
                elif any(one not in stamps for one in ids):
                    raise unknown_photo()
                ids = list(dict.fromkeys(ids))
                with self.live.use() as opened:
                    named = sum(stamps[one][2] != "" for one in ids)
                    if named and named >= len(opened.catalogue.index.codes):
                        raise last_photo()
                if len(ids) <= UNDO_PHOTOS:
                    copied = copy_photos(folder, gallery, ids, self.removed.max_bytes)
            edited = _or_unknown(None, lambda: remove_photos(folder, ids, None))
            self.live.refresh()
        token = self.removed.keep(copied) if copied else None
        return {"removed": int(edited.counts["removed"]), "generation": self.live.generation,
                "undo": token, "undo_seconds": UNDO_SECONDS}  # fmt: skip

    def undo(self, token: str) -> UndoneReply:
        """Put back what was removed. Raises ApiError 410 when it is too late."""
        with self.exclusive():
            copied = self.removed.take(token)
            if copied is None:
                raise ApiError(
                    410,
                    "too_late",
                    "This removal cannot be undone any more.",
                    f"A removal can be undone once, for {UNDO_SECONDS} s, while the server runs.",
                )
            try:
                lost = put_back(self.live.folder, copied)
            except BaseException:  # such as a full disk: it may be tried again
                self.removed.keep(copied, token)
                raise
            self.live.refresh()
        return {"restored": len(copied.rows) - len(lost), "not_restored": lost,
                "generation": self.live.generation}  # fmt: skip

    def move(self, ids: Sequence[str], to: str) -> RelabelledReply:
        """Move photos to a landmark, which may be new; "" = they show none.

        Raises:
            ApiError: 422 for a name that no landmark may have, 404 for an unknown photo.
        """
        _check_names(ids, None)
        if to:
            check_new_name(to)
        with self.exclusive():
            self._require_photos(ids)
            edited = _or_invalid(
                "invalid_name", lambda: relabel_photos(self.live.folder, ids, None, to)
            )
            self.live.refresh()
        return {"relabelled": int(edited.counts["relabelled"]), "generation": self.live.generation}

    def change_landmark(
        self, name: str, to: str | None, changes: dict[str, Any], *, merge: bool, language: str
    ) -> ChangedLandmarkReply:
        """Rename a landmark and change fields of its record, as one change of the gallery.

        Args:
            name: The landmark.
            to: Its new name; None = it keeps the name.
            changes: Field of the record → its new value, None = none.
            merge: It may become part of a landmark that exists.
            language: Of the title in the reply.

        Raises:
            ApiError: 422 for a value that is not allowed, 404 for an unknown landmark, 409 where it
                is renamed to one that exists, without `merge`.
        """
        _check_names([], name)
        if to is not None:
            check_new_name(to)
        folder, relabelled = self.live.folder, 0
        with self.exclusive():
            _or_unknown(name, lambda: describe_landmark(folder, name))
            if to is None or to.strip() == name:
                to = name
                _or_invalid("invalid_record", lambda: describe_landmark(folder, name, changes))
            else:
                relabelled = self._rename(name, to := to.strip(), changes, merge=merge)
            self.live.refresh()
        with self.live.use() as opened:
            return {**landmark(opened, to, language), "relabelled": relabelled}

    def _rename(self, name: str, to: str, changes: dict[str, Any], *, merge: bool) -> int:
        def rename() -> int:
            edited = relabel_photos(
                self.live.folder, [], name, to, merge=merge, changes=changes or None
            )
            return int(edited.counts["relabelled"])

        try:
            return _or_invalid("invalid_record", rename)
        except ExistsError:
            raise ApiError(
                409,
                "landmark_exists",
                f"There is a landmark {to!r} already.",
                f'To put all photos of {name!r} there, send "merge": true too.',
            ) from None

    def change_photo(
        self, photo_id: str, to: str | None, changes: dict[str, str | None]
    ) -> CreditReply:
        """Change landmark and credit of a photo.

        Args:
            photo_id: The photo.
            to: Its new landmark, "" = it shows none; None = it keeps its landmark.
            changes: Field of the credit → its new value, None = none.

        Raises:
            ApiError: 422 for a value that is not allowed, 404 for an unknown photo.
        """
        _check_names([photo_id], None)
        if to:
            check_new_name(to)
        folder = self.live.folder
        for field, text in changes.items():  # before the landmark is changed
            _or_invalid("invalid_credit", partial(check_text, field, text or "", "photo"))
        with self.exclusive():
            self._require_photos([photo_id])
            if to is not None:
                _or_invalid("invalid_name", lambda: relabel_photos(folder, [photo_id], None, to))
            _or_invalid("invalid_credit", lambda: credit_photos(folder, [photo_id], None, changes))
            self.live.refresh()
        with self.live.use() as opened:
            return photo(opened, photo_id)

    def _require_photos(self, ids: Sequence[str]) -> None:
        with open_gallery(self.live.folder) as gallery:
            known = gallery.stamps(ids)
        if any(one not in known for one in ids):
            raise unknown_photo()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
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
        except DataError as error:  # values were checked before, so it is the disk
            log.warning("%s", error)
            raise storage("The gallery cannot be written.") from None
        finally:
            self._waiting.release()


def last_photo() -> ApiError:
    """409: the gallery would have no landmark any more."""
    hint = "Add others first, because a gallery needs at least one."
    return ApiError(409, "last_photo", "These are the last photos with a landmark.", hint)


def _require_writable(folder: Path) -> None:
    try:
        require_writable(folder, folder=True)
    except DataError as error:
        log.warning("%s", error)
        raise storage("The gallery cannot be written.") from None


def _check_names(ids: Sequence[str], name: str | None) -> None:
    """Raises ApiError 422 for an empty name.

    In a gallery "" is the landmark of all photos without one, so a missing name must not select
    them.
    """
    if any(not one.strip() for one in (*ids, *([] if name is None else [name]))):
        raise ApiError(422, "invalid_name", "An empty name was given.", "Give a name.")


def check_new_name(name: str) -> None:
    """Raises ApiError 422 for a name that no landmark may have."""
    if not name.strip() or SEPARATOR in name or not name.strip().isprintable():
        raise ApiError(
            422,
            "invalid_name",
            f"No landmark can have the name {name!r}.",
            f"Give a name in printable characters, without {SEPARATOR!r}.",
        )


def _or_invalid(code: str, change: Callable[[], Result]) -> Result:
    """Run an edit. Its DataError or OptionError (a value that is not allowed) becomes 422.

    Errors of the disk are DataErrors that came from an OSError; they are raised as they are.
    """
    try:
        return change()
    except ExistsError:
        raise
    except (DataError, OptionError) as error:
        if isinstance(error.__context__, OSError):
            raise
        raise ApiError(422, code, str(error)) from None


def _or_unknown(name: str | None, change: Callable[[], Result]) -> Result:
    """Run an edit. Its DataError (unknown landmark, or photo where name is None) becomes 404."""
    try:
        return change()
    except DataError as error:
        if isinstance(error.__context__, OSError):
            raise
        raise (unknown_photo() if name is None else unknown_landmark(name)) from None
