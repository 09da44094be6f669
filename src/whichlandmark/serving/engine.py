"""What the routes call: decode photos, recognize and explain them, within the server's limits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import anyio.to_thread

from ..core.errors import WhichLandmarkError
from ..core.images import content_hash
from ..core.storage import read_bytes
from ..core.types import Prediction
from ..features.embedders.record import licence_of
from ..recognition.answer import CANDIDATE_MATCHES, SCHEMA, AnswerObject, answer_object
from ..recognition.decision import Answers
from ..recognition.explanation.explain import explain_answer
from ..recognition.folder.maintain import follow_moved_folder
from ..recognition.folder.settings import own_photo
from ..recognition.predictions import prediction
from ..recognition.query import QueryPhoto, size_warnings
from .api_errors import PhotoError, not_found
from .decode_pool import Decoded, DecodeLimits, DecodePool
from .explanation_json import explanation_object
from .gallery_editing import Editor
from .inference_queue import BatchTimes, InferenceQueue
from .keys import Key, read_keys
from .limits import BodyBudget, RateLimits, RequestQueue
from .live_recognizer import LiveRecognizer, OpenRecognizer
from .monitoring import Counters, Feedback
from .options import ServeOptions
from .uploads import RecognizeRequest, Upload

FEEDBACK_FILE = "feedback.jsonl"

PREVIEWS_AT_ONCE = 2  # made of gallery photos, so that photos to recognize find a free worker

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


class _StoredPhoto(NamedTuple):
    """Id, path and content hash of a gallery photo."""

    id: str
    path: str
    hash: str


class Preview(NamedTuple):
    """A JPEG, and its ETag; "" = it is a thumbnail in place of the photo, which may come back."""

    jpeg: bytes
    tag: str


class Engine:
    """The recognizer and its queues. `__init__` starts threads and processes, `close` ends them."""

    def __init__(self, folder: Path, options: ServeOptions) -> None:
        """Raises GalleryError, DataError or ModelError when the folder cannot be opened."""
        self.folder, self.options = folder, options
        self.keys: list[Key] = read_keys(options.keys) if options.keys else []
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
        self.feedback = Feedback(folder / FEEDBACK_FILE, options.feedback_bytes)
        self.queue = RequestQueue(options.queue, options.line, options.line_seconds)
        self.body_budget, self.rate_limits = BodyBudget(options.body_bytes), RateLimits()
        self.previewing = asyncio.Semaphore(PREVIEWS_AT_ONCE)
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
        return "" if self.inference.alive else "an inference thread has ended"

    @property
    def full(self) -> bool:
        """Whether one more photo would be refused."""
        return self.stopping or self.queue.full

    async def recognize(self, request: RecognizeRequest) -> dict[str, Any]:
        """Answer photos. Raises ApiError 503 when the queue is full."""
        began = time.monotonic()

        def make_result(
            name: str, decoded: Decoded, opened: OpenRecognizer, answer: Prediction
        ) -> AnswerObject:
            return answer_object(
                name, answer, opened.facts, matches=request.matches,
                warnings=size_warnings(decoded.height, decoded.width),
            )  # fmt: skip

        results = await self.results(request.photos, make_result)
        return {
            "schema": SCHEMA,
            "model": {"embedder": self.live.embedder.id, "generation": self.live.generation},
            "timings_ms": timings(results, began),
            "results": [
                result.error.to_json(photo.name) if result.error else result.answer
                for photo, result in zip(request.photos, results, strict=True)
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

    async def explain(self, photo: Upload) -> dict[str, Any]:
        """The evidence for the answer to a photo. Raises PhotoError when it cannot be read."""
        async with self.queue.hold(1):
            decoded = await self.decode(photo)
            query = _query(decoded)

            def make_result(opened: OpenRecognizer, answers: Answers, row: int) -> Any:
                explanation = explain_answer(opened.recognizer, answers, row, query)
                answer = prediction(answers, row, matches=CANDIDATE_MATCHES)
                return explanation_object(photo.name, explanation, answer, opened)

            pending = self.inference.submit(query, make_result, evidence=True)
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
        return await asyncio.wrap_future(pending)

    async def encode(self, photo: Upload, side: int) -> bytes:
        """An upload as the gallery stores it: a JPEG without metadata. Raises PhotoError."""
        if isinstance(photo.data, PhotoError):
            raise photo.data
        return (await asyncio.wrap_future(self.pool.jpeg(photo.data, side))).jpeg

    async def preview(self, photo_id: str, side: int, known: str = "") -> Preview | None:
        """A gallery photo as a JPEG without metadata, its long side at most `side` pixels.

        It is made of the photo's file while that has the bytes that the gallery knows, else of the
        stored thumbnail.

        Args:
            photo_id: Of the gallery.
            side: Pixels.
            known: ETag that the caller has; None is returned where it is still right.

        Raises:
            ApiError: 404 without such a photo, or without a picture of it.
        """
        stored = await anyio.to_thread.run_sync(self._stored_photo, photo_id)
        tag = f'"{stored.hash[:32]}-{side}"' if stored.hash else ""
        if known and tag in known:
            return None
        async with self.previewing:
            for read, its_tag in ((self._photo_file, tag), (self._thumbnail, "")):
                data = await anyio.to_thread.run_sync(read, stored)
                with suppress(PhotoError):
                    if data:
                        made = await asyncio.wrap_future(self.pool.jpeg(data, side))
                        return Preview(made.jpeg, its_tag)
        raise not_found("No picture of that photo: its file is gone, and no thumbnail is stored.")

    def _stored_photo(self, photo_id: str) -> _StoredPhoto:
        with self.live.use() as opened:
            gallery = opened.facts.gallery
            if not (found := gallery.stamps([photo_id]).get(photo_id)):
                raise not_found("No such photo.")
            return _StoredPhoto(photo_id, found[0], gallery.hashes([photo_id]).get(photo_id, ""))

    def _photo_file(self, photo: _StoredPhoto) -> bytes:
        """The bytes of the photo's file; b"" where it is gone, too large, or another one by now.

        The hash of a photo in the folder is that of the file as it was sent, so there the name,
        which the server chose by the bytes, tells that it is the same.
        """
        own = own_photo(self.folder, photo.id)
        with suppress(WhichLandmarkError):
            data = read_bytes(own or photo.path, self.options.max_bytes)
            if own or content_hash(data) == photo.hash:
                return data
        return b""

    def _thumbnail(self, photo: _StoredPhoto) -> bytes:
        with self.live.use() as opened:
            return opened.facts.gallery.thumbnails([photo.id]).get(photo.id, b"")

    async def _recognize_photo(
        self, photo: Upload, make_result: MakeAnswer, queue_seconds: float
    ) -> PhotoResult:
        try:
            decoded = await self.decode(photo)

            def result_and_decision(opened: OpenRecognizer, answers: Answers, row: int) -> Any:
                answer = prediction(answers, row, matches=CANDIDATE_MATCHES)
                return make_result(photo.name, decoded, opened, answer), answer.decision

            pending = self.inference.submit(_query(decoded), result_and_decision)
            (answer, decision), times = await asyncio.wrap_future(pending)
        except PhotoError as error:
            self.counters.photos.labels(error.code).inc()
            return PhotoResult(None, error)
        waited = queue_seconds + decoded.queue_seconds + times.queue / 1000
        self._count(decision, decoded, times, waited)
        return PhotoResult(
            answer,
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
