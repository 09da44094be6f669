"""Fetch the chosen photos into their files, and write the tables that name them.

A file's path is made of the landmark's id and the page's id alone. It is complete as soon as it is
there, so that a run that was killed between a file and its row in the database takes the file over.
The tables hold no times and are sorted: they are the same however often a run was interrupted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import DataError, ImageError, NetworkError
from ..core.files import atomic_file
from ..core.images import content_hash, read_image
from ..core.results import require_own_result
from ..core.types import SEPARATOR, Progress
from ..data.import_tools import listing_problems
from ..data.table import write_rows
from ..gallery.records import Credit, LandmarkRecord, write_credits, write_landmarks
from .answer_cache import FetchedPhoto
from .http_answers import GOES_ON, RefusedError
from .wikimedia import PHOTO_TYPES, CommonsPhoto

if TYPE_CHECKING:
    from .http_client import PoliteClient

CONNECTIONS = 2

MAX_PICTURE_BYTES = 25_000_000

SECONDS_TO_END = 3.0  # for photos that are being fetched, when a run is interrupted

MAX_IN_A_ROW = 10  # photos that fail, but are not gone: then the server is at fault

TABLES = {
    "photos.csv": "photo table",
    "landmarks.csv": "table of landmark records",
    "credits.csv": "table of credits",
    "distractors.csv": "photo table",
    "problems.csv": "list of problems",
}

_OWN = re.compile(r"(photos/Q[0-9]+|distractors)/[0-9]+\.(jpg|png|webp)", re.ASCII)

Problem = tuple[str, str, str]  # kind, name, detail


@dataclass(frozen=True)
class Row:
    """A photo of the tables. labels: ids of its landmarks, () = a distractor."""

    photo: CommonsPhoto
    labels: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """Its file, relative to the folder of the tables."""
        folder = f"photos/{self.labels[0]}" if self.labels else "distractors"
        return f"{folder}/{self.photo.pageid}{PHOTO_TYPES[self.photo.mime]}"

    @property
    def id(self) -> str:
        """Its id in the tables."""
        return f"commons:{self.photo.pageid}"


def fetch(
    rows: Sequence[Row], out: Path, client: PoliteClient, progress: Progress
) -> dict[int, str]:
    """Fetch the photos that are not there yet, over two connections.

    Returns:
        Page id → why there is no photo, for those that could not be fetched or decoded.

    Raises:
        NetworkError: when the server cannot be used, or refuses many photos in a row; what was
            fetched stays.
        DataError: when the folder cannot be written to.
    """
    failed: dict[int, str] = {}
    done = in_a_row = 0
    progress(0, len(rows))
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        waiting = {pool.submit(_fetch_one, row, out, client): row.photo.pageid for row in rows}
        try:
            for future in as_completed(waiting):
                reason, is_gone = future.result()
                if reason:
                    failed[waiting[future]] = reason
                in_a_row = 0 if is_gone or not reason else in_a_row + 1
                if in_a_row == MAX_IN_A_ROW:
                    raise NetworkError(
                        f"{in_a_row} photos in a row could not be fetched, the last one because "
                        f"{reason.removesuffix(f'; {GOES_ON}')}; {GOES_ON}"
                    )
                done += 1
                progress(done, len(rows))
        except BaseException:
            for future in waiting:
                future.cancel()
            wait([one for one in waiting if not one.cancelled()], timeout=SECONDS_TO_END)
            client.close()  # ends what is not done by then
            raise
    return failed


def _fetch_one(row: Row, out: Path, client: PoliteClient) -> tuple[str, bool]:
    """Have one photo in its file and in the database.

    Returns (why it is not there, "" = it is; whether that says nothing of other photos).
    """
    photo, target = row.photo, out / row.path
    known = client.cache.photo(photo.pageid)
    if known and known.state == "done" and (not photo.sha1 or known.sha1 == photo.sha1):
        if known.path != row.path and _OWN.fullmatch(known.path) and not target.exists():
            _link(out / known.path, target)
        with suppress(OSError):
            if target.stat().st_size == known.bytes:
                if known.path != row.path:
                    client.cache.record_photo(replace(known, path=row.path))
                return "", False
    elif known is None and target.is_file() and not _decoding_fault(target):
        data = target.read_bytes()
        client.cache.record_photo(_fetched(row, content_hash(data), len(data)))
        return "", False
    try:
        media = client.download(photo.url, target, max_bytes=MAX_PICTURE_BYTES, what=row.id)
    except RefusedError as error:
        return str(error).removeprefix(f"{row.id}: "), error.status in (404, 410)
    fault = _decoding_fault(target)
    if photo.original and photo.sha1 and media.sha1 != photo.sha1:
        fault = "its bytes are not those that Commons names (sha1); --refresh asks for it again"
    if fault:
        target.unlink(missing_ok=True)
        return fault, False
    client.cache.record_photo(_fetched(row, media.sha256, media.bytes))
    return "", False


def _fetched(row: Row, sha256: str, size: int) -> FetchedPhoto:
    return FetchedPhoto(row.photo.pageid, row.photo.url, row.path, row.photo.sha1, sha256, size,
                        "done")  # fmt: skip


def _link(known: Path, target: Path) -> None:
    """Give a photo that is there under another landmark a second name; a copy where links fail."""
    with suppress(FileNotFoundError):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(known, target)
        except FileNotFoundError:
            raise
        except OSError:
            data = known.read_bytes()
            with atomic_file(target) as temporary:
                temporary.write_bytes(data)


def _decoding_fault(path: Path) -> str:
    """Why a file is no photo that can be decoded, "" = it is one."""
    try:
        read_image(path)
    except ImageError as error:
        return str(error).removeprefix(f"{path}: ")
    return ""


def write_tables(
    out: Path,
    photos: Iterable[Row],
    distractors: Iterable[Row],
    records: Mapping[str, LandmarkRecord],
    problems: Iterable[Problem],
) -> None:
    """Write all tables, sorted. records: id → landmark; only those with a photo are written.

    Raises:
        DataError: when a photo is among photos and distractors, because a recognizer would learn
            that it shows nothing.
    """
    named = sorted(photos, key=lambda row: ([_number(one) for one in row.labels], row.photo.pageid))
    others = sorted(distractors, key=lambda row: row.photo.pageid)
    both = {row.photo.pageid for row in named} & {row.photo.pageid for row in others}
    if both or any(row.labels for row in others) or not all(row.labels for row in named):
        raise DataError(f"{out}: photos that would be both of a landmark and distractors: {both}")
    for left_over in (file for name in TABLES for file in out.glob(f".{name}.????????")):
        with suppress(OSError):  # of a run that was killed
            left_over.unlink()
    write_rows(out / "photos.csv", ((r.id, r.path, SEPARATOR.join(r.labels)) for r in named))
    if others:
        write_rows(out / "distractors.csv", ((row.id, row.path, "") for row in others))
    else:
        require_own_result(out / "distractors.csv", TABLES["distractors.csv"])
        (out / "distractors.csv").unlink(missing_ok=True)
    shown = sorted({label for row in named for label in row.labels}, key=_number)
    write_landmarks(out / "landmarks.csv", [records[label] for label in shown])
    write_credits(out / "credits.csv", {row.id: _credit(row.photo) for row in [*named, *others]})
    with listing_problems(out / "problems.csv") as listed:
        for kind, name, detail in sorted({*problems}):
            listed.add(kind, name, detail)


def not_in_tables(out: Path, rows: Iterable[Row]) -> int:
    """How many photos of earlier runs lie in the folder, and are in no table."""
    named = {row.path for row in rows}
    there = [*out.glob("photos/*/*"), *out.glob("distractors/*")]
    paths = (path.relative_to(out).as_posix() for path in there)
    return sum(bool(_OWN.fullmatch(path)) and path not in named for path in paths)


def _credit(photo: CommonsPhoto) -> Credit:
    return Credit(author=photo.author, licence=photo.licence, licence_url=photo.licence_url,
                  source=photo.source)  # fmt: skip


def _number(label: str) -> int:
    return int(label[1:])
