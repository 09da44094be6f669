"""Read and write photo tables, photos.csv (id, path, landmark, usage, tier)."""

from __future__ import annotations

import csv
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from ..core.errors import DataError
from ..core.files import atomic_file, open_csv
from ..core.json_options import unknown_message
from ..core.storage import absolute_path, relative_path
from ..core.types import SEPARATOR, Photos, require_table, true_landmarks

COLUMNS = ("id", "path", "landmark", "usage", "tier")

REQUIRED = ("id", "path")

OPTIONAL = COLUMNS[3:]  # written only when a photo has one

ROWS_PER_WRITE = 4096

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

# Zero-width and direction marks; not the joiner that Persian and Indian scripts need inside words.
_INVISIBLE = re.compile(r"[\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")

# Cyrillic and Greek letters that look like Latin ones.
_LOOK_ALIKES = str.maketrans(
    "АВЕЗКМНОРСТУХЅІЈаеорсухѕіјΑΒΕΖΗΙΚΜΝΟΡΤΥΧο", "ABE3KMHOPCTYXSIJaeopcyxsijABEZHIKMNOPTYXo"
)


def read_photos(path: str | Path) -> Photos:
    """Read a photo table, `photos.csv`. The photos themselves are not opened.

    Args:
        path: A UTF-8 csv file with the columns `id` and `path`, and, where photos have them,
            `landmark`, `usage` and `tier`. A path is relative to the csv's folder, and may be a URL
            or an address in a tar. A blank landmark = none; several true ones are written "A|B".

    Returns:
        The table, in the order of the lines.

    Raises:
        DataError: When the file is missing or is no such table; the message names the line.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise DataError(f"{path}: a folder, not a photo table; use read_folder({str(path)!r})")
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
            # Interned, so that equal names share memory.
            landmark = sys.intern(cells[landmark_at].strip()) if landmark_at >= 0 else ""
            if SEPARATOR in landmark:
                landmark = _join_landmarks(landmark, f"{path}, line {line}")
            usage = sys.intern(cells[usage_at].strip()) if usage_at >= 0 else ""
            tier = sys.intern(cells[tier_at].strip()) if tier_at >= 0 else ""
            yield line, photo_id, absolute_path(name, folder), landmark, usage, tier


def _join_landmarks(cell: str, where: str) -> str:
    """Remove spaces around the separators. Raises DataError for an empty name."""
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
            raise DataError(f"{path}, line 1: {unknown_message(name, COLUMNS, 'column')}")
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
