"""What was fetched from the web, in one SQLite file, so that an interrupted run goes on.

Holds the answers of the APIs by address and parameters, and a row for each photo. One process has
the file at a time; what it has written survives its end at any moment. Nothing in it tells who
asked: the contact stands in a header only.
"""

from __future__ import annotations

import hashlib
import logging
import zlib
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

from ..gallery.sqlite.own_file import FileKind, OwnSqliteFile

log = logging.getLogger("whichlandmark")

FORMAT = 1

APPLICATION_ID = 0x776C6377  # "wlcw" in the file's header: distinguishes it from other SQLite files

MAX_ANSWER_BYTES = 32_000_000  # of one answer, before it is compressed

TABLES = (
    "CREATE TABLE answers (key BLOB PRIMARY KEY, address TEXT NOT NULL, asked TEXT NOT NULL, "
    "answer BLOB NOT NULL)",
    "CREATE TABLE media (page INTEGER PRIMARY KEY, url TEXT NOT NULL, path TEXT NOT NULL, "
    "sha1 TEXT NOT NULL, sha256 TEXT NOT NULL, bytes INTEGER NOT NULL, state TEXT NOT NULL, "
    "why TEXT NOT NULL)",
)


@dataclass(frozen=True)
class FetchedPhoto:
    """A row of the table of photos.

    page: id of its page. url: it was fetched from. path: of the file, relative to the folder.
    sha1: of the original, as the API tells it; a thumbnail has another. sha256, bytes: of the file.
    state: a word of the caller, such as "done" or "failed". why: of a photo that was not fetched.
    """

    page: int
    url: str
    path: str
    sha1: str
    sha256: str = ""
    bytes: int = 0
    state: str = ""
    why: str = ""


_PHOTO_COLUMNS = ", ".join(field.name for field in fields(FetchedPhoto))


CACHE = FileKind(
    APPLICATION_ID, FORMAT, TABLES, "a cache",
    "move it away, then give the same command again: everything is asked for anew",
)  # fmt: skip


class AnswerCache:
    """A cache in a file, or in memory (path None), for any thread; close it with `close`."""

    def __init__(self, path: Path | None = None) -> None:
        """Open or create the file; errors as in `OwnSqliteFile`."""
        self._file = OwnSqliteFile(path, CACHE)
        self.name = self._file.name

    def answer(self, url: str, params: Mapping[str, str]) -> bytes | None:
        """The answer to a request; None = it was not stored."""
        with self._file.reading() as sql:
            row = sql.execute(
                "SELECT answer FROM answers WHERE key = ?", (_key(url, params),)
            ).fetchone()
        if row is None:
            return None
        try:
            unpacked = zlib.decompressobj()
            data = unpacked.decompress(row[0], MAX_ANSWER_BYTES + 1)
            if not unpacked.eof or len(data) > MAX_ANSWER_BYTES:
                raise zlib.error("incomplete, or too large")
        except (zlib.error, TypeError) as error:
            log.warning("%s: a damaged answer is asked for again (%s)", self.name, error)
            return None
        return data

    def keep_answer(self, url: str, params: Mapping[str, str], data: bytes) -> None:
        """Store the answer to a request, in place of an older one."""
        row = (_key(url, params), f"{url}?{_query(params)}", _now(), zlib.compress(data, 6))
        with self._file.transaction() as sql:
            sql.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", row)

    def photo(self, page: int) -> FetchedPhoto | None:
        """The row of a photo, by the id of its page; None = there is none."""
        with self._file.reading() as sql:
            row = sql.execute(
                f"SELECT {_PHOTO_COLUMNS} FROM media WHERE page = ?", (page,)
            ).fetchone()
        return None if row is None else FetchedPhoto(*row)

    def record_photo(self, photo: FetchedPhoto) -> None:
        """Store the row of a photo, in place of an older one."""
        with self._file.transaction() as sql:
            sql.execute(
                f"INSERT OR REPLACE INTO media ({_PHOTO_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                astuple(photo),
            )

    def close(self) -> None:
        """Close the file; the cache cannot be used afterwards."""
        self._file.close()


def _query(params: Mapping[str, str]) -> str:
    return urlencode(sorted(params.items()))


def _key(url: str, params: Mapping[str, str]) -> bytes:
    return hashlib.sha256(f"{url}?{_query(params)}".encode()).digest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
