"""Decoded photos → answers: whatever waits is embedded and searched together.

Two threads, each with its half of the cores: they wait for each other less than the halves of one
network do, and while one searches the other embeds. More would only wait.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from ..recognition.decision import Answers
from ..recognition.query import QueryPhoto
from .api_errors import PhotoError
from .live_recognizer import CALLERS, LiveRecognizer, OpenRecognizer

log = logging.getLogger("whichlandmark.serving")


@dataclass(frozen=True)
class BatchTimes:
    """Milliseconds that a photo waited, and that its batch took."""

    queue: float
    embed: float
    search: float
    batch: int


Tell = Callable[[OpenRecognizer, Answers, int], Any]


@dataclass(eq=False)
class PendingPhoto:
    """One photo: what is made of its answer, and where that goes. evidence: compare by geometry."""

    photo: QueryPhoto
    tell: Tell
    evidence: bool = False
    future: Future[tuple[Any, BatchTimes]] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)


class InferenceQueue:
    """`ask` from any thread; `close` answers what was asked and ends the threads."""

    def __init__(self, live: LiveRecognizer, batch: int) -> None:
        self.live, self.batch = live, batch
        self._asked: queue.SimpleQueue[PendingPhoto | None] = queue.SimpleQueue()
        self._searching = threading.Lock()  # one thread searches while the other embeds
        self._threads = [
            threading.Thread(target=self._run, name="inference", daemon=True)
            for _ in range(CALLERS)
        ]
        for thread in self._threads:
            thread.start()

    def ask(
        self, photo: QueryPhoto, tell: Tell, *, evidence: bool = False
    ) -> Future[tuple[Any, BatchTimes]]:
        """tell: (recognizer, answers of a batch, the photo's row) → what the future gives, in the
        thread that answers.
        """
        asked = PendingPhoto(photo, tell, evidence)
        self._asked.put(asked)
        return asked.future

    @property
    def alive(self) -> bool:
        """Do the threads run?"""
        return all(thread.is_alive() for thread in self._threads)

    def close(self) -> None:
        """Answer everything that was asked before, then end."""
        for _ in self._threads:
            self._asked.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while (first := self._asked.get()) is not None:
            batch = [first, *self._waiting()]
            batch = [one for one in batch if one.future.set_running_or_notify_cancel()]
            for evidence in (False, True):
                part = [one for one in batch if one.evidence is evidence]
                if part:
                    self._answer(part, evidence)

    def _waiting(self) -> list[PendingPhoto]:
        """What came meanwhile, without waiting for more."""
        found: list[PendingPhoto] = []
        while len(found) < self.batch - 1:
            try:
                one = self._asked.get_nowait()
            except queue.Empty:
                break
            if one is None:
                self._asked.put(None)  # end after this batch
                break
            found.append(one)
        return found

    def _answer(self, batch: Sequence[PendingPhoto], evidence: bool) -> None:
        try:
            with self.live.use() as opened:
                self._answered(opened, batch, evidence)
        except Exception:
            if len(batch) > 1:  # one of them is at fault: the others are asked again without it
                for one in batch:
                    if not one.future.done():
                        self._answer([one], evidence)
                return
            log.exception("a photo could not be answered")
            batch[0].future.set_exception(PhotoError("internal", "the server failed on this photo"))

    def _answered(
        self, opened: OpenRecognizer, batch: Sequence[PendingPhoto], evidence: bool
    ) -> None:
        began = time.monotonic()
        queries = opened.recognizer.embed([one.photo for one in batch])
        embedded = time.monotonic()
        with self._searching:
            answers = opened.recognizer.answer(queries, evidence=evidence)
        searched = time.monotonic()
        told = [one.tell(opened, answers, row) for row, one in enumerate(batch)]
        for one, answer in zip(batch, told, strict=True):
            times = BatchTimes(1000 * (began - one.since), 1000 * (embedded - began),
                          1000 * (searched - embedded), len(batch))  # fmt: skip
            one.future.set_result((answer, times))
