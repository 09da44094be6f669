"""landmarks.csv and credits.csv: what is known of landmarks, and who made the photos."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import DataError
from ..options import unknown
from .records import Credit, LandmarkRecord, check_text

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
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            _check(header, columns, path, languages=languages)
            for cells in reader:
                where = f"{path}, line {reader.line_num}"
                if len(cells) not in (0, len(header)):
                    raise DataError(f"{where}: {len(cells)} cells; the header has {len(header)}")
                if cells:
                    stripped = (cell.strip() for cell in cells)
                    yield where, dict(zip(header, stripped, strict=True))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not readable as a UTF-8 csv file ({error})") from None


def _check(header: list[str], columns: tuple[str, ...], path: Path, *, languages: bool) -> None:
    if not header:
        raise DataError(f"{path}: the file is empty; expected a header: {','.join(columns)}")
    for name in header:
        if name not in columns and not (languages and _LANGUAGE.fullmatch(name)):
            known = (*columns, "name:fr") if languages else columns
            raise DataError(f"{path}, line 1: {unknown(name, known, 'column')}")
    if len(set(header)) != len(header):
        raise DataError(f"{path}, line 1: columns {', '.join(header)} given; expected each once")
