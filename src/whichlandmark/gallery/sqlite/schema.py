"""Tables of the SQLite gallery, connections, and the meaning of SQLite's errors.

Texts and checksums of a photo are in table `photos`; its vector and its other blobs have their own
tables, so that each can be read without the others. Distractors have the landmark ''.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from ...core.errors import BusyError, GalleryError
from ..checksums import Meta, damaged

FORMAT = 2

APPLICATION_ID = 0x776C6D6B  # "wlmk" in the file's header, unlike any other SQLite file

PAGE_BYTES = 8192  # holds seven 512-d vectors

BUSY_SECONDS = 10.0

SQLITE_ERRORS = (
    sqlite3.Error,
    UnicodeDecodeError,
    OverflowError,
)  # what reading a damaged file raises

# Tables of blobs, in the order of the checksums in `photos`; looks: perceptual fingerprints.
BLOBS = ("vectors", "keypoints", "looks", "thumbnails")

TABLES = (
    "CREATE TABLE meta (one INTEGER PRIMARY KEY, embedder TEXT NOT NULL, dim INTEGER NOT NULL, "
    "generation INTEGER NOT NULL, next_row INTEGER NOT NULL, photos INTEGER NOT NULL, "
    "photo_digest INTEGER NOT NULL, landmarks INTEGER NOT NULL, landmark_digest INTEGER NOT NULL, "
    "stale INTEGER NOT NULL, sum INTEGER NOT NULL)",
    "CREATE TABLE photos (row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, path TEXT NOT NULL, "
    "landmark TEXT NOT NULL, hash TEXT NOT NULL, stamp TEXT NOT NULL, author TEXT NOT NULL, "
    "licence TEXT NOT NULL, vectors INTEGER, keypoints INTEGER, looks INTEGER, "
    "thumbnails INTEGER, sum INTEGER NOT NULL)",
    "CREATE INDEX photos_by_landmark ON photos (landmark)",
    "CREATE TABLE landmarks (name TEXT PRIMARY KEY, record TEXT NOT NULL, sum INTEGER NOT NULL)",
    *(
        f"CREATE TABLE {kind} (row INTEGER PRIMARY KEY REFERENCES photos (row) ON DELETE CASCADE, "
        "data BLOB NOT NULL)"
        for kind in BLOBS
    ),
)


def connect(path: Path | None, *, immutable: bool = False) -> sqlite3.Connection:
    """Open a connection, with SQLite's checks on, without implicit transactions, for any thread.

    immutable: for a read-only folder; the file must not change while it is open.
    """
    target = f"{path.absolute().as_uri()}?immutable=1" if immutable and path else path or ":memory:"
    sql = sqlite3.connect(
        target, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, uri=immutable
    )
    try:
        for pragma in ("synchronous = FULL", "secure_delete = ON", "foreign_keys = ON",
                       "cell_size_check = ON", "trusted_schema = OFF"):  # fmt: skip
            sql.execute(f"PRAGMA {pragma}")
    except BaseException:
        sql.close()
        raise
    return sql


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
    try:
        return _connect_checked(path, immutable=False)
    except sqlite3.OperationalError as error:
        if not _journal_is_unwritable(error, path):
            raise
    return _connect_checked(path, immutable=True)


def _connect_checked(path: Path, *, immutable: bool) -> sqlite3.Connection:
    sql = connect(path, immutable=immutable)
    try:
        check_format(sql, str(path))
    except BaseException:
        sql.close()
        raise
    return sql


def _journal_is_unwritable(error: sqlite3.Error, path: Path) -> bool:
    """Whether opening failed because the folder is read-only, and the file is complete.

    Raises GalleryError when changes are left in the journal, because SQLite cannot read them then.
    """
    text = str(error)
    if "unable to open" not in text and "readonly" not in text:
        return False
    journal = Path(f"{path}-wal")
    if journal.exists() and os.path.getsize(journal):
        raise GalleryError(
            f"{path}: its last changes are in {journal.name}, which can only be read in a folder "
            "with write permission; open it there once"
        )
    return True


def check_format(sql: sqlite3.Connection, name: str) -> None:
    """Raise GalleryError unless this is a gallery of this format with exactly these tables."""
    application = sql.execute("PRAGMA application_id").fetchone()[0]
    version = sql.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION_ID:
        raise GalleryError(f"{name}: not a gallery of format {FORMAT} of this program")
    if version != FORMAT:
        raise GalleryError(
            f"{name}: a gallery of format {version}; this program reads format {FORMAT}: index the "
            "photos again into a new folder (`whichlandmark index`)"
        )
    tables = {row[0] for row in sql.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL")}
    if tables != set(TABLES):
        raise damaged(name, "its tables are not those of a gallery")


def gallery_error(error: Exception, name: str) -> GalleryError:
    """The GalleryError for an error of SQLite; BusyError when the file is locked."""
    text = str(error)
    if "locked" in text or "busy" in text:
        return BusyError(f"{name}: another process is writing to it; wait for it, then try again")
    if "readonly" in text:
        return GalleryError(f"{name}: the file or its folder may not be written to ({text})")
    if "disk is full" in text:
        return GalleryError(f"{name}: the disk is full; nothing of this batch was written")
    if "not a database" in text:
        return GalleryError(f"{name}: damaged or not a gallery ({text})")
    return damaged(name, f"or not a gallery: {text}")
