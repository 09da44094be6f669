"""The options of `index` that cut the table into shards."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

import typer

from ..errors import OptionError

Shards = Annotated[
    int | None,
    typer.Option("--shards", help="Cut the table into so many pieces; each goes to a file first."),
]
OneShard = Annotated[
    str | None,
    typer.Option("--shard", help="Make only this shard, 0/8 to 7/8; nothing is loaded."),
]
Engine = Annotated[
    str | None,
    typer.Option("--engine", help="Make shards in this process (local) or on a cluster (ray)."),
]
ShardPlace = Annotated[
    str | None,
    typer.Option("--shard-folder", help="Folder or URL of the shards; otherwise OUT/shards."),
]
Load = Annotated[
    bool, typer.Option("--load", help="Make no shards, only load those that are there.")
]
ENGINES = ("local", "ray", "here")  # "here" is the old name of "local"
_ONE = re.compile(r"(\d{1,6})/(\d{1,6})", re.ASCII)


@dataclass(frozen=True)
class ShardPlan:
    """What the options ask for, in the form of `IndexOptions`."""

    shards: int | None = None
    shard: int | None = None
    engine: str = "local"


def shard_plan(
    shards: int | None, shard: str | None, engine: str | None, folder: str | None, load: bool
) -> ShardPlan:
    """The options of one call. Raises OptionError where they are incomplete or contradictory."""
    number, count = None, shards
    if shard is not None:
        number, count = parse_shard(shard, shards)
    if count is None:
        given = {
            f"--engine {engine}": engine is not None, "--load": load,
            f"--shard-folder {folder}": folder is not None,
        }  # fmt: skip
        for option, is_given in given.items():
            if is_given:
                raise OptionError(
                    f"{option} given; expected --shards N with it, the number of shards"
                )
        return ShardPlan()
    if engine not in (None, *ENGINES):
        raise OptionError(f"--engine {engine!r} given; expected local or ray")
    if number is not None and (load or engine == "ray"):
        raise OptionError(
            f"--shard {shard} and {'--load' if load else '--engine ray'} given; "
            "--shard makes one shard in this process; leave it out to make or load all"
        )
    if load and engine is not None:
        raise OptionError(f"--load and --engine {engine} given; --load makes no shards")
    return ShardPlan(count, number, "none" if load else engine or "local")


def parse_shard(text: str, shards: int | None) -> tuple[int, int]:
    """ "3/8", and what --shards says (None = nothing) → (3, 8).

    Raises OptionError for another form, for a number that is not among them, or where the two
    do not agree.
    """
    found = _ONE.fullmatch(text.strip())
    if not found:
        raise OptionError(f"--shard {text!r} given; expected i/N, as 0/8 to 7/8")
    number, of = int(found[1]), int(found[2])
    if not number < of:
        raise OptionError(f"--shard {text} given; of {of} shards the first is 0, the last {of - 1}")
    if shards is not None and shards != of:
        raise OptionError(f"--shards {shards} and --shard {text} given; expected the same number")
    return number, of
