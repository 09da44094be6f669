"""Import any csv file by column names; collect rows and files that cannot be used."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from ..core.errors import DataError
from ..core.files import atomic_file
from ..core.storage import TarMember, absolute_path, is_url, parse
from ..core.types import SEPARATOR, Photos, true_landmarks
from .gldv2_tables import read_columns

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
        columns: Their names.
        root: The folder that relative paths start at; None = the csv's own.

    Returns:
        The table, and id → reason of the photos whose file is missing.

    Raises:
        DataError: Naming a missing column, an id that occurs twice, or a row without id or path.
    """
    folder = os.path.abspath(root or file.parent)
    names = [columns.id or columns.path, columns.path, columns.landmark, columns.usage]
    given = list(dict.fromkeys(name for name in names if name))
    rows: tuple[list[str], ...] = ([], [], [], [])
    missing: dict[str, str] = {}
    for line, cells in read_columns(file, given):
        blank = [""] * len(cells[0])
        table = [cells[given.index(name)] if name else blank for name in names]
        for row in zip(*table, strict=True):
            photo_id, name, landmark, usage = (cell.strip() for cell in row)
            if not photo_id or not name or "\0" in name:
                raise DataError(f"{file}, near line {line}: a row without an id or a path")
            path = absolute_path(name, folder)
            address = parse(path)
            in_file = address.tar if isinstance(address, TarMember) else path
            # Remote files are not checked, because one request for each of millions of photos
            # takes too long; a missing one is listed when it is read.
            if not is_url(path) and not os.path.isfile(in_file):
                missing[photo_id] = f"{path}: no such file"
                continue
            several = SEPARATOR.join(filter(None, true_landmarks(landmark)))
            for column, value in zip(rows, (photo_id, path, several, usage), strict=True):
                column.append(value)
    photos = Photos.of_columns(*rows)
    photos.check_ids()
    return photos, missing


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
