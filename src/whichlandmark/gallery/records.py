"""What goes into a gallery and comes out of it, and the limits of both."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError

LONGEST = {"id": 1000, "path": 8000, "landmark": 1000, "hash": 200, "stamp": 200,
           "author": 4000, "licence": 4000}  # characters  # fmt: skip
LARGEST = 16_000_000  # bytes of one blob
TITLE, LANGUAGES = 1000, 400  # characters of a title; languages of a record


@dataclass(frozen=True)
class GalleryRow:
    """One photo to store. `stamp` tells an unchanged file without reading it.

    keypoints, look, thumbnail: packed local features, a perceptual fingerprint and a small JPEG,
    opaque here; b"" = none.
    """

    id: str
    path: str
    landmark: str
    hash: str
    stamp: str
    vector: NDArray[np.float32]
    keypoints: bytes = b""
    look: bytes = b""
    thumbnail: bytes = b""
    author: str = ""
    licence: str = ""


@dataclass(frozen=True)
class GalleryTable:
    """All photos as columns, in row order: each (N,), vectors (N, D) float16.

    rows: (N,) stable numbers, never used again for another photo. All of one `generation`.
    """

    ids: NDArray[np.object_]
    paths: NDArray[np.object_]
    landmarks: NDArray[np.object_]
    hashes: NDArray[np.object_]
    vectors: NDArray[np.float16]
    rows: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    generation: int = 0


class Credit(NamedTuple):
    """Who made a photo, and under which licence it may be shown; "" = not known."""

    author: str
    licence: str


@dataclass(frozen=True)
class LandmarkRecord:
    """What is known of a landmark besides its photos.

    name: the label of its photos; title: what people read; names: language → name, as
    {"fr": "Tour Eiffel"}; wikidata: "Q243"; latitude, longitude: degrees (WGS 84).
    Raises DataError for values that cannot be.
    """

    name: str
    title: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    wikidata: str = ""
    latitude: float | None = None
    longitude: float | None = None

    def __post_init__(self) -> None:
        where = f"landmark {self.name!r}"
        check_text("landmark", self.name, where)
        if not self.name:
            raise DataError(f"{where}: a record without a landmark's name")
        for text in (self.title, *self.names, *self.names.values()):
            _check(text, TITLE, f"{where}: a title or name")
        if len(self.names) > LANGUAGES:
            raise DataError(f"{where}: names in {len(self.names)} languages; at most {LANGUAGES}")
        if self.wikidata and not re.fullmatch(r"Q[1-9][0-9]{0,15}", self.wikidata):
            raise DataError(f"{where}: Wikidata id {self.wikidata!r}; expected Q and a number")
        for axis, value, most in (
            ("latitude", self.latitude, 90),
            ("longitude", self.longitude, 180),
        ):
            if value is not None and not -most <= value <= most:  # NaN fails too
                raise DataError(f"{where}: {axis} {value}; expected −{most} to {most} degrees")
        if (self.latitude is None) != (self.longitude is None):
            raise DataError(f"{where}: one of latitude and longitude given; expected both, or none")

    def to_text(self) -> str:
        """Everything but the label, as JSON."""
        values = {"title": self.title, "names": dict(self.names), "wikidata": self.wikidata,
                  "latitude": self.latitude, "longitude": self.longitude}  # fmt: skip
        return json.dumps(values, ensure_ascii=False, sort_keys=True)

    @classmethod
    def of_text(cls, name: str, text: str) -> LandmarkRecord:
        """The record that `to_text` wrote. Raises ValueError or TypeError for anything else."""
        values: dict[str, Any] = json.loads(text)
        return cls(name, **values)


def check(row: GalleryRow) -> None:
    """Raises DataError when a photo's words or blobs could not be kept."""
    where = f"photo {row.id!r}"
    if not row.id or not row.path:
        raise DataError(f"{where}, path {row.path!r}: neither may be empty")
    for name in LONGEST:
        check_text(name, getattr(row, name), where)
    for name in ("keypoints", "look", "thumbnail"):
        if len(getattr(row, name)) > LARGEST:
            raise DataError(
                f"{where}: {name} of {len(getattr(row, name))} bytes; at most {LARGEST}"
            )


def check_text(name: str, text: str, where: str) -> None:
    """Raises DataError when a text is too long, holds a zero byte, or is not valid Unicode."""
    _check(text, LONGEST[name], f"{where}: {name}")


def _check(text: str, longest: int, what: str) -> None:
    if len(text) > longest:
        raise DataError(f"{what} of {len(text)} characters; at most {longest}")
    if "\0" in text:
        raise DataError(f"{what} {text!r} holds a zero byte")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise DataError(f"{what} {text!r} is not valid Unicode; rename it") from None
