"""Everything behind the routes: photos in, answers out; opened and closed with the server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..answer_object import LOOKED_AT, SCHEMA, answer_object
from ..deciding import Answers
from ..explaining import explained
from ..query import QueryPhoto
from ..recognition import prediction
from ..types import Prediction
from .counters import Counters
from .decoding import Decoded, DecodeLimits, DecodePool
from .editing import Editor
from .feedback import Feedback
from .inference import Inference, Times
from .keys import Key, read_keys
from .limits import Queue, Rates, Room
from .live import Live, Opened
from .options import ServeOptions
from .problems import PhotoError
from .uploads import Question, Upload
from .why import why_object

SMALL = 100  # pixels of the short side below which an answer is hardly to be trusted
FEEDBACK = "feedback.jsonl"


@dataclass(frozen=True, eq=False)
class Result:
    """answer: the object of one photo, or None and why; height, width: of the upright photo."""

    answer: Any
    error: PhotoError | None = None
    height: int = 0
    width: int = 0
    decode_ms: float = 0.0
    queue_ms: float = 0.0
    times: Times = Times(0.0, 0.0, 0.0, 0)  # noqa: RUF009 – frozen


class Engine:
    """Threads and processes start in `__init__`, and end in `close`."""

    def __init__(self, folder: Path, options: ServeOptions) -> None:
        """Raises GalleryError, DataError or ModelError when the folder cannot be opened."""
        self.folder, self.options = folder, options
        self.keys: list[Key] = read_keys(options.keys) if options.keys else []
        self.counters = Counters()
        self.live = Live(folder, device=options.device)
        self.pool = DecodePool(
            DecodeLimits(
                processes=options.processes, megabytes=options.worker_mb,
                seconds=options.decode_seconds, cpu_seconds=options.decode_cpu_seconds,
                recycle=options.recycle,
            ),
            lambda why: self.counters.workers.labels(why).inc(),
        )  # fmt: skip
        self.inference = Inference(self.live, options.batch)
        self.editor = Editor(self.live, options.write_queue)
        self.feedback = Feedback(folder / FEEDBACK, options.feedback_bytes)
        self.queue = Queue(options.queue, options.line, options.line_seconds)
        self.room, self.rates = Room(options.body_bytes), Rates()
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

    async def recognize(self, question: Question) -> dict[str, Any]:
        """Answer photos. Raises ApiError 503 when the queue is full."""
        began = time.monotonic()

        def told(name: str, done: Decoded, opened: Opened, answer: Prediction) -> Any:
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

    async def results(self, photos: Sequence[Upload], told: Any) -> list[Result]:
        """told: (name, decoded, recognizer, prediction) → an answer, made where it is inferred."""
        async with self.queue.hold(len(photos)) as stood:
            return await asyncio.gather(*(self._one(photo, told, stood) for photo in photos))

    async def explain(self, photo: Upload) -> dict[str, Any]:
        """Why is a photo answered so? Raises PhotoError when it cannot be read."""
        async with self.queue.hold(1):
            done = await self.decoded(photo)
            query = _query(done)

            def told(opened: Opened, answers: Answers, row: int) -> Any:
                why = explained(opened.recognizer, answers, row, query)
                answer = prediction(answers, row, matches=LOOKED_AT)
                return why_object(photo.name, why, answer, opened)

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

    async def _one(self, photo: Upload, told: Any, stood: float) -> Result:
        try:
            done = await self.decoded(photo)

            def tell(opened: Opened, answers: Answers, row: int) -> Any:
                answer = prediction(answers, row, matches=LOOKED_AT)
                return told(photo.name, done, opened, answer), answer.decision

            asked = self.inference.ask(_query(done), tell)
            (answer, decision), times = await asyncio.wrap_future(asked)
        except PhotoError as error:
            self.counters.photos.labels(error.code).inc()
            return Result(None, error)
        waited = stood + done.waited + times.queue / 1000
        self._count(decision, done, times, waited)
        return Result(answer, None, done.height, done.width, 1000 * done.seconds, 1000 * waited,
                      times)  # fmt: skip

    def _count(self, decision: str, done: Decoded, times: Times, waited: float) -> None:
        count = self.counters
        count.photos.labels(decision).inc()
        count.batch.observe(times.batch)
        for stage, seconds in (("decode", done.seconds), ("embed", times.embed / 1000),
                               ("search", times.search / 1000),
                               ("wait", waited)):  # fmt: skip
            count.stages.labels(stage).observe(seconds)


def timings(results: Sequence[Result], began: float) -> dict[str, float]:
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
