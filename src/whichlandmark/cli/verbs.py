"""The verbs of the command line: what --help lists of each, and the modules that hold them.

A verb's modules are imported when it is asked for, because the other verbs' take longer to import
than the rest of `--help`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand

# verb → the first line of its help, and its modules, in the order in which verbs are used.
VERBS: dict[str, tuple[str, tuple[str, ...]]] = {
    "demo": (
        "Draw a synthetic data set; clean it, index, evaluate; fine-tune, index, evaluate, report.",
        ("demo",),
    ),
    "import": (
        "Make a photo table (photos.csv) from photos that you have, or collect photos.",
        ("data", "collect"),
    ),
    "fetch": ("Fetch a public data set, whole or in part, from the web.", ("fetch",)),
    "clean": (
        "Drop unreadable, duplicate and doubtful photos from a table; list every reason.",
        ("data",),
    ),
    "split": (
        "Cut a table into train.csv and test.csv; with --landmarks, into training and validation.",
        ("split",),
    ),
    "train": ("Train an embedder on labelled photos.", ("train",)),
    "embedder": (
        "Make an embedder from a pretrained backbone or an ONNX file; or convert one to int8.",
        ("train",),
    ),
    "doctor": (
        "Measure every installed runtime on this machine; the fastest is used from then on.",
        ("train",),
    ),
    "index": (
        "Embed photos into a recognizer folder, and fit its score and calibration.",
        ("index",),
    ),
    "tune": (
        "Choose whitening and score on leave-one-out queries of the gallery, and store them.",
        ("index",),
    ),
    "gallery": (
        "List, edit, check, repair and copy the gallery of a recognizer.",
        ("gallery", "enrich"),
    ),
    "recognize": ("Name the landmark in each photo, or say that there is none.", ("recognize",)),
    "label": (
        "Label the photos of a library with the landmarks that they show, in XMP sidecars.",
        ("label",),
    ),
    "discover": (
        "Find groups of photos of landmarks that the gallery does not know, and name them.",
        ("discover",),
    ),
    "immich": (
        "Tag the new photos of an Immich server with the landmarks that they show.",
        ("immich",),
    ),
    "evaluate": (
        "Measure a recognizer on labelled photos: GAP, top-1, recall, …; write every prediction.",
        ("recognize",),
    ),
    "report": (
        "Write one self-contained HTML page: scores, plots, and right and wrong answers.",
        ("recognize",),
    ),
    "compare": (
        "Compare two runs on the same queries: differences with intervals, and changed answers.",
        ("recognize",),
    ),
    "embed": (
        "Write the vectors of photos, with their ids, for other programs.",
        ("embed",),
    ),
    "serve": ("Serve an HTTP API and a web page.", ("serve",)),
    "keys": ("Manage the API keys of a server; the key file holds only their hashes.", ("serve",)),
    "mcp": ("Serve assistants over the Model Context Protocol, on stdin and stdout.", ("mcp",)),
}


class LazyVerbs(Mapping[str, Any]):
    """Verb → its command, in the order of VERBS; imported when it is looked up.

    app: the Typer app that the modules add their verbs to.
    """

    def __init__(self, app: typer.Typer) -> None:
        self._app = app
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, verb: str) -> Any:
        if verb not in self._loaded:
            for module in VERBS[verb][1]:
                import_module(f".{module}", __package__)
            added = typer.Typer(rich_markup_mode=self._app.rich_markup_mode)
            added.registered_commands = self._app.registered_commands
            added.registered_groups = self._app.registered_groups
            commands = typer.main.get_group(added).commands
            self._loaded = {**commands, **self._loaded}
        return self._loaded[verb]

    def __iter__(self) -> Iterator[str]:
        return iter(VERBS)

    def __len__(self) -> int:
        return len(VERBS)

    def __contains__(self, verb: object) -> bool:
        return verb in VERBS


def listed_verbs() -> dict[str, Any]:
    """Verb → a command with the first line of its help and nothing else; imports no module."""
    return {verb: TyperCommand(verb, help=line) for verb, (line, _) in VERBS.items()}
