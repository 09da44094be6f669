"""The ids of the photos beside a file of vectors that has no place for them."""

from __future__ import annotations

import json
from pathlib import Path

from ...core.csv_files import open_csv
from ...core.errors import DataError
from ...core.files import read_json

MAX_IDS = 50_000_000  # of one file

MAX_FACTS_BYTES = 1_000_000  # of a .about.json

MAX_ID_LENGTH = 4096  # bytes

ID_FILES = (  # beside a file of vectors NAME.npy, in the order in which they are looked for
    "{}.ids.txt", "{}.ids.json", "{}.ids.csv", "{}.txt", "{}.json", "{}.csv", "{}_ids.txt",
    "{}_names.txt",
)  # fmt: skip

ID_COLUMNS = ("id", "ids", "image_id", "name", "image", "path", "filename")


def ids_beside(path: Path) -> list[str] | None:
    """The ids in a file beside the vectors; None = there is no such file."""
    for name in ID_FILES:
        file = path.with_name(name.format(path.stem))
        if not file.is_file():
            continue
        if file.suffix == ".json":
            found = json.loads(file.read_bytes())
            if isinstance(found, dict):
                found = found.get("ids", found.get("names"))
            return checked_ids(found, file)
        if file.suffix == ".csv":
            with open_csv(file) as (header, rows):
                lower = [column.lower() for column in header]
                column = next((lower.index(each) for each in ID_COLUMNS if each in lower), None)
                if column is None:
                    raise DataError(
                        f"{file}: columns {', '.join(header)}; expected one of "
                        f"{', '.join(ID_COLUMNS)} with the ids of the vectors in {path.name}"
                    )
                return checked_ids([cells[column] for _, cells in rows], file)
        with open(file, encoding="utf-8-sig") as text:
            return checked_ids([line.rstrip("\r\n") for line in text if line.strip()], file)
    return None


def facts_beside(path: Path) -> dict[str, str]:
    """What NAME.about.json says of the vectors, as `write` writes it; {} = there is none."""
    file = path.with_name(f"{path.stem}.about.json")
    if not file.is_file() or file.stat().st_size > MAX_FACTS_BYTES:
        return {}
    said = read_json(file)
    return {key: value[:1000] for key, value in said.items() if isinstance(value, str)}


def checked_ids(ids: object, path: Path) -> list[str]:
    if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
        raise DataError(f"{path}: expected a list of ids as text, one for each vector")
    if len(ids) > MAX_IDS:
        raise DataError(f"{path}: {len(ids):,} ids; at most {MAX_IDS:,} in one file: split it")
    if longest := next((each for each in ids if len(each) > MAX_ID_LENGTH), None):
        raise DataError(f"{path}: an id of {len(longest):,} characters, {longest[:40]!r} …")
    return ids
