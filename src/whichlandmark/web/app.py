"""The app: routes, what stands around them, and how every refusal looks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import anyio.to_thread
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from . import routes_gallery, routes_photos, routes_service, routes_vision
from .door import Door, respond
from .engine import Engine
from .problems import ApiError, invalid

CODES = {400: "invalid", 404: "not_found", 405: "method_not_allowed"}


class _Files(StaticFiles):
    """The page's files: kept by browsers, and looked at again each time."""

    async def get_response(self, path: str, scope: Scope) -> Any:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


def create_app(engine: Engine) -> FastAPI:
    """The app of an engine, which it closes when the server ends."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        yield
        engine.stopping = True
        await anyio.to_thread.run_sync(engine.close)

    app = FastAPI(
        title="whichlandmark", version=version("whichlandmark"), lifespan=life, docs_url=None,
        redoc_url=None, summary="Which landmark is in this photo, or none?",
    )  # fmt: skip
    app.state.engine = engine
    most = engine.options.max_photos
    for routes in (routes_photos.router(most), routes_gallery.router(most),
                   routes_vision.router(most), routes_service.router()):  # fmt: skip
        app.include_router(routes)
    if routes_service.STATIC.is_dir():
        app.mount("/static", _Files(directory=routes_service.STATIC), name="static")
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_middleware(Door, engine=engine)
    return app


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = CODES.get(error.status_code, "refused")
    refused = ApiError(
        error.status_code, code, str(error.detail), "The schema is at /openapi.json."
    )
    answer = respond(refused, request.state.request_id, request.url.path)
    for name, value in (error.headers or {}).items():
        answer.headers[name] = value
    return answer


async def _not_valid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return respond(invalid(f"{place}: {first['msg']}"), request.state.request_id)
