"""Changes of the gallery while it answers: one at a time, and an answer to each when it counts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from ..errors import BusyError, DataError, OptionError
from ..files import whole_file
from ..fill import fill_gallery
from ..gallery_editing import open_gallery, photos_to_add, relabel_photos, remove_photos
from ..images import content_hash
from ..opening import refresh_segments
from ..types import Photos
from .live import Live
from .problems import ApiError, busy, invalid, not_found
from .schema import RelabelledReply, RemovedReply

FOLDER = "photos"  # in the recognizer folder: photos that came in by the server
SIDE = 2048  # pixels of the long side that are kept of one
Result = TypeVar("Result")


class Editor:
    """Threads may call; the gallery is changed by one at a time, at most `most` wait."""

    def __init__(self, live: Live, most: int) -> None:
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
