"""Health, metrics, what the page has to know, and the page itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, JSONResponse, Response

from ..images import FORMATS
from .access import Caller, engine_of, need
from .bodies import refusals
from .schema import ConfigReply, Health, Tiles

STATIC = Path(__file__).parent / "static"
TITLE = "whichlandmark"
Reader = Annotated[Caller, Depends(need("read"))]


def router() -> APIRouter:
    """Health never waits for anything: it is answered by the event loop alone."""
    routes = APIRouter(tags=["service"])

    @routes.get("/livez", response_model=Health, responses=refusals())
    async def livez(request: Request) -> JSONResponse:
        """Does the server run?"""
        return JSONResponse(health(request))

    @routes.get("/readyz", response_model=Health,
                responses={**refusals(), 503: {"model": Health}})  # fmt: skip
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

    @routes.get("/v1/config", response_model=ConfigReply, responses=refusals())
    async def config(request: Request) -> ConfigReply:
        """What a page has to know before it asks."""
        engine = engine_of(request)
        options, wants = engine.options, "key" if engine.keys else "open"
        tiles = Tiles(url=options.tiles, attribution=options.tiles_attribution)
        return ConfigReply.model_validate({
            "title": options.title or TITLE, "read": wants, "write": wants,
            "tiles": tiles if options.tiles else None, "max_photos": options.max_photos,
            "max_bytes": options.max_bytes, "formats": list(FORMATS),
        })  # fmt: skip

    @routes.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        """The page."""
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    return routes


def health(request: Request) -> dict[str, Any]:
    """As JSON."""
    engine = engine_of(request)
    return {"ready": not engine.trouble, "trouble": engine.trouble or engine.live.trouble,
            "generation": engine.live.generation, "queue": engine.queue.held}  # fmt: skip
