"""The gallery on disk: one SQLite file of photos, landmarks, hashes and vectors.

Distractors are photos whose landmark is "". A vector is stored as little-endian float16
bytes (2·D a photo). Every change is one transaction and raises the generation by one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import BusyError, GalleryError

FORMAT = 1
APPLICATION = 0x776C6D6B  # "wlmk" in the file's header: told apart from any other SQLite file
BUSY_SECONDS = 10.0

_SCHEMA = f"""
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {FORMAT};
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE photos (
  row INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  path TEXT NOT NULL,
  landmark TEXT NOT NULL,       -- '' = distractor
  hash TEXT NOT NULL,           -- SHA-256 of the file
  stamp TEXT NOT NULL,          -- size and time of the file when it was read
  vector BLOB NOT NULL          -- float16, little-endian
);
CREATE INDEX photos_by_hash ON photos (hash);
CREATE INDEX photos_by_landmark ON photos (landmark);
"""


@dataclass(frozen=True)
class GalleryRow:
    """One photo to store. `stamp` tells an unchanged file without reading it."""

    id: str
    path: str
    landmark: str
    hash: str
    stamp: str
    vector: NDArray[np.float32]


@dataclass(frozen=True)
class GalleryTable:
    """All photos as columns, in row order: each (N,), vectors (N, D) float16."""

    ids: NDArray[np.object_]
    paths: NDArray[np.object_]
    landmarks: NDArray[np.object_]
    hashes: NDArray[np.object_]
    vectors: NDArray[np.float16]


class Gallery:
    """Open with `create` or `open`; close with `close` or a with-statement."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self._connection = connection
        self.name = name

    @classmethod
    def create(cls, path: Path | None, embedder_id: str, dim: int) -> Gallery:
        """A new gallery at `path` (None = in memory), made for one embedder."""
        name = str(path) if path else "gallery in memory"
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
        gallery = cls(_connect(path, name), name)
        with gallery._transaction() as sql:
            for statement in _SCHEMA.split(";"):
                sql.execute(statement)
            sql.executemany(
                "INSERT INTO meta VALUES (?, ?)",
                [("embedder", embedder_id), ("dim", str(dim)), ("generation", "0")],
            )
        return gallery

    @classmethod
    def open(cls, path: Path) -> Gallery:
        """Open an existing gallery. Raises GalleryError when missing, damaged or foreign."""
        if not path.is_file():
            raise GalleryError(f"{path}: no gallery there; make one with `whichlandmark index`")
        gallery = cls(_connect(path, str(path)), str(path))
        with gallery._reading() as sql:
            application = sql.execute("PRAGMA application_id").fetchone()[0]
            version = sql.execute("PRAGMA user_version").fetchone()[0]
        if (application, version) != (APPLICATION, FORMAT):
            gallery.close()
            raise GalleryError(f"{path}: not a gallery of format {FORMAT} of this program")
        return gallery

    @property
    def embedder_id(self) -> str:
        """Id of the embedder that all vectors come from."""
        return self._meta("embedder")

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self._meta("dim"))

    @property
    def generation(self) -> int:
        """Rises by one with every change."""
        return int(self._meta("generation"))

    def count(self) -> int:
        """Photos, distractors included."""
        with self._reading() as sql:
            return int(sql.execute("SELECT COUNT(*) FROM photos").fetchone()[0])

    def require(self, embedder_id: str) -> None:
        """Raises GalleryError unless the gallery was made by this embedder."""
        if self.embedder_id != embedder_id:
            raise GalleryError(
                f"{self.name} was made by embedder {self.embedder_id!r}, not by "
                f"{embedder_id!r}: their vectors cannot be compared; use that embedder, or "
                "index into a new folder"
            )

    def put(self, rows: Sequence[GalleryRow]) -> None:
        """Add photos, replacing those with the same id, in one transaction."""
        with self._transaction() as sql:
            sql.executemany(
                "INSERT INTO photos (id, path, landmark, hash, stamp, vector)"
                " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET path = excluded.path,"
                " landmark = excluded.landmark, hash = excluded.hash, stamp = excluded.stamp,"
                " vector = excluded.vector",
                [
                    (r.id, r.path, r.landmark, r.hash, r.stamp, _to_bytes(r.vector, self.dim))
                    for r in rows
                ],
            )

    def relabel(self, landmarks: dict[str, str]) -> None:
        """Give photos another landmark: {id: landmark}, "" = distractor."""
        with self._transaction() as sql:
            sql.executemany(
                "UPDATE photos SET landmark = ? WHERE id = ?",
                [(landmark, photo_id) for photo_id, landmark in landmarks.items()],
            )

    def stamps(self) -> dict[str, tuple[str, str, str]]:
        """id → (path, stamp, landmark) of every photo: what need not be embedded again."""
        with self._reading() as sql:
            rows = sql.execute("SELECT id, path, stamp, landmark FROM photos")
            return {row[0]: row[1:] for row in rows}

    def table(self) -> GalleryTable:
        """Everything, in row order. Raises GalleryError when a vector has a wrong length."""
        with self._reading() as sql:
            rows = sql.execute(
                "SELECT id, path, landmark, hash, vector FROM photos ORDER BY row"
            ).fetchall()
        width = 2 * self.dim
        if wrong := [row[0] for row in rows if len(row[4]) != width]:
            raise GalleryError(f"{self.name}: damaged vector of photo {wrong[0]!r}; index it again")
        vectors = np.frombuffer(b"".join(row[4] for row in rows), dtype="<f2")
        return GalleryTable(
            ids=_column([row[0] for row in rows]),
            paths=_column([row[1] for row in rows]),
            landmarks=_column([row[2] for row in rows]),
            hashes=_column([row[3] for row in rows]),
            vectors=vectors.reshape(len(rows), self.dim).astype(np.float16, copy=False),
        )

    def copy_to(self, path: Path) -> Gallery:
        """A full copy in a new file, also of a gallery in memory."""
        path.parent.mkdir(parents=True, exist_ok=True)
        target = _connect(path, str(path))
        self._connection.backup(target)
        return Gallery(target, str(path))

    def close(self) -> None:
        """Close the file; the object is of no use afterwards."""
        self._connection.close()

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _meta(self, key: str) -> str:
        with self._reading() as sql:
            row = sql.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise GalleryError(f"{self.name}: damaged, {key!r} is missing")
        return str(row[0])

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self._connection
        except sqlite3.Error as error:
            raise _translated(error, self.name) from None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as sql:
            sql.execute("BEGIN IMMEDIATE")
            try:
                yield sql
                sql.execute("UPDATE meta SET value = value + 1 WHERE key = 'generation'")
                sql.execute("COMMIT")
            except BaseException:
                sql.execute("ROLLBACK")
                raise


def _connect(path: Path | None, name: str) -> sqlite3.Connection:
    try:
        # isolation_level None: transactions are ours. A gallery may be read from any thread.
        connection = sqlite3.connect(
            path or ":memory:", timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA synchronous = FULL")
        return connection
    except sqlite3.Error as error:
        raise _translated(error, name) from None


def _translated(error: sqlite3.Error, name: str) -> GalleryError:
    if "locked" in str(error) or "busy" in str(error):
        return BusyError(f"{name}: another process is writing to it; wait for it, then try again")
    return GalleryError(f"{name}: damaged or not a gallery ({error})")


def _to_bytes(vector: NDArray[np.float32], dim: int) -> bytes:
    if vector.shape != (dim,):
        raise GalleryError(f"vector of shape {vector.shape} given; this gallery holds ({dim},)")
    return vector.astype("<f2").tobytes()


def _column(values: list[str]) -> NDArray[np.object_]:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
