"""photos.csv (id, path, landmark, usage, tier): the one hand-over format between steps."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from ..core.errors import DataError
from ..core.files import open_csv, whole_file
from ..core.json_options import unknown
from ..core.storage import absolute_path, relative_path
from ..core.types import SEPARATOR, Photos, true_landmarks

COLUMNS = ("id", "path", "landmark", "usage", "tier")

REQUIRED = ("id", "path")

OPTIONAL = COLUMNS[3:]  # written only where a photo has one

PART = 4096  # rows written at once


def read_photos(path: str | Path) -> Photos:
    """Read a photo table, `photos.csv`. The photos themselves are not opened.

    Args:
        path: A UTF-8 csv file with the columns `id` and `path`, and, where photos have them,
            `landmark`, `usage` and `tier`. A path is relative to the csv's folder, and may be a URL
            or an address in a tar. A blank landmark = none; several true ones stand as "A|B".

    Returns:
        The table, in the order of the lines.

    Raises:
        DataError: When the file is missing or has another form; the message names the line.
    """
    path = Path(path)
    ids: dict[str, None] = {}  # in the order of the lines
    paths: list[str] = []
    landmarks: list[str] = []
    usages: list[str] = []
    tiers: list[str] = []
    for line, photo_id, name, *cells in _rows(path):
        if photo_id in ids:
            raise DataError(
                f"{path}, line {line}: id {photo_id!r} occurs twice; ids must be unique"
            )
        ids[photo_id] = None
        paths.append(name)
        landmarks.append(cells[0])
        usages.append(cells[1])
        tiers.append(cells[2])
    return Photos.of_columns(list(ids), paths, landmarks, usages, tiers)


def _rows(path: Path) -> Iterator[tuple[int, str, str, str, str, str]]:
    """(line, id, absolute path, landmark, usage, tier) of every row."""
    folder = os.path.abspath(path.parent)
    with open_csv(path) as (header, rows):
        _check_header(header, path)
        id_at, path_at = header.index("id"), header.index("path")
        landmark_at, usage_at, tier_at = (
            header.index(name) if name in header else -1 for name in ("landmark", *OPTIONAL)
        )
        for line, cells in rows:
            photo_id, name = cells[id_at], cells[path_at]
            if not photo_id.strip() or not name.strip():
                empty = "path" if photo_id.strip() else "id"
                raise DataError(f"{path}, line {line}: the {empty} is empty")
            if "\0" in name:
                raise DataError(f"{path}, line {line}: a zero byte in the path")
            # Equal names share memory.
            landmark = sys.intern(cells[landmark_at].strip()) if landmark_at >= 0 else ""
            if SEPARATOR in landmark:
                landmark = _several(landmark, f"{path}, line {line}")
            usage = sys.intern(cells[usage_at].strip()) if usage_at >= 0 else ""
            tier = sys.intern(cells[tier_at].strip()) if tier_at >= 0 else ""
            yield line, photo_id, absolute_path(name, folder), landmark, usage, tier


def _several(cell: str, where: str) -> str:
    names = true_landmarks(cell)
    if not all(names):
        raise DataError(
            f"{where}: landmark {cell!r} has an empty name; {SEPARATOR!r} stands between the names "
            "of several true landmarks, and no name can hold it"
        )
    return sys.intern(SEPARATOR.join(names))


def _check_header(header: list[str], path: Path) -> None:
    if not header:
        raise DataError(f"{path}: the file is empty; expected a header: {','.join(COLUMNS[:3])}")
    for name in header:
        if name not in COLUMNS:
            raise DataError(f"{path}, line 1: {unknown(name, COLUMNS, 'column')}")
    if len(set(header)) != len(header):
        raise DataError(f"{path}, line 1: columns {', '.join(header)} given; expected each once")
    for name in REQUIRED:
        if name not in header:
            raise DataError(
                f"{path}, line 1: no column {name!r}; expected {', '.join(COLUMNS)} "
                "(landmark, usage and tier may be left out)"
            )


def write_photos(path: str | Path, photos: Photos) -> None:
    """Write a photo table: the whole file or none of it.

    Paths are written relative to the table's folder, with forward slashes; the columns `usage` and
    `tier` only when a photo has one.

    Args:
        path: Where the csv file goes; a file that is there is replaced.
        photos: The table.

    Raises:
        DataError: When a file name is not valid Unicode, because no csv can hold it.
    """
    folder = os.path.abspath(Path(path).parent)
    usage, tier = (bool((column != "").any()) for column in (photos.usages, photos.tiers))
    columns = [photos.ids, (relative_path(name, folder) for name in photos.paths),
               photos.landmarks, *[photos.usages] * usage, *[photos.tiers] * tier]  # fmt: skip
    write_rows(path, zip(*columns, strict=True), usage=usage, tier=tier)


def write_rows(
    path: str | Path, rows: Iterable[Sequence[str]], *, usage: bool = False, tier: bool = False
) -> int:
    """Write a photo table row by row, atomically: memory does not grow with it.

    rows: (id, path relative to the table's folder, landmark), and behind them the usage if
    `usage`, the tier if `tier`. Returns their number. Raises DataError as `write_photos` does.
    """
    header = [*COLUMNS[:3], *["usage"] * usage, *["tier"] * tier]
    count = 0
    with whole_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        quoting = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow(header)
        rows = iter(rows)
        while part := list(islice(rows, PART)):
            text = "".join(chain.from_iterable(part))
            if not text.isascii():
                _check_unicode(part, path)
            if "\r" in text:  # the csv module leaves it bare, and then reads a new line
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
                f"{path}: {row[1]!r} is not valid Unicode and cannot stand in a table; "
                "rename the file"
            ) from None
