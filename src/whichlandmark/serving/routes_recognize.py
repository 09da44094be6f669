"""/v1/recognize, /explain, /feedback, health, metrics, page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import anyio.to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, JSONResponse, Response

from ..core.errors import DataError
from ..core.images import FORMATS
from .api_errors import ApiError, PhotoError
from .auth import Caller, engine_of, need
from .engine import Engine
from .limits import RateLimits
from .schemas import (
    ConfigReply,
    ExplainReply,
    FeedbackEntry,
    Health,
    QueuedReply,
    RecognizeReply,
    Tiles,
    files,
    json_of,
    model_of,
    refusals,
)
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


def charge(request: Request, rates: RateLimits, caller: Caller, photos: int) -> Any:
    """Count photos of a caller. Raises ApiError 429."""
    request.state.photos = photos
    rates.take(caller.name, photos, caller.rate)


STATIC = Path(__file__).parent / "static"

TITLE = "whichlandmark"


def service_router() -> APIRouter:
    """Health never waits for anything: it is answered by the event loop alone."""
    routes = APIRouter(tags=["service"])

    @routes.get("/livez", response_model=model_of(Health), responses=refusals())
    async def livez(request: Request) -> JSONResponse:
        """Does the server run?"""
        return JSONResponse(health(request))

    @routes.get("/readyz", response_model=model_of(Health),
                responses={**refusals(), 503: {"model": model_of(Health)}})  # fmt: skip
    async def readyz(request: Request) -> JSONResponse:
        """May photos be sent? 503 while the server stops."""
        told = health(request)
        return JSONResponse(told, 200 if told["ready"] else 503)

    @routes.get("/metrics", response_class=Response, responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **refusals(),
    })  # fmt: skip
    async def metrics(request: Request, _: Reader) -> Response:
        """For Prometheus."""
        counters = engine_of(request).counters
        text = await anyio.to_thread.run_sync(counters.text)
        return Response(text, headers={"Content-Type": counters.content_type})

    @routes.get("/v1/config", response_model=model_of(ConfigReply), responses=refusals())
    async def config(request: Request) -> JSONResponse:
        """What a page has to know before it asks."""
        engine = engine_of(request)
        options, wants = engine.options, access(engine)
        tiles: Tiles = {"url": options.tiles, "attribution": options.tiles_attribution}
        told: ConfigReply = {
            "title": options.title or TITLE, "read": wants, "write": wants,
            "tiles": tiles if options.tiles else None, "max_photos": options.max_photos,
            "max_bytes": options.max_bytes, "formats": list(FORMATS),
        }  # fmt: skip
        return JSONResponse(told)

    @routes.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        """The page."""
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    return routes


def access(engine: Engine) -> Literal["open", "key"]:
    """Does it ask for a key?"""
    return "key" if engine.keys else "open"


def health(request: Request) -> Health:
    """As JSON."""
    engine = engine_of(request)
    return {"ready": not engine.trouble, "trouble": engine.trouble or engine.live.trouble,
            "generation": engine.live.generation, "queue": engine.queue.held}  # fmt: skip
