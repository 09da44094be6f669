"""POST /v1/recognize, /v1/explain and /v1/feedback."""

from __future__ import annotations

from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from ..errors import DataError
from .access import Caller, engine_of, need
from .bodies import files, json_of, refusals
from .limits import Rates
from .problems import ApiError, PhotoError
from .schema import ExplainReply, FeedbackEntry, QueuedReply, RecognizeReply, model_of
from .uploads import json_body, read_files, read_question

Reader = Annotated[Caller, Depends(need("read"))]
Entry = Annotated[FeedbackEntry, Depends(json_body(FeedbackEntry))]


def router(most: int) -> APIRouter:
    """most: photos of a request."""
    routes = APIRouter(tags=["photos"])
    again = refusals(415, 422, 429, 503)

    @routes.post("/v1/recognize", response_model=model_of(RecognizeReply), responses=again,
                 openapi_extra=files("photos", most, also_json=True))  # fmt: skip
    async def recognize(request: Request, caller: Reader) -> JSONResponse:
        """Which landmark is in each photo, or none? One answer or typed error for each."""
        engine = engine_of(request)
        question = await read_question(request, most, engine.options.max_bytes)
        charge(request, engine.rates, caller, len(question.photos))
        answered = await engine.recognize(question)
        return JSONResponse({"request_id": request.state.request_id, **answered})

    @routes.post("/v1/explain", response_model=model_of(ExplainReply), responses=again,
                 openapi_extra=files("photo", 1))  # fmt: skip
    async def explain(request: Request, caller: Reader) -> JSONResponse:
        """Why is it answered so? Matched points beside references, and the parts of the score."""
        engine = engine_of(request)
        (photo,), _ = await read_files(request, "photo", 1, engine.options.max_bytes)
        charge(request, engine.rates, caller, 1)
        try:
            why = await engine.explain(photo)
        except PhotoError as error:
            fault = error.object(photo.name)["error"]
            raise ApiError(422, **fault) from None
        return JSONResponse({"request_id": request.state.request_id, **why})

    @routes.post("/v1/feedback", response_model=model_of(QueuedReply), responses=again,
                 openapi_extra=json_of(FeedbackEntry))  # fmt: skip
    async def feedback(request: Request, caller: Reader, entry: Entry) -> JSONResponse:
        """Was an answer right? It goes into a queue that a person reviews."""
        engine = engine_of(request)
        charge(request, engine.rates, caller, 1)
        try:
            await anyio.to_thread.run_sync(
                engine.feedback.add, {**entry.model_dump(), "key": request.state.key}
            )
        except DataError:
            raise ApiError(503, "storage", "The review queue cannot be written.",
                           "Tell the operator.", retry=60) from None  # fmt: skip
        queued: QueuedReply = {"queued": True}
        return JSONResponse(queued)

    return routes


def charge(request: Request, rates: Rates, caller: Caller, photos: int) -> Any:
    """Count photos of a caller. Raises ApiError 429."""
    request.state.photos = photos
    rates.take(caller.name, photos, caller.rate)
