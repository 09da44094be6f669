"""What was fetched from the web, in one SQLite file, so that an interrupted run goes on.

Holds the answers of the APIs by address and parameters, and a row for each photo. One process has
the file at a time; what it has written survives its end at any moment. Nothing in it tells who
asked: the contact stands in a header only.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

from ..core.disks import unreadable, write_error
from ..core.errors import BusyError, DataError
from ..gallery.sqlite.schema import DISK_ERRORS, gallery_error

log = logging.getLogger("whichlandmark")

FORMAT = 1

APPLICATION_ID = 0x776C6377  # "wlcw" in the file's header: distinguishes it from other SQLite files

BUSY_SECONDS = 2.0

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


class AnswerCache:
    """A cache in a file, or in memory (path None), for any thread; close it with `close`."""

    def __init__(self, path: Path | None = None) -> None:
        """Open or create the file.

        Raises:
            BusyError: when another process has it open.
            DataError: when it is damaged, of another program or of a newer version, or its folder
                may not be written to.
        """
        self.name = str(path) if path else "cache in memory"
        self._lock = threading.RLock()
        if path:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise write_error(path, error) from None
            if path.is_dir():
                raise DataError(f"{path}: a folder; expected the name of a file")
            if fault := unreadable(path):  # SQLite does not say why it cannot open a file
                raise DataError(fault)
        with self._errors():
            self._sql = sqlite3.connect(
                path or ":memory:", timeout=BUSY_SECONDS, isolation_level=None,
                check_same_thread=False,
            )  # fmt: skip
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        with self._errors():
            # Locked from the first statement until it is closed or the process ends; the journal
            # needs no shared memory then, which network shares lack. A power cut may lose the last
            # changes, which are then asked for again; the end of the process loses none.
            self._sql.execute("PRAGMA locking_mode = EXCLUSIVE")
            for pragma in ("cell_size_check = ON", "trusted_schema = OFF", "synchronous = NORMAL"):
                self._sql.execute(f"PRAGMA {pragma}")
            application, version = self._pragma("application_id"), self._pragma("user_version")
            tables = {row[0] for row in self._sql.execute(
                "SELECT sql FROM sqlite_master WHERE sql NOT NULL")}  # fmt: skip
            fresh = not tables and not application and not version
            if not fresh and application != APPLICATION_ID:
                raise DataError(
                    f"{self.name}: an SQLite file of another program; choose another folder"
                )
            if version > FORMAT:
                raise DataError(
                    f"{self.name}: written by a newer version of this program (format {version}; "
                    f"this one reads format {FORMAT}): use that version, or another folder"
                )
            if not fresh and tables != set(TABLES):
                raise self._damaged("its tables are not those of a cache")
            self._sql.execute("PRAGMA journal_mode = WAL")
            if fresh:
                with self._transaction():
                    self._sql.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    self._sql.execute(f"PRAGMA user_version = {FORMAT}")
                    for statement in TABLES:
                        self._sql.execute(statement)
            with self._transaction():  # takes the lock, also where nothing was written
                pass

    def answer(self, url: str, params: Mapping[str, str]) -> bytes | None:
        """The answer to a request; None = it was not stored."""
        with self._lock, self._errors():
            row = self._sql.execute(
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
        with self._transaction():
            self._sql.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", row)

    def photo(self, page: int) -> FetchedPhoto | None:
        """The row of a photo, by the id of its page; None = there is none."""
        with self._lock, self._errors():
            row = self._sql.execute(
                f"SELECT {_PHOTO_COLUMNS} FROM media WHERE page = ?", (page,)
            ).fetchone()
        return None if row is None else FetchedPhoto(*row)

    def record_photo(self, photo: FetchedPhoto) -> None:
        """Store the row of a photo, in place of an older one."""
        with self._transaction():
            self._sql.execute(
                f"INSERT OR REPLACE INTO media ({_PHOTO_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                astuple(photo),
            )

    def close(self) -> None:
        """Close the file; the cache cannot be used afterwards."""
        with self._lock:
            self._sql.close()

    def _pragma(self, name: str) -> int:
        return int(self._sql.execute(f"PRAGMA {name}").fetchone()[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, self._errors():
            self._sql.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._sql.execute("COMMIT")
            except BaseException:
                if self._sql.in_transaction:  # a full disk has ended it already
                    self._sql.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise errors of SQLite as errors of this package."""
        try:
            yield
        except sqlite3.ProgrammingError as error:
            raise DataError(f"{self.name}: {error}") from None  # closed meanwhile
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", "")
            if name == "SQLITE_FULL":
                raise DataError(
                    f"{self.name}: the disk is full; free some space, then give the same command "
                    "again: it goes on where it stopped"
                ) from None
            if name.startswith(DISK_ERRORS):
                known = gallery_error(error, self.name)
                raise known if isinstance(known, BusyError) else DataError(str(known)) from None
            raise self._damaged(str(error)) from None

    def _damaged(self, reason: str) -> DataError:
        return DataError(
            f"{self.name}: damaged, or no file of this program ({reason}); move it away, then give "
            "the same command again: everything is asked for anew"
        )


def _query(params: Mapping[str, str]) -> str:
    return urlencode(sorted(params.items()))


def _key(url: str, params: Mapping[str, str]) -> bytes:
    return hashlib.sha256(f"{url}?{_query(params)}".encode()).digest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
