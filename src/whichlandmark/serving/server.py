"""Create the ASGI app and run it with uvicorn."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
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
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..core.errors import OptionError
from . import (
    routes_cloud_vision,
    routes_discoveries,
    routes_feedback,
    routes_gallery,
    routes_recognize,
)
from .api_errors import ApiError, invalid_value
from .engine import Engine
from .http_replies import CrossOrigin, Replies
from .middleware import RequestMiddleware, respond
from .monitoring import start_logging
from .openapi import Document
from .options import UNIX_HOST, ServeOptions
from .page_files import STATIC

CODE_OF_STATUS = {400: "invalid", 404: "not_found", 405: "method_not_allowed"}

BACKLOG = 1024  # connections that the kernel keeps until they are accepted

# Python's default of 5 ms delays an embedder that has finished a batch and needs the GIL.
THREAD_SWITCH_SECONDS = 0.001


class _PageFiles(StaticFiles):
    """Static files of the page; browsers revalidate their copies on each request."""

    async def get_response(self, path: str, scope: Scope) -> Any:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


def create_app(engine: Engine) -> FastAPI:
    """The app of an engine. It closes the engine when the server stops."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        engine.stopping = True
        await anyio.to_thread.run_sync(engine.close)

    app = FastAPI(
        title="whichlandmark",
        version=version("whichlandmark"),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,  # a route of ours
    )
    app.state.engine = engine
    max_photos = engine.options.max_photos
    routers = (
        routes_recognize.router(max_photos),
        routes_gallery.router(max_photos),
        routes_feedback.router(),
        routes_discoveries.router(),
        routes_cloud_vision.router(max_photos),
        routes_recognize.service_router(),
        routes_recognize.page_router(),
    )
    for one in routers:
        app.include_router(one)
    app.mount("/static", _PageFiles(directory=STATIC), name="static")
    routes = [route for one in routers for route in one.routes if isinstance(route, APIRoute)]
    published = Document(app, routes, with_keys=bool(engine.keys)).router()
    app.include_router(published)
    mounts = [route for route in app.router.routes if isinstance(route, Mount)]
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_middleware(Replies, routes=[*routes, *published.routes, *mounts])
    app.add_middleware(RequestMiddleware, engine=engine)
    app.add_middleware(CrossOrigin, origins=engine.options.cors)  # outermost
    return app


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = CODE_OF_STATUS.get(error.status_code, "refused")
    refused = ApiError(
        error.status_code, code, str(error.detail), "The schema is at /openapi.json."
    )
    answer = respond(refused, request.state.request_id, request.url.path)
    for name, value in (error.headers or {}).items():
        answer.headers[name] = value
    return answer


async def _on_invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return respond(invalid_value(error.errors()[0]), request.state.request_id)


def with_header_timeout(seconds: float) -> type[H11Protocol]:
    """uvicorn's HTTP protocol with a time limit for request headers.

    seconds: for the first headers of a connection, and from the first byte of any later ones.
    Between requests uvicorn's `timeout_keep_alive` applies; `RequestMiddleware` limits bodies.
    """

    class HeaderTimeoutProtocol(H11Protocol):
        """One connection."""

        _header_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._start_header_timer()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state is h11.IDLE:
                self._start_header_timer()  # does not restart a running timer
            else:
                self._cancel_header_timer()

        def connection_lost(self, exc: Exception | None) -> None:
            self._cancel_header_timer()
            super().connection_lost(exc)

        def _start_header_timer(self) -> None:
            if self._header_timer is None:
                self._header_timer = self.loop.call_later(seconds, self._on_header_timeout)

        def _cancel_header_timer(self) -> None:
            if self._header_timer is not None:
                self._header_timer.cancel()
                self._header_timer = None

        def _on_header_timeout(self) -> None:
            self._header_timer = None
            if not self.transport.is_closing():
                self.transport.close()

    return HeaderTimeoutProtocol


def serve(
    folder: Path, options: ServeOptions, announce: Callable[[int], None] | None = None
) -> bool:
    """Serve a recognizer folder until SIGTERM or SIGINT, then answer accepted requests and return.

    announce: called with the port, once the server listens.

    Returns:
        Whether SIGINT (Ctrl-C) ended it.

    Raises:
        OptionError: on Windows, or when the address is not available.
        GalleryError, DataError, ModelError: the folder cannot be opened.
    """
    if sys.platform == "win32":
        raise OptionError(
            "`serve` runs on Linux and macOS, because Windows cannot limit the processes that "
            "decode photos; run it in WSL or a container"
        )
    start_logging()
    sys.setswitchinterval(THREAD_SWITCH_SECONDS)
    listening = bind_socket(options.host, options.port)
    with listening:
        engine = Engine(folder, options)
        config = uvicorn.Config(
            create_app(engine),
            log_config=None,
            access_log=False,
            lifespan="on",
            timeout_graceful_shutdown=options.stop_seconds,
            timeout_keep_alive=30,
            server_header=False,
            date_header=True,
            h11_max_incomplete_event_size=65_536,
            backlog=BACKLOG,
            proxy_headers=False,
            ws="none",
            http=with_header_timeout(options.head_seconds),
        )
        ended_by: set[int] = set()
        for number in (signal.SIGTERM, signal.SIGINT):
            # uvicorn handles the signal and raises it again after shutdown: only noted then
            signal.signal(number, lambda number, frame: ended_by.add(number))
        listening.listen(BACKLOG)  # before the log line, so that a client that reads it can connect
        port, address = 0, options.host
        if not options.host.startswith(UNIX_HOST):
            host, port = listening.getsockname()[:2]
            address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        log = logging.getLogger("whichlandmark.serving")
        log.info("serving %s", address, extra={"generation": engine.live.generation})
        if announce:
            announce(int(port))
        try:
            uvicorn.Server(config).run(sockets=[listening])
        finally:
            engine.close()
            if options.host.startswith(UNIX_HOST):
                Path(options.host.removeprefix(UNIX_HOST)).unlink(missing_ok=True)
        log.info("stopped")
        return signal.SIGINT in ended_by


def bind_socket(host: str, port: int) -> socket.socket:
    """A socket bound to an address. Raises OptionError when the address is not available."""
    if host.startswith(UNIX_HOST):
        return _bind_unix(Path(host.removeprefix(UNIX_HOST)))
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        opened = socket.socket(family, socket.SOCK_STREAM)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            opened.bind((host.strip("[]"), port))
        except OSError:
            opened.close()
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise OptionError(
            f"--host {host} --port {port} given; cannot listen there ({reason}); is another "
            "server running? --port 0 chooses a free port"
        ) from None
    opened.set_inheritable(False)
    return opened


def _bind_unix(path: Path) -> socket.socket:
    """A Unix socket at a path; one that no server listens on any more is replaced."""
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket():
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
                if other.connect_ex(str(path)) == errno.ECONNREFUSED:
                    path.unlink()
        opened.bind(str(path))
        path.chmod(0o666)  # as a port of this machine; the folder says who reaches it
    except OSError as error:
        opened.close()
        reason = error.strerror or str(error)
        raise OptionError(
            f"--host {UNIX_HOST}{path} given; cannot listen there ({reason}); is another server "
            "running, and may files be made in its folder?"
        ) from None
    opened.set_inheritable(False)
    return opened
