"""Journal: what was done to each sidecar, written ahead, so that all of it can be undone exactly.

A sidecar has one entry: what it was without the items that are ours, and what these are. Before a
sidecar is touched, the change is durable in state/journal.sqlite; then a new file replaces the old
one; then the entry is updated. A change that a killed process left half done is settled by the
digest of the file when the journal is opened next.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import stat
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from shutil import copystat
from typing import Any, Self

from ..core.disks import flush, publish, read_error, special_kind, write_error
from ..core.errors import DataError
from ..core.files import valid_text
from ..gallery.sqlite.own_file import FileKind, OwnSqliteFile
from .xmp import Additions, Place, XmpError, read_xmp

JOURNAL_FILE = "journal.sqlite"

CHANGES_AT_ONCE = 32  # made durable together, because each time costs some milliseconds

MAX_SIDECAR_BYTES = 16_000_000  # larger ones are not read

_COLUMNS = "photos, labels, refused, original, mtime_ns, digest, wanted, added, repeated"

_MARKS = "?, ?, ?, ?, ?, ?, ?, ?, ?"

KIND = FileKind(
    0x776C6C6A,  # "wllj"
    1,
    (
        "CREATE TABLE library (path TEXT NOT NULL)",
        "CREATE TABLE entries (sidecar BLOB PRIMARY KEY, photos TEXT NOT NULL, "
        "labels TEXT NOT NULL, refused TEXT NOT NULL, original BLOB, mtime_ns INTEGER NOT NULL, "
        "digest TEXT NOT NULL, wanted TEXT NOT NULL, added TEXT NOT NULL, repeated TEXT NOT NULL, forgotten INTEGER NOT NULL DEFAULT 0)",
        "CREATE INDEX entries_by_digest ON entries (digest)",
        "CREATE TABLE changes (id INTEGER PRIMARY KEY, sidecar BLOB NOT NULL, "
        "before TEXT NOT NULL, after TEXT NOT NULL, photos TEXT, labels TEXT, refused TEXT, "
        "original BLOB, mtime_ns INTEGER, digest TEXT, wanted TEXT, added TEXT, repeated TEXT)",
        "CREATE TABLE albums (file BLOB PRIMARY KEY, folder BLOB NOT NULL, photo TEXT NOT NULL, "
        "proof TEXT NOT NULL)",
    ),
    "the journal of a photo library",
    "sidecars that it knows cannot be undone without it: restore it from a backup, or move it away "
    "to begin a new one",
    durable=True,
)


@dataclass(frozen=True)
class Entry:
    """What was done to one sidecar.

    Attributes:
        sidecar: Its absolute path.
        photos: The photos that it describes, as paths below the library.
        labels: The landmarks that were written, as labelled in the gallery.
        refused: Landmarks that were written once and taken out by others; not written again.
        original: Its content without our items; None = there was no sidecar.
        mtime_ns: When the original was last changed; 0 = there was no sidecar.
        digest: Of the content that we left, `digest_of`.
        wanted: Our items, as they were asked for.
        added: The same as they were written, for `remove`.
        repeated: Items of the photo itself that were repeated in the sidecar, because programs read
            a list in a sidecar in place of the photo's own.
        forgotten: Was it undone while the sidecar was not there?
    """

    sidecar: str
    photos: tuple[str, ...]
    labels: tuple[str, ...]
    refused: tuple[str, ...]
    original: bytes | None
    mtime_ns: int
    digest: str
    wanted: Additions
    added: Additions
    repeated: Additions
    forgotten: bool = False


@dataclass(frozen=True)
class SidecarChange:
    """A change of one sidecar. Contents are None where there is no file.

    Attributes:
        sidecar: Its absolute path.
        before: Its content now.
        after: Its content afterwards.
        entry: The entry afterwards; None = nothing of ours is left in it.
        mtime_ns: Time of last change to set; 0 = now.
    """

    sidecar: str
    before: bytes | None
    after: bytes | None
    entry: Entry | None
    mtime_ns: int = 0


def digest_of(content: bytes | None) -> str:
    """SHA-256 of a sidecar's content; "" where there is none."""
    return "" if content is None else hashlib.sha256(content).hexdigest()


def read_sidecar(path: str) -> bytes | None:
    """The content of a sidecar; None = there is none.

    Raises DataError for a link, for what is no plain file, and for what cannot be read.
    """
    try:
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode):
            raise DataError(
                f"{path}: is a link, and writing would change or part what it points to; put a "
                "copy of the file in its place"
            )
        if not stat.S_ISREG(found.st_mode):
            kind = special_kind(found.st_mode) or "a folder"
            raise DataError(f"{path}: is {kind}, not a sidecar")
        if found.st_size > MAX_SIDECAR_BYTES:
            raise DataError(
                f"{path}: {found.st_size:,} bytes; a sidecar has at most {MAX_SIDECAR_BYTES:,}"
            )
        with open(path, "rb") as file:
            return file.read(MAX_SIDECAR_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(read_error(path, error)) from None


class Journal:
    """The journal of one library, in its state folder, which the caller holds (`held_state`).

    Opening it settles what a killed process left half done. A context manager.
    """

    def __init__(self, state: Path, library: str) -> None:
        """Open or create the journal.

        Args:
            state: The state folder.
            library: Absolute path of the folder of photos. Sidecars are noted relative to it, so
                that it may be moved.

        Raises:
            DataError: When the journal is damaged, of a newer version, or cannot be written.
        """
        self.library = library
        self.file = OwnSqliteFile(state / JOURNAL_FILE, KIND)
        try:
            with self.file.transaction() as sql:
                sql.execute("DELETE FROM library")
                sql.execute("INSERT INTO library VALUES (?)", (valid_text(library),))
            self._settle()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def entry(self, sidecar: str) -> Entry | None:
        """The entry of a sidecar, by its absolute path."""
        with self.file.reading() as sql:
            found = sql.execute(
                f"SELECT {_COLUMNS}, forgotten FROM entries WHERE sidecar = ?",
                (self._key(sidecar),),
            ).fetchone()
        return _entry(sidecar, found) if found else None

    def sidecars(self) -> dict[str, tuple[str, ...]]:
        """Absolute path of each sidecar that has an entry → its photos, in path order."""
        with self.file.reading() as sql:
            rows = sql.execute("SELECT sidecar, photos FROM entries ORDER BY sidecar").fetchall()
        return {self._path(key): tuple(json.loads(photos)) for key, photos in rows}

    def moved_from(self, content: bytes) -> Entry | None:
        """An entry whose sidecar is gone and had just this content: it was moved or renamed."""
        with self.file.reading() as sql:
            rows = sql.execute(
                f"SELECT sidecar, {_COLUMNS}, forgotten FROM entries WHERE digest = ?",
                (digest_of(content),),
            ).fetchall()
        for key, *columns in rows:
            if not os.path.lexists(path := self._path(key)):
                return _entry(path, columns)
        return None

    def move(self, entry: Entry, sidecar: str, photos: Sequence[str]) -> None:
        """Let an entry follow its sidecar to another place."""
        with self.file.transaction() as sql:
            sql.execute(
                "UPDATE OR REPLACE entries SET sidecar = ?, photos = ?, forgotten = 0 "
                "WHERE sidecar = ?",
                (self._key(sidecar), json.dumps(list(photos)), self._key(entry.sidecar)),
            )

    def forget(self, sidecars: Iterable[str]) -> None:
        """Note that sidecars were undone that are not there; they count again when they return."""
        self._each("UPDATE entries SET forgotten = 1 WHERE sidecar = ?", sidecars)

    def drop(self, sidecars: Iterable[str]) -> None:
        """Delete the entries of sidecars that have nothing of ours."""
        self._each("DELETE FROM entries WHERE sidecar = ?", sidecars)

    def _each(self, statement: str, sidecars: Iterable[str]) -> None:
        with self.file.transaction() as sql:
            sql.executemany(statement, [(self._key(sidecar),) for sidecar in sidecars])

    def _key(self, sidecar: str) -> bytes:
        return os.fsencode(os.path.relpath(sidecar, self.library))

    def _path(self, key: bytes) -> str:
        return os.path.join(self.library, os.fsdecode(key))

    def apply(self, changes: Iterable[SidecarChange]) -> Iterator[tuple[SidecarChange, str]]:
        """Make changes, each whole or not at all, and yield each with the reason why it failed.

        "" = done. They are made durable in groups; what was yielded is durable.

        Raises:
            DataError: When the journal itself cannot be written.
        """
        waiting = iter(changes)
        while group := list(islice(waiting, CHANGES_AT_ONCE)):
            numbers: list[int] = []
            with self.file.transaction() as sql:
                for change in group:
                    values = (None,) * 9 if change.entry is None else _columns(change.entry)
                    cursor = sql.execute(
                        f"INSERT INTO changes (sidecar, before, after, {_COLUMNS}) "
                        f"VALUES (?, ?, ?, {_MARKS})",
                        (self._key(change.sidecar), digest_of(change.before),
                         digest_of(change.after), *values),
                    )  # fmt: skip
                    numbers.append(cursor.lastrowid or 0)
            reasons = []
            for number, change in zip(numbers, group, strict=True):
                try:
                    _make(change, _temporary(change.sidecar, number))
                    reasons.append("")
                except DataError as error:
                    reasons.append(str(error))
            _flush_folders(change.sidecar for change in group)
            with self.file.transaction() as sql:
                for number, reason in zip(numbers, reasons, strict=True):
                    if not reason:
                        _finish(sql, number)
                    sql.execute("DELETE FROM changes WHERE id = ?", (number,))
            yield from zip(group, reasons, strict=True)

    def _settle(self) -> None:
        """Finish or drop every change that a killed process left half done."""
        with self.file.transaction() as sql:
            rows = sql.execute("SELECT id, sidecar, before, after, added FROM changes").fetchall()
            for number, key, before, after, added in rows:
                sidecar = self._path(key)
                if not os.path.isdir(os.path.dirname(sidecar)):
                    continue  # a disk that is not mounted now
                with suppress(OSError):
                    os.unlink(_temporary(sidecar, number))
                if _is_made(sidecar, before, after, added):
                    _finish(sql, number)
                sql.execute("DELETE FROM changes WHERE id = ?", (number,))


def _columns(entry: Entry) -> tuple[Any, ...]:
    original = None if entry.original is None else zlib.compress(entry.original)
    return (
        json.dumps(entry.photos), json.dumps(entry.labels), json.dumps(entry.refused), original,
        entry.mtime_ns, entry.digest,
        *(json.dumps(asdict(items)) for items in (entry.wanted, entry.added, entry.repeated)),
    )  # fmt: skip


def _finish(sql: sqlite3.Connection, number: int) -> None:
    """Put the entry of a change that is made in the place of the one before."""
    sql.execute(
        "DELETE FROM entries WHERE sidecar = (SELECT sidecar FROM changes WHERE id = ?)", (number,)
    )
    sql.execute(
        f"INSERT INTO entries (sidecar, {_COLUMNS}) SELECT sidecar, {_COLUMNS} FROM changes "
        "WHERE id = ? AND digest IS NOT NULL",
        (number,),
    )


def _is_made(sidecar: str, before: str, after: str, added: str | None) -> bool:
    """Was a change made? Where others have changed the file since, our items in it tell."""
    try:
        content = read_sidecar(sidecar)
    except DataError:
        return False
    if content == b"" and not before:  # a name that was reserved for the new sidecar
        with suppress(OSError):
            os.unlink(sidecar)
        return False
    found = digest_of(content)
    if found in (before, after) or content is None or added is None:
        return found == after
    wanted = _additions(added)
    try:
        said = read_xmp(content)
    except XmpError:
        return False
    return {*wanted.keywords} <= {*said.keywords} and {*wanted.hierarchy} <= {*said.hierarchy}


def _entry(sidecar: str, columns: Sequence[Any]) -> Entry:
    photos, labels, refused, original, mtime_ns, digest, *items, forgotten = columns
    return Entry(
        sidecar, *(tuple(json.loads(texts)) for texts in (photos, labels, refused)),
        None if original is None else zlib.decompress(original), mtime_ns, digest,
        *map(_additions, items), bool(forgotten),
    )  # fmt: skip


def _additions(text: str) -> Additions:
    """The inverse of JSON, which has lists in place of tuples."""
    values = {name: _tuples(value) for name, value in json.loads(text).items()}
    values["places"] = tuple(Place(**place) for place in values["places"])
    return Additions(**values)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value


def _temporary(sidecar: str, number: int) -> str:
    """The name of the new file until it is whole: known beforehand, so that none is left over."""
    folder, name = os.path.split(sidecar)
    return os.path.join(folder, f".{name[:40]}.whichlandmark-{number}")


def _make(change: SidecarChange, temporary: str) -> None:
    """Write, replace or delete one sidecar. Raises DataError, and the file is as it was."""
    sidecar = change.sidecar
    try:
        if change.after is None:
            _require_unchanged(change)
            os.unlink(sidecar)
            return
        number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL
                         | getattr(os, "O_BINARY", 0), 0o666)  # fmt: skip
        with open(number, "wb") as file:
            file.write(change.after)
            file.flush()
            flush(file.fileno())
        if change.before is not None:  # its mode, its times and what else the system keeps of it
            owner = os.stat(sidecar)
            copystat(sidecar, temporary)
        else:
            owner = os.stat(os.path.dirname(sidecar))
        if hasattr(os, "chown") and os.stat(temporary).st_uid != owner.st_uid:
            with suppress(OSError):  # only the root user may give files away
                os.chown(temporary, owner.st_uid, owner.st_gid)
        times = (change.mtime_ns, change.mtime_ns) if change.mtime_ns else None
        os.utime(temporary, ns=times)
        _require_unchanged(change)
        if change.before is None:
            publish(Path(temporary), Path(sidecar))
        else:
            os.replace(temporary, sidecar)
    except (OSError, DataError) as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, DataError):
            raise
        if isinstance(error, FileExistsError) and change.before is None:
            raise DataError(_changed(sidecar)) from None
        raise write_error(Path(sidecar), error) from None


def _require_unchanged(change: SidecarChange) -> None:
    if read_sidecar(change.sidecar) != change.before:
        raise DataError(_changed(change.sidecar))


def _changed(sidecar: str) -> str:
    return (
        f"{sidecar}: another program has changed it just now; nothing was written: run the same "
        "command again"
    )


def _flush_folders(sidecars: Iterable[str]) -> None:
    """Make the names of new files durable, where the system can."""
    for folder in {os.path.dirname(sidecar) for sidecar in sidecars}:
        with suppress(OSError):
            opened = os.open(folder, os.O_RDONLY)
            try:
                flush(opened)
            finally:
                os.close(opened)
