"""The verb mcp: serve assistants."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from . import output
from .app import Device, RecognizerFolder, app


@app.command()
def mcp(
    recognizer: RecognizerFolder,
    photos: Annotated[
        list[Path] | None,
        typer.Option(
            "--photos",
            help="Folder below which an assistant may have photos read; may be repeated; without "
            "it: your home folder. Hidden files and folders are never read.",
        ),
    ] = None,
    device: Device = "auto",
) -> None:
    """Serve assistants over the Model Context Protocol, on stdin and stdout.

    An assistant's program starts this command; it opens no port. Tools: recognize_landmark,
    explain_landmark, list_landmarks.
    """
    from ..core.errors import OptionError, install_command

    try:
        from ..serving.mcp_server import serve
    except ImportError as error:
        raise OptionError(
            f"mcp needs {error.name}; install it with: {install_command('mcp')}"
        ) from None
    if sys.stdin.isatty():
        output.note("Waiting for an assistant's program on stdin; Ctrl-C stops. docs/serving.md "
                    "says how to add this command to one.")  # fmt: skip
    serve(recognizer, photos or [], device=device)
