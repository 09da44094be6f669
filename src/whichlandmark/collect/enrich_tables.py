"""Tables of `gallery enrich`: which item a landmark is, and suggestions that a person confirms."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..core.csv_files import open_csv, write_csv
from ..core.errors import DataError
from ..recognition.answer import spreadsheet_text
from .wikidata_items import ID

SUGGESTION_COLUMNS = ("landmark", "title", "wikidata", "label", "description", "distance_km",
                      "confirmed")  # fmt: skip

YES = ("yes", "y", "x", "1", "true", "oui", "ja", "si", "sí")
NO = ("", "no", "n", "0", "false", "non", "nein")


@dataclass(frozen=True)
class Suggestion:
    """An item that may be a landmark. distance_km: from the record's place; None = not known."""

    landmark: str
    title: str
    wikidata: str
    label: str
    description: str
    distance_km: float | None = None


def read_table(path: Path) -> dict[str, tuple[str, str]]:
    """Landmark → (Wikidata id or "", category or "") of a csv table; other columns are ignored.

    Raises DataError for a table without these columns, or a landmark that is in it twice.
    """
    found: dict[str, tuple[str, str]] = {}
    with open_csv(path) as (header, rows):
        if "landmark" not in header or not {"category", "wikidata"} & {*header}:
            raise DataError(
                f"{path}, line 1: columns {','.join(header) or '(none)'} given; expected landmark, "
                "and category or wikidata"
            )
        for line, row in rows:
            cells = dict(zip(header, map(str.strip, row), strict=True))
            name = cells["landmark"]
            if name in found:
                raise DataError(f"{path}, line {line}: landmark {name!r} again; expected each once")
            item = _of_address(cells.get("wikidata", ""))
            if item and not ID.fullmatch(item):
                raise DataError(f"{path}, line {line}: Wikidata id {item!r}; expected such as Q243")
            found[name] = (item, _of_address(cells.get("category", "")))
    return found


def _of_address(text: str) -> str:
    """The name of a page, of its address or of its name."""
    if not re.match(r"(?:https?:)?//", text, re.IGNORECASE):
        return text
    return unquote(re.sub(r"^/(?:wiki|entity)/", "", urlsplit(text).path)).strip("/")


def write_suggestions(path: Path, suggestions: Sequence[Suggestion]) -> None:
    """Write the suggestions as a table in which a person says "yes" in the column `confirmed`."""
    rows = [
        [one.landmark, spreadsheet_text(one.title), one.wikidata, spreadsheet_text(one.label),
         spreadsheet_text(one.description),
         "" if one.distance_km is None else f"{one.distance_km:.1f}", ""]
        for one in suggestions
    ]  # fmt: skip
    write_csv(path, "table of suggestions", SUGGESTION_COLUMNS, rows)
    for left_over in path.parent.glob(f".{escape(path.name[:40])}.????????"):  # of a killed run
        left_over.unlink(missing_ok=True)


def read_confirmed(path: Path) -> dict[str, str]:
    """Landmark → the id that a person has confirmed in a table of suggestions.

    Raises DataError for another table, a word that is neither yes nor no, or two ids of a landmark.
    """
    found: dict[str, str] = {}
    with open_csv(path) as (header, rows):
        if not {"landmark", "wikidata", "confirmed"} <= {*header}:
            raise DataError(
                f"{path}, line 1: columns {','.join(header) or '(none)'} given; expected landmark, "
                "wikidata and confirmed, as in the table of suggestions"
            )
        for line, row in rows:
            cells = dict(zip(header, map(str.strip, row), strict=True))
            name, item = cells["landmark"], cells["wikidata"]
            word = cells["confirmed"].casefold()
            if word not in (*YES, *NO):
                raise DataError(
                    f"{path}, line {line}: {cells['confirmed']!r} in the column confirmed; "
                    "expected yes, or nothing"
                )
            if word in NO:
                continue
            if not ID.fullmatch(item):
                raise DataError(f"{path}, line {line}: Wikidata id {item!r}; expected such as Q243")
            if found.setdefault(name, item) != item:
                raise DataError(
                    f"{path}, line {line}: {name!r} is confirmed as {found[name]} and as {item}; "
                    "expected one of them"
                )
    return found
