"""The command line: each verb parses its options, calls one function and prints the result.

Heavy libraries are imported inside the verbs, so that --help is quick.
"""

from __future__ import annotations

from . import (
    collect,
    data,
    demo,
    discover,
    embed,
    enrich,
    fetch,
    gallery,
    immich,
    index,
    label,
    mcp,
    output,
    recognize,
    serve,
    split,
    train,
)
from .app import app

__all__ = [
    "app",
    "collect",
    "data",
    "demo",
    "discover",
    "embed",
    "enrich",
    "fetch",
    "gallery",
    "immich",
    "index",
    "label",
    "main",
    "mcp",
    "output",
    "recognize",
    "serve",
    "split",
    "train",
]


def main() -> None:
    """Run the command line and exit with the documented code."""
    output.exit_with(app)
