"""Dynamic batching: decoded photos that wait are embedded and searched as one batch.

Two inference threads, each with half of the cores: two networks on half the cores synchronize less
than one network on all of them, and one thread embeds while the other searches.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from ..recognition.query import QueryPhoto
from .api_errors import PhotoError
from .live_recognizer import EMBEDDING_THREADS, LiveRecognizer, OpenRecognizer

log = logging.getLogger("whichlandmark.serving")


@dataclass(frozen=True)
class BatchTimes:
    """Milliseconds that a photo waited and that its batch took; batch: number of photos."""

    queue: float
    embed: float
    search: float
    batch: int


# (recognizer, results of a batch, row) → result of a photo. The batch's results are its `Answers`,
# or the `Queries` of photos that are only embedded.
MakeResult = Callable[[OpenRecognizer, Any, int], Any]

Work = Literal["answer", "evidence", "embed"]


@dataclass(eq=False)
class PendingPhoto:
    """A photo in the queue.

    Args:
        make_result: makes the result of `future` from the results of a batch.
        work: "evidence": verify candidates spatially even where the answer is clear without;
            "embed": no search and no answer.
        enqueued: `time.monotonic()` when it was submitted.
    """

    photo: QueryPhoto
    make_result: MakeResult
    work: Work = "answer"
    future: Future[tuple[Any, BatchTimes]] = field(default_factory=Future)
    enqueued: float = field(default_factory=time.monotonic)


class InferenceQueue:
    """Embeds and searches photos in batches of at most `batch`. `submit` is thread-safe."""

    def __init__(self, live: LiveRecognizer, batch: int) -> None:
        self.live, self.batch = live, batch
        self._pending: queue.SimpleQueue[PendingPhoto | None] = queue.SimpleQueue()
        self._searching = threading.Lock()  # so that one thread searches while the other embeds
        self._threads = [
            threading.Thread(target=self._run, name="inference", daemon=True)
            for _ in range(EMBEDDING_THREADS)
        ]
        for thread in self._threads:
            thread.start()

    def submit(
        self, photo: QueryPhoto, make_result: MakeResult, *, work: Work = "answer"
    ) -> Future[tuple[Any, BatchTimes]]:
        """Add a photo to the queue.

        Args:
            make_result: called in an inference thread.
            work: see `PendingPhoto`.

        Returns:
            A future of the result and the times of its batch. It raises PhotoError.
        """
        pending = PendingPhoto(photo, make_result, work)
        self._pending.put(pending)
        return pending.future

    @property
    def alive(self) -> bool:
        """Whether all inference threads are running."""
        return all(thread.is_alive() for thread in self._threads)

    def close(self) -> None:
        """Answer every submitted photo, then end the threads."""
        for _ in self._threads:
            self._pending.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while (first := self._pending.get()) is not None:
            batch = [first, *self._take_waiting()]
            batch = [one for one in batch if one.future.set_running_or_notify_cancel()]
            for work in get_args(Work):
                part = [one for one in batch if one.work == work]
                if part:
                    self._answer(part, work)

    def _take_waiting(self) -> list[PendingPhoto]:
        """Photos that are already in the queue, up to the batch size, without waiting for more."""
        found: list[PendingPhoto] = []
        while len(found) < self.batch - 1:
            try:
                one = self._pending.get_nowait()
            except queue.Empty:
                break
            if one is None:
                self._pending.put(None)  # put the end marker back: the thread ends after this batch
                break
            found.append(one)
        return found

    def _answer(self, batch: Sequence[PendingPhoto], work: Work) -> None:
        try:
            with self.live.use() as opened:
                self._answer_batch(opened, batch, work)
        except Exception:
            if len(batch) > 1:  # one photo failed: answer each on its own
                for one in batch:
                    if not one.future.done():
                        self._answer([one], work)
                return
            log.exception("a photo could not be answered")
            batch[0].future.set_exception(PhotoError("internal", "the server failed on this photo"))

    def _answer_batch(
        self, opened: OpenRecognizer, batch: Sequence[PendingPhoto], work: Work
    ) -> None:
        began = time.monotonic()
        queries = opened.recognizer.embed([one.photo for one in batch])
        embedded = time.monotonic()
        with self._searching:
            found: Any = queries
            if work != "embed":
                found = opened.recognizer.answer(queries, evidence=work == "evidence")
        searched = time.monotonic()
        results = [one.make_result(opened, found, row) for row, one in enumerate(batch)]
        for one, answer in zip(batch, results, strict=True):
            times = BatchTimes(
                1000 * (began - one.enqueued),
                1000 * (embedded - began),
                1000 * (searched - embedded),
                len(batch),
            )
            one.future.set_result((answer, times))
