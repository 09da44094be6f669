"""An SQLite file that one process has at a time, such as a cache or the state of a long run.

What was committed survives the end of the process at any moment. Locked from the first statement
until it is closed; its journal needs no shared memory then, which network shares lack.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ...core.disks import unreadable, write_error
from ...core.errors import BusyError, DataError
from .schema import DISK_ERRORS, SQLITE_ERRORS, gallery_error

BUSY_SECONDS = 2.0


@dataclass(frozen=True)
class FileKind:
    """What such a file is, and what to tell its user.

    application_id, format: in the file's header; a file of another program, or of a newer format,
    is refused. tables: the statements that make them. what: "a cache". when_damaged: what to do
    with a damaged one, as "move it away, then give the same command again". durable: also a power
    cut loses no commit.
    """

    application_id: int
    format: int
    tables: tuple[str, ...]
    what: str
    when_damaged: str
    durable: bool = False


class OwnSqliteFile:
    """Such a file, or one in memory (path None), for any thread; close it with `close`."""

    def __init__(self, path: Path | None, kind: FileKind) -> None:
        """Open or create the file, readable by its owner only.

        Raises:
            BusyError: When another process has it open.
            DataError: When it is damaged, of another program or of a newer version, or its folder
                may not be written to.
        """
        self.name = str(path) if path else f"{kind.what} in memory"
        self._kind, self._lock = kind, threading.RLock()
        if path:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise write_error(path, error) from None
            if path.is_dir():
                raise DataError(f"{path}: a folder; expected the name of a file")
            if fault := unreadable(path):  # SQLite does not say why it cannot open a file
                raise DataError(fault)
            with suppress(OSError):  # SQLite says it; its journal takes the mode of the file
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        with self.errors():
            self.sql = sqlite3.connect(
                path or ":memory:", timeout=BUSY_SECONDS, isolation_level=None,
                check_same_thread=False,
            )  # fmt: skip
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        kind = self._kind
        with self.errors():
            self.sql.execute("PRAGMA locking_mode = EXCLUSIVE")
            # With NORMAL a power cut may lose the last commits; the end of the process loses none.
            flushed = "FULL" if kind.durable else "NORMAL"
            for pragma in ("cell_size_check = ON", "trusted_schema = OFF",
                           f"synchronous = {flushed}"):  # fmt: skip
                self.sql.execute(f"PRAGMA {pragma}")
            application, version = self._pragma("application_id"), self._pragma("user_version")
            tables = {row[0] for row in self.sql.execute(
                "SELECT sql FROM sqlite_master WHERE sql NOT NULL")}  # fmt: skip
            fresh = not tables and not application and not version
            if not fresh and application != kind.application_id:
                raise DataError(
                    f"{self.name}: an SQLite file of another program; choose another folder"
                )
            if version > kind.format:
                raise DataError(
                    f"{self.name}: written by a newer version of this program (format {version}; "
                    f"this one reads format {kind.format}): use that version, or another folder"
                )
            if not fresh and tables != set(kind.tables):
                raise self.damaged(f"its tables are not those of {kind.what}")
            self.sql.execute("PRAGMA journal_mode = WAL")
            if fresh:
                with self.transaction():
                    self.sql.execute(f"PRAGMA application_id = {kind.application_id}")
                    self.sql.execute(f"PRAGMA user_version = {kind.format}")
                    for statement in kind.tables:
                        self.sql.execute(statement)
            with self.transaction():  # takes the lock, also where nothing was written
                pass

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A write transaction of one thread; rolled back where its block raises."""
        with self._lock, self.errors():
            self.sql.execute("BEGIN IMMEDIATE")
            try:
                yield self.sql
                self.sql.execute("COMMIT")
            except BaseException:
                if self.sql.in_transaction:  # a full disk has ended it already
                    self.sql.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, to read from in one thread."""
        with self._lock, self.errors():
            yield self.sql

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Raise errors of SQLite as errors of this package."""
        try:
            yield
        except sqlite3.ProgrammingError as error:
            raise DataError(f"{self.name}: {error}") from None  # closed meanwhile
        except SQLITE_ERRORS as error:
            name = getattr(error, "sqlite_errorname", "")
            if name == "SQLITE_FULL":
                raise DataError(
                    f"{self.name}: the disk is full; free some space, then give the same command "
                    "again: it goes on where it stopped"
                ) from None
            if name.startswith(DISK_ERRORS):
                known = gallery_error(error, self.name)
                raise known if isinstance(known, BusyError) else DataError(str(known)) from None
            raise self.damaged(str(error)) from None

    def damaged(self, reason: str) -> DataError:
        """The error for a file whose content is not as it was written."""
        return DataError(
            f"{self.name}: damaged, or no file of this program ({reason}); "
            f"{self._kind.when_damaged}"
        )

    def close(self) -> None:
        """Close the file; it cannot be used afterwards."""
        with self._lock:
            self.sql.close()

    def _pragma(self, name: str) -> int:
        return int(self.sql.execute(f"PRAGMA {name}").fetchone()[0])
