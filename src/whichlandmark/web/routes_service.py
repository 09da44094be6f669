"""Health, metrics, what the page has to know, and the page itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import anyio.to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, JSONResponse, Response

from ..images import FORMATS
from .access import Caller, engine_of, need
from .bodies import refusals
from .engine import Engine
from .schema import ConfigReply, Health, Tiles, model_of

STATIC = Path(__file__).parent / "static"
TITLE = "whichlandmark"
Reader = Annotated[Caller, Depends(need("read"))]


def router() -> APIRouter:
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
