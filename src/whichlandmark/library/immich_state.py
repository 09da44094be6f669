"""What is remembered of an Immich server: its photos, their answers, and what was changed there.

A change is noted before it is made, so that an end at any moment leaves nothing that an undo would
not know. Neither the API key nor a photo is in the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ..core.photo_files import LatLon
from ..gallery.sqlite.own_file import FileKind, OwnSqliteFile
from .immich_shapes import Asset, Tag
from .state import default_state_folder, held_state

KIND = FileKind(
    0x776C696D,  # "wlim"
    1,
    (
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
        "CREATE TABLE assets (id TEXT PRIMARY KEY, name TEXT NOT NULL, updated TEXT NOT NULL, "
        "has_position INTEGER NOT NULL, "
        "state TEXT NOT NULL, tries INTEGER NOT NULL, tried INTEGER NOT NULL, "
        "recognizer TEXT NOT NULL, landmark TEXT NOT NULL, confidence REAL NOT NULL, "
        "why TEXT NOT NULL)",
        "CREATE TABLE made_tags (value TEXT PRIMARY KEY)",
        "CREATE TABLE tagged (asset TEXT NOT NULL, tag TEXT NOT NULL, value TEXT NOT NULL, "
        "PRIMARY KEY (asset, tag))",
        "CREATE TABLE positions (asset TEXT PRIMARY KEY, latitude REAL NOT NULL, "
        "longitude REAL NOT NULL, zero INTEGER NOT NULL)",
    ),
    "the state of an Immich server",
    "move it away, then give the same command again: photos that carry the tag by-whichlandmark "
    "stay as they are, and --undo goes by that tag",
    durable=True,
)

# States of an asset. "new": to be answered. "waiting": it had no preview yet. "answered": nothing
# was written. "labelling": its change is noted and perhaps made. "labelled". "failed": its preview
# cannot be decoded. "gone": deleted, in the trash, or no longer shown. "foreign": it carried the
# tag of this program before. "undone": its label was taken off again.
PATIENT_TRIES, PATIENCE_SECONDS = 4, 86_400  # then a missing preview is asked for once a day


@dataclass(frozen=True)
class KnownAsset:
    """An asset with its answer. landmark: of the answer, "" = none. has_position: when listed."""

    id: str
    name: str
    landmark: str
    confidence: float
    has_position: int


@dataclass(frozen=True)
class Answer:
    """An answer to be kept. landmark: "" unless the decision is "landmark". why: of a failure."""

    id: str
    state: str
    landmark: str = ""
    confidence: float = 0.0
    why: str = ""


@dataclass(frozen=True)
class Placed:
    """A position that was written, or was about to be. zero: it was 0/0 before, not missing."""

    asset: str
    position: LatLon
    zero: bool


class ImmichState:
    """The state of one user of one server."""

    def __init__(self, file: OwnSqliteFile) -> None:
        self._file = file

    @classmethod
    @contextmanager
    def open(cls, address: str, user: str, given: Path | None = None) -> Iterator[ImmichState]:
        """Open the state of a server and a user, in the folder that is given or the default one.

        Raises:
            BusyError: when another process has it.
            DataError: when it is damaged, or cannot be made.
        """
        identity = f"{address}\n{user}".encode()
        host = urlsplit(address).hostname or ""
        folder = given.expanduser().absolute() if given else None
        folder = folder or default_state_folder(f"immich-{host}", identity)
        digest = hashlib.sha256(identity).hexdigest()[:12]
        with held_state(folder):
            file = OwnSqliteFile(folder / f"immich-{digest}.sqlite", KIND)
            try:
                yield cls(file)
            finally:
                file.close()

    def meta(self, name: str) -> str:
        """A value by its name; "" = there is none."""
        with self._file.reading() as sql:
            row = sql.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return "" if row is None else str(row[0])

    def set_meta(self, name: str, value: str) -> None:
        """Store a value by its name."""
        with self._file.transaction() as sql:
            sql.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def add(self, assets: Sequence[Asset]) -> int:
        """Note assets that were listed. Returns how many are new, or there again.

        One that failed or was gone is answered again where the server has changed it since.
        """
        before = self._changes()
        with self._file.transaction() as sql:
            sql.executemany(
                "INSERT INTO assets VALUES (?, ?, ?, ?, 'new', 0, 0, '', '', 0, '') "
                "ON CONFLICT (id) DO UPDATE SET state = 'new', updated = excluded.updated, "
                "tries = 0, why = '' WHERE state IN ('gone', 'failed') "
                "AND updated != excluded.updated",
                [(one.id, one.name, one.updated, one.position is not None) for one in assets],
            )
        return self._changes() - before

    def _changes(self) -> int:
        with self._file.reading() as sql:
            return sql.total_changes

    def answerable(self, now: float, most: int) -> list[KnownAsset]:
        """Assets to be answered now, in the order in which they were listed."""
        with self._file.reading() as sql:
            rows = sql.execute(
                f"SELECT {_COLUMNS} FROM assets WHERE {_DUE} "
                "ORDER BY rowid LIMIT ?", (int(now), PATIENCE_SECONDS, PATIENT_TRIES, most)
            ).fetchall()  # fmt: skip
        return [KnownAsset(*row) for row in rows]

    def count_answerable(self, now: float) -> int:
        """How many `answerable` would give."""
        with self._file.reading() as sql:
            (count,) = sql.execute(
                f"SELECT count(*) FROM assets WHERE {_DUE}",
                (int(now), PATIENCE_SECONDS, PATIENT_TRIES),
            ).fetchone()
        return int(count)

    def keep(self, answers: Iterable[Answer], recognizer: str, now: float) -> None:
        """Store the answers of a batch, in one step."""
        with self._file.transaction() as sql:
            sql.executemany(
                "UPDATE assets SET state = ?, landmark = ?, confidence = ?, why = ?, "
                "recognizer = ?, tries = tries + 1, tried = ? WHERE id = ?",
                [(one.state, one.landmark, one.confidence, one.why, recognizer, int(now), one.id)
                 for one in answers],
            )  # fmt: skip

    def sure(self, above: float, recognizer: str, most: int) -> list[KnownAsset]:
        """Answered assets that may be labelled, and are not."""
        with self._file.reading() as sql:
            rows = sql.execute(
                f"SELECT {_COLUMNS} FROM assets WHERE state = 'answered' "
                "AND landmark != '' AND confidence >= ? AND recognizer = ? ORDER BY rowid LIMIT ?",
                (above, recognizer, most),
            ).fetchall()
        return [KnownAsset(*row) for row in rows]

    def in_state(self, *states: str) -> list[KnownAsset]:
        """The assets in these states."""
        with self._file.reading() as sql:
            marks = ", ".join("?" * len(states))
            rows = sql.execute(
                f"SELECT {_COLUMNS} FROM assets WHERE state IN ({marks}) "
                "ORDER BY rowid", states
            ).fetchall()  # fmt: skip
        return [KnownAsset(*row) for row in rows]

    def failures(self, ids: Iterable[str]) -> dict[str, str]:
        """Name → reason, of those of the assets that failed."""
        found: dict[str, str] = {}
        with self._file.reading() as sql:
            for id in ids:
                row = sql.execute("SELECT name, why FROM assets WHERE id = ? AND state = 'failed'",
                                  (id,)).fetchone()  # fmt: skip
                if row:
                    found[f"{row[0]} ({id})"] = str(row[1])
        return found

    def asked_by_others(self, recognizer: str) -> int:
        """Unlabelled assets that an earlier recognizer has answered."""
        with self._file.reading() as sql:
            (count,) = sql.execute(
                f"SELECT count(*) FROM assets WHERE {_OF_OTHERS}", (recognizer,)
            ).fetchone()
        return int(count)

    def ask_again(self, recognizer: str) -> None:
        """Let all be answered that another recognizer answered, and undone ones be labelled."""
        with self._file.transaction() as sql:
            sql.execute("UPDATE assets SET state = 'answered' WHERE state = 'undone'")
            sql.execute(f"UPDATE assets SET state = 'new', tries = 0 WHERE {_OF_OTHERS}",
                        (recognizer,))  # fmt: skip

    def set_states(self, states: Iterable[tuple[str, str]]) -> None:
        """Set the states of assets, from (id, state), in one step."""
        with self._file.transaction() as sql:
            sql.executemany("UPDATE assets SET state = ? WHERE id = ?",
                            [(state, id) for id, state in states])  # fmt: skip

    def note_made_tags(self, values: Iterable[str]) -> None:
        """Note that these tags are not there, and about to be made."""
        with self._file.transaction() as sql:
            sql.executemany("INSERT OR IGNORE INTO made_tags VALUES (?)", [(v,) for v in values])

    def made_tags(self) -> set[str]:
        """The values of the tags that were made."""
        with self._file.reading() as sql:
            return {str(value) for (value,) in sql.execute("SELECT value FROM made_tags")}

    def forget_made_tags(self, values: Iterable[str]) -> None:
        """Forget tags that are deleted."""
        with self._file.transaction() as sql:
            sql.executemany("DELETE FROM made_tags WHERE value = ?", [(v,) for v in values])

    def note_changes(
        self, tagged: Iterable[tuple[str, Tag]], placed: Iterable[Placed], ids: Iterable[str]
    ) -> None:
        """Note, in one step, what is about to be written: tags, positions, and of which assets."""
        with self._file.transaction() as sql:
            sql.executemany("INSERT OR IGNORE INTO tagged VALUES (?, ?, ?)",
                            [(asset, tag.id, tag.value) for asset, tag in tagged])  # fmt: skip
            sql.executemany("INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?)",
                            [(one.asset, *one.position, one.zero) for one in placed])  # fmt: skip
            sql.executemany("UPDATE assets SET state = 'labelling' WHERE id = ?",
                            [(id,) for id in ids])  # fmt: skip

    def tagged(self, ids: Iterable[str] | None = None) -> list[tuple[str, Tag]]:
        """The noted (asset, tag) of these assets; None = of all."""
        with self._file.reading() as sql:
            if ids is None:
                rows = sql.execute("SELECT asset, tag, value FROM tagged").fetchall()
            else:
                rows = [row for id in ids for row in sql.execute(
                    "SELECT asset, tag, value FROM tagged WHERE asset = ?", (id,))]  # fmt: skip
        return [(str(asset), Tag(str(tag), str(value))) for asset, tag, value in rows]

    def forget_tagged(self, rows: Iterable[tuple[str, str]]) -> None:
        """Forget (asset, tag id) that are taken off."""
        with self._file.transaction() as sql:
            sql.executemany("DELETE FROM tagged WHERE asset = ? AND tag = ?", rows)

    def placed(self, ids: Iterable[str] | None = None) -> list[Placed]:
        """The noted positions of these assets; None = of all."""
        query = "SELECT asset, latitude, longitude, zero FROM positions"
        with self._file.reading() as sql:
            if ids is None:
                rows = sql.execute(query).fetchall()
            else:
                rows = [row for id in ids for row in sql.execute(f"{query} WHERE asset = ?", (id,))]
        return [Placed(asset, (lat, lon), bool(zero)) for asset, lat, lon, zero in rows]

    def forget_placed(self, ids: Iterable[str]) -> None:
        """Forget positions that are not, or no longer, written."""
        with self._file.transaction() as sql:
            sql.executemany("DELETE FROM positions WHERE asset = ?", [(id,) for id in ids])


_COLUMNS = "id, name, landmark, confidence, has_position"

_DUE = "(state = 'new' OR (state = 'waiting' AND (tried < ? - ? OR tries < ?)))"

_OF_OTHERS = "state IN ('answered', 'failed') AND recognizer != ?"
