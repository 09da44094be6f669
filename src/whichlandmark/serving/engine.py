"""Everything behind the routes: photos in, answers out; opened and closed with the server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.types import Prediction
from ..recognition.answer import LOOKED_AT, SCHEMA, answer_object
from ..recognition.decision import Answers
from ..recognition.explanation.explain import explain_answer
from ..recognition.query import QueryPhoto
from ..recognition.recognizer import prediction
from .api_errors import PhotoError
from .decode_pool import Decoded, DecodeLimits, DecodePool
from .explanation_json import explanation_object
from .gallery_editing import Editor, Feedback
from .inference_queue import BatchTimes, InferenceQueue
from .keys import Key, read_keys
from .limits import BodyBudget, RateLimits, RequestQueue
from .live_recognizer import LiveRecognizer, OpenRecognizer
from .monitoring import Counters
from .options import ServeOptions
from .uploads import RecognizeRequest, Upload

SMALL = 100  # pixels of the short side below which an answer is hardly to be trusted

FEEDBACK = "feedback.jsonl"


@dataclass(frozen=True, eq=False)
class PhotoResult:
    """answer: the object of one photo, or None and why; height, width: of the upright photo."""

    answer: Any
    error: PhotoError | None = None
    height: int = 0
    width: int = 0
    decode_ms: float = 0.0
    queue_ms: float = 0.0
    times: BatchTimes = BatchTimes(0.0, 0.0, 0.0, 0)  # noqa: RUF009 – frozen


class Engine:
    """Threads and processes start in `__init__`, and end in `close`."""

    def __init__(self, folder: Path, options: ServeOptions) -> None:
        """Raises GalleryError, DataError or ModelError when the folder cannot be opened."""
        self.folder, self.options = folder, options
        self.keys: list[Key] = read_keys(options.keys) if options.keys else []
        self.counters = Counters()
        self.live = LiveRecognizer(folder, device=options.device)
        self.pool = DecodePool(
            DecodeLimits(
                processes=options.processes, megabytes=options.worker_mb,
                seconds=options.decode_seconds, cpu_seconds=options.decode_cpu_seconds,
                recycle=options.recycle,
            ),
            lambda why: self.counters.workers.labels(why).inc(),
        )  # fmt: skip
        self.inference = InferenceQueue(self.live, options.batch)
        self.editor = Editor(self.live, options.write_queue)
        self.feedback = Feedback(folder / FEEDBACK, options.feedback_bytes)
        self.queue = RequestQueue(options.queue, options.line, options.line_seconds)
        self.room, self.rates = BodyBudget(options.body_bytes), RateLimits()
        self.stopping = False
        self.counters.generation.set(self.live.generation)
        self.live.told = self.counters.generation.set
        self.counters.queue.set_function(lambda: self.queue.held)
        self.counters.line.set_function(lambda: self.queue.waiting)

    def close(self) -> None:
        """Answer what was accepted; end every thread and process."""
        self.stopping = True
        self.pool.close()
        self.inference.close()
        self.live.close()

    @property
    def trouble(self) -> str:
        """Why no photo should be sent now; "" = none."""
        if self.stopping:
            return "the server is being stopped"
        return "" if self.inference.alive else "the inference thread has ended"

    @property
    def full(self) -> bool:
        """Is there no room for one photo more, nor in line?"""
        return self.stopping or self.queue.full

    async def recognize(self, question: RecognizeRequest) -> dict[str, Any]:
        """Answer photos. Raises ApiError 503 when the queue is full."""
        began = time.monotonic()

        def told(name: str, done: Decoded, opened: OpenRecognizer, answer: Prediction) -> Any:
            return answer_object(name, answer, opened.facts, matches=question.matches,
                                 warnings=_warnings(done))  # fmt: skip

        results = await self.results(question.photos, told)
        return {
            "schema": SCHEMA,
            "model": {"embedder": self.live.embedder.id, "generation": self.live.generation},
            "timings_ms": timings(results, began),
            "results": [
                result.error.object(photo.name) if result.error else result.answer
                for photo, result in zip(question.photos, results, strict=True)
            ],
        }

    async def results(self, photos: Sequence[Upload], told: Any) -> list[PhotoResult]:
        """told: (name, decoded, recognizer, prediction) → an answer, made where it is inferred."""
        async with self.queue.hold(len(photos)) as stood:
            return await asyncio.gather(*(self._one(photo, told, stood) for photo in photos))

    async def explain(self, photo: Upload) -> dict[str, Any]:
        """Why is a photo answered so? Raises PhotoError when it cannot be read."""
        async with self.queue.hold(1):
            done = await self.decoded(photo)
            query = _query(done)

            def told(opened: OpenRecognizer, answers: Answers, row: int) -> Any:
                why = explain_answer(opened.recognizer, answers, row, query)
                answer = prediction(answers, row, matches=LOOKED_AT)
                return explanation_object(photo.name, why, answer, opened)

            asked = self.inference.ask(query, told, evidence=True)
            why, _ = await asyncio.wrap_future(asked)
        return {"schema": SCHEMA, **why, "query": {"width": done.width, "height": done.height}}

    async def decoded(self, photo: Upload) -> Decoded:
        """Raises PhotoError."""
        if isinstance(photo.data, PhotoError):
            raise photo.data
        asked = self.pool.pixels(photo.data, self.live.short_side, place=self.live.places)
        return await asyncio.wrap_future(asked)

    async def encoded(self, photo: Upload, side: int) -> bytes:
        """A photo as it is kept: a JPEG without metadata. Raises PhotoError."""
        if isinstance(photo.data, PhotoError):
            raise photo.data
        return (await asyncio.wrap_future(self.pool.jpeg(photo.data, side))).jpeg

    async def _one(self, photo: Upload, told: Any, stood: float) -> PhotoResult:
        try:
            done = await self.decoded(photo)

            def tell(opened: OpenRecognizer, answers: Answers, row: int) -> Any:
                answer = prediction(answers, row, matches=LOOKED_AT)
                return told(photo.name, done, opened, answer), answer.decision

            asked = self.inference.ask(_query(done), tell)
            (answer, decision), times = await asyncio.wrap_future(asked)
        except PhotoError as error:
            self.counters.photos.labels(error.code).inc()
            return PhotoResult(None, error)
        waited = stood + done.waited + times.queue / 1000
        self._count(decision, done, times, waited)
        return PhotoResult(
            answer, None, done.height, done.width, 1000 * done.seconds, 1000 * waited, times
        )

    def _count(self, decision: str, done: Decoded, times: BatchTimes, waited: float) -> None:
        count = self.counters
        count.photos.labels(decision).inc()
        count.batch.observe(times.batch)
        for stage, seconds in (("decode", done.seconds), ("embed", times.embed / 1000),
                               ("search", times.search / 1000),
                               ("wait", waited)):  # fmt: skip
            count.stages.labels(stage).observe(seconds)


def timings(results: Sequence[PhotoResult], began: float) -> dict[str, float]:
    """Milliseconds of the slowest photo in each stage, and of the request."""
    total = 1000 * (time.monotonic() - began)
    stages = {
        "queue": max((r.queue_ms for r in results), default=0.0),
        "decode": max((r.decode_ms for r in results), default=0.0),
        "embed": max((r.times.embed for r in results), default=0.0),
        "search": max((r.times.search for r in results), default=0.0),
        "total": total,
    }
    return {stage: round(value, 2) for stage, value in stages.items()}


def _query(done: Decoded) -> QueryPhoto:
    assert done.image is not None
    return QueryPhoto(done.image, done.place)


def _warnings(done: Decoded) -> list[str]:
    if min(done.height, done.width) < SMALL:
        return [f"a very small photo ({done.width} × {done.height} px): the answer is less sure"]
    return []
