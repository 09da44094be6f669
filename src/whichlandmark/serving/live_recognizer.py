"""The recognizer that answers now; new generations are opened beside it and swapped in.

Whoever uses one keeps it until done, so that an answer is of one generation throughout.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ..core.errors import GalleryError, WhichLandmarkError
from ..core.types import Embedder, Image, Vectors
from ..features.embedders.load import load_embedder
from ..features.embedders.onnx_embedder import OnnxEmbedder
from ..gallery.address import FILE, LINK, gallery_in
from ..gallery.protocol import Gallery
from ..recognition.answer import GalleryFacts
from ..recognition.folder.load import load
from ..recognition.recognizer import Recognizer

log = logging.getLogger("whichlandmark.serving")

CALLERS = 2  # threads that embed at once

LOOK_SECONDS = 0.5  # between two looks for a new generation

PATIENCE_SECONDS = 5.0  # after one that could not be opened


class FolderState(NamedTuple):
    """What tells one state of a folder from another: file, generation, settings."""

    file: int
    generation: int
    settings: int


class LockedEmbedder:
    """An embedder that several threads may call: one of them at a time."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder, self._lock = embedder, threading.Lock()
        self.dim, self.name = embedder.dim, embedder.name
        self.id, self.short_side = embedder.id, embedder.short_side

    def __call__(self, images: Sequence[Image], /) -> Vectors:
        """As the embedder."""
        with self._lock:
            return self._embedder(images)

    def save(self, folder: Path, /) -> None:
        """As the embedder."""
        self._embedder.save(folder)


class OpenRecognizer:
    """A recognizer of one generation, with what is told beside its answers."""

    def __init__(self, recognizer: Recognizer) -> None:
        self.recognizer = recognizer
        self.facts = GalleryFacts.of(recognizer)
        self.generation = self.facts.generation
        self.short_side = recognizer.short_side
        self.users, self.retired = 0, False


class LiveRecognizer:
    """`use()` gives the recognizer of now; `refresh()` looks for a newer one; `close` ends it."""

    def __init__(self, folder: Path, *, device: str = "auto") -> None:
        """Raises GalleryError, DataError or ModelError when the folder cannot be opened."""
        self.folder = folder
        self._lock = threading.Lock()  # of what is current, held for moments
        self._opening = threading.Lock()  # one opens at a time
        try:
            self._mark = _mark(folder, None)  # before: what changes meanwhile is seen later
        except WhichLandmarkError:
            load(folder, device=device)  # says better what is wrong
            raise
        own = load_embedder(folder / "embedder", device=device, callers=CALLERS)
        self.embedder: Embedder = own if isinstance(own, OnnxEmbedder) else LockedEmbedder(own)
        self._now = OpenRecognizer(load(folder, embedder=self.embedder))
        self._stop = threading.Event()
        self.trouble = ""  # why the newest generation does not answer; "" = it does
        self.told: Callable[[int], None] = lambda generation: None
        self._watcher = threading.Thread(target=self._watch, name="generations", daemon=True)
        self._watcher.start()

    @contextmanager
    def use(self) -> Iterator[OpenRecognizer]:
        """The recognizer of now, kept open while the block runs."""
        with self._lock:
            opened = self._now
            opened.users += 1
        try:
            yield opened
        finally:
            self._release(opened)

    @property
    def short_side(self) -> int:
        """Pixels of the short side that photos are decoded at now."""
        return self._now.short_side

    @property
    def places(self) -> bool:
        """Do the rules ask where a photo was taken?"""
        return self._now.recognizer.rules.location_km is not None

    @property
    def generation(self) -> int:
        """Of the gallery that answers."""
        return self._now.generation

    def refresh(self) -> bool:
        """Open the newest generation when there is one; was there? Blocks while it opens."""
        with self._opening:
            mark = _mark(self.folder, self._now.recognizer.gallery)
            if mark == self._mark:
                return False
            try:
                opened = self._open()
            except WhichLandmarkError as error:
                self.trouble = str(error)
                raise
            self.trouble, self._mark = "", mark
            with self._lock:
                old, self._now = self._now, opened
                old.retired = True
                old.users += 1
            self._release(old)
        self.told(opened.generation)
        log.info("gallery opened", extra={"generation": opened.generation})
        return True

    def close(self) -> None:
        """Look no more; close the gallery once nobody uses it."""
        self._stop.set()
        self._watcher.join()
        with self._lock:
            self._now.retired = True
            self._now.users += 1
        self._release(self._now)

    def _open(self) -> OpenRecognizer:
        """Only what changes with the gallery is opened anew: the embedder stays."""
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
        wait = LOOK_SECONDS
        while not self._stop.wait(wait):
            wait = LOOK_SECONDS
            try:
                self.refresh()
            except WhichLandmarkError as error:
                wait = PATIENCE_SECONDS
                log.warning("the new gallery cannot be opened; the old one answers: %s", error)
            except Exception:
                wait = PATIENCE_SECONDS
                log.exception("the new gallery cannot be opened; the old one answers")


def _mark(folder: Path, gallery: Gallery | None) -> FolderState:
    """The state of a folder. gallery: an open one, asked when the file is still the same."""
    try:
        path = folder / (LINK if (folder / LINK).exists() else FILE)
        file = path.stat().st_ino
        if gallery is None:
            with gallery_in(folder) as opened:
                generation = opened.generation
        else:
            generation = gallery.generation
        settings = (folder / "recognizer.json").stat().st_mtime_ns
    except FileNotFoundError as error:
        raise GalleryError(f"{folder}: {error.filename} is gone") from None
    return FolderState(file, generation, settings)
