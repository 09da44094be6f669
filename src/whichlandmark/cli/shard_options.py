"""The options of `index` that cut it into shards."""

from __future__ import annotations

from typing import Annotated

import typer

Shards = Annotated[
    int | None,
    typer.Option("--shards", help="Cut the table into so many; each goes to a file first."),
]
OneShard = Annotated[
    str | None,
    typer.Option("--shard", help="Make this one alone: 0/8 to 7/8; nothing is loaded."),
]
Engine = Annotated[
    str | None, typer.Option("--engine", help="Who makes the shards: here, or ray (a cluster).")
]
ShardPlace = Annotated[
    str | None,
    typer.Option("--shard-folder", help="Where shards go: a folder or URL, not `shards` in OUT."),
]
Load = Annotated[bool, typer.Option("--load", help="Make no shards, load those that are there.")]
