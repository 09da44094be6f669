"""What segment files there are, and of which gallery: `manifest.json`, written last."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from ..errors import DataError, OptionError
from ..files import read_json, write_json
from ..options import from_json, to_json
from .blocks import Blocks, SegmentError

FORMAT = 1
NAME = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class File:
    """A segment file: its name in the folder, and its seal."""

    name: str
    seal: str

    def open(self, folder: Path) -> Blocks:
        """Raises SegmentError when it is not that file."""
        return Blocks(folder / Path(self.name).name, self.seal)


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How cells are searched, and the recall that was measured with it."""

    probes: int
    refine: int
    recall: float


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some photos of a gallery: `landmarks` photos with a landmark, then `distractors`.

    photos: rows, checksums, texts, vectors as embedded; turned: vectors as searched, None = the
    same; cells: indexes of those, of landmark photos and distractors, None = too few.
    """

    landmarks: int
    distractors: int
    photos: File
    turned: File | None = None
    cells: File | None = None
    effort: Effort | None = None
    bank_effort: Effort | None = None

    def files(self) -> Iterator[File]:
        """All files of it."""
        yield from (one for one in (self.photos, self.turned, self.cells) if one)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """embedder … digest: of the gallery that the parts hold; key: of the change of axes behind
    `turned`; recall: what the cells were asked for.
    """

    embedder: str
    dim: int
    generation: int
    count: int
    digest: int
    last_row: int
    key: str
    recall: float
    parts: tuple[Part, ...] = ()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """With a checksum of itself."""
    values = to_json(manifest)
    write_json(folder / NAME, {"format": FORMAT, "sum": _sum(values), **values})


def read_manifest(folder: Path) -> Manifest | None:
    """None when there is none. Raises SegmentError when it is damaged."""
    if not (folder / NAME).exists():
        return None
    try:
        values = read_json(folder / NAME)
        if values.pop("format") != FORMAT or values.pop("sum") != _sum(values):
            raise ValueError("of another format, or changed")
        parts = tuple(_part(part) for part in values.pop("parts"))
        return replace(from_json(Manifest, values), parts=parts)
    except (DataError, OptionError, KeyError, TypeError, ValueError) as error:
        raise SegmentError(f"{folder / NAME}: damaged ({error})") from None


def _part(values: dict[str, Any]) -> Part:
    kinds = {"photos": File, "turned": File, "cells": File, "effort": Effort, "bank_effort": Effort}
    made = {
        name: from_json(kinds[name], value) if name in kinds and value is not None else value
        for name, value in values.items()
    }
    return Part(**made)


def _sum(values: dict[str, Any]) -> str:
    return blake2b(json.dumps(values, sort_keys=True).encode(), digest_size=16).hexdigest()
