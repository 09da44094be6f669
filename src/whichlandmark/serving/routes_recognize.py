"""Routes that answer photos (recognize, explain), and health, metrics and the page."""

from __future__ import annotations

from typing import Annotated, Literal

import anyio.to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from ..core.photo_files import FORMATS
from ..recognition.answer import unfinished_object
from .api_errors import ApiError, PhotoError
from .auth import Caller, engine_of, require_scope
from .engine import Engine
from .gallery_editing import UNDO_PHOTOS
from .limits import RateLimits
from .page_files import page_html, page_script, page_style
from .schemas import (
    ConfigReply,
    ExplainReply,
    Health,
    RecognizeReply,
    Tiles,
    files,
    model_of,
    refusals,
)
from .uploads import read_files, read_recognize_request

Reader = Annotated[Caller, Depends(require_scope("read"))]

REVALIDATED = {"Cache-Control": "no-cache"}  # browsers ask on each request whether it changed

TITLE = "whichlandmark"  # of the page, without --title


def router(max_photos: int) -> APIRouter:
    """The routes that answer photos. max_photos: per request."""
    routes = APIRouter(tags=["photos"])
    also_refused = refusals(415, 422, 429, 503)

    @routes.post(
        "/v1/recognize",
        response_model=model_of(RecognizeReply),
        responses=also_refused,
        openapi_extra=files("photos", max_photos, also_json=True),
    )
    async def recognize(request: Request, caller: Reader) -> JSONResponse:
        """The landmark in each photo, or none: one answer or typed error per photo."""
        engine = engine_of(request)
        given = await read_recognize_request(request, max_photos, engine.options.max_bytes)
        charge(request, engine.rate_limits, caller, len(given.photos))
        answers = await engine.recognize(given)
        return JSONResponse({"request_id": request.state.request_id, **answers})

    @routes.post(
        "/v1/explain",
        response_model=model_of(ExplainReply),
        responses=also_refused,
        openapi_extra=files("photo", 1),
    )
    async def explain(request: Request, caller: Reader) -> JSONResponse:
        """Evidence for an answer: matched points of photo pairs, and the parts of the score."""
        engine = engine_of(request)
        (photo,), _ = await read_files(request, "photo", 1, engine.options.max_bytes)
        charge(request, engine.rate_limits, caller, 1)
        try:
            explanation = await engine.explain(photo)
        except PhotoError as error:
            fault = error.to_json(photo.name)["error"]
            raise ApiError(422, **fault) from None
        return JSONResponse({"request_id": request.state.request_id, **explanation})

    return routes


def charge(request: Request, rates: RateLimits, caller: Caller, photos: int) -> None:
    """Count photos against the caller's rate limit. Raises ApiError 429."""
    request.state.photos = photos
    rates.take(caller.name, photos, caller.rate)


def service_router() -> APIRouter:
    """Health, metrics, configuration and the page.

    Health checks run in the event loop, so that a full thread pool does not delay them.
    """
    routes = APIRouter(tags=["service"])

    @routes.get("/livez", response_model=model_of(Health), responses=refusals())
    async def livez(request: Request) -> JSONResponse:
        """Whether the server is running."""
        return JSONResponse(health(request))

    @routes.get(
        "/readyz",
        response_model=model_of(Health),
        responses={**refusals(), 503: {"model": model_of(Health)}},
    )
    async def readyz(request: Request) -> JSONResponse:
        """Whether the server accepts photos; 503 while it is stopping."""
        reply = health(request)
        return JSONResponse(reply, 200 if reply["ready"] else 503)

    @routes.get(
        "/metrics",
        response_class=Response,
        responses={
            200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
            **refusals(),
        },
    )
    async def metrics(request: Request, _: Reader) -> Response:
        """Metrics in the text format of Prometheus."""
        counters = engine_of(request).counters
        text = await anyio.to_thread.run_sync(counters.text)
        return Response(text, headers={"Content-Type": counters.content_type})

    @routes.get("/v1/config", response_model=model_of(ConfigReply), responses=refusals())
    async def config(request: Request) -> JSONResponse:
        """Configuration of the page."""
        return JSONResponse(configuration(engine_of(request)))

    @routes.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        """The web page, with its configuration in it."""
        html = page_html(configuration(engine_of(request)))
        return Response(html, media_type="text/html", headers=REVALIDATED)

    return routes


def page_router() -> APIRouter:
    """The script and the style sheet of the page, joined when the server starts."""
    routes = APIRouter()
    script, style = page_script(), page_style()

    @routes.get("/static/page.js", include_in_schema=False)
    async def joined_script() -> Response:
        return Response(script, media_type="text/javascript", headers=REVALIDATED)

    @routes.get("/static/page.css", include_in_schema=False)
    async def joined_style() -> Response:
        return Response(style, media_type="text/css", headers=REVALIDATED)

    return routes


def configuration(engine: Engine) -> ConfigReply:
    """The body of /v1/config, which the page has in it too."""
    options = engine.options
    access: Literal["open", "key"] = "key" if engine.keys else "open"
    with engine.live.use() as opened:
        facts = opened.facts
    tiles: Tiles = {"url": options.tiles, "attribution": options.tiles_attribution}
    return {
        "title": options.title or TITLE, "licence": engine.licence,
        "read": access, "write": access,
        "tiles": tiles if options.tiles else None, "max_photos": options.max_photos,
        "max_bytes": options.max_bytes, "undo_photos": UNDO_PHOTOS,
        "formats": list(FORMATS),
        "warnings": list(facts.notes), "unfinished": unfinished_object(facts.unfinished),
    }  # fmt: skip


def health(request: Request) -> Health:
    """The body of /livez and /readyz."""
    engine = engine_of(request)
    return {"ready": not engine.trouble, "trouble": engine.trouble or engine.live.trouble,
            "generation": engine.live.generation, "queue": engine.queue.held}  # fmt: skip
