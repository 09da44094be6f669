"""photos.csv (id, path, landmark): the one hand-over format between steps."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..files import whole_file
from ..options import unknown
from ..types import Photos

COLUMNS = ("id", "path", "landmark")


def read_photos(path: str | Path) -> Photos:
    """Read a photo table. Paths are relative to the csv's folder; a blank landmark = none.

    The `landmark` column may be missing (no photo has one). Photo files are not looked at.
    Raises DataError, naming the line, for anything else than that form. 4 million rows take
    about ten seconds.
    """
    path = Path(path)
    ids: dict[str, None] = {}  # in the order of the lines
    paths: list[str] = []
    landmarks: list[str] = []
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            for line, photo_id, name, landmark in _rows(csv.reader(file, strict=True), path):
                if photo_id in ids:
                    raise DataError(
                        f"{path}, line {line}: id {photo_id!r} occurs twice; ids must be unique"
                    )
                ids[photo_id] = None
                paths.append(name)
                landmarks.append(landmark)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        line = len(ids) + 2  # the header is line 1
        raise DataError(
            f"{path}, about line {line}: not readable as a UTF-8 csv file ({error})"
        ) from None
    return Photos.of_columns(list(ids), paths, landmarks)


def _rows(reader: Any, path: Path) -> Iterator[tuple[int, str, str, str]]:
    """(line, id, absolute path, landmark) of every row."""
    header = [name.strip() for name in next(reader, [])]
    _check_header(header, path)
    width, id_at, path_at = len(header), header.index("id"), header.index("path")
    landmark_at = header.index("landmark") if "landmark" in header else -1
    folder = os.path.abspath(path.parent)
    for cells in reader:
        if not cells:
            continue  # an empty line, as at the end of many files
        if len(cells) != width:
            raise DataError(
                f"{path}, line {reader.line_num}: {len(cells)} cells; the header has {width}"
            )
        photo_id, name = cells[id_at], cells[path_at]
        if not photo_id.strip() or not name.strip():
            empty = "path" if photo_id.strip() else "id"
            raise DataError(f"{path}, line {reader.line_num}: the {empty} is empty")
        if "\0" in name:
            raise DataError(f"{path}, line {reader.line_num}: a zero byte in the path")
        # Equal names share memory.
        landmark = sys.intern(cells[landmark_at].strip()) if landmark_at >= 0 else ""
        yield reader.line_num, photo_id, os.path.normpath(os.path.join(folder, name)), landmark


def _check_header(header: list[str], path: Path) -> None:
    if not header:
        raise DataError(f"{path}: the file is empty; expected a header: {','.join(COLUMNS)}")
    for name in header:
        if name not in COLUMNS:
            raise DataError(f"{path}, line 1: {unknown(name, COLUMNS, 'column')}")
    if len(set(header)) != len(header):
        raise DataError(f"{path}, line 1: columns {', '.join(header)} given; expected each once")
    for name in ("id", "path"):
        if name not in header:
            raise DataError(
                f"{path}, line 1: no column {name!r}; expected {', '.join(COLUMNS)} "
                "(landmark may be left out)"
            )


def write_photos(path: str | Path, photos: Photos) -> None:
    """Write a photo table, atomically; paths relative to its folder, with forward slashes.

    Raises DataError when a file name is not valid Unicode: no csv could hold it.
    """
    folder = os.path.abspath(Path(path).parent)
    with whole_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        quoting = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow(COLUMNS)
        for photo_id, name, landmark in zip(
            photos.ids, photos.paths, photos.landmarks, strict=True
        ):
            row = (photo_id, relative_path(name, folder), landmark)
            try:
                # The csv module leaves a lone carriage return bare, and then reads a new line.
                (quoting if "\r" in "".join(row) else writer).writerow(row)
            except UnicodeEncodeError:
                raise DataError(
                    f"{path}: {name!r} is not valid Unicode and cannot stand in a table; "
                    "rename the file"
                ) from None


def relative_path(name: str, folder: str) -> str:
    """`name` as seen from `folder` (both absolute), with forward slashes."""
    try:
        return os.path.relpath(name, folder).replace(os.sep, "/")
    except ValueError:  # another drive: there is no way from one to the other
        return name.replace(os.sep, "/")
