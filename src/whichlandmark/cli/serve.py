"""Verbs of the server: serve, keys."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ..core.json_options import count
from . import output
from .app import Device, Json, RecognizerArgument, app
from .option_types import one_of, within

keys = typer.Typer(
    help="Manage the API keys of a server; the key file holds only their hashes.",
    no_args_is_help=True,
)

app.add_typer(keys, name="keys")

# readable=False: what is read says more about a file that may not be read.
KeyFile = Annotated[Path, typer.Argument(help="The key file.", readable=False)]


Port = Annotated[
    int,
    typer.Option(
        callback=within(count(0, 65_535)), help="Port; 0 takes a free one, which is logged."
    ),
]

Workers = Annotated[
    int,
    typer.Option(callback=within(count(0, 256)), help="Decoding processes; 0: one for each core."),
]

QueueLength = Annotated[
    int,
    typer.Option(
        callback=within(count(16, 100_000)),
        help="Maximum number of photos that are accepted but not yet answered.",
    ),
]

Rate = Annotated[
    int,
    typer.Option(
        callback=within(count(0)),
        help="Photos a minute for each key, or for each address without keys; 0: no limit.",
    ),
]

TrustedProxy = Annotated[
    list[str] | None,
    typer.Option(
        help="Address or network of a proxy whose forwarded headers are believed; may be repeated."
    ),
]

RootPath = Annotated[
    str, typer.Option(help="Prefix under which a proxy publishes the server, such as /landmarks.")
]

LogAddresses = Annotated[
    bool,
    typer.Option("--log-addresses", help="Log the address of each client, to ban those that harm."),
]

KeysOfServer = Annotated[
    Path | None,
    typer.Option("--keys", help="Require an API key of this key file.", readable=False),
]

Cors = Annotated[
    list[str] | None,
    typer.Option(
        help="Origin of another site whose pages may use the API, as https://app.example; may be "
        "repeated; '*', with --keys only: every site."
    ),
]

Tiles = Annotated[
    str,
    typer.Option(
        help="URL of map tiles, https://HOST/{z}/{x}/{y}.png; without it a bundled outline of the "
        "world."
    ),
]


@app.command()
def serve(
    recognizer: RecognizerArgument,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 127.0.0.1: this machine only.")
    ] = "127.0.0.1",
    port: Port = 8000,
    key_file: KeysOfServer = None,
    insecure: Annotated[
        bool,
        typer.Option("--insecure", help="Allow access without API keys on a public address."),
    ] = False,
    name: Annotated[
        list[str] | None,
        typer.Option(help="Another host name that requests may use; may be repeated."),
    ] = None,
    cors: Cors = None,
    trusted_proxy: TrustedProxy = None,
    root_path: RootPath = "",
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "",
    tiles: Tiles = "",
    tiles_by: Annotated[
        str, typer.Option(help="Attribution of the map tiles, shown on the map.")
    ] = "",
    workers: Workers = 0,
    queue: QueueLength = 64,
    rate: Rate = 0,
    log_addresses: LogAddresses = False,
    device: Device = "auto",
) -> None:
    """Serve an HTTP API and a web page.

    The API has its own form (/v1/recognize) and that of Google Cloud Vision (images:annotate).
    """
    _require_server_libraries()
    from ..serving.options import ServeOptions
    from ..serving.server import serve as run

    announce = partial(_announce, host, name or [], key_file is not None)
    options = ServeOptions(
        host=host, port=port, keys=key_file, insecure=insecure, names=tuple(name or ()),
        cors=tuple(cors or ()), title=title, tiles=tiles, tiles_attribution=tiles_by,
        workers=workers, queue=queue, rate=rate, proxies=tuple(trusted_proxy or ()),
        root_path=root_path, log_addresses=log_addresses, device=device,
    )  # fmt: skip
    if run(recognizer, options, announce):
        raise KeyboardInterrupt


def _announce(host: str, names: Sequence[str], with_keys: bool, port: int) -> None:
    if sys.stderr.isatty():
        for line in where_to_click(host, port, names, with_keys=with_keys):
            output.note(line)


def where_to_click(host: str, port: int, names: Sequence[str], *, with_keys: bool) -> list[str]:
    """What a person at the terminal reads when the server is ready.

    names: other host names of the server.
    """
    bound = host.strip("[]")
    if bound in ("0.0.0.0", "::", ""):
        others = ", ".join(f"http://{one}:{port}/" for one in (*names, socket.gethostname()))
        lines = [f"Open http://localhost:{port}/ in a browser; on other machines {others}"]
    elif bound in ("127.0.0.1", "localhost", "::1"):
        lines = [f"Open http://localhost:{port}/ in a browser (this machine only; see --host)."]
    else:
        shown = names[0] if names else f"[{bound}]" if ":" in bound else bound
        lines = [f"Open http://{shown}:{port}/ in a browser."]
    if with_keys:
        lines.append("The page asks for a key of --keys; `whichlandmark keys add` makes one.")
    return [*lines, "Ctrl-C stops the server."]


@keys.command("add")
def add(
    file: KeyFile,
    name: Annotated[str, typer.Argument(help="Name of the key's owner, as the logs show it.")],
    scope: Annotated[
        str,
        typer.Option(
            callback=one_of("read", "write"), help="read, or write: may change the gallery too."
        ),
    ] = "read",
    rate: Annotated[
        int | None,
        typer.Option(
            callback=within(count()),
            help="Photos a minute for this key; the --rate of serve if not given.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it, once. A running server sees the change at once."""
    from ..serving.keys import add_key

    secret = add_key(file, name, scope, rate)
    output.result({"key": secret, "name": name, "scope": scope}, as_json, title=str(file))


@keys.command("remove")
def remove(
    file: KeyFile, name: Annotated[str, typer.Argument(help="Name of the key's owner.")]
) -> None:
    """Remove a key from the key file; it stops working at once."""
    from ..serving.keys import remove_key

    remove_key(file, name)
    output.say(f"{file}: {name} removed")


@keys.command("list")
def listing(file: KeyFile, as_json: Json = False) -> None:
    """List the names and scopes of the keys."""
    from ..serving.keys import list_keys

    found = {key.name: key.scope for key in list_keys(file)}
    output.result(dict(found), as_json, title=str(file))


def _require_server_libraries() -> None:
    """Raises OptionError with the install command when a library of the server is missing."""
    from ..core.errors import OptionError, install_command

    try:
        import fastapi
        import prometheus_client
        import python_multipart
        import uvicorn
    except ImportError as error:
        raise OptionError(
            f"serve needs {error.name}; install it with: {install_command('serve')}"
        ) from None
    del fastapi, prometheus_client, python_multipart, uvicorn
