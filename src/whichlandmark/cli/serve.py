"""Verbs of the server: serve, keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import output
from .app import Device, Json, app

keys = typer.Typer(help="API keys of a server: only their hashes are kept.", no_args_is_help=True)

app.add_typer(keys, name="keys")

KeyFile = Annotated[Path, typer.Argument(help="The file of keys.")]


@app.command()
def serve(
    recognizer: Annotated[Path, typer.Argument(help="A folder made by index.")],
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 = a free one, which is logged.")] = 8000,
    key_file: Annotated[
        Path | None, typer.Option("--keys", help="Ask for a key of this file.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="No keys, although others can reach it.")
    ] = False,
    name: Annotated[
        list[str] | None, typer.Option(help="Another name that the server is called by.")
    ] = None,
    title: Annotated[str, typer.Option(help="What the page is called.")] = "",
    tiles: Annotated[
        str, typer.Option(help="Map tiles: https://HOST/{z}/{x}/{y}.png; else a bundled outline.")
    ] = "",
    tiles_by: Annotated[str, typer.Option(help="Whose tiles they are: shown on the map.")] = "",
    workers: Annotated[int, typer.Option(help="Decode processes; 0 = one for each core.")] = 0,
    queue: Annotated[int, typer.Option(help="Photos accepted and not yet answered.")] = 64,
    rate: Annotated[int, typer.Option(help="Photos a minute of one key; 0 = no limit.")] = 0,
    device: Device = "auto",
) -> None:
    """Answer over HTTP, with a page: /v1/recognize, Cloud Vision's images:annotate, /metrics."""
    _require()
    from ..serving.options import ServeOptions
    from ..serving.server import serve as run

    run(recognizer, ServeOptions(
        host=host, port=port, keys=key_file, insecure=insecure, names=tuple(name or ()),
        title=title, tiles=tiles, tiles_attribution=tiles_by, workers=workers, queue=queue,
        rate=rate, device=device,
    ))  # fmt: skip


@keys.command("add")
def add(
    file: KeyFile,
    name: Annotated[str, typer.Argument(help="Whose key it is; logs say it.")],
    scope: Annotated[str, typer.Option(help="read, or write: change the gallery too.")] = "read",
    rate: Annotated[int | None, typer.Option(help="Photos a minute.")] = None,
    as_json: Json = False,
) -> None:
    """Make a key and show it, once. The server reads the file when it starts."""
    from ..serving.keys import add_key

    secret = add_key(file, name, scope, rate)
    output.result({"key": secret, "name": name, "scope": scope}, as_json, title=str(file))


@keys.command("remove")
def remove(file: KeyFile, name: Annotated[str, typer.Argument(help="Whose key.")]) -> None:
    """Forget a key."""
    from ..serving.keys import remove_key

    remove_key(file, name)
    output.say(f"{file}: {name} removed")


@keys.command("list")
def listing(file: KeyFile, as_json: Json = False) -> None:
    """Names and scopes."""
    from ..serving.keys import list_keys

    found = {key.name: key.scope for key in list_keys(file)}
    output.result(dict(found), as_json, title=str(file))


def _require() -> None:
    """Raises OptionError with the install command when a library of the server is missing."""
    from ..core.errors import OptionError

    try:
        import fastapi
        import prometheus_client
        import python_multipart
        import uvicorn
    except ImportError as error:
        raise OptionError(
            f"serve needs {error.name}; install it with: pip install 'whichlandmark[serve]'"
        ) from None
    del fastapi, prometheus_client, python_multipart, uvicorn
