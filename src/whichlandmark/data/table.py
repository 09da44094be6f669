"""photos.csv (id, path, landmark): the one hand-over format between steps."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from ..errors import DataError
from ..files import whole_file
from ..options import unknown
from ..types import Photos

COLUMNS = ("id", "path", "landmark")


def read_photos(path: str | Path) -> Photos:
    """Read a photo table. Paths are relative to the csv's folder; a blank landmark = none.

    The `landmark` column may be missing (no photo has one). Photo files are not looked at.
    Raises DataError with the line for anything else than that form.
    """
    path = Path(path)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(_rows(csv.reader(file), path))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not readable as a UTF-8 csv file ({error})") from None
    table = Photos.of_columns(*zip(*rows, strict=True)) if rows else Photos.of([])
    try:
        table.check_ids()
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return table


def _rows(reader: Iterator[list[str]], path: Path) -> Iterator[tuple[str, str, str]]:
    header = next(reader, [])
    place = _places(header, path)
    folder = os.path.abspath(path.parent)
    for number, cells in enumerate(reader, 2):
        if not cells:
            continue
        if len(cells) != len(header):
            raise DataError(
                f"{path}, line {number}: {len(cells)} cells; the header has {len(header)}"
            )
        photo_id, name = cells[place["id"]], cells[place["path"]]
        if not photo_id or not name:
            raise DataError(f"{path}, line {number}: an empty id or path")
        landmark = cells[place["landmark"]].strip() if "landmark" in place else ""
        yield photo_id, os.path.normpath(os.path.join(folder, name)), sys.intern(landmark)


def _places(header: list[str], path: Path) -> dict[str, int]:
    names = [name.strip() for name in header]
    for name in names:
        if name not in COLUMNS:
            raise DataError(f"{path}: {unknown(name, COLUMNS, 'column')}")
    missing = [name for name in ("id", "path") if name not in names]
    if missing or len(set(names)) != len(names):
        raise DataError(f"{path}: columns {names} given; expected {', '.join(COLUMNS)}, each once")
    return {name: place for place, name in enumerate(names)}


def write_photos(path: str | Path, photos: Photos) -> None:
    """Write a photo table, atomically; paths relative to its folder, with forward slashes."""
    path = Path(path)
    folder = os.path.abspath(path.parent)
    with whole_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for photo_id, name, landmark in zip(
            photos.ids, photos.paths, photos.landmarks, strict=True
        ):
            writer.writerow((photo_id, _relative(name, folder), landmark))


def _relative(name: str, folder: str) -> str:
    try:
        return os.path.relpath(name, folder).replace(os.sep, "/")
    except ValueError:  # another drive
        return name
