"""Create the app and run it."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anyio.to_thread
import h11
import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..core.errors import OptionError
from . import routes_cloud_vision, routes_gallery, routes_recognize
from .api_errors import ApiError, invalid
from .engine import Engine
from .middleware import RequestMiddleware, respond
from .monitoring import start_logging
from .options import ServeOptions

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
    for routes in (
        routes_recognize.router(most),
        routes_gallery.router(most),
        routes_cloud_vision.router(most),
        routes_recognize.service_router(),
    ):
        app.include_router(routes)
    if routes_recognize.STATIC.is_dir():
        app.mount("/static", _Files(directory=routes_recognize.STATIC), name="static")
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_middleware(RequestMiddleware, engine=engine)
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


def with_header_timeout(seconds: float) -> type[H11Protocol]:
    """uvicorn's protocol, which waits so long for a first head, and for the rest of any other.

    Between two requests its own `timeout_keep_alive` counts; for bodies the door does.
    """

    class Patient(H11Protocol):
        """One connection."""

        _waiting: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._wait()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state is h11.IDLE:
                self._wait()  # since the first byte of it, not the last
            else:
                self._heard()

        def connection_lost(self, exc: Exception | None) -> None:
            self._heard()
            super().connection_lost(exc)

        def _wait(self) -> None:
            if self._waiting is None:
                self._waiting = self.loop.call_later(seconds, self._give_up)

        def _heard(self) -> None:
            if self._waiting is not None:
                self._waiting.cancel()
                self._waiting = None

        def _give_up(self) -> None:
            self._waiting = None
            if not self.transport.is_closing():
                self.transport.close()

    return Patient


BACKLOG = 1024

SWITCH_SECONDS = 0.001  # Python's 5 ms keep a network that has ended from its next photos


def serve(folder: Path, options: ServeOptions) -> None:
    """Serve a recognizer folder. Returns after SIGTERM or SIGINT, when all accepted is answered.

    Raises OptionError on Windows, or when the address cannot be had; GalleryError, DataError or
    ModelError when the folder cannot be opened.
    """
    if sys.platform == "win32":
        raise OptionError(
            "`serve` runs on Linux and macOS, because Windows cannot limit the processes that "
            "decode photos; run it in WSL or a container"
        )
    start_logging()
    sys.setswitchinterval(SWITCH_SECONDS)
    listening = bound(options.host, options.port)
    with listening:
        engine = Engine(folder, options)
        config = uvicorn.Config(
            create_app(engine), log_config=None, access_log=False, lifespan="on",
            timeout_graceful_shutdown=options.stop_seconds, timeout_keep_alive=30,
            server_header=False, date_header=True, h11_max_incomplete_event_size=65_536,
            backlog=BACKLOG, proxy_headers=False, ws="none",
            http=with_header_timeout(options.head_seconds),
        )  # fmt: skip
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _told)  # uvicorn raises it again after the end: nothing is left
        listening.listen(BACKLOG)  # whoever reads the next line may ask at once
        host, port = listening.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        log = logging.getLogger("whichlandmark.serving")
        log.info("serving http://%s:%s", shown, port, extra={"generation": engine.live.generation})
        try:
            uvicorn.Server(config).run(sockets=[listening])
        finally:
            engine.close()
        log.info("stopped")


def bound(host: str, port: int) -> socket.socket:
    """A socket at an address. Raises OptionError when it cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind((host.strip("[]"), port))
        except OSError:
            made.close()
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise OptionError(
            f"--host {host} --port {port} given; cannot listen there ({reason}); is another "
            "server running? --port 0 takes a free one"
        ) from None
    made.set_inheritable(False)
    return made


def _told(number: int, frame: object) -> None:
    """The signal was heard and followed already."""
