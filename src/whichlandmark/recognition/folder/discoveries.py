"""Groups of photos of landmarks that a gallery does not know, kept in its folder until named.

`discover` finds the groups; a person gives each a name, once, or says that it shows no landmark.
The command line and the server may use the store of a folder at the same time.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from ...core.disks import file_lock, require_writable, unreadable, write_error
from ...core.errors import DataError
from ...core.types import Embedder, Progress
from ...gallery.records import LandmarkRecord
from ...gallery.sqlite.schema import DISK_ERRORS, gallery_error
from .discovery_groups import DiscoveredPhoto as DiscoveredPhoto
from .discovery_groups import Discovery as Discovery
from .discovery_groups import DiscoveryError as DiscoveryError
from .discovery_groups import DiscoveryState as DiscoveryState
from .discovery_groups import FoundGroup as FoundGroup
from .discovery_groups import LandmarkSuggestion as LandmarkSuggestion
from .discovery_groups import new_id, same_group
from .settings import require_folder

if TYPE_CHECKING:
    from .discovery_naming import NamedDiscovery

DISCOVERIES_FILE = "discoveries.sqlite"

FORMAT = 1

APPLICATION_ID = 0x776C6470  # "wldp" in the file's header: distinguishes it from other SQLite files

BUSY_SECONDS = 30.0

_TABLES = (
    "CREATE TABLE groups (id TEXT PRIMARY KEY, library TEXT NOT NULL, number INTEGER NOT NULL, "
    "size INTEGER NOT NULL, state TEXT NOT NULL, landmark TEXT NOT NULL, suggestion TEXT, "
    "gallery TEXT NOT NULL)",
    "CREATE TABLE photos (id TEXT NOT NULL, position INTEGER NOT NULL, file TEXT NOT NULL, "
    "name TEXT NOT NULL, hash TEXT NOT NULL, latitude REAL, longitude REAL, "
    "thumbnail BLOB NOT NULL, used INTEGER NOT NULL, PRIMARY KEY (id, position))",
    "CREATE INDEX photos_by_hash ON photos (hash)",
)


class DiscoveryStore:
    """The groups of a recognizer folder.

    Args:
        folder: The recognizer folder.

    Raises:
        DataError: When there is no such folder. All methods raise it for a store that cannot be
            read or written, and those that change something for a folder that is read-only.
    """

    def __init__(self, folder: Path) -> None:
        require_folder(folder)
        self.folder, self.path = folder, folder / DISCOVERIES_FILE

    def all(
        self, state: DiscoveryState | Literal["all"] = "open", library: str = ""
    ) -> list[Discovery]:
        """The groups of a state, the largest first, without thumbnails. library: "" = of all."""
        with self._reading() as sql:
            if sql is None:
                return []
            rows = sql.execute(
                "SELECT * FROM groups WHERE (state = ?1 OR ?1 = 'all') AND (library = ?2 OR "
                "?2 = '') ORDER BY number = 0, size DESC, number, id", (state, library),
            ).fetchall()  # fmt: skip
            return [_discovery(sql, row) for row in rows]

    def get(self, id: str) -> Discovery:
        """One group, with thumbnails. Raises DiscoveryError for an unknown id."""
        with self._reading() as sql:
            query = "SELECT * FROM groups WHERE id = ?"
            row = sql.execute(query, (id,)).fetchone() if sql else None
            if sql is None or row is None:
                raise DiscoveryError("unknown_discovery", f"there is no group {id!r}")
            return _discovery(sql, row, thumbnails=True)

    def thumbnail(self, id: str, n: int) -> bytes:
        """The JPEG of the n-th photo of a group. Raises DiscoveryError where there is none."""
        query = (
            "SELECT thumbnail FROM photos WHERE id = ? AND used ORDER BY position LIMIT 1 OFFSET ?"
        )
        with self._reading() as sql:
            row = sql and n >= 0 and sql.execute(query, (id, n)).fetchone()
        if not row or not row[0]:
            raise DiscoveryError("unknown_discovery", f"there is no photo {n} of a group {id!r}")
        return bytes(row[0])

    def resolve(self, group: str, library: str = "") -> Discovery:
        """The group with an id, or with a number in the last listing of its library.

        Raises:
            DiscoveryError: For an unknown one.
        """
        known = self.all("all", library)
        wanted = group.strip().removeprefix("#")
        for one in known:
            if wanted and wanted in (one.id, str(one.number or "")):
                return self.get(one.id)
        numbers = [one.number for one in known if one.number]
        there = f"numbers 1 to {max(numbers)}, or their ids" if numbers else (
            "all are decided, so give an id" if known else "there are none yet"
        )  # fmt: skip
        raise DiscoveryError(
            "unknown_discovery", f"group {group!r} given; expected a group of the last listing: "
            f"{there}; `whichlandmark discover` lists them"
        )  # fmt: skip

    def put(self, groups: Sequence[FoundGroup], library: str) -> list[Discovery]:
        """Store what a search of a library has found, in place of what was found there before.

        A group that shares half of the photos with an earlier one is the same: it keeps its id, and
        is not open again when it was named or dismissed. Open groups that were not found again are
        forgotten.

        Returns:
            The open groups of this library, the largest first, with their new numbers.
        """
        ordered = sorted(groups, key=lambda one: (-one.size, -len(one.photos), one.photos[0].name))
        with self._changing() as sql:
            rows = sql.execute("SELECT * FROM groups").fetchall()
            earlier = [_discovery(sql, row, thumbnails=True) for row in rows]
            sql.execute("UPDATE groups SET number = 0 WHERE library = ?", (library,))
            number, used, taken = 0, set[str](), {one.id for one in earlier}
            for group in ordered:
                same = same_group(group, [one for one in earlier if one.id not in used])
                decided = next((one for one in same if one.state != "open"), None)
                used |= {one.id for one in same if one.state == "open"}
                if decided is not None:
                    if decided.state == "dismissed":  # photos that join it are dismissed with it
                        known = {one.hash for one in decided.photos}
                        new = tuple(one for one in group.photos if one.hash not in known)
                        _write(sql, replace(decided, photos=(*decided.photos, *new)))
                    continue
                number += 1
                own = same[0].id if same else new_id(group, taken)
                taken.add(own)
                _write(sql, Discovery(
                    own, number, library, group.photos, group.size, group.suggestion
                ))  # fmt: skip
                for other in same[1:]:  # groups that have become one
                    _delete(sql, other.id)
            for one in earlier:
                if one.state == "open" and one.library == library and one.id not in used:
                    _delete(sql, one.id)
        return self.all("open", library)

    def name(
        self,
        id: str,
        landmark: str,
        *,
        record: LandmarkRecord | None = None,
        keep: Sequence[int] | None = None,
        embedder: Embedder | None = None,
        device: str = "auto",
        progress: Progress | None = None,
    ) -> NamedDiscovery:
        """Give a group its landmark: its photos join the gallery, by their paths.

        Naming it again, as after an interruption, adds what is missing. `reopen` undoes it.

        Args:
            id: An open group.
            landmark: A new landmark, or the label, title or a name of one of the gallery.
            record: What is known of it; fills only what the gallery's record lacks. None = the
                suggestion's, where it is named as suggested.
            keep: Positions of the photos that show it; None = all.
            embedder: The one that made the gallery; None = open the folder's.
            device: As `load_embedder` takes it.
            progress: Counts stored photos.

        Raises:
            DiscoveryError: For an unknown or decided group, and when none of its photos can be
                used: "no_photos".
            OptionError: For a name that no landmark may have, and positions that it does not have.
        """
        from .discovery_naming import add_to_gallery, kept_photos

        with file_lock(self.folder / ".naming.lock"):  # one group at a time
            found = self._to_decide(id)
            chosen = replace(found, photos=kept_photos(found, keep))
            photos = add_to_gallery(
                self.folder, chosen, landmark, record=record, embedder=embedder, device=device,
                progress=progress,
            )  # fmt: skip
            with self._changing() as sql:
                named = replace(found, state="named", landmark=photos.landmark)
                _write(sql, named, {"added": photos.added, "moved": photos.moved})
                unused = {one.name for one in found.photos} - {one.name for one in photos.used}
                sql.executemany(
                    "UPDATE photos SET used = 0 WHERE id = ? AND name = ?",
                    [(id, one) for one in unused],
                )
        return replace(photos, discovery=replace(named, photos=photos.used))

    def dismiss(self, id: str) -> Discovery:
        """Say that a group shows no landmark: it is not asked about again."""
        found = self._to_decide(id)
        with self._changing() as sql:
            _write(sql, dismissed := replace(found, state="dismissed"))
        return dismissed

    def reopen(self, id: str) -> Discovery:
        """Undo `dismiss` or `name`; photos that naming has put into the gallery leave it again."""
        from .discovery_naming import take_from_gallery

        with file_lock(self.folder / ".naming.lock"):
            found = self.get(id)
            if found.state == "open":
                return found
            if found.state == "named":
                take_from_gallery(self.folder, found.landmark, self._in_gallery(id))
            with self._changing() as sql:
                sql.execute("UPDATE photos SET used = 1 WHERE id = ?", (id,))
                sql.execute(
                    "UPDATE groups SET state = 'open', landmark = '', gallery = '{}' WHERE id = ?",
                    (id,),
                )
        return self.get(id)

    def _to_decide(self, id: str) -> Discovery:
        found = self.get(id)
        if found.state == "open":
            return found
        what = f"named {found.landmark!r}" if found.state == "named" else "said to be no landmark"
        raise DiscoveryError(
            f"already_{found.state}", f"group {id} is {what} already; reopen it to change that"
        )

    def _in_gallery(self, id: str) -> dict[str, list[str]]:
        with self._reading() as sql:
            row = sql and sql.execute("SELECT gallery FROM groups WHERE id = ?", (id,)).fetchone()
        return json.loads(row[0]) if row else {}

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """A connection that changes nothing; None = nothing was ever stored."""
        if why := unreadable(self.path):
            raise DataError(why)
        if not self.path.exists():
            yield None
            return
        with self._errors(), closing(self._connect(os.access(self.path, os.W_OK))) as sql:
            self._check(sql)
            yield sql

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        require_writable(self.folder, folder=True)
        with file_lock(self.folder / ".discoveries.lock"), self._errors():
            try:  # paths and pictures are private
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            except OSError as error:
                raise write_error(self.path, error) from None
            with closing(self._connect(True)) as sql:
                sql.execute("PRAGMA secure_delete = ON")  # no path stays of what is forgotten
                sql.execute("BEGIN IMMEDIATE")
                if not sql.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
                    for statement in (*_TABLES, f"PRAGMA user_version = {FORMAT}",
                                      f"PRAGMA application_id = {APPLICATION_ID}"):  # fmt: skip
                        sql.execute(statement)
                self._check(sql)
                yield sql
                sql.execute("COMMIT")  # closing it takes an unfinished change back

    def _connect(self, write: bool) -> sqlite3.Connection:
        address = f"file:{quote(os.fsencode(os.path.abspath(self.path)))}"
        return sqlite3.connect(
            f"{address}?mode={'rw' if write else 'ro'}", uri=True, timeout=BUSY_SECONDS,
            isolation_level=None,
        )  # fmt: skip

    def _check(self, sql: sqlite3.Connection) -> None:
        header = [sql.execute(f"PRAGMA {name}").fetchone()[0]
                  for name in ("application_id", "user_version")]  # fmt: skip
        (tables,) = sql.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        if header != [APPLICATION_ID, FORMAT] or not tables:
            raise DataError(
                f"{self.path}: not a list of discoveries of format {FORMAT}; move it away, and run "
                "`whichlandmark discover` again"
            )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorname", "").startswith(DISK_ERRORS):
                raise gallery_error(error, str(self.path)) from None
            raise DataError(
                f"{self.path}: damaged ({error}); delete it, and run `whichlandmark discover` "
                "again: groups that were named stay in the gallery"
            ) from None


def _discovery(
    sql: sqlite3.Connection, row: Sequence[Any], *, thumbnails: bool = False
) -> Discovery:
    id, library, number, size, state, landmark, suggestion, _ = row
    blob = "thumbnail" if thumbnails else "x''"
    found = sql.execute(
        f"SELECT file, name, hash, latitude, longitude, {blob} FROM photos WHERE id = ? AND used "
        "ORDER BY position", (id,),
    )  # fmt: skip
    photos = tuple(
        DiscoveredPhoto(
            file, name, digest, None if latitude is None else (latitude, longitude), bytes(data)
        )
        for file, name, digest, latitude, longitude, data in found
    )
    words = LandmarkSuggestion(**json.loads(suggestion)) if suggestion else None
    return Discovery(id, number, library, photos, size, words, state, landmark)


def _write(
    sql: sqlite3.Connection, one: Discovery, gallery: dict[str, list[str]] | None = None
) -> None:
    """Store a group in place of the one of its id. gallery: ids that naming it has put there."""
    _delete(sql, one.id)
    suggestion = json.dumps(asdict(one.suggestion)) if one.suggestion else None
    number = one.number if one.state == "open" else 0
    sql.execute(
        "INSERT INTO groups VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (one.id, one.library, number, one.size, one.state, one.landmark, suggestion,
         json.dumps(gallery or {})),
    )  # fmt: skip
    sql.executemany(
        "INSERT INTO photos VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1)",
        [(one.id, at, photo.file, photo.name, photo.hash, *(photo.taken or (None, None)),
          photo.thumbnail) for at, photo in enumerate(one.photos)],
    )  # fmt: skip


def _delete(sql: sqlite3.Connection, id: str) -> None:
    sql.execute("DELETE FROM groups WHERE id = ?", (id,))
    sql.execute("DELETE FROM photos WHERE id = ?", (id,))
