"""The verb about this machine: doctor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .. import console
from .app import Json, app


@app.command()
def doctor(
    embedder: Annotated[
        Path | None, typer.Argument(help="An embedder folder; a small random one without it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """What this machine can do, and which runtime is fastest here; used from then on."""
    from ..doctor import examine

    found = examine(embedder)
    if as_json:
        console.say(json.dumps(found, ensure_ascii=False))
        return
    for name, value in found.items():
        if not isinstance(value, dict):
            console.say(f"{name:<18}{value}")
            continue
        console.say(name)
        for key, inner in value.items():
            if isinstance(inner, dict):
                inner = "  ".join(f"{number:g} {what}" for what, number in inner.items())
            console.say(f"  {key:<36}{inner}")
