"""The csv files of Google Landmarks v2, as github.com/cvdfoundation/google-landmark publishes them.

train.csv             id,url,landmark_id
train_clean.csv       landmark_id,images (ids, separated by blanks)
index.csv, test.csv   id
index_image_to_landmark.csv                     id,landmark_id
train_ and index_label_to_category.csv          landmark_id,category (a Wikimedia Commons URL)
recognition_solution_v2.1.csv                   id,landmarks (separated by blanks),Usage
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from urllib.parse import unquote

from ..core.errors import DataError
from ..core.files import open_csv
from ..core.types import SEPARATOR

CHUNK = 16_384  # rows read at a time; with more, the collector of garbage takes a third

LONGEST_CELL = 64_000_000  # characters; the images of one landmark stand in one cell

_NAME = re.compile(r"[A-Za-z0-9_-]*")  # of a photo or a landmark

_IGNORED = "ignored"  # a Usage that is in no score


@dataclass(frozen=True)
class TableRows:
    """A piece of a table: line of the first row; ids, landmarks ("" = none, "1|2" = several)
    and usages, each (N,); usages may be empty.
    """

    line: int
    ids: Sequence[str]
    landmarks: Sequence[str]
    usages: Sequence[str] = ()


def read_columns(
    path: Path, names: Sequence[str], *, rows: int = CHUNK
) -> Iterator[tuple[int, list[Sequence[str]]]]:
    """(line, the named columns) of every so many rows of a csv file; other columns are left.

    Raises DataError naming the line and what was expected.
    """
    with open_csv(path, longest_cell=LONGEST_CELL) as (header, lines):
        places = [_place(name, header, path) for name in names]
        while part := list(islice(lines, rows)):
            columns = list(zip(*(cells for _, cells in part), strict=True))
            yield part[0][0], [columns[place] for place in places]


def _place(name: str, header: list[str], path: Path) -> int:
    if header.count(name) != 1:
        raise DataError(
            f"{path}, line 1: columns {','.join(header) or '(none)'} given; expected {name!r} once"
        )
    return header.index(name)


def header_of(path: Path) -> list[str]:
    """The column names of a csv file. Raises DataError when it is no csv file."""
    with open_csv(path, longest_cell=LONGEST_CELL) as (header, _):
        return header


def train_rows(path: Path) -> Iterator[TableRows]:
    """train.csv, or any file with id and landmark_id."""
    for line, (ids, landmarks) in read_columns(path, ("id", "landmark_id")):
        _check(ids, path, line, "id", 3)
        _check(landmarks, path, line, "landmark_id", 1)
        yield TableRows(line, ids, landmarks)


def clean_rows(path: Path) -> Iterator[TableRows]:
    """train_clean.csv, a row a photo."""
    for line, (landmarks, cells) in read_columns(path, ("landmark_id", "images"), rows=2_000):
        _check(landmarks, path, line, "landmark_id", 1)
        images = [cell.split() for cell in cells]
        ids = list(chain.from_iterable(images))
        _check(ids, path, line, "id", 3)
        named = chain.from_iterable(
            [landmark] * len(part) for landmark, part in zip(landmarks, images, strict=True)
        )
        yield TableRows(line, ids, list(named))


def plain_rows(path: Path, landmarks: dict[str, str]) -> Iterator[TableRows]:
    """A file with the column id alone, with the landmarks that another file gives."""
    for line, (ids,) in read_columns(path, ("id",)):
        _check(ids, path, line, "id", 3)
        yield TableRows(line, ids, [landmarks.get(name, "") for name in ids])


@dataclass(eq=False)
class TestSolution:
    """The answers to the test photos, without those of Usage "Ignored", which are counted.

    ids: all of them, ignored ones too.
    """

    ids: set[str] = field(default_factory=set)
    ignored: int = 0

    def rows(self, path: Path) -> Iterator[TableRows]:
        """recognition_solution: blank = no landmark; several become "1|2"."""
        for line, (ids, cells, usages) in read_columns(path, ("id", "landmarks", "Usage")):
            _check(ids, path, line, "id", 3)
            landmarks = [SEPARATOR.join(dict.fromkeys(cell.split())) for cell in cells]
            _check([name.replace(SEPARATOR, "") for name in landmarks], path, line, "landmarks", 0)
            kept = [row for row, usage in enumerate(usages) if usage.strip().lower() != _IGNORED]
            self.ids.update(ids)
            self.ignored += len(ids) - len(kept)
            yield TableRows(
                line,
                [ids[row] for row in kept],
                [landmarks[row] for row in kept],
                [usages[row].strip() for row in kept],
            )


def categories(path: Path) -> dict[str, str]:
    """landmark_id → category, the URL as it stands in the file."""
    found: dict[str, str] = {}
    for line, (landmarks, urls) in read_columns(path, ("landmark_id", "category")):
        _check(landmarks, path, line, "landmark_id", 1)
        found.update(zip(landmarks, (url.strip() for url in urls), strict=True))
    return found


def name_of(category: str) -> str:
    """http://commons.wikimedia.org/wiki/Category:Caf%C3%A9_de_Paris → Café de Paris."""
    title = unquote(category.rstrip("/").rpartition("/wiki/")[2])
    return title.removeprefix("Category:").replace("_", " ").strip()


def _check(values: Sequence[str], path: Path, line: int, column: str, least: int) -> None:
    """Names become parts of paths and of submission.csv: only letters, digits, _ and -."""
    if _NAME.fullmatch("".join(values)) and min(map(len, values), default=least) >= least:
        return
    for value in values:
        if not _NAME.fullmatch(value) or len(value) < least:
            raise DataError(
                f"{path}, near line {line}: {column} {value!r}; expected at least {least} of the "
                "characters a–z, A–Z, 0–9, _ and -"
            )
