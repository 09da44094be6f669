"""What a gallery stores: photos and landmark records, their limits, and their csv tables."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.csv_files import open_csv, write_csv
from ..core.errors import DataError, GalleryError
from ..core.json_options import unknown_message

MAX_CHARACTERS = {"id": 1000, "path": 8000, "landmark": 1000, "hash": 200, "stamp": 200,
                  "author": 4000, "licence": 4000, "licence_url": 4000, "source": 4000}  # fmt: skip

WEB_ADDRESSES = ("licence_url", "source")  # fields that people follow as links

MAX_BLOB_BYTES = 16_000_000

MAX_TITLE_CHARACTERS = 1000

MAX_LANGUAGES = 400  # of one record

WHERE = ("city", "country", "country_code")  # the fields of a record that say in words where it is

LANDMARK_COLUMNS = ("landmark", "name", "title", "category", "wikidata", "latitude", "longitude",
                    "source", *WHERE)  # fmt: skip

CREDIT_COLUMNS = ("id", "author", "licence", "licence_url", "source")

# Columns of texts by language, roughly BCP 47: name:fr, wikipedia:fr.
_LANGUAGE = re.compile(r"(?:name|wikipedia):([A-Za-z][A-Za-z0-9-]{1,34})")

MAX_IDS_COMPARED = 20_000  # in larger galleries unknown ids are compared with a few ids only

MAX_IDS_SHOWN = 5


@dataclass(frozen=True)
class GalleryRow:
    """One photo to store.

    hash: of the file; stamp: size and time of the file, which show that it is unchanged without
    reading it; vector: (D,); keypoints, fingerprint, thumbnail: packed local features, packed
    perceptual fingerprint and small JPEG as bytes, b"" = none.
    """

    id: str
    path: str
    landmark: str
    hash: str
    stamp: str
    vector: NDArray[np.float32]
    keypoints: bytes = b""
    fingerprint: bytes = b""
    thumbnail: bytes = b""
    author: str = ""
    licence: str = ""
    licence_url: str = ""
    source: str = ""


@dataclass(frozen=True)
class GalleryTable:
    """Photos as columns in row order, all of one generation: each (N,), vectors (N, D) float16.

    rows: the row numbers, which are never reused for another photo.
    """

    ids: NDArray[np.object_]
    paths: NDArray[np.object_]
    landmarks: NDArray[np.object_]
    hashes: NDArray[np.object_]
    vectors: NDArray[np.float16]
    rows: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    generation: int = 0


@dataclass(frozen=True, eq=False)
class Labels:
    """The landmark of every photo, all of one generation.

    rows: (N,) row numbers, ascending; codes: (N,) int32 indices into `names`, −1 = distractor;
    names: sorted.
    """

    rows: NDArray[np.int64]
    codes: NDArray[np.int32]
    names: list[str]
    generation: int


class Credit(NamedTuple):
    """Author, licence and source of a photo; "" = unknown. licence_url, source: web addresses."""

    author: str
    licence: str
    licence_url: str = ""
    source: str = ""


@dataclass(frozen=True)
class LandmarkRecord:
    """Title, names, Wikidata id and location of a landmark.

    name: the landmark as labelled in the photos; title: the name to display; names: language →
    name, e.g. {"fr": "Tour Eiffel"}; wikidata: e.g. "Q243"; latitude, longitude: degrees (WGS 84);
    source: web address of the page where this was found; wikipedia: language, as in the host
    fr.wikipedia.org → title of the article there, e.g. {"fr": "Tour Eiffel"}; city, country: in
    the language of the title; country_code: ISO 3166-1 alpha-2, e.g. "FR". "" = not known.

    Raises:
        DataError: for values out of range.
    """

    name: str
    title: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    wikidata: str = ""
    latitude: float | None = None
    longitude: float | None = None
    source: str = ""
    wikipedia: Mapping[str, str] = field(default_factory=dict)
    city: str = ""
    country: str = ""
    country_code: str = ""

    def __post_init__(self) -> None:
        where = f"landmark {self.name!r}"
        check_text("landmark", self.name, where)
        if not self.name:
            raise DataError(f"{where}: a record without a landmark's name")
        for what in ("title", "city", "country"):
            _check_text(getattr(self, what), MAX_TITLE_CHARACTERS, f"{where}: a {what}")
        if self.country_code and not re.fullmatch(r"[A-Z]{2}", self.country_code):
            raise DataError(
                f"{where}: country code {self.country_code!r}; expected two capital letters, such "
                "as FR (ISO 3166-1)"
            )
        for kind, texts in (("name", self.names), ("wikipedia", self.wikipedia)):
            for text in (*texts, *texts.values()):
                _check_text(text, MAX_TITLE_CHARACTERS, f"{where}: a title or name")
            for language in texts:
                if not _LANGUAGE.fullmatch(f"{kind}:{language}"):
                    raise DataError(
                        f"{where}: {kind} in language {language!r}; expected such as fr"
                    )
            if len(texts) > MAX_LANGUAGES:
                raise DataError(
                    f"{where}: {kind} in {len(texts)} languages; at most {MAX_LANGUAGES}"
                )
        check_text("source", self.source, where)
        if self.wikidata and not re.fullmatch(r"Q[1-9][0-9]{0,15}", self.wikidata):
            raise DataError(f"{where}: Wikidata id {self.wikidata!r}; expected Q and a number")
        for axis, value, limit in (
            ("latitude", self.latitude, 90),
            ("longitude", self.longitude, 180),
        ):
            if value is not None and not -limit <= value <= limit:  # NaN fails too
                raise DataError(f"{where}: {axis} {value}; expected −{limit} to {limit} degrees")
        if (self.latitude is None) != (self.longitude is None):
            raise DataError(f"{where}: one of latitude and longitude given; expected both, or none")

    def changed(self, changes: Mapping[str, Any]) -> LandmarkRecord:
        """The record with other fields; None or "" = none; texts by language are merged.

        Another country without its code takes the code of the old one away. Raises DataError as
        the constructor does.
        """
        given, empty = dict(changes), LandmarkRecord(self.name)
        for kind in {"names", "wikipedia"} & given.keys():
            texts = {} if given[kind] is None else {**getattr(self, kind), **given[kind]}
            given[kind] = {language: text for language, text in texts.items() if text}
        if self.country and given.get("country", self.country) != self.country:
            given.setdefault("country_code", "")
        for field_name, value in given.items():
            if value in (None, ""):
                given[field_name] = getattr(empty, field_name)
        return replace(self, **given)

    def to_text(self) -> str:
        """Everything except `name`, as JSON."""
        values = {"title": self.title, "names": dict(self.names), "wikidata": self.wikidata,
                  "latitude": self.latitude, "longitude": self.longitude}  # fmt: skip
        for name in ("source", *WHERE):
            if text := getattr(self, name):  # without: the text, and so the checksum, of before
                values[name] = text
        if self.wikipedia:
            values["wikipedia"] = dict(self.wikipedia)
        return json.dumps(values, ensure_ascii=False, sort_keys=True)

    @classmethod
    def of_text(cls, name: str, text: str) -> LandmarkRecord:
        """The record that `to_text` wrote. Raises ValueError or TypeError for anything else."""
        values: dict[str, Any] = json.loads(text)
        return cls(name, **values)


def check(row: GalleryRow) -> None:
    """Raise DataError when a text or blob of a photo cannot be stored."""
    where = f"photo {row.id!r}"
    if not row.id or not row.path:
        raise DataError(f"{where}, path {row.path!r}: neither may be empty")
    for name in MAX_CHARACTERS:
        check_text(name, getattr(row, name), where)
    for name in ("keypoints", "fingerprint", "thumbnail"):
        if len(getattr(row, name)) > MAX_BLOB_BYTES:
            raise DataError(
                f"{where}: {name} of {len(getattr(row, name))} bytes; at most {MAX_BLOB_BYTES}"
            )


def check_text(name: str, text: str, where: str) -> None:
    """Raise DataError when a text is too long, holds a zero byte, or is not valid Unicode."""
    _check_text(text, MAX_CHARACTERS[name], f"{where}: {name}")
    if name in WEB_ADDRESSES and text and not text.startswith(("https://", "http://")):
        raise DataError(f"{where}: {name} {text!r}; expected a web address, https://…")


def _check_text(text: str, max_characters: int, what: str) -> None:
    if len(text) > max_characters:
        raise DataError(f"{what} of {len(text)} characters; at most {max_characters}")
    if "\0" in text:
        raise DataError(f"{what} {text!r} holds a zero byte")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise DataError(f"{what} {text!r} is not valid Unicode; rename it") from None


def read_landmarks(path: Path) -> list[LandmarkRecord]:
    """Read landmark records from a csv table.

    Columns: `landmark`, as labelled in the photos (without this column `name` is the label);
    `title` or `name`, the name to display; `name:fr` etc., the name in a language; `wikipedia:fr`
    etc., the title of the article; `wikidata`, `latitude`, `longitude`, `source`, `city`,
    `country`, `country_code`. The column `category` of an imported table is ignored.

    Raises:
        DataError: naming the line.
    """
    found: dict[str, LandmarkRecord] = {}
    for where, cells in _rows(path, LANDMARK_COLUMNS, languages=True):
        record = _record(cells, where)
        if record.name in found:
            raise DataError(f"{where}: landmark {record.name!r} again; expected each once")
        found[record.name] = record
    return list(found.values())


def read_credits(path: Path) -> dict[str, Credit]:
    """Read credits of photos from a csv table: `id`, and any of the fields of `Credit`.

    Returns:
        Photo id → Credit.

    Raises:
        DataError: naming the line.
    """
    found: dict[str, Credit] = {}
    for where, cells in _rows(path, CREDIT_COLUMNS, languages=False):
        if "id" not in cells:
            raise DataError(f"{where}: no column 'id'; expected {', '.join(CREDIT_COLUMNS)}")
        if cells["id"] in found:
            raise DataError(f"{where}: id {cells['id']!r} again; expected each once")
        credit = Credit(*(cells.get(name, "") for name in Credit._fields))
        for name, text in credit._asdict().items():
            check_text(name, text, where)
        found[cells["id"]] = credit
    return found


def write_landmarks(path: Path, records: Sequence[LandmarkRecord]) -> None:
    """Write landmark records so that `read_landmarks` reads the same."""
    names = sorted({language for record in records for language in record.names})
    articles = sorted({language for record in records for language in record.wikipedia})
    fixed = ("title", "wikidata", "latitude", "longitude", "source", *WHERE)
    rows = [
        [record.name, *("" if (value := getattr(record, name)) is None else str(value)
                        for name in fixed),
         *(record.names.get(language, "") for language in names),
         *(record.wikipedia.get(language, "") for language in articles)]
        for record in records
    ]  # fmt: skip
    header = ["landmark", *fixed, *(f"name:{language}" for language in names),
              *(f"wikipedia:{language}" for language in articles)]  # fmt: skip
    write_csv(path, "table of landmark records", header, rows)


def write_credits(path: Path, credits: Mapping[str, Credit]) -> None:
    """Write credits of photos so that `read_credits` reads the same."""
    rows = [[photo_id, *credit] for photo_id, credit in credits.items()]
    write_csv(path, "table of credits", CREDIT_COLUMNS, rows)


def _record(cells: dict[str, str], where: str) -> LandmarkRecord:
    label = "landmark" if "landmark" in cells else "name"
    if label not in cells:
        raise DataError(f"{where}: no column 'landmark'; expected it, with {', '.join(cells)}")
    title = cells.get("title") or (cells.get("name", "") if label == "landmark" else "")
    try:
        return LandmarkRecord(
            cells[label], title=title,
            names=_by_language(cells, "name"), wikipedia=_by_language(cells, "wikipedia"),
            wikidata=cells.get("wikidata", ""),
            latitude=_number(cells, "latitude"), longitude=_number(cells, "longitude"),
            **{name: cells.get(name, "") for name in (*WHERE, "source")},
        )  # fmt: skip
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def _by_language(cells: dict[str, str], kind: str) -> dict[str, str]:
    """Language → text of the columns name:fr, … or wikipedia:fr, … that are not blank."""
    start = f"{kind}:"
    return {name.removeprefix(start): text for name, text in cells.items()
            if name.startswith(start) and text}  # fmt: skip


def _number(cells: dict[str, str], column: str) -> float | None:
    text = cells.get(column, "")
    try:
        return float(text) if text else None
    except ValueError:
        raise DataError(f"{column} {text!r}; expected degrees as a number") from None


def _rows(
    path: Path, columns: tuple[str, ...], *, languages: bool
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield (file and line number for messages, column → cell) of each row of a csv table."""
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
            known = (*columns, "name:fr", "wikipedia:fr") if languages else columns
            raise DataError(f"{path}, line 1: {unknown_message(name, known, 'column')}")
    if len(set(header)) != len(header):
        raise DataError(f"{path}, line 1: columns {', '.join(header)} given; expected each once")


def unknown_ids_message(ids: Sequence[str], known: Sequence[str], name: str) -> str:
    """The error text for unknown ids, each with the most similar known id.

    Args:
        ids: the unknown ids.
        known: ids of the gallery: all, or candidates.
        name: the gallery's file or address.
    """
    shown = [repr(photo_id) + _hint(photo_id, known) for photo_id in ids[:MAX_IDS_SHOWN]]
    more = f" and {len(ids) - MAX_IDS_SHOWN} more" if len(ids) > MAX_IDS_SHOWN else ""
    return (
        f"{name}: no photo of id {', '.join(shown)}{more}; nothing was changed "
        "(`whichlandmark gallery list` shows what is there)"
    )


def _hint(photo_id: str, known: Sequence[str]) -> str:
    if containing := [one for one in known if photo_id and photo_id in one]:
        return f" (did you mean {min(containing, key=len)!r}?)"
    similar = difflib.get_close_matches(photo_id, known, n=1, cutoff=0.5)
    return f" (did you mean {similar[0]!r}?)" if similar else ""


def other_embedder(gallery: str, own: str, given: str) -> GalleryError:
    """The error of a gallery whose vectors are of another embedder. own, given: ids."""
    why = ""
    if own.rpartition("-")[0] == given.rpartition("-")[0]:
        why = (
            ", because weights, pooling, size or another setting differ (new embedders of timm "
            "pool as their makers do; --pool mean makes the vectors of before)"
        )
    return GalleryError(
        f"{gallery} was made by embedder {own!r}, not by {given!r}: their vectors cannot be "
        f"compared{why}; use that embedder, or index into a new folder or gallery"
    )
