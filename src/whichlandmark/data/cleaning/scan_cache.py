"""What cleaning has seen, in a SQLite file: an interrupted run goes on where it stopped.

A look is known by the file's absolute path and its size and time; a vote and a pair by content,
so that they hold for every copy of a photo. Delete the file to look at everything again.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...core.errors import BusyError, GalleryError
from ...core.fingerprint import SIDE, Fingerprint
from ...core.storage import absolute_path

FORMAT = 1

APPLICATION = 0x776C6C6B  # "wllk" in the file's header: told apart from any other SQLite file

BUSY_SECONDS = 10.0

# `small` comes last: reading the columns before it does not touch its pages.
_SCHEMA = f"""
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {FORMAT};
CREATE TABLE looks (
  path BLOB PRIMARY KEY,
  stamp TEXT NOT NULL,          -- size and time of the file, '' = it was not there
  hash TEXT NOT NULL,           -- SHA-256 of the file, '' = unreadable
  pixels INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  error TEXT NOT NULL,
  bits BLOB, coarse BLOB, shape REAL, small BLOB
);
CREATE TABLE votes (
  hash TEXT NOT NULL, voter TEXT NOT NULL, outdoor INTEGER NOT NULL, scenes TEXT NOT NULL,
  PRIMARY KEY (hash, voter)
) WITHOUT ROWID;
CREATE TABLE pairs (
  one TEXT NOT NULL, two TEXT NOT NULL, how TEXT NOT NULL, inliers INTEGER NOT NULL,
  PRIMARY KEY (one, two, how)
) WITHOUT ROWID
"""


@dataclass(frozen=True)
class PhotoScan:
    """One look at one file. pixels: of the whole photo; print: None when unreadable."""

    path: str
    stamp: str
    hash: str = ""
    pixels: int = 0
    bytes: int = 0
    error: str = ""
    print: Fingerprint | None = None


@dataclass(frozen=True)
class SceneVote:
    """How many of the scenes that a photo was taken for are outdoors, and their names."""

    hash: str
    outdoor: int
    scenes: str


class ScanCache:
    """Open with a path, or None for one in memory; close with `close` or a with-statement."""

    def __init__(self, path: Path | None = None) -> None:
        """Raises GalleryError when the file is damaged or something else."""
        self.name = str(path) if path else "looks in memory"
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
        with self._errors():
            self._sql = sqlite3.connect(
                path or ":memory:", timeout=BUSY_SECONDS, isolation_level=None
            )
            (tables,) = self._sql.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
            if not tables:
                with self._transaction():
                    for statement in _SCHEMA.split(";"):
                        self._sql.execute(statement)
            header = [self._number("application_id"), self._number("user_version")]
        if header != [APPLICATION, FORMAT]:
            self.close()
            raise GalleryError(
                f"{self.name}: not a file of looks of format {FORMAT}; delete it to look again"
            )

    def stamps(self) -> dict[bytes, str]:
        """Path (as bytes) → stamp of every look."""
        with self._errors():
            return dict(self._sql.execute("SELECT path, stamp FROM looks"))

    def rows(self) -> Iterator[tuple[bytes, str, int, int, str, bytes | None, bytes | None]]:
        """path, hash, pixels, bytes, error, bits, coarse of every look."""
        with self._errors():
            yield from self._sql.execute(
                "SELECT path, hash, pixels, bytes, error, bits, coarse FROM looks"
            )

    def print_of(self, path: str) -> Fingerprint:
        """The fingerprint of a photo that was readable."""
        with self._errors():
            row = self._sql.execute(
                "SELECT bits, coarse, shape, small FROM looks WHERE path = ?", (key(path),)
            ).fetchone()
        if row is None or row[3] is None or len(row[3]) != SIDE * SIDE:
            raise GalleryError(f"{self.name}: the look at {path} is missing; delete the file")
        return Fingerprint(
            bits=np.frombuffer(row[0], np.uint8),
            small=np.frombuffer(row[3], np.uint8).reshape(SIDE, SIDE),
            coarse=np.frombuffer(row[1], "<f4"),
            shape=row[2],
        )

    def votes(self, voter: str) -> dict[str, tuple[int, str]]:
        """Content → (scenes outdoors, their names), of one voter."""
        with self._errors():
            found = self._sql.execute(
                "SELECT hash, outdoor, scenes FROM votes WHERE voter = ?", (voter,)
            )
            return {row[0]: (row[1], row[2]) for row in found}

    def put(
        self, looks: Iterable[PhotoScan], voter: str = "", votes: Iterable[SceneVote] = ()
    ) -> None:
        """Keep a batch of looks, and the votes of one voter, in one transaction."""
        rows = [_look_row(look) for look in looks]
        with self._transaction() as sql:
            sql.executemany("INSERT OR REPLACE INTO looks VALUES (?,?,?,?,?,?,?,?,?,?)", rows)
            sql.executemany(
                "INSERT OR REPLACE INTO votes VALUES (?,?,?,?)",
                [(vote.hash, voter, vote.outdoor, vote.scenes) for vote in votes],
            )

    def pairs(self, how: str, hashes: Sequence[str]) -> dict[tuple[str, str], int]:
        """(content, content) → inliers of pairs verified in the way `how`, of these photos."""
        found: dict[tuple[str, str], int] = {}
        query = "SELECT one, two, inliers FROM pairs WHERE one = ? AND how = ?"
        with self._errors():
            for content in hashes:
                for one, two, inliers in self._sql.execute(query, (content, how)):
                    found[one, two] = inliers
        return found

    def put_pairs(self, how: str, inliers: dict[tuple[str, str], int]) -> None:
        """Keep verified pairs, in one transaction."""
        with self._transaction() as sql:
            sql.executemany(
                "INSERT OR REPLACE INTO pairs VALUES (?,?,?,?)",
                [(one, two, how, count) for (one, two), count in inliers.items()],
            )

    def close(self) -> None:
        """Close the file; the object is of no use afterwards."""
        self._sql.close()

    def __enter__(self) -> ScanCache:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _number(self, pragma: str) -> int:
        return int(self._sql.execute(f"PRAGMA {pragma}").fetchone()[0])

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._errors():
            self._sql.execute("BEGIN IMMEDIATE")
            try:
                yield self._sql
                self._sql.execute("COMMIT")
            except BaseException:
                self._sql.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if "locked" in str(error) or "busy" in str(error):
                raise BusyError(
                    f"{self.name}: another process is writing to it; wait for it, then try again"
                ) from None
            raise GalleryError(
                f"{self.name}: damaged or not a file of looks ({error}); delete it to look again"
            ) from None


def key(path: str) -> bytes:
    """A path as the store knows it; names that are not valid Unicode have one too."""
    return os.fsencode(absolute_path(path, os.getcwd()))


def _look_row(look: PhotoScan) -> tuple[object, ...]:
    seen = look.print
    parts = (None, None, None, None) if seen is None else (
        seen.bits.tobytes(), seen.coarse.astype("<f4").tobytes(), seen.shape, seen.small.tobytes()
    )  # fmt: skip
    return (key(look.path), look.stamp, look.hash, look.pixels, look.bytes, look.error, *parts)
