"""Journal: what was done to each sidecar, written ahead, so that all of it can be undone exactly.

A sidecar has one entry: what it was without the items that are ours, and what these are. Before a
sidecar is touched, the change is durable in state/journal.sqlite; then a new file replaces the old
one; then the entry is updated. A change that a killed process left half done is settled by the
digest of the file when the journal is opened next.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Self

from ..core.errors import DataError
from ..core.files import text_of_bytes, valid_text
from ..gallery.sqlite.own_file import FileKind, OwnSqliteFile
from .sidecar_files import (
    FileChange,
    digest_of,
    flush_folders,
    make_change,
    read_sidecar,
    temporary_of,
)
from .xmp import Additions, Metadata, Place, XmpError, read_xmp
from .xmp_fields import comparable

JOURNAL_FILE = "journal.sqlite"

CHANGES_AT_ONCE = 32  # made durable together, because each time costs some milliseconds

KIND = FileKind(
    0x776C6C6A,  # "wllj"
    1,
    (
        "CREATE TABLE library (path TEXT NOT NULL)",
        "CREATE TABLE entries (sidecar BLOB PRIMARY KEY, digest TEXT NOT NULL, original BLOB, "
        "facts TEXT NOT NULL, forgotten INTEGER NOT NULL DEFAULT 0)",
        "CREATE INDEX entries_by_digest ON entries (digest)",
        "CREATE TABLE changes (id INTEGER PRIMARY KEY, sidecar BLOB NOT NULL, token TEXT NOT NULL, "
        "before TEXT NOT NULL, after TEXT NOT NULL, digest TEXT, original BLOB, facts TEXT)",
        "CREATE TABLE albums (file BLOB PRIMARY KEY, folder BLOB NOT NULL, photo TEXT NOT NULL, "
        "proof TEXT NOT NULL)",
    ),
    "the journal of a photo library",
    "sidecars that it knows cannot be undone without it: restore it from a backup, or move it away "
    "to begin a new one",
    durable=True,
)


@dataclass(frozen=True)
class Label:
    """What is written for one landmark.

    Attributes:
        landmark: Its label in the gallery.
        title: Its keyword.
        path: The same below its country and city: "Places|France|Paris|Eiffel Tower".
        place: Where it is.
        names: Its names in all languages, `comparable`; a keyword of any of them says the same.
        gallery: That named it.
    """

    landmark: str
    title: str
    path: str
    place: Place
    names: tuple[str, ...]
    gallery: str = ""

    def is_keyword_in(self, texts: Iterable[str]) -> bool:
        return any(comparable(text) in self.names for text in texts)

    def is_path_in(self, known: Metadata) -> bool:
        return self.is_keyword_in(
            (*(path.rpartition("|")[2] for path in known.hierarchy),
             *(path.rpartition("/")[2] for path in known.digikam))
        )  # fmt: skip

    def is_place_in(self, places: Iterable[Place]) -> bool:
        return any(
            place.wikidata == self.place.wikidata if place.wikidata and self.place.wikidata
            else comparable(place.name) in self.names
            for place in places
        )  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """What was done to one sidecar.

    Attributes:
        sidecar: Its absolute path.
        photos: The photos that it describes, as paths below the library.
        labels: What was written.
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
    labels: tuple[Label, ...]
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
    """A change of one sidecar, and its entry afterwards; None = nothing of ours is left in it."""

    file: FileChange
    entry: Entry | None


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
            self.settle()
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
                "SELECT digest, original, facts, forgotten FROM entries WHERE sidecar = ?",
                (self._key(sidecar),),
            ).fetchone()
        return self._read(sidecar, *found) if found else None

    def _read(self, sidecar: str, *columns: Any) -> Entry:
        try:
            return _entry(sidecar, *columns)
        except (ValueError, TypeError, KeyError, AttributeError, zlib.error) as error:
            raise self.file.damaged(f"the entry of {text_of_bytes(sidecar)}: {error}") from None

    def sidecars(self) -> dict[str, tuple[str, ...]]:
        """Absolute path of each sidecar that has an entry → its photos, in path order."""
        with self.file.reading() as sql:
            rows = sql.execute("SELECT sidecar, facts FROM entries ORDER BY sidecar").fetchall()
        return {self._path(key): tuple(json.loads(facts)["photos"]) for key, facts in rows}

    def moved_from(self, content: bytes) -> Entry | None:
        """An entry whose sidecar is gone and had just this content: it was moved or renamed."""
        with self.file.reading() as sql:
            rows = sql.execute(
                "SELECT sidecar, digest, original, facts, forgotten FROM entries WHERE digest = ?",
                (digest_of(content),),
            ).fetchall()
        for key, *columns in rows:
            if not os.path.lexists(path := self._path(key)):
                return self._read(path, *columns)
        return None

    def move(self, entry: Entry, sidecar: str, photos: Sequence[str]) -> None:
        """Let an entry follow its sidecar to another place."""
        moved = replace(entry, photos=tuple(photos))
        with self.file.transaction() as sql:
            sql.execute("DELETE FROM entries WHERE sidecar = ?", (self._key(entry.sidecar),))
            sql.execute(
                "INSERT OR REPLACE INTO entries (sidecar, digest, original, facts) "
                "VALUES (?, ?, ?, ?)", (self._key(sidecar), *_columns(moved)),
            )  # fmt: skip

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
            tokens = [secrets.token_hex(4) for _ in group]
            with self.file.transaction() as sql:
                for change, token in zip(group, tokens, strict=True):
                    file = change.file
                    columns = _columns(change.entry) if change.entry else (None, None, None)
                    cursor = sql.execute(
                        "INSERT INTO changes (sidecar, token, before, after, digest, original, "
                        "facts) VALUES (?, ?, ?, ?, ?, ?, ?)",
                        (self._key(file.sidecar), token, digest_of(file.before),
                         digest_of(file.after), *columns),
                    )  # fmt: skip
                    numbers.append(cursor.lastrowid or 0)
            reasons = []
            for token, change in zip(tokens, group, strict=True):
                try:
                    make_change(change.file, temporary_of(change.file.sidecar, token))
                    reasons.append("")
                except DataError as error:
                    reasons.append(str(error))
            flush_folders(change.file.sidecar for change in group)
            with self.file.transaction() as sql:
                for number, reason in zip(numbers, reasons, strict=True):
                    if not reason:
                        _finish(sql, number)
                    sql.execute("DELETE FROM changes WHERE id = ?", (number,))
            yield from zip(group, reasons, strict=True)

    def settle(self) -> None:
        """Finish or drop every change that a killed process left half done."""
        with self.file.transaction() as sql:
            rows = sql.execute(
                "SELECT id, sidecar, token, before, after, facts FROM changes"
            ).fetchall()
            for number, key, token, before, after, facts in rows:
                sidecar = self._path(key)
                if not os.path.isdir(os.path.dirname(sidecar)):
                    continue  # a disk that is not mounted now
                with suppress(OSError):
                    os.unlink(temporary_of(sidecar, token))
                if _is_made(sidecar, before, after, facts):
                    _finish(sql, number)
                sql.execute("DELETE FROM changes WHERE id = ?", (number,))


def library_of(path: Path) -> str:
    """The library that a journal was last used for; "" where the file does not tell."""
    try:
        sql = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            return str(sql.execute("SELECT path FROM library").fetchone()[0])
        finally:
            sql.close()
    except (sqlite3.Error, TypeError):
        return ""


def _columns(entry: Entry) -> tuple[str, bytes | None, str]:
    """The digest, the original and the other facts of an entry, as they are stored."""
    values = asdict(entry)
    for name in ("sidecar", "original", "digest", "forgotten"):
        del values[name]
    original = None if entry.original is None else zlib.compress(entry.original)
    return entry.digest, original, json.dumps(values)


def _entry(
    sidecar: str, digest: str, original: bytes | None, facts: str, forgotten: int = 0
) -> Entry:
    """The inverse of `_columns`; JSON has lists in place of tuples."""
    values = {name: _tuples(value) for name, value in json.loads(facts).items()}
    values["labels"] = tuple(
        Label(**{name: _tuples(value) for name, value in label.items()}
              | {"place": Place(**label["place"])})
        for label in values["labels"]
    )  # fmt: skip
    for name in ("wanted", "added", "repeated"):
        items = {field: _tuples(value) for field, value in values[name].items()}
        items["places"] = tuple(Place(**place) for place in items["places"])
        values[name] = Additions(**items)
    content = None if original is None else zlib.decompress(original)
    return Entry(
        sidecar=sidecar, digest=digest, original=content, forgotten=bool(forgotten), **values
    )


def _tuples(value: Any) -> Any:
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value


def _finish(sql: sqlite3.Connection, number: int) -> None:
    """Put the entry of a change that is made in the place of the one before."""
    sql.execute(
        "DELETE FROM entries WHERE sidecar = (SELECT sidecar FROM changes WHERE id = ?)", (number,)
    )
    sql.execute(
        "INSERT INTO entries (sidecar, digest, original, facts) "
        "SELECT sidecar, digest, original, facts FROM changes "
        "WHERE id = ? AND digest IS NOT NULL",
        (number,),
    )


def _is_made(sidecar: str, before: str, after: str, facts: str | None) -> bool:
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
    if found in (before, after) or content is None or facts is None:
        return found == after
    wanted = json.loads(facts)["wanted"]  # of which there was nothing before
    try:
        said = read_xmp(content)
    except XmpError:
        return False
    places = {place["name"] for place in wanted["places"]} & {place.name for place in said.places}
    return bool(
        places or {*wanted["keywords"]} & {*said.keywords}
        or {*wanted["hierarchy"]} & {*said.hierarchy}
    )  # fmt: skip
