"""Tables of the SQLite gallery, connections, and the meaning of SQLite's errors.

Texts and checksums of a photo are in table `photos`; its vector and its other blobs have their own
tables, so that each can be read without the others. Distractors have the landmark ''.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from ...core.disks import can_flush, can_lock, no_locks, unreadable
from ...core.errors import BusyError, GalleryError
from ..checksums import BLOBS, Meta, damaged

log = logging.getLogger("whichlandmark")

FORMAT = 4

APPLICATION_ID = 0x776C6D6B  # "wlmk" in the file's header, unlike any other SQLite file

PAGE_BYTES = 8192  # holds seven 512-d vectors

BUSY_SECONDS = 10.0

SQLITE_ERRORS = (
    sqlite3.Error,
    UnicodeDecodeError,
    OverflowError,
)  # what reading a damaged file raises

# Names of SQLite's errors that the disk or another process causes; none of them is damage.
DISK_ERRORS = ("SQLITE_BUSY", "SQLITE_CANTOPEN", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_LOCKED",
               "SQLITE_PROTOCOL", "SQLITE_READONLY")  # fmt: skip

READABLE_FORMAT = 3  # read as it is where it may not be written to: no photo has a licence_url

LICENCE_URL = ", licence_url TEXT NOT NULL DEFAULT ''"

TABLES = (
    "CREATE TABLE meta (one INTEGER PRIMARY KEY, embedder TEXT NOT NULL, dim INTEGER NOT NULL, "
    "generation INTEGER NOT NULL, next_row INTEGER NOT NULL, photos INTEGER NOT NULL, "
    "photo_digest INTEGER NOT NULL, landmarks INTEGER NOT NULL, landmark_digest INTEGER NOT NULL, "
    "stale INTEGER NOT NULL, sum INTEGER NOT NULL)",
    "CREATE TABLE photos (row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, path TEXT NOT NULL, "
    "landmark TEXT NOT NULL, hash TEXT NOT NULL, stamp TEXT NOT NULL, author TEXT NOT NULL, "
    "licence TEXT NOT NULL, vectors INTEGER, keypoints INTEGER, looks INTEGER, "
    f"thumbnails INTEGER, sum INTEGER NOT NULL, source TEXT NOT NULL DEFAULT ''{LICENCE_URL})",
    "CREATE INDEX photos_by_landmark ON photos (landmark)",
    "CREATE INDEX photos_by_hash ON photos (hash)",
    "CREATE TABLE landmarks (name TEXT PRIMARY KEY, record TEXT NOT NULL, sum INTEGER NOT NULL)",
    *(
        f"CREATE TABLE {kind} (row INTEGER PRIMARY KEY REFERENCES photos (row) ON DELETE CASCADE, "
        "data BLOB NOT NULL)"
        for kind in BLOBS
    ),
)

# Format → the statements that bring a gallery of it to the next one.
CHANGES = {
    2: ("ALTER TABLE photos ADD COLUMN source TEXT NOT NULL DEFAULT ''",
        "CREATE INDEX photos_by_hash ON photos (hash)"),
    3: ("ALTER TABLE photos ADD COLUMN licence_url TEXT NOT NULL DEFAULT ''",),
}  # fmt: skip


def connect(path: Path | None, *, immutable: bool = False) -> sqlite3.Connection:
    """Open a connection, with SQLite's checks on, without implicit transactions, for any thread.

    immutable: for a read-only folder; the file must not change while it is open.
    """
    target = f"{path.absolute().as_uri()}?immutable=1" if immutable and path else path or ":memory:"
    sql = sqlite3.connect(
        target, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, uri=immutable
    )
    flushed = path is None or immutable or _flushes(path.absolute().parent)
    try:
        for pragma in (f"synchronous = {'FULL' if flushed else 'OFF'}", "secure_delete = ON",
                       "foreign_keys = ON", "cell_size_check = ON", "trusted_schema = OFF",
                       f"query_only = {'ON' if immutable else 'OFF'}"):  # fmt: skip
            sql.execute(f"PRAGMA {pragma}")
    except BaseException:
        sql.close()
        raise
    return sql


@cache  # so that the warning comes once
def _flushes(folder: Path) -> bool:
    if can_flush(folder):
        return True
    log.warning(
        "%s: its file system cannot flush files, so a power cut may lose the last changes", folder
    )
    return False


def make_tables(sql: sqlite3.Connection, meta: Meta, meta_sum: int) -> None:
    """Create the tables of an empty gallery in an empty file."""
    sql.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    sql.execute("PRAGMA journal_mode = WAL")
    sql.execute("BEGIN IMMEDIATE")
    sql.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    sql.execute(f"PRAGMA user_version = {FORMAT}")
    for statement in TABLES:
        sql.execute(statement)
    sql.execute(f"INSERT INTO meta VALUES (1{', ?' * (len(meta) + 1)})", (*meta, meta_sum))
    sql.execute("COMMIT")


def open_checked(path: Path) -> sqlite3.Connection:
    """Open an existing gallery, read-only if its folder may not be written to.

    Raises:
        GalleryError: when the file is not a gallery of this format.
        sqlite3.Error: when SQLite cannot read it.
    """
    if fault := unreadable(path):  # SQLite does not say why it cannot open a file
        raise GalleryError(fault)
    try:
        return _connect_checked(path, immutable=False)
    except sqlite3.OperationalError as error:
        if not _journal_is_unwritable(error, path):
            raise
    return _connect_checked(path, immutable=True)


def _connect_checked(path: Path, *, immutable: bool) -> sqlite3.Connection:
    sql = connect(path, immutable=immutable)
    try:
        if _format_of(sql, str(path)) in CHANGES and not immutable:
            _bring_to_format(sql)
        version = _format_of(sql, str(path))
        if version != FORMAT and not (immutable and version == READABLE_FORMAT):
            how = "open it once where it may be written to" if version in CHANGES else (
                "index the photos again into a new folder (`whichlandmark index`)"
            )  # fmt: skip
            raise GalleryError(
                f"{path}: a gallery of format {version}; this program reads format {FORMAT}: {how}"
            )
        tables = {row[0] for row in sql.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL")}
        expected = TABLES if version == FORMAT else (one.replace(LICENCE_URL, "") for one in TABLES)
        if tables != set(expected):
            raise damaged(str(path), "its tables are not those of a gallery")
    except BaseException:
        sql.close()
        raise
    return sql


def has_licence_urls(sql: sqlite3.Connection) -> bool:
    """Whether the table of photos has the column that READABLE_FORMAT lacks."""
    return bool(sql.execute("PRAGMA user_version").fetchone()[0] != READABLE_FORMAT)


def _format_of(sql: sqlite3.Connection, name: str) -> int:
    """The format of a gallery. Raises GalleryError for another file."""
    if sql.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise GalleryError(f"{name}: not a gallery of format {FORMAT} of this program")
    return int(sql.execute("PRAGMA user_version").fetchone()[0])


def _bring_to_format(sql: sqlite3.Connection) -> None:
    """Bring a gallery of an older format to FORMAT, in one transaction."""
    with sql:  # commits, or rolls back
        sql.execute("BEGIN IMMEDIATE")
        version = sql.execute("PRAGMA user_version").fetchone()[0]  # another process may be first
        while version in CHANGES:
            for statement in CHANGES[version]:
                sql.execute(statement)
            version += 1
            sql.execute(f"PRAGMA user_version = {version}")


def _journal_is_unwritable(error: sqlite3.Error, path: Path) -> bool:
    """Whether opening failed because the folder is read-only, and the file is complete.

    Raises GalleryError when changes are left in the journal, because SQLite cannot read them then.
    """
    text = str(error)
    unlocked = lacks_locks(error, path)
    if "unable to open" not in text and "readonly" not in text and not unlocked:
        return False
    journal = Path(f"{path}-wal")
    if journal.exists() and os.path.getsize(journal):
        raise GalleryError(
            f"{path}: its last changes are in {journal.name}, which can only be read in a folder "
            "with write permission and file locks; open it there once"
        )
    if unlocked:
        log.warning(
            "%s: opened for reading only, because its file system has no locks (%s); let no other "
            "process change it meanwhile", path, error
        )  # fmt: skip
    return True


def lacks_locks(error: Exception, path: Path) -> bool:
    """Whether the file system lacks locks or shared memory, which SQLite needs."""
    name = getattr(error, "sqlite_errorname", "")
    if name == "SQLITE_BUSY":  # also where the file system answers that it has no locks
        return not can_lock(path.absolute().parent)
    kinds = ("LOCK", "SHM")  # as in SQLITE_IOERR_RDLOCK, SQLITE_IOERR_SHMMAP
    return name == "SQLITE_PROTOCOL" or (
        name.startswith("SQLITE_IOERR") and any(kind in name for kind in kinds)
    )


@contextmanager
def gallery_errors(name: str) -> Iterator[None]:
    """Raise errors of SQLite as GalleryError."""
    try:
        yield
    except SQLITE_ERRORS as error:
        raise gallery_error(error, name) from None


def gallery_error(error: Exception, name: str) -> GalleryError:
    """The GalleryError for an error of SQLite; BusyError when the file is locked."""
    text = str(error)
    reason = f"{text}, {getattr(error, 'sqlite_errorname', type(error).__name__)}"
    if lacks_locks(error, Path(name)):
        return GalleryError(no_locks(Path(name).absolute().parent, reason))
    if "locked" in text or "busy" in text:
        return BusyError(f"{name}: another process is writing to it; wait for it, then try again")
    if "readonly" in text:
        return GalleryError(f"{name}: the file or its folder may not be written to ({text})")
    if "disk is full" in text:
        return GalleryError(f"{name}: the disk is full; nothing of this batch was written")
    if "unable to open" in text:
        return GalleryError(f"{name}: cannot be opened ({text}); may its folder be written to?")
    if getattr(error, "sqlite_errorname", "").startswith("SQLITE_IOERR"):
        return GalleryError(
            f"{name}: the disk or network share failed ({reason}); check it, then try again: "
            "nothing says that it is damaged"
        )
    if "not a database" in text:
        return GalleryError(f"{name}: damaged or not a gallery ({text})")
    return damaged(name, f"or not a gallery: {text}")
