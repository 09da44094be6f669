"""The gallery's SQLite file: its tables, how it is opened, and what SQLite's errors mean.

Words and sums of a photo stand in `photos`; its vector and its other blobs in tables of their own,
so that reading the one does not read the other. Distractors have the landmark ''.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from ...core.errors import BusyError, GalleryError
from ..checksums import Meta, damaged

FORMAT = 2

APPLICATION = 0x776C6D6B  # "wlmk" in the file's header: told apart from any other SQLite file

PAGE = 8192  # bytes: seven 512-d vectors a page

BUSY_SECONDS = 10.0

ERRORS = (sqlite3.Error, UnicodeDecodeError, OverflowError)  # what reading a damaged file raises

BLOBS = ("vectors", "keypoints", "looks", "thumbnails")  # in the order of the sums in `photos`

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
    """A connection with every guard on. Transactions are ours; any thread may use it.

    immutable: for a folder that may not be written to; the file must not change meanwhile.
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
    """An empty gallery in an empty file."""
    sql.execute(f"PRAGMA page_size = {PAGE}")
    sql.execute("PRAGMA journal_mode = WAL")
    sql.execute("BEGIN IMMEDIATE")
    sql.execute(f"PRAGMA application_id = {APPLICATION}")
    sql.execute(f"PRAGMA user_version = {FORMAT}")
    for statement in TABLES:
        sql.execute(statement)
    sql.execute(f"INSERT INTO meta VALUES (1{', ?' * (len(meta) + 1)})", (*meta, meta_sum))
    sql.execute("COMMIT")


def open_checked(path: Path) -> sqlite3.Connection:
    """A connection to an existing gallery, for reading only where its folder is closed to us.

    Raises GalleryError for a file that is none of ours, sqlite3.Error where SQLite cannot read.
    """
    try:
        return _connect_checked(path, immutable=False)
    except sqlite3.OperationalError as error:
        if not _closed_to_us(error, path):
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


def _closed_to_us(error: sqlite3.Error, path: Path) -> bool:
    """Is the file whole, but in a folder where its journal cannot be opened?"""
    text = str(error)
    if "unable to open" not in text and "readonly" not in text:
        return False
    journal = Path(f"{path}-wal")
    if journal.exists() and os.path.getsize(journal):
        raise GalleryError(
            f"{path}: its last changes stand in {journal.name} and the folder may not be written "
            "to; open it once where it may be"
        )
    return True


def check_format(sql: sqlite3.Connection, name: str) -> None:
    """Raises GalleryError unless this is a gallery of this format with exactly our tables."""
    application = sql.execute("PRAGMA application_id").fetchone()[0]
    version = sql.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION:
        raise GalleryError(f"{name}: not a gallery of format {FORMAT} of this program")
    if version != FORMAT:
        raise GalleryError(
            f"{name}: a gallery of format {version}; this program reads format {FORMAT}: index the "
            "photos again into a new folder (`whichlandmark index`)"
        )
    if tables_of(sql) != set(TABLES):
        raise damaged(name, "its tables are not those of a gallery")


def tables_of(sql: sqlite3.Connection) -> set[str]:
    """The statements that made the tables of this file."""
    return {row[0] for row in sql.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL")}


def translated(error: Exception, name: str) -> GalleryError:
    """SQLite's error in our words."""
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
