"""Routes that answer photos (recognize, explain), and health, metrics and the page."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from importlib.metadata import version
from typing import Annotated, Literal

import anyio.to_thread
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response

from ..core.file_kinds import photo_formats
from ..recognition.answer import unfinished_object
from .answer_schemas import EmbedReply, ExplainReply, RecognizeReply, SimilarReply
from .api_errors import ApiError, PhotoError
from .auth import Caller, engine_of, require_scope
from .engine import Engine
from .gallery_editing import UNDO_PHOTOS
from .limits import RateLimits
from .page_files import page_html, page_language, page_script, page_style
from .schemas import ConfigReply, Health, Language, PhotoName, Tiles, files, model_of, refusals
from .uploads import (
    DEFAULT_MATCHES,
    MAX_MATCHES,
    JsonPhotos,
    JsonRecognizeRequest,
    read_photos,
    read_recognize_request,
)

Reader = Annotated[Caller, Depends(require_scope("read"))]

Matches = Annotated[
    int, Query(ge=0, le=MAX_MATCHES, description="Nearest gallery photos to list for each photo.")
]

SimilarLimit = Annotated[int, Query(ge=1, le=100, description="Gallery photos for each photo.")]

REVALIDATED = {"Cache-Control": "no-cache"}  # browsers ask on each request whether it changed

# A photo of up to this aspect that is shrunk to this multiple of the decoded short side keeps the
# pixels that are looked at; least pixels of the long side, because other rules may want more.
SHRINK_ASPECT, MIN_SHRINK_SIDE = 3, 1600

TITLE = "whichlandmark"  # of the page, without --title


def router(max_photos: int) -> APIRouter:
    """The routes that answer photos. max_photos: per request."""
    routes = APIRouter(tags=["photos"])
    also_refused = refusals(415, 422, 429, 503)

    _recognize_route(routes, max_photos)
    _vector_routes(routes, max_photos)

    @routes.post(
        "/v1/explain",
        response_model=model_of(ExplainReply),
        responses=also_refused,
        openapi_extra=files("photo", 1, raw=True),
    )
    async def explain(
        request: Request, caller: Reader, lang: Language = "", name: PhotoName = ""
    ) -> JSONResponse:
        """Evidence for an answer: matched points of photo pairs, and the parts of the score."""
        engine = engine_of(request)
        limits = replace(engine.photo_limits, max_photos=1)
        (photo,), _ = await read_photos(request, "photo", limits, None, name)
        charge(request, engine.rate_limits, caller, 1)
        try:
            explanation = await engine.explain(photo, lang)
        except PhotoError as error:
            raise ApiError(422, **error.to_fault()) from None
        return JSONResponse({"request_id": request.state.request_id, **explanation})

    return routes


def _recognize_route(routes: APIRouter, max_photos: int) -> None:
    @routes.post(
        "/v1/recognize",
        response_model=model_of(RecognizeReply),
        responses=refusals(415, 422, 429, 503),
        openapi_extra=files("photos", max_photos, json_model=JsonRecognizeRequest, raw=True),
    )
    async def recognize(
        request: Request,
        caller: Reader,
        matches: Matches = DEFAULT_MATCHES,
        lang: Language = "",
        name: PhotoName = "",
    ) -> JSONResponse:
        """The landmark in each photo, or none. One answer or typed error per photo, in order.

        The body is a form with files, JSON with photos in base64, or the file of one photo, which
        may be sent as `image/*`, too.
        """
        engine = engine_of(request)
        given = await read_recognize_request(request, engine.photo_limits, name, matches)
        charge(request, engine.rate_limits, caller, len(given.photos))
        answers = await engine.recognize(replace(given, language=lang))
        return JSONResponse({"request_id": request.state.request_id, **answers})


def _vector_routes(routes: APIRouter, max_photos: int) -> None:
    """Routes that embed photos and decide nothing."""
    bodies = files("photos", max_photos, json_model=JsonPhotos, raw=True)
    also_refused = refusals(415, 422, 429, 503)

    @routes.post(
        "/v1/embed",
        response_model=model_of(EmbedReply),
        responses=also_refused,
        openapi_extra=bodies,
    )
    async def embed(request: Request, caller: Reader, name: PhotoName = "") -> JSONResponse:
        """The embedding of each photo: a vector that is near to those of similar photos.

        Vectors of the same `model.embedder` can be compared with one another.
        """
        engine = engine_of(request)
        photos, _ = await read_photos(request, "photos", engine.photo_limits, name=name)
        charge(request, engine.rate_limits, caller, len(photos))
        vectors = await engine.embed(photos)
        return JSONResponse({"request_id": request.state.request_id, **vectors})

    @routes.post(
        "/v1/similar",
        response_model=model_of(SimilarReply),
        responses=also_refused,
        openapi_extra=bodies,
    )
    async def similar(
        request: Request,
        caller: Reader,
        limit: SimilarLimit = 20,
        lang: Language = "",
        name: PhotoName = "",
    ) -> JSONResponse:
        """The gallery photos that look most like each photo, without a decision.

        Photos without a landmark are listed too, with `landmark` null.
        """
        engine = engine_of(request)
        photos, _ = await read_photos(request, "photos", engine.photo_limits, name=name)
        charge(request, engine.rate_limits, caller, len(photos))
        found = await engine.similar(photos, limit, lang)
        return JSONResponse({"request_id": request.state.request_id, **found})


def charge(request: Request, rates: RateLimits, caller: Caller, photos: int) -> None:
    """Count photos against the caller's rate limit. Raises ApiError 429."""
    request.state.photos = photos
    try:
        rates.take(caller.name, photos, caller.rate)
    finally:
        if caller.rate > 0:  # for the headers of the reply, whatever it will be
            request.state.allowance = rates.allowance(caller.name, caller.rate)


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
        """What a client can rely on: access, limits, formats, and what the gallery holds."""
        return JSONResponse(configuration(engine_of(request)))

    @routes.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        """The web page, with its configuration and the words of the reader's language in it."""
        language = page_language(request.headers.get("accept-language", ""))
        html = page_html(configuration(engine_of(request)), language)
        headers = {**REVALIDATED, "Vary": "Accept-Language"}
        return Response(html, media_type="text/html", headers=headers)

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


@cache
def server_version() -> str:
    """Version of this package, which is slow to look up."""
    return version("whichlandmark")


def configuration(engine: Engine) -> ConfigReply:
    """The body of /v1/config, which the page has in it too."""
    options = engine.options
    access: Literal["open", "key"] = "key" if engine.keys else "open"
    with engine.live.use() as opened:
        facts, landmarks = opened.facts, len(opened.recognizer.index.names)
        uses_location, short_side = engine.live.uses_location, opened.short_side
    tiles: Tiles = {"url": options.tiles, "attribution": options.tiles_attribution}
    return {
        "title": options.title or TITLE, "licence": engine.licence, "read": access,
        "write": access, "tiles": tiles if options.tiles else None,
        "max_photos": options.max_photos, "max_bytes": options.max_bytes,
        "undo_photos": UNDO_PHOTOS, "formats": list(photo_formats()), "warnings": list(facts.notes),
        "unfinished": unfinished_object(facts.unfinished), "landmarks": landmarks,
        "uses_location": uses_location,
        "shrink_side": max(MIN_SHRINK_SIDE, SHRINK_ASPECT * short_side),
        "version": server_version(),
    }  # fmt: skip


def health(request: Request) -> Health:
    """The body of /livez and /readyz."""
    engine = engine_of(request)
    return {"ready": not engine.trouble, "trouble": engine.trouble or engine.live.trouble,
            "generation": engine.live.generation, "queue": engine.queue.held}  # fmt: skip
