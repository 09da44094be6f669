"""The current recognizer of the server, replaced without a restart when the gallery changes.

A new generation is opened while the old one still answers, then swapped in. The old one is closed
after its last user, so that each answer comes from a single generation.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ..core.errors import GalleryError, WhichLandmarkError
from ..core.types import Embedder, Image, Vectors
from ..features.embedders.by_count import SoonestEmbedder
from ..features.embedders.load import load_embedder
from ..features.embedders.onnx_embedder import OnnxEmbedder
from ..gallery.address import GALLERY_FILE, LINK_FILE, gallery_in
from ..gallery.base import Gallery
from ..recognition.answer import GalleryFacts
from ..recognition.folder.load import load
from ..recognition.recognizer import Recognizer
from .gallery_browsing import Catalogue

log = logging.getLogger("whichlandmark.serving")

EMBEDDING_THREADS = 2  # inference threads, which may call the embedder at the same time

POLL_SECONDS = 0.5  # between checks for a new generation

RETRY_SECONDS = 5.0  # after a generation that could not be opened


class FolderState(NamedTuple):
    """Changes whenever the recognizer must be reopened.

    files: inodes of the gallery and its link; generation: of the gallery; settings: mtime in ns of
    recognizer.json.
    """

    files: tuple[int, ...]
    generation: int
    settings: int


class LockedEmbedder:
    """Makes an embedder thread-safe with a lock."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder, self._lock = embedder, threading.Lock()
        self.dim, self.name = embedder.dim, embedder.name
        self.id, self.short_side = embedder.id, embedder.short_side
        # Answers and fits depend on these too, where an embedder has them.
        self.place_evidence: Any = getattr(embedder, "place_evidence", None)
        self.default_fit: Any = getattr(embedder, "default_fit", None)

    def __call__(self, images: Sequence[Image], /) -> Vectors:
        """Call the embedder while holding the lock."""
        with self._lock:
            return self._embedder(images)

    def save(self, folder: Path, /) -> None:
        """Save the embedder."""
        self._embedder.save(folder)


class OpenRecognizer:
    """A recognizer of one generation, with facts of its gallery, its landmarks and a user count."""

    def __init__(self, recognizer: Recognizer) -> None:
        self.recognizer = recognizer
        self.facts = GalleryFacts.of(recognizer)
        self.catalogue = Catalogue(recognizer.index, self.facts.records)
        self.generation = self.facts.generation
        self.short_side = recognizer.short_side
        self.users, self.retired = 0, False


class LiveRecognizer:
    """Holds the current recognizer and reloads it in a background thread. Thread-safe."""

    def __init__(
        self, folder: Path, *, device: str = "auto", callers: int = EMBEDDING_THREADS
    ) -> None:
        """Raises GalleryError, DataError or ModelError when the folder cannot be opened.

        callers: threads that embed at the same time; with 1, the first answer comes soonest.
        """
        self.folder = folder
        self._lock = threading.Lock()  # guards _current and user counts
        self._opening = threading.Lock()  # one reload at a time
        try:
            # Read before loading, so that a change meanwhile is noticed.
            self._state = _folder_state(folder, None)
        except WhichLandmarkError:
            load(folder, device=device)  # raises a more specific error
            raise
        own = load_embedder(folder / "embedder", device=device, callers=callers)
        thread_safe = isinstance(own, OnnxEmbedder | SoonestEmbedder)
        self.embedder: Embedder = own if thread_safe else LockedEmbedder(own)
        self._current = OpenRecognizer(load(folder, embedder=self.embedder))
        self._stop = threading.Event()
        self.trouble = ""  # why the newest generation could not be opened; "" = it is in use
        self.on_refresh: Callable[[int], None] = lambda generation: None
        self._watcher = threading.Thread(target=self._watch, name="generations", daemon=True)
        self._watcher.start()

    @contextmanager
    def use(self) -> Iterator[OpenRecognizer]:
        """The current recognizer, kept open while the block runs."""
        with self._lock:
            opened = self._current
            opened.users += 1
        try:
            yield opened
        finally:
            self._release(opened)

    @property
    def short_side(self) -> int:
        """Pixels of the short side at which photos are decoded."""
        return self._current.short_side

    @property
    def uses_location(self) -> bool:
        """Whether the rules use the location of a photo."""
        return self.location_km is not None

    @property
    def location_km(self) -> float | None:
        """How far the rules let a photo's location be from its landmark; None = they use none."""
        return self._current.recognizer.rules.location_km

    @property
    def generation(self) -> int:
        """Generation of the gallery in use."""
        return self._current.generation

    def refresh(self) -> bool:
        """Open a newer generation if there is one. Blocks meanwhile.

        Returns:
            Whether there was one.

        Raises:
            WhichLandmarkError: it cannot be opened; the current one stays in use.
        """
        with self._opening:
            state = _folder_state(self.folder, self._current.recognizer.gallery)
            if state == self._state:
                return False
            try:
                opened = self._open()
            except WhichLandmarkError as error:
                self.trouble = str(error)
                raise
            self.trouble, self._state = "", state
            opened.catalogue.take_over(self._current.catalogue)
            with self._lock:
                old, self._current = self._current, opened
                old.retired = True
                old.users += 1
            self._release(old)
        self.on_refresh(opened.generation)
        log.info("gallery opened", extra={"generation": opened.generation})
        return True

    def close(self) -> None:
        """Stop the background thread; close the gallery after its last user."""
        self._stop.set()
        self._watcher.join()
        with self._lock:
            self._current.retired = True
            self._current.users += 1
        self._release(self._current)

    def _open(self) -> OpenRecognizer:
        """Load the folder again, with the embedder that is already loaded."""
        recognizer = load(self.folder, embedder=self.embedder)
        try:
            return OpenRecognizer(recognizer)
        except BaseException:
            recognizer.gallery.close()
            raise

    def _release(self, opened: OpenRecognizer) -> None:
        with self._lock:
            opened.users -= 1
            done = opened.retired and opened.users == 0
        if done:
            opened.recognizer.gallery.close()

    def _watch(self) -> None:
        wait = POLL_SECONDS
        while not self._stop.wait(wait):
            wait = POLL_SECONDS
            try:
                self.refresh()
            except WhichLandmarkError as error:
                wait = RETRY_SECONDS
                log.warning("the new gallery cannot be opened; the old one stays in use: %s", error)
            except Exception:
                wait = RETRY_SECONDS
                log.exception("the new gallery cannot be opened; the old one stays in use")


def _folder_state(folder: Path, gallery: Gallery | None) -> FolderState:
    """The state of a folder. gallery: an open one, from which the generation is read if given."""
    try:
        there = [path for name in (LINK_FILE, GALLERY_FILE) if (path := folder / name).exists()]
        files = tuple(path.stat().st_ino for path in there)
        if gallery is None:
            with gallery_in(folder) as opened:
                generation = opened.generation
        else:
            generation = gallery.generation
        settings = (folder / "recognizer.json").stat().st_mtime_ns
    except FileNotFoundError as error:
        raise GalleryError(f"{folder}: {error.filename} is gone") from None
    return FolderState(files, generation, settings)
