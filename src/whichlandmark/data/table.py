"""Read and write photo tables, photos.csv (id, path, landmark, usage, tier)."""

from __future__ import annotations

import csv
import logging
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from ..core.csv_files import open_csv
from ..core.errors import DataError
from ..core.files import atomic_file
from ..core.json_options import unknown_message
from ..core.storage import absolute_path, relative_path
from ..core.types import SEPARATOR, Photos, require_table, true_landmarks

log = logging.getLogger("whichlandmark")

COLUMNS = ("id", "path", "landmark", "usage", "tier")

REQUIRED = ("id", "path")

OPTIONAL = COLUMNS[3:]  # written only when a photo has one

ROWS_PER_WRITE = 4096

MAX_NAME = 500  # characters of a landmark's name

# What programs write for a cell without a value.
BLANK_NAMES = frozenset({
    "nan", "NaN", "NAN", "-nan", "NULL", "Null", "null", "None", "none", "NA", "N/A", "n/a", "#N/A",
    "#N/A N/A", "<NA>", "NaT", "nil", r"\N",
})  # fmt: skip

# Spreadsheet errors, and long numbers as spreadsheets and R shorten them.
_LOST = re.compile(
    r"#(REF|VALUE|NAME|DIV/0|NUM|NULL|SPILL|CALC|FIELD)[!?]|#{3,}|\d([.,]\d+)?(E\+?|e\+)\d{1,3}"
)

_MONTH = "(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"

_DATE_MADE = re.compile(
    rf"\d{{1,2}}-{_MONTH}(-\d\d)?|{_MONTH}-\d\d|\d{{4}}-\d\d-\d\d 00:00:00", re.IGNORECASE
)

_WHOLE = re.compile(r"\d+(\.0)?", re.ASCII)

WINDOWS_PATH = re.compile(r"[A-Za-z]:[\\/]|\\\\", re.ASCII)  # with a drive, or of a server

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

# Zero-width and direction marks; not the joiner that Persian and Indian scripts need inside words.
_INVISIBLE = re.compile(r"[\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")

# Cyrillic and Greek letters that look like Latin ones.
_LOOK_ALIKES = str.maketrans(
    "АВЕЗКМНОРСТУХЅІЈаеорсухѕіјΑΒΕΖΗΙΚΜΝΟΡΤΥΧο", "ABE3KMHOPCTYXSIJaeopcyxsijABEZHIKMNOPTYXo"
)


class TableText:
    """Reads the cells of one table as their writers meant them, and counts what it changed.

    Call `report` at the end, which logs one line for each kind of change.
    """

    def __init__(self, table: str | Path) -> None:
        self.table = table
        self.notes: dict[str, tuple[int, str]] = {}  # what → how often, the first example
        self._plain: dict[str, str] = {}  # cell → landmark, of cells without a note

    def note(self, what: str, example: str) -> None:
        """Count a change. what: the text after "12 landmarks"."""
        count, first = self.notes.get(what, (0, example))
        self.notes[what] = (count + 1, first)

    def landmark(self, cell: str, line: int | str) -> str:
        """A landmark cell as it is stored; "" = none. Raises DataError when its text is lost.

        line: of the table, or the file or folder that the name is of. All names go through here, so
        that a table that is written reads back the same.
        """
        if cell in self._plain:
            return self._plain[cell]
        text = cell.strip()
        if not text:
            return ""
        name = clean_name(text)
        if name != text and unicodedata.normalize("NFC", text) != name:
            self.note("landmarks: control or invisible characters removed", text)
        if name in BLANK_NAMES:
            self.note("landmarks are read as no landmark", name)
            return ""
        where = line if isinstance(line, str) else f"{self.table}, line {line}"
        if _LOST.fullmatch(name):
            raise DataError(
                f"{where}: landmark {name!r} is what a spreadsheet made of another text, which is "
                "lost; format the column as text, write the names again and save as CSV UTF-8"
            )
        if len(name) > MAX_NAME:
            raise DataError(
                f"{where}: landmark {name[:40]!r}… has {len(name)} characters; expected at most "
                f"{MAX_NAME}; is it another column, or a quote that is not closed?"
            )
        if _DATE_MADE.fullmatch(name):
            self.note("landmarks look like dates that a spreadsheet made of names", name)
        elif text == name:
            self._plain[cell] = _join_landmarks(name, where)
        return _join_landmarks(name, where)

    def whole_numbers(self, column: list[str], what: str, *, unique: bool = False) -> list[str]:
        """The column; where all of its texts are such as "12.0" or "12", with at least one of the
        first form, "12", because pandas writes whole numbers so where a cell is blank.

        unique: leave the column as it is when two texts would become equal.
        """
        if not any(text.endswith(".0") for text in column):
            return column
        if not all(_WHOLE.fullmatch(text) for text in column if text):
            return column
        made = [text.removesuffix(".0") for text in column]
        if unique and len({*made}) < len(made):
            return column
        for old, new in zip(column, made, strict=True):
            if old != new:
                self.note(f"{what} are whole numbers with .0, which is cut off", old)
        return made

    def path(self, name: str, folder: str, line: int) -> str:
        """An absolute path, URL or address in a tar, from a cell that any system may have written.

        Raises DataError for a Windows path with a drive, which this machine cannot have.
        """
        name = name.strip(" \t\r\n\ufeff")
        if "\\" in name and os.sep == "/" and not os.path.lexists(os.path.join(folder, name)):
            if WINDOWS_PATH.match(name):
                raise DataError(
                    f"{self.table}, line {line}: path {name!r} is one of a Windows machine; make a "
                    "table for this machine with `whichlandmark import csv … --root FOLDER`, the "
                    "folder that has these photos here"
                )
            self.note("paths have backslashes, read as slashes", name)
            name = name.replace("\\", "/")
        if name.startswith("~/") and not os.path.lexists(os.path.join(folder, name)):
            name = os.path.expanduser(name)
        return absolute_path(name, folder)

    def log_notes(self) -> None:
        """Log one line for each kind of change."""
        for what, (count, example) in self.notes.items():
            log.warning("%s: %d %s, such as %r", self.table, count, what, example)

    def report(self, photos: Photos) -> Photos:
        """Log what was changed and which landmarks look alike; return the table."""
        self.log_notes()
        for names in similar_names({*photos.landmarks}):
            shown = ", ".join(map(repr, names))
            log.warning("%s: look alike, and are different landmarks: %s", self.table, shown)
        return photos


def read_photos(path: str | Path) -> Photos:
    """Read a photo table, `photos.csv`. The photos themselves are not opened.

    Args:
        path: A csv file with the columns `id` and `path`, and, where photos have them, `landmark`,
            `usage` and `tier`. A path is relative to the csv's folder, and may be a URL or an
            address in a tar. A blank landmark = none; several true ones are written "A|B".

    Returns:
        The table, in the order of the lines.

    Raises:
        DataError: When the file is missing or is no such table; the message names the line.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise DataError(f"{path}: a folder, not a photo table; use read_folder({str(path)!r})")
    text = TableText(path)
    ids: dict[str, int] = {}  # id → row, in the order of the lines
    columns: tuple[list[str], ...] = ([], [], [], [])
    for line, photo_id, *cells in _rows(path, text):
        if photo_id in ids:
            if cells != [column[ids[photo_id]] for column in columns]:
                raise DataError(
                    f"{path}, line {line}: id {photo_id!r} occurs twice; ids must be unique"
                )
            text.note("rows repeat another row and are left out", photo_id)
            continue
        ids[photo_id] = len(ids)
        for column, cell in zip(columns, cells, strict=True):
            column.append(cell)
    paths, landmarks, usages, tiers = columns
    landmarks = text.whole_numbers(landmarks, "landmarks")
    names = text.whole_numbers(list(ids), "ids", unique=True)
    return text.report(Photos.of_columns(names, paths, landmarks, usages, tiers))


def _rows(path: Path, text: TableText) -> Iterator[tuple[int, str, str, str, str, str]]:
    """(line, id, absolute path, landmark, usage, tier) of every row."""
    folder = os.path.abspath(path.parent)
    with open_csv(path) as (given, rows):
        header = [name if name in COLUMNS else _column_name(name) for name in given]
        _check_header(header, path)
        id_at, path_at = header.index("id"), header.index("path")
        landmark_at, usage_at, tier_at = (
            header.index(name) if name in header else -1 for name in ("landmark", *OPTIONAL)
        )
        for line, cells in rows:
            photo_id, name = cells[id_at].strip(), cells[path_at]
            if not photo_id or not name.strip():
                empty = "path" if photo_id else "id"
                raise DataError(f"{path}, line {line}: the {empty} is empty")
            if "\0" in name or "\0" in photo_id:
                where = "path" if "\0" in name else "id"
                raise DataError(f"{path}, line {line}: a zero byte in the {where}")
            landmark = text.landmark(cells[landmark_at], line) if landmark_at >= 0 else ""
            usage = sys.intern(cells[usage_at].strip()) if usage_at >= 0 else ""
            tier = sys.intern(cells[tier_at].strip()) if tier_at >= 0 else ""
            yield line, photo_id, text.path(name, folder, line), landmark, usage, tier


def _column_name(name: str) -> str:
    lower = clean_name(name).casefold()
    return lower if lower in COLUMNS else name


def _join_landmarks(cell: str, where: str) -> str:
    """Remove spaces around the separators. Raises DataError for an empty name."""
    if SEPARATOR not in cell:
        return sys.intern(cell)
    names = true_landmarks(cell)
    if not all(names):
        raise DataError(
            f"{where}: landmark {cell!r} has an empty name; {SEPARATOR!r} separates several true "
            "landmarks, and no name may contain it"
        )
    return sys.intern(SEPARATOR.join(names))


def _check_header(header: list[str], path: Path) -> None:
    if not header:
        raise DataError(f"{path}: the file is empty; expected a header: {','.join(COLUMNS[:3])}")
    for name in header:
        if name not in COLUMNS:
            raise DataError(
                f"{path}, line 1: {unknown_message(name, COLUMNS, 'column')} (a table of another "
                "form: `whichlandmark import csv`)"
            )
    if len(set(header)) != len(header):
        raise DataError(f"{path}, line 1: columns {', '.join(header)} given; expected each once")
    for name in REQUIRED:
        if name not in header:
            raise DataError(
                f"{path}, line 1: no column {name!r}; expected {', '.join(COLUMNS)} "
                "(landmark, usage and tier may be left out)"
            )


def clean_name(text: str) -> str:
    """A landmark's name as it is stored: Unicode NFC, without control characters, invisible
    characters and outer blanks; inner blanks are single ones.
    """
    if text.isascii() and text.isprintable() and "  " not in text:
        return text.strip()
    text = unicodedata.normalize("NFC", text)
    return " ".join(_INVISIBLE.sub("", _CONTROL.sub(" ", text)).split())


def similar_names(names: Iterable[str]) -> list[list[str]]:
    """Groups of names that look alike: they differ only in case, accents, blanks, punctuation or
    letters of another script.
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        if name.isascii() and name.isdigit():
            continue
        plain = unicodedata.normalize("NFKD", name.translate(_LOOK_ALIKES)).casefold()
        key = "".join(letter for letter in plain if letter.isalnum())
        groups.setdefault(key or name, []).append(name)
    return [sorted(group) for group in groups.values() if len(group) > 1]


def write_photos(path: str | Path, photos: Photos) -> None:
    """Write a photo table, atomically.

    Paths are written relative to the table's folder, with forward slashes; the columns `usage` and
    `tier` only when a photo has one.

    Args:
        path: The csv file; an existing one is replaced.
        photos: The table.

    Raises:
        DataError: When an id or a landmark is not valid Unicode, because a UTF-8 csv cannot contain
            it. A path that is not valid Unicode is written as a `file:` URL.
    """
    require_table(photos, "write_photos(path, photos)")
    folder = os.path.abspath(Path(path).parent)
    usage, tier = (bool((column != "").any()) for column in (photos.usages, photos.tiers))
    paths = (relative_path(name, folder) for name in photos.paths)
    optional = [*[photos.usages] * usage, *[photos.tiers] * tier]
    columns = [photos.ids, paths, photos.landmarks, *optional]
    write_rows(path, zip(*columns, strict=True), usage=usage, tier=tier)


def write_rows(
    path: str | Path, rows: Iterable[Sequence[str]], *, usage: bool = False, tier: bool = False
) -> int:
    """Write a photo table row by row, atomically, in constant memory.

    rows: (id, path relative to the table's folder, landmark), then the usage if `usage` and the
    tier if `tier`. Returns the number of rows. Raises DataError as `write_photos` does.
    """
    header = [*COLUMNS[:3], *["usage"] * usage, *["tier"] * tier]
    count = 0
    with (
        atomic_file(path, "photo table") as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        quoting = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow(header)
        rows = iter(rows)
        while part := list(islice(rows, ROWS_PER_WRITE)):
            text = "".join(chain.from_iterable(part))
            if not text.isascii():
                _check_unicode(part, path)
            if "\r" in text:  # the csv module does not quote it, and would read it as a line end
                for row in part:
                    (quoting if "\r" in "".join(row) else writer).writerow(row)
            else:
                writer.writerows(part)
            count += len(part)
    return count


def _check_unicode(rows: Iterable[Sequence[str]], path: str | Path) -> None:
    for row in rows:
        try:
            "".join(row).encode()
        except UnicodeEncodeError:
            raise DataError(
                f"{path}: {row!r} is not valid Unicode and cannot be written to a table"
            ) from None
