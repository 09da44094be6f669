"""Rows, landmarks, table, limits, checksums of a row."""

from __future__ import annotations

import difflib
import json
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError
from ..core.files import open_csv
from ..core.json_options import unknown

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


LANDMARK_COLUMNS = ("landmark", "name", "title", "category", "wikidata", "latitude", "longitude")

CREDIT_COLUMNS = ("id", "author", "licence")

_LANGUAGE = re.compile(r"name:([A-Za-z][A-Za-z0-9-]{1,34})")  # BCP 47, loosely: name:fr


def read_landmarks(path: Path) -> list[LandmarkRecord]:
    """A table of landmarks.

    Columns: `landmark`, the label of the photos (without it `name` is the label); `title` or
    `name`, what people read; `name:fr` and the like; `wikidata`, `latitude`, `longitude`. The
    `category` of an imported landmarks.csv is passed over. Raises DataError, naming the line.
    """
    found: dict[str, LandmarkRecord] = {}
    for where, cells in _rows(path, LANDMARK_COLUMNS, languages=True):
        record = _record(cells, where)
        if record.name in found:
            raise DataError(f"{where}: landmark {record.name!r} again; expected each once")
        found[record.name] = record
    return list(found.values())


def read_credits(path: Path) -> dict[str, Credit]:
    """A table of photos: `id`, and `author`, `licence` or both.

    Raises DataError, naming the line.
    """
    found: dict[str, Credit] = {}
    for where, cells in _rows(path, CREDIT_COLUMNS, languages=False):
        if "id" not in cells:
            raise DataError(f"{where}: no column 'id'; expected {', '.join(CREDIT_COLUMNS)}")
        if cells["id"] in found:
            raise DataError(f"{where}: id {cells['id']!r} again; expected each once")
        credit = Credit(cells.get("author", ""), cells.get("licence", ""))
        for name, text in credit._asdict().items():
            check_text(name, text, where)
        found[cells["id"]] = credit
    return found


def _record(cells: dict[str, str], where: str) -> LandmarkRecord:
    label = "landmark" if "landmark" in cells else "name"
    if label not in cells:
        raise DataError(f"{where}: no column 'landmark'; expected it, with {', '.join(cells)}")
    title = cells.get("title") or (cells.get("name", "") if label == "landmark" else "")
    try:
        return LandmarkRecord(
            cells[label], title=title,
            names={name[5:]: text for name, text in cells.items() if ":" in name and text},
            wikidata=cells.get("wikidata", ""),
            latitude=_number(cells, "latitude"), longitude=_number(cells, "longitude"),
        )  # fmt: skip
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def _number(cells: dict[str, str], column: str) -> float | None:
    text = cells.get(column, "")
    try:
        return float(text) if text else None
    except ValueError:
        raise DataError(f"{column} {text!r}; expected degrees as a number") from None


def _rows(
    path: Path, columns: tuple[str, ...], *, languages: bool
) -> Iterator[tuple[str, dict[str, str]]]:
    """(where it stands, column → cell) of each line."""
    with open_csv(path) as (header, rows):
        _check_header(header, columns, path, languages=languages)
        for line, cells in rows:
            stripped = (cell.strip() for cell in cells)
            yield f"{path}, line {line}", dict(zip(header, stripped, strict=True))


def _check_header(
    header: list[str], columns: tuple[str, ...], path: Path, *, languages: bool
) -> None:
    if not header:
        raise DataError(f"{path}: the file is empty; expected a header: {','.join(columns)}")
    for name in header:
        if name not in columns and not (languages and _LANGUAGE.fullmatch(name)):
            known = (*columns, "name:fr") if languages else columns
            raise DataError(f"{path}, line 1: {unknown(name, known, 'column')}")
    if len(set(header)) != len(header):
        raise DataError(f"{path}, line 1: columns {', '.join(header)} given; expected each once")


FEW = 20_000  # photos: up to here every id is compared

SHOWN = 5


def unknown_ids(sql: sqlite3.Connection, ids: Sequence[str], name: str) -> str:
    """A message naming the unknown ids, each with the nearest id that is there."""
    known = [row[0] for row in sql.execute("SELECT id FROM photos ORDER BY id LIMIT ?", (FEW + 1,))]
    if len(known) > FEW:
        known = sorted({near for one in ids[:SHOWN] for near in _near(sql, one)})
    return unknown_message(ids, known, name)


def unknown_message(ids: Sequence[str], known: Sequence[str], name: str) -> str:
    """The same; known: ids that are there, all or those that are likely meant."""
    shown = [repr(photo_id) + _hint(photo_id, known) for photo_id in ids[:SHOWN]]
    more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
    return (
        f"{name}: no photo of id {', '.join(shown)}{more}; nothing was changed "
        "(`whichlandmark gallery list` shows what is there)"
    )


def _hint(photo_id: str, known: Sequence[str]) -> str:
    if inside := [one for one in known if photo_id and photo_id in one]:
        return f" (did you mean {min(inside, key=len)!r}?)"
    near = difflib.get_close_matches(photo_id, known, n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _near(sql: sqlite3.Connection, photo_id: str) -> list[str]:
    """Some ids of a large gallery: beside it in order, or holding it."""
    queries = (
        "SELECT id FROM photos WHERE id > ? ORDER BY id LIMIT 50",
        "SELECT id FROM photos WHERE id < ? ORDER BY id DESC LIMIT 50",
        "SELECT id FROM photos WHERE instr(id, ?) LIMIT 50",
    )
    return sorted({row[0] for query in queries for row in sql.execute(query, (photo_id,))})
