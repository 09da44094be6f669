"""Read the csv files of Google Landmarks v2, as github.com/cvdfoundation/google-landmark has them.

train.csv             id,url,landmark_id
train_clean.csv       landmark_id,images (ids, separated by spaces)
index.csv, test.csv   id
index_image_to_landmark.csv                     id,landmark_id
train_ and index_label_to_category.csv          landmark_id,category (a Wikimedia Commons URL)
recognition_solution_v2.1.csv                   id,landmarks (separated by spaces),Usage
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from urllib.parse import unquote

from ..core.csv_files import open_csv
from ..core.errors import DataError
from ..core.types import SEPARATOR

ROWS_PER_CHUNK = 16_384  # with more, garbage collection takes a third of the time

MAX_CELL_CHARACTERS = 64_000_000  # one cell of train_clean.csv lists all photos of a landmark

_ID = re.compile(r"[A-Za-z0-9_-]*")  # of a photo or a landmark

_IGNORED_USAGE = "ignored"  # photos of this Usage are in no score


@dataclass(frozen=True)
class TableRows:
    """N consecutive rows of a table.

    line: of the first row. ids, landmarks ("" = none, "1|2" = several): (N,); usages: (N,) or
    empty.
    """

    line: int
    ids: Sequence[str]
    landmarks: Sequence[str]
    usages: Sequence[str] = ()


def read_columns(
    path: Path, names: Sequence[str], *, rows: int = ROWS_PER_CHUNK
) -> Iterator[tuple[int, list[Sequence[str]]]]:
    """Read the named columns of a csv file in chunks of `rows` rows.

    Yields (line of the first row, the columns in the order of `names`). Raises DataError naming
    the line and what was expected.
    """
    with open_csv(path, max_cell_length=MAX_CELL_CHARACTERS) as (header, lines):
        numbers = [_column_number(name, header, path) for name in names]
        while chunk := list(islice(lines, rows)):
            columns = list(zip(*(cells for _, cells in chunk), strict=True))
            yield chunk[0][0], [columns[number] for number in numbers]


def _column_number(name: str, header: list[str], path: Path) -> int:
    if header.count(name) != 1:
        raise DataError(
            f"{path}, line 1: columns {','.join(header) or '(none)'} given; expected {name!r} once"
        )
    return header.index(name)


def header_of(path: Path) -> list[str]:
    """Read the column names of a csv file. Raises DataError when it is no csv file."""
    with open_csv(path, max_cell_length=MAX_CELL_CHARACTERS) as (header, _):
        return header


def train_rows(path: Path) -> Iterator[TableRows]:
    """Read train.csv, or any file with the columns id and landmark_id."""
    for line, (ids, landmarks) in read_columns(path, ("id", "landmark_id")):
        _check_ids(ids, path, line, "id", 3)
        _check_ids(landmarks, path, line, "landmark_id", 1)
        yield TableRows(line, ids, landmarks)


def clean_rows(path: Path) -> Iterator[TableRows]:
    """Read train_clean.csv as one row per photo."""
    for line, (landmarks, cells) in read_columns(path, ("landmark_id", "images"), rows=2_000):
        _check_ids(landmarks, path, line, "landmark_id", 1)
        images = [cell.split() for cell in cells]
        ids = list(chain.from_iterable(images))
        _check_ids(ids, path, line, "id", 3)
        repeated = chain.from_iterable(
            [landmark] * len(photos) for landmark, photos in zip(landmarks, images, strict=True)
        )
        yield TableRows(line, ids, list(repeated))


def plain_rows(path: Path, landmarks: dict[str, str]) -> Iterator[TableRows]:
    """Read a file with only the column id. landmarks: id → landmark, from another file."""
    for line, (ids,) in read_columns(path, ("id",)):
        _check_ids(ids, path, line, "id", 3)
        yield TableRows(line, ids, [landmarks.get(name, "") for name in ids])


@dataclass(eq=False)
class TestSolution:
    """Reads the answers to the test photos, without those of Usage "Ignored".

    ids: of all rows read so far, ignored ones too. ignored: how many rows were left out.
    """

    ids: set[str] = field(default_factory=set)
    ignored: int = 0

    def rows(self, path: Path) -> Iterator[TableRows]:
        """Read recognition_solution*.csv: blank = no landmark; "1 2" becomes "1|2"."""
        for line, (ids, cells, usages) in read_columns(path, ("id", "landmarks", "Usage")):
            _check_ids(ids, path, line, "id", 3)
            landmarks = [SEPARATOR.join(dict.fromkeys(cell.split())) for cell in cells]
            _check_ids(
                [name.replace(SEPARATOR, "") for name in landmarks], path, line, "landmarks", 0
            )
            kept = [
                row for row, usage in enumerate(usages) if usage.strip().lower() != _IGNORED_USAGE
            ]
            self.ids.update(ids)
            self.ignored += len(ids) - len(kept)
            yield TableRows(
                line,
                [ids[row] for row in kept],
                [landmarks[row] for row in kept],
                [usages[row].strip() for row in kept],
            )


def categories(path: Path) -> dict[str, str]:
    """Read landmark_id → category, the URL as written in the file."""
    found: dict[str, str] = {}
    for line, (landmarks, urls) in read_columns(path, ("landmark_id", "category")):
        _check_ids(landmarks, path, line, "landmark_id", 1)
        found.update(zip(landmarks, (url.strip() for url in urls), strict=True))
    return found


def name_of(category: str) -> str:
    """http://commons.wikimedia.org/wiki/Category:Caf%C3%A9_de_Paris → Café de Paris."""
    title = unquote(category.rstrip("/").rpartition("/wiki/")[2])
    return title.removeprefix("Category:").replace("_", " ").strip()


def _check_ids(values: Sequence[str], path: Path, line: int, column: str, least: int) -> None:
    """Refuse ids that are not letters, digits, _ and -, because they go into paths and
    submission.csv. least: minimum length.
    """
    if _ID.fullmatch("".join(values)) and min(map(len, values), default=least) >= least:
        return
    for value in values:
        if not _ID.fullmatch(value) or len(value) < least:
            raise DataError(
                f"{path}, near line {line}: {column} {value!r}; expected at least {least} of the "
                "characters a–z, A–Z, 0–9, _ and -"
            )
