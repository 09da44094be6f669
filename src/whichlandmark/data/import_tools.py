"""Import any csv file by column names; collect rows and files that cannot be used."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO
from urllib.parse import unquote

from ..core.csv_files import open_csv
from ..core.errors import DataError
from ..core.files import atomic_file, valid_text
from ..core.images import SUFFIXES
from ..core.storage import SCHEMES, TarMember, is_url, parse
from ..core.types import Photos
from .table import WINDOWS_PATH, TableText, clean_name

MAX_PRINTED_PER_KIND = 5  # problems; the csv has all of them


@dataclass(frozen=True, kw_only=True)
class CsvColumns:
    """Names of the csv file's columns; None = it has no such column.

    id: None = the text of the path column is the id.
    """

    path: str
    id: str | None = None
    landmark: str | None = None
    usage: str | None = None


def read_csv(
    file: Path, columns: CsvColumns, *, root: Path | None = None
) -> tuple[Photos, dict[str, str]]:
    """Read the photos of a csv file whose files exist.

    Args:
        file: The csv file. A blank landmark = none; several true ones are written "A|B". Columns
            that are not in `columns` are ignored.
        columns: Their names; case and outer blanks make no difference.
        root: The folder that relative paths start at; None = the csv's own.

    Returns:
        The table, and id → reason of the rows that are not in it: the file is missing, or the row
        has no path.

    Raises:
        DataError: Naming a missing column, or the line of an id that occurs twice with other cells.
    """
    text = TableText(file)
    files = _Files(os.path.abspath(root or file.parent), text)
    rows: dict[str, tuple[int, str, str, str]] = {}  # id → line, path, landmark, usage
    missing: dict[str, str] = {}
    names = [columns.id or columns.path, columns.path, columns.landmark, columns.usage]
    with open_csv(file) as (header, lines):
        numbers = [_number(name, header, file) for name in names]
        for line, row in lines:
            photo_id, name, landmark, usage = (row[n].strip() if n >= 0 else "" for n in numbers)
            if not photo_id or not name or "\0" in name + photo_id:
                what = "path" if photo_id else "id"
                missing[f"{file}, line {line}"] = f"the row has no {what}; it is left out"
                continue
            path, problem = files.find(name, line)
            if problem:
                missing[path if photo_id == name else f"{photo_id} ({path})"] = problem
                continue
            cells = (path, text.landmark(landmark, line), usage)
            if photo_id in rows:
                _check_repeated(rows[photo_id], (line, *cells), photo_id, file)
                text.note("rows repeat another row and are left out", photo_id)
                continue
            rows[photo_id] = (line, *cells)
    ids, paths = list(rows), [row[1] for row in rows.values()]
    landmarks = [row[2] for row in rows.values()]
    if columns.id:
        ids = text.whole_numbers(ids, "ids", unique=True)
        _note_zeros(ids, paths, text)
    photos = Photos.of_columns(
        ids, paths, text.whole_numbers(landmarks, "landmarks"),
        [row[3] for row in rows.values()],
    )  # fmt: skip
    return text.report(photos), missing


def _number(name: str | None, header: list[str], file: Path) -> int:
    """Number of a column; −1 = there is none. Raises DataError unless the header has it once."""
    if name is None:
        return -1
    for wanted, given in ((name, header), (_plain(name), [_plain(other) for other in header])):
        if given.count(wanted) == 1:
            return given.index(wanted)
    raise DataError(
        f"{file}, line 1: columns {','.join(header) or '(none)'} given; expected {name!r} once"
    )


def _plain(name: str) -> str:
    return clean_name(name).casefold()


def _check_repeated(
    first: tuple[int, str, str, str], again: tuple[int, str, str, str], photo_id: str, file: Path
) -> None:
    """Raises DataError unless both rows say the same."""
    if first[1:] == again[1:]:
        return
    differ = "paths" if first[1] != again[1] else "landmarks" if first[2] != again[2] else "usages"
    at = {"paths": 1, "landmarks": 2, "usages": 3}[differ]
    hint = f"; a query that shows both is one row, with {first[2]}|{again[2]}" if at == 2 else ""
    raise DataError(
        f"{file}, line {again[0]}: id {photo_id!r} occurs twice, in line {first[0]} with other "
        f"{differ} ({first[at]!r}, {again[at]!r}); ids must be unique{hint}"
    )


def _note_zeros(ids: list[str], paths: list[str], text: TableText) -> None:
    """Note ids such as 12 of photos called 0012.jpg: a spreadsheet cuts leading zeros."""
    for photo_id, path in zip(ids, paths, strict=True):
        stem = os.path.splitext(os.path.basename(path))[0]
        if stem.startswith("0") and photo_id.isdigit() and stem.lstrip("0") == photo_id:
            text.note("ids lack the leading zeros of their files' names", photo_id)


class _Files:
    """Finds the files of a table's paths, as the table's system wrote them, on this machine."""

    def __init__(self, folder: str, text: TableText) -> None:
        self.folder, self.text = folder, text
        self._listed: dict[str, dict[str, list[str]]] = {}  # folder → plain name → names
        self._cut: int | None = None  # leading parts of Windows paths that are not here

    def find(self, name: str, line: int) -> tuple[str, str]:
        """(absolute path or address, why it cannot be used or "")."""
        if WINDOWS_PATH.match(name) and os.sep == "/":
            return self._of_windows(name, line)
        path = self.text.path(name, self.folder, line)
        if is_url(path) and not path.startswith("file:"):
            scheme = path.partition("://")[0]
            # Remote files are not checked, because one request for each of millions of photos
            # takes too long; a missing one is listed when it is read.
            known = ", ".join(f"{known}://" for known in SCHEMES)
            why = f"{scheme}:// is not read; download the photos first, or use one of {known}"
            return path, "" if scheme in SCHEMES else why
        address = parse(path)
        in_file = address.tar if isinstance(address, TarMember) else str(address)
        if os.path.isfile(in_file):
            return path, ""
        if isinstance(address, TarMember):
            return path, "no such file"
        if found := self._variant(in_file):
            return valid_text(found), ""
        if os.path.isdir(in_file):
            return path, "is a folder; expected a photo"
        return path, "no such file" if not os.path.lexists(in_file) else "no plain file"

    def _of_windows(self, name: str, line: int) -> tuple[str, str]:
        """Look below the folder for the parts of a Windows path, from the longest tail on."""
        parts = re.split(r"[\\/]+", name)
        for cut in range(1, len(parts)) if self._cut is None else (self._cut,):
            path = os.path.join(self.folder, *parts[cut:])
            if os.path.isfile(path) or (path := self._variant(path)):
                self._cut = cut
                gone = "\\".join(parts[:cut])
                self.text.note(f"Windows paths are read below {self.folder} without {gone}", name)
                return valid_text(os.path.normpath(path)), ""
        return name, (
            f"a Windows path (line {line}), and no tail of it is below {self.folder}; give the "
            "folder that has these photos here with --root"
        )

    def _variant(self, path: str) -> str:
        """The file that is meant where a name differs in percent-encoding, Unicode form or case;
        "" = none, or several.
        """
        if "%" in path and os.path.isfile(decoded := unquote(path)):
            self.text.note("paths are percent-encoded", path)
            return decoded
        folder, name = os.path.split(path)
        with suppress(UnicodeError):  # the name's bytes on disk may be those of Windows-1252
            if os.path.isfile(other := os.path.join(folder, os.fsdecode(name.encode("cp1252")))):
                self.text.note("file names are not UTF-8 on this disk", name)
                return other
        if folder not in self._listed:
            names: dict[str, list[str]] = {}
            for other in os.listdir(folder) if os.path.isdir(folder) else ():
                names.setdefault(_plain(other), []).append(other)
            self._listed[folder] = names
        listed = self._listed[folder]
        found = listed.get(_plain(name), [])
        if not found and not os.path.splitext(name)[1]:
            found = [one for end in sorted(SUFFIXES) for one in listed.get(_plain(name) + end, [])]
        if len(found) != 1 or not os.path.isfile(os.path.join(folder, found[0])):
            return ""
        self.text.note("names differ from the files' in case, Unicode form or ending", name)
        return os.path.join(folder, found[0])


class Problems:
    """Counts problems by kind ("tar", "photo", "row", …) and writes each to a csv at once."""

    def __init__(self, file: TextIO) -> None:
        self._writer = csv.writer(file, lineterminator="\n")
        self._writer.writerow(("kind", "name", "detail"))
        self.counts: Counter[str] = Counter()
        self.first: dict[str, list[str]] = {}

    def add(self, kind: str, name: str, detail: str) -> None:
        """Record a problem. name: of the tar, photo, …; detail: what is wrong with it."""
        self.counts[kind] += 1
        self._writer.writerow((kind, name, detail))
        shown = self.first.setdefault(kind, [])
        if len(shown) < MAX_PRINTED_PER_KIND:
            shown.append(f"{name}: {detail}")

    def lines(self, kind: str) -> list[str]:
        """The first problems of a kind, then how many more there are, ready to print."""
        shown = self.first.get(kind, [])
        more = self.counts[kind] - len(shown)
        return [*shown, f"… {more:,} more of this kind ({kind})"] if more else shown


@contextmanager
def listing_problems(path: Path) -> Iterator[Problems]:
    """Give a `Problems` that writes the csv `path` (kind, name, detail), atomically.

    Without any problem there is no file afterwards.
    """
    with (
        atomic_file(path, "list of problems") as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="replace") as file,
    ):
        problems = Problems(file)
        yield problems
    if not problems.counts:
        path.unlink()
