"""Run the server in this process, until it is told to stop."""

from __future__ import annotations

import logging
import signal
import socket
import sys
from pathlib import Path

import uvicorn

from ..errors import OptionError
from .app import create_app
from .engine import Engine
from .logs import start_logging
from .options import ServeOptions
from .patience import patient

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
            http=patient(options.head_seconds),
        )  # fmt: skip
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _told)  # uvicorn raises it again after the end: nothing is left
        listening.listen(BACKLOG)  # whoever reads the next line may ask at once
        host, port = listening.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        log = logging.getLogger("whichlandmark.web")
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
