"""Open csv files as spreadsheets, scripts and other systems write them."""

from __future__ import annotations

import codecs
import csv
import io
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, TextIO

from .disks import read_error, refuse_special
from .errors import DataError
from .files import atomic_file

log = logging.getLogger("whichlandmark")

MAX_CELL_LENGTH = 1 << 17  # characters, the csv module's own limit

# First bytes of files that are called .csv and are none.
_NO_CSV = {
    b"PK\x03\x04": "an Excel workbook or a zip archive", b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"\x1f\x8b": "a gzip archive", b"PAR1": "a Parquet file", b"%PDF": "a PDF",
    b"\xff\xd8\xff": "a photo", b"\x89PNG": "a picture", b"SQLite format 3": "a database",
    b"<!DOCTYPE": "a web page", b"<!doctype": "a web page", b"<html": "a web page", b"{": "JSON",
}  # fmt: skip

_UNNAMED = re.compile(r"|Unnamed: \d+(_level_\d+)?", re.ASCII)  # as pandas names such a column

# In Windows-1252: three bytes in a row, UTF-8, or a byte that is no letter of Western Europe and no
# typographic mark, as the letters of other code pages are.
_NOT_WESTERN = re.compile(
    rb"[\x80-\xff]{3}|[\xc3-\xc5][\x80-\xbf]"
    rb"|[\x81\x83\x86-\x90\x98\x9a-\x9f\xa2-\xa6\xa8\xac-\xaf\xb1-\xb3\xb5-\xb6\xb8-\xb9\xbc-\xbe\xd7\xf7\xff]"
)

CsvRows = Iterator[tuple[int, list[str]]]  # (line number, cells), as many cells as the header has


@contextmanager
def open_csv(
    path: Path, *, max_cell_length: int = MAX_CELL_LENGTH
) -> Iterator[tuple[list[str], CsvRows]]:
    """Open a CSV file as spreadsheets and scripts write it.

    Cells are separated by commas, or by semicolons or tabs where the header is. The text is UTF-8
    or UTF-16, with or without a byte-order mark, or Windows-1252 where that is plain. Blank rows,
    cells after the last column that are blank, and columns without a name (a pandas index) are not
    read.

    Args:
        path: the file.
        max_cell_length: characters that one cell may have.

    Yields:
        The column names of the first line, stripped ([] for an empty file), and an iterator over
        the rows after it.

    Raises:
        DataError: when the file is missing, is not CSV or no text of these encodings, or a row has
            more or fewer cells than the header; the message names the line.
    """
    old_limit = csv.field_size_limit(max_cell_length)
    line = 0
    try:
        with open_text(path) as file:
            first, skipped = _header_line(file)
            separator = max(",;\t", key=re.sub(r'"[^"]*"', "", first).count)
            reader = csv.reader(chain([first], file), strict=True, delimiter=separator)
            names = [name.strip() for name in next(reader, [])]
            line = reader.line_num + skipped
            named = [at for at, name in enumerate(names) if not _UNNAMED.fullmatch(name)]
            width = max(named, default=-1) + 1  # blank names after the last are no columns
            if set(range(width)) - {*named}:
                log.warning("%s: the columns without a name (a pandas index) are not read", path)

            def rows() -> CsvRows:
                nonlocal line
                for cells in reader:
                    line = reader.line_num + skipped
                    if len(cells) != width:
                        if not any(map(str.strip, cells)):
                            continue
                        _check_width(cells, width, len(names), separator, f"{path}, line {line}")
                    elif not cells[0].strip() and not any(map(str.strip, cells)):
                        continue
                    yield line, cells if len(named) == len(cells) else [cells[at] for at in named]

            yield [names[at] for at in named], rows()
    except OSError as error:
        raise DataError(read_error(path, error)) from None
    except (UnicodeError, csv.Error) as error:
        raise DataError(
            f"{path}, about line {line + 1}: not readable as a UTF-8 csv file ({error})"
        ) from None
    finally:
        csv.field_size_limit(old_limit)


def _check_width(cells: list[str], width: int, columns: int, separator: str, where: str) -> None:
    if len(cells) >= width and not any(map(str.strip, cells[width:])):
        return
    hint = ""
    if len(cells) > columns:
        name = {",": "comma", ";": "semicolon"}.get(separator, "tab")
        hint = f'; a cell with a {name} in it must stand in quotes: "…"'
    if len(cells) < width or len(cells) > columns:
        raise DataError(f"{where}: {len(cells)} cells; the header has {columns}{hint}")


def _header_line(file: Iterable[str]) -> tuple[str, int]:
    """The first line that is neither blank nor Excel's "sep=;", and how many were before it."""
    for number, text in enumerate(file):
        if text.strip(" \t\r\n,;") and not re.fullmatch(r"\"?sep=.\"?\s*", text, re.IGNORECASE):
            return text, number
    return "", 0


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a table or list as text, in the encoding that its bytes show; OSError is not caught."""
    refuse_special(path)
    with open(path, "rb") as opened:
        # A pipe can be read only once.
        file = opened if opened.seekable() else io.BytesIO(opened.read())
        head = file.read(4096)
        for start, kind in _NO_CSV.items():
            if head.startswith(start):
                raise DataError(f"{path}: {kind}, not a csv file; save it as CSV UTF-8")
        encoding = _utf16(head) or _eight_bit(file, path)
        file.seek(0)
        with io.TextIOWrapper(file, encoding=encoding, newline="") as text:
            yield text


def _utf16(head: bytes) -> str:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    pairs = max(len(head) // 2, 1)
    for offset, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        if head[offset::2].count(0) > 0.7 * pairs:
            return name
    return ""


def _eight_bit(file: IO[bytes], path: Path) -> str:
    """ "utf-8-sig", or "cp1252" where the bytes are plainly that. Raises DataError otherwise.

    Plainly: each byte that is not ASCII is a letter of Western Europe or a typographic mark, no
    three are in a row, and no other place of the file is UTF-8.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    file.seek(0)
    try:
        while part := file.read(1 << 20):
            decoder.decode(part)
        decoder.decode(b"", final=True)
        return "utf-8-sig"
    except UnicodeDecodeError:
        pass
    file.seek(0)
    plain, example, wrong = True, b"", 0
    for number, text in enumerate(file, 1):
        if text.isascii():
            continue
        try:
            text.decode()
            plain = False
        except UnicodeDecodeError:
            plain = plain and not _NOT_WESTERN.search(text)
            example, wrong = (example, wrong) if wrong else (text.strip()[:80], number)
    if plain:
        log.warning("%s: not UTF-8; read as Windows-1252, such as line %d: %s",
                    path, wrong, example.decode("cp1252", "replace"))  # fmt: skip
        return "cp1252"
    raise DataError(
        f"{path}, line {wrong}: not readable as a UTF-8 csv file (seen: {example!r}); save the "
        "table as CSV UTF-8"
    )


def write_csv(
    path: Path,
    kind: str,
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    spreadsheet: bool = False,
) -> None:
    """Write a CSV file, whole or not at all.

    kind: as in `atomic_file`. spreadsheet: begin with a byte-order mark, by which spreadsheets know
    UTF-8.
    """
    with (
        atomic_file(path, kind) as temporary,
        open(temporary, "w", encoding="utf-8-sig" if spreadsheet else "utf-8", newline="") as file,
    ):
        # With "\n" alone as the end of a line, the csv module leaves a "\r" in a cell unquoted.
        plain = csv.writer(file, lineterminator="\n")
        quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        for row in chain([header], rows):
            (quoted if any("\r" in cell for cell in row) else plain).writerow(row)
