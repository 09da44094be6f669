"""What the routes call: decode photos, recognize and explain them, within the server's limits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core.errors import WhichLandmarkError
from ..core.files import valid_text
from ..core.types import Prediction
from ..features.embedders.record import licence_of
from ..recognition.answer import (
    CANDIDATE_MATCHES,
    SCHEMA,
    AnswerObject,
    answer_object,
    match_object,
    shown_name,
)
from ..recognition.decision import Answers
from ..recognition.explanation.explain import explain_answer
from ..recognition.folder.feedback import FeedbackStore
from ..recognition.folder.maintain import follow_moved_folder
from ..recognition.predictions import prediction
from ..recognition.query import Queries, QueryPhoto, size_warnings
from .answer_schemas import EMBEDDING_SCHEMA, SIMILAR_SCHEMA, SimilarMatch
from .api_errors import PhotoError
from .decode_pool import Decoded, DecodeLimits, DecodePool
from .discoveries import Discoveries
from .explanation_json import explanation_object
from .gallery_editing import Editor
from .inference_queue import BatchTimes, InferenceQueue, MakeResult
from .keys import KeyFile
from .limits import BodyBudget, RateLimits, RequestQueue, Turns, WrongKeys
from .live_recognizer import LiveRecognizer, OpenRecognizer
from .monitoring import Counters
from .options import ServeOptions
from .previews import Previews
from .uploads import PhotoLimits, RecognizeRequest, Upload

VECTOR_DIGITS = 7  # decimals of an embedding's numbers, which float32 has about as many of

Submit = Callable[[Decoded], Future[tuple[Any, BatchTimes]]]

MakeAnswer = Callable[[str, Decoded, OpenRecognizer, Prediction], Any]


@dataclass(frozen=True, eq=False)
class PhotoResult:
    """The answer to one photo, and timings.

    Args:
        answer: what the `make_result` of `Engine.results` returned; None when the photo failed.
        error: why it failed; None = it did not.
        height, width: of the upright photo, in pixels.
        decode_ms, queue_ms: milliseconds spent decoding and waiting.
        times: milliseconds of the batch that the photo was part of.
    """

    answer: Any
    error: PhotoError | None = None
    height: int = 0
    width: int = 0
    decode_ms: float = 0.0
    queue_ms: float = 0.0
    times: BatchTimes = BatchTimes(0.0, 0.0, 0.0, 0)  # noqa: RUF009 – frozen


class Engine:
    """The recognizer and its queues. `__init__` starts threads and processes, `close` ends them."""

    def __init__(self, folder: Path, options: ServeOptions) -> None:
        """Raises GalleryError, DataError or ModelError when the folder cannot be opened."""
        self.folder, self.options = folder, options
        self.keys = KeyFile(options.keys) if options.keys else None  # None = open to everybody
        self.counters = Counters()
        with suppress(WhichLandmarkError):  # in a read-only folder; what is damaged is said below
            follow_moved_folder(folder)
        self.live = LiveRecognizer(folder, device=options.device)
        self.licence = licence_of(folder / "embedder")
        self.pool = DecodePool(
            DecodeLimits(
                processes=options.processes,
                megabytes=options.worker_mb,
                seconds=options.decode_seconds,
                cpu_seconds=options.decode_cpu_seconds,
                recycle=options.recycle,
            ),
            lambda reason: self.counters.workers.labels(reason).inc(),
        )
        self.inference = InferenceQueue(self.live, options.batch)
        self.editor = Editor(self.live, options.write_queue)
        self.feedback = FeedbackStore(folder, options.feedback_bytes)
        self.discoveries = Discoveries(folder, self.live, self.editor)
        self.queue = RequestQueue(options.queue, options.line, options.line_seconds)
        self.body_budget = BodyBudget(options.body_bytes, options.body_share, options.line_seconds)
        self.rate_limits, self.wrong_keys, self.turns = RateLimits(), WrongKeys(), Turns()
        self.previews = Previews(folder, self.live, self.pool, options.max_bytes)
        self.stopping = False
        self.counters.generation.set(self.live.generation)
        self.live.on_refresh = self.counters.generation.set
        self.counters.queue.set_function(lambda: self.queue.held)
        self.counters.waiting.set_function(lambda: self.queue.waiting)

    def close(self) -> None:
        """Answer accepted photos, then end every thread and process."""
        self.stopping = True
        self.pool.close()
        self.inference.close()
        self.live.close()

    @property
    def trouble(self) -> str:
        """Why the server is not ready for photos; "" = it is ready."""
        if self.stopping:
            return "the server is being stopped"
        if self.keys is not None:
            self.keys.refresh()
            if self.keys.trouble:
                return "no key can be checked, because of the key file; the log says why"
        return "" if self.inference.alive else "an inference thread has ended"

    @property
    def full(self) -> bool:
        """Whether one more photo would be refused."""
        return self.stopping or self.queue.full

    @property
    def photo_limits(self) -> PhotoLimits:
        """Photos of one request, and bytes of one photo."""
        return PhotoLimits(self.options.max_photos, self.options.max_bytes)

    async def recognize(self, request: RecognizeRequest) -> dict[str, Any]:
        """Answer photos. Raises ApiError 503 when the queue is full."""
        began = time.monotonic()

        def make_result(
            name: str, decoded: Decoded, opened: OpenRecognizer, answer: Prediction
        ) -> AnswerObject:
            return answer_object(
                name, answer, opened.facts, matches=request.matches,
                warnings=size_warnings(decoded.height, decoded.width), language=request.language,
            )  # fmt: skip

        results = await self.results(request.photos, make_result)
        return self._reply(SCHEMA, request.photos, results, began)

    async def embed(self, photos: Sequence[Upload]) -> dict[str, Any]:
        """The vectors of photos. Raises ApiError 503 when the queue is full."""
        began = time.monotonic()

        def make_result(opened: OpenRecognizer, queries: Queries, row: int) -> list[float]:
            rounded: list[float] = queries.vectors[row].astype(float).round(VECTOR_DIGITS).tolist()
            return rounded

        results = await self._embedded("vector", photos, make_result)
        return self._reply(EMBEDDING_SCHEMA, photos, results, began)

    async def similar(
        self, photos: Sequence[Upload], limit: int, language: str = ""
    ) -> dict[str, Any]:
        """The gallery photos nearest to photos. Raises ApiError 503 when the queue is full."""
        began = time.monotonic()

        def make_result(opened: OpenRecognizer, queries: Queries, row: int) -> list[SimilarMatch]:
            found = opened.recognizer.fallback.using(
                lambda decider: decider.retriever.similar(queries.vectors[row], limit)
            )
            credits = opened.facts.gallery.credits([match.photo_id for match in found])
            records = opened.facts.records
            return [
                {**match_object(match, credits, opened.facts),
                 "title": shown_name(match.landmark, records, language) if match.landmark else ""}
                for match in found
            ]  # fmt: skip

        results = await self._embedded("matches", photos, make_result)
        return self._reply(SIMILAR_SCHEMA, photos, results, began)

    async def _embedded(
        self, field: str, photos: Sequence[Upload], make_result: MakeResult
    ) -> list[PhotoResult]:
        """Results that need no answer: `field` of each holds what `make_result` returned."""

        async def one(photo: Upload, queue_seconds: float) -> PhotoResult:
            def submit(decoded: Decoded) -> Future[tuple[Any, BatchTimes]]:
                return self.inference.submit(_query(decoded), make_result, work="embed")

            result = await self._photo_result(photo, submit, queue_seconds, lambda found: field)
            shown = {"photo": valid_text(photo.name), field: result.answer}
            return replace(result, answer=shown)

        async with self.queue.hold(len(photos)) as queue_seconds:
            return await asyncio.gather(*(one(photo, queue_seconds) for photo in photos))

    def _reply(
        self, schema: str, photos: Sequence[Upload], results: Sequence[PhotoResult], began: float
    ) -> dict[str, Any]:
        """The body of a reply about photos, but for the request's id."""
        return {
            "schema": schema,
            "model": {"embedder": self.live.embedder.id, "generation": self.live.generation},
            "timings_ms": timings(results, began),
            "results": [
                result.error.to_json(valid_text(photo.name)) if result.error else result.answer
                for photo, result in zip(photos, results, strict=True)
            ],
        }

    async def results(self, photos: Sequence[Upload], make_result: MakeAnswer) -> list[PhotoResult]:
        """Answer photos, each on its own. Raises ApiError 503 when the queue is full.

        Args:
            make_result: (name, decoded photo, recognizer, prediction) → `PhotoResult.answer`;
                called in the inference thread, while that recognizer is open.
        """
        async with self.queue.hold(len(photos)) as queue_seconds:
            return await asyncio.gather(
                *(self._recognize_photo(photo, make_result, queue_seconds) for photo in photos)
            )

    async def explain(self, photo: Upload, language: str = "") -> dict[str, Any]:
        """The evidence for the answer to a photo. Raises PhotoError when it cannot be read."""
        async with self.queue.hold(1):
            decoded = await self.decode(photo)
            query = _query(decoded)

            def make_result(opened: OpenRecognizer, answers: Answers, row: int) -> Any:
                explanation = explain_answer(
                    opened.recognizer, answers, row, query, language=language
                )
                answer = prediction(answers, row, matches=CANDIDATE_MATCHES)
                return explanation_object(
                    photo.name, explanation, answer, opened, language=language
                )

            pending = self.inference.submit(query, make_result, work="evidence")
            explanation, _ = await asyncio.wrap_future(pending)
        return {
            "schema": SCHEMA,
            **explanation,
            "query": {"width": decoded.width, "height": decoded.height},
        }

    async def decode(self, photo: Upload) -> Decoded:
        """Decode an upload for the embedder. Raises PhotoError."""
        if isinstance(photo.data, PhotoError):
            raise photo.data
        pending = self.pool.pixels(
            photo.data, self.live.short_side, location=self.live.uses_location
        )
        decoded = await asyncio.wrap_future(pending)
        if self.live.uses_location and decoded.location is None:
            return replace(decoded, location=photo.place)
        return decoded

    async def encode(self, photo: Upload, side: int) -> bytes:
        """An upload as the gallery stores it: a JPEG without metadata. Raises PhotoError."""
        if isinstance(photo.data, PhotoError):
            raise photo.data
        return (await asyncio.wrap_future(self.pool.jpeg(photo.data, side))).jpeg

    async def _recognize_photo(
        self, photo: Upload, make_result: MakeAnswer, queue_seconds: float
    ) -> PhotoResult:
        def submit(decoded: Decoded) -> Future[tuple[Any, BatchTimes]]:
            def result_and_decision(opened: OpenRecognizer, answers: Answers, row: int) -> Any:
                answer = prediction(answers, row, matches=CANDIDATE_MATCHES)
                return make_result(photo.name, decoded, opened, answer), answer.decision

            return self.inference.submit(_query(decoded), result_and_decision)

        found = await self._photo_result(photo, submit, queue_seconds, lambda pair: pair[1])
        return found if found.error else replace(found, answer=found.answer[0])

    async def _photo_result(
        self, photo: Upload, submit: Submit, queue_seconds: float, outcome: Callable[[Any], str]
    ) -> PhotoResult:
        """Decode a photo, and wait for what `submit` makes of it.

        outcome: of the result, as it is counted in the metrics.
        """
        try:
            decoded = await self.decode(photo)
            result, times = await asyncio.wrap_future(submit(decoded))
        except PhotoError as error:
            self.counters.photos.labels(error.code).inc()
            return PhotoResult(None, error)
        waited = queue_seconds + decoded.queue_seconds + times.queue / 1000
        self._count(outcome(result), decoded, times, waited)
        return PhotoResult(
            result,
            None,
            decoded.height,
            decoded.width,
            1000 * decoded.decode_seconds,
            1000 * waited,
            times,
        )

    def _count(self, decision: str, decoded: Decoded, times: BatchTimes, waited: float) -> None:
        count = self.counters
        count.photos.labels(decision).inc()
        count.batch.observe(times.batch)
        for stage, seconds in (("decode", decoded.decode_seconds), ("embed", times.embed / 1000),
                               ("search", times.search / 1000),
                               ("wait", waited)):  # fmt: skip
            count.stages.labels(stage).observe(seconds)


def timings(results: Sequence[PhotoResult], began: float) -> dict[str, float]:
    """Milliseconds of the slowest photo in each stage, and of the whole request.

    began: `time.monotonic()` at the start of the request.
    """
    total = 1000 * (time.monotonic() - began)
    stages = {
        "queue": max((r.queue_ms for r in results), default=0.0),
        "decode": max((r.decode_ms for r in results), default=0.0),
        "embed": max((r.times.embed for r in results), default=0.0),
        "search": max((r.times.search for r in results), default=0.0),
        "total": total,
    }
    return {stage: round(value, 2) for stage, value in stages.items()}


def _query(decoded: Decoded) -> QueryPhoto:
    assert decoded.image is not None
    return QueryPhoto(decoded.image, decoded.location)
