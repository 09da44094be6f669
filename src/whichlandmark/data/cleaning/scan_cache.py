"""Cache of the photo scans of cleaning, in a SQLite file, so that an interrupted run resumes.

A scan is found by the absolute path of the photo, and is valid while the file's size and time are
unchanged. Votes and verified pairs are found by content, so that they are valid for every copy of a
photo. Delete the file to scan all photos again.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...core.errors import GalleryError
from ...core.fingerprint import SMALL_COPY_SIDE, Fingerprint
from ...core.storage import absolute_path
from ...gallery.sqlite.schema import DISK_ERRORS, gallery_error

FORMAT = 1

APPLICATION_ID = 0x776C6C6B  # "wllk" in the file's header: distinguishes it from other SQLite files

BUSY_SECONDS = 10.0

# `small` is the last column, because SQLite then reads the others without its pages.
_SCHEMA = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
CREATE TABLE looks (
  path BLOB PRIMARY KEY,
  stamp TEXT NOT NULL,          -- size and time of the file, '' = it was missing
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
    """The scan of one file.

    stamp: size and time of the file, "" = missing. hash: SHA-256, "" = unreadable. pixels: of the
    full-size photo. bytes: of the file. error: "" = readable. fingerprint: None = unreadable.
    """

    path: str
    stamp: str
    hash: str = ""
    pixels: int = 0
    bytes: int = 0
    error: str = ""
    fingerprint: Fingerprint | None = None


@dataclass(frozen=True)
class SceneVote:
    """The vote on one content. outdoor: number of outdoor scenes; scenes: names of all scenes."""

    hash: str
    outdoor: int
    scenes: str


class ScanCache:
    """A scan cache in a file, or in memory (path None). Close it with `close` or `with`."""

    def __init__(self, path: Path | None = None) -> None:
        """Open or create the file. Raises GalleryError when it is damaged or no scan cache."""
        self.name = str(path) if path else "scan cache in memory"
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
            header = [self._pragma("application_id"), self._pragma("user_version")]
        if header != [APPLICATION_ID, FORMAT]:
            self.close()
            raise GalleryError(
                f"{self.name}: not a scan cache of format {FORMAT}; "
                "delete it to scan the photos again"
            )

    def stamps(self) -> dict[bytes, str]:
        """`path_key` → stamp of every scan."""
        with self._errors():
            return dict(self._sql.execute("SELECT path, stamp FROM looks"))

    def rows(self) -> Iterator[tuple[bytes, str, int, int, str, bytes | None, bytes | None]]:
        """(`path_key`, hash, pixels, bytes, error, bits, coarse) of every scan."""
        with self._errors():
            yield from self._sql.execute(
                "SELECT path, hash, pixels, bytes, error, bits, coarse FROM looks"
            )

    def fingerprint_of(self, path: str) -> Fingerprint:
        """The fingerprint of a readable photo. Raises GalleryError when it is missing."""
        with self._errors():
            row = self._sql.execute(
                "SELECT bits, coarse, shape, small FROM looks WHERE path = ?", (path_key(path),)
            ).fetchone()
        if row is None or row[3] is None or len(row[3]) != SMALL_COPY_SIDE * SMALL_COPY_SIDE:
            raise GalleryError(f"{self.name}: the scan of {path} is missing; delete the cache file")
        return Fingerprint(
            bits=np.frombuffer(row[0], np.uint8),
            small=np.frombuffer(row[3], np.uint8).reshape(SMALL_COPY_SIDE, SMALL_COPY_SIDE),
            coarse=np.frombuffer(row[1], "<f4"),
            shape=row[2],
        )

    def votes(self, voter: str) -> dict[str, tuple[int, str]]:
        """Content → (number of outdoor scenes, scene names), of the voter with this id."""
        with self._errors():
            found = self._sql.execute(
                "SELECT hash, outdoor, scenes FROM votes WHERE voter = ?", (voter,)
            )
            return {row[0]: (row[1], row[2]) for row in found}

    def put(
        self, scans: Iterable[PhotoScan], voter: str = "", votes: Iterable[SceneVote] = ()
    ) -> None:
        """Store a batch of scans, and the votes of one voter, in one transaction."""
        rows = [_scan_row(scan) for scan in scans]
        with self._transaction() as sql:
            sql.executemany("INSERT OR REPLACE INTO looks VALUES (?,?,?,?,?,?,?,?,?,?)", rows)
            sql.executemany(
                "INSERT OR REPLACE INTO votes VALUES (?,?,?,?)",
                [(vote.hash, voter, vote.outdoor, vote.scenes) for vote in votes],
            )

    def pairs(self, options_key: str, hashes: Sequence[str]) -> dict[tuple[str, str], int]:
        """(content, content) → inliers of the verified pairs whose first content is in `hashes`.

        options_key: names the matching options that the pairs were verified with.
        """
        found: dict[tuple[str, str], int] = {}
        query = "SELECT one, two, inliers FROM pairs WHERE one = ? AND how = ?"
        with self._errors():
            for content in hashes:
                for one, two, inliers in self._sql.execute(query, (content, options_key)):
                    found[one, two] = inliers
        return found

    def put_pairs(self, options_key: str, inliers: dict[tuple[str, str], int]) -> None:
        """Store verified pairs, in one transaction."""
        with self._transaction() as sql:
            sql.executemany(
                "INSERT OR REPLACE INTO pairs VALUES (?,?,?,?)",
                [(one, two, options_key, count) for (one, two), count in inliers.items()],
            )

    def close(self) -> None:
        """Close the file; the cache cannot be used afterwards."""
        self._sql.close()

    def __enter__(self) -> ScanCache:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _pragma(self, name: str) -> int:
        return int(self._sql.execute(f"PRAGMA {name}").fetchone()[0])

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._errors():
            self._sql.execute("BEGIN IMMEDIATE")
            try:
                yield self._sql
                self._sql.execute("COMMIT")
            except BaseException:
                if self._sql.in_transaction:  # a full disk has ended it already
                    self._sql.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorname", "").startswith(DISK_ERRORS):
                raise gallery_error(error, self.name) from None
            raise GalleryError(
                f"{self.name}: damaged or not a scan cache ({error}); "
                "delete it to scan the photos again"
            ) from None


def path_key(path: str) -> bytes:
    """The key of a photo: its absolute path, as bytes because a path may not be Unicode."""
    return os.fsencode(absolute_path(path, os.getcwd()))


def _scan_row(scan: PhotoScan) -> tuple[object, ...]:
    row = (path_key(scan.path), scan.stamp, scan.hash, scan.pixels, scan.bytes, scan.error)
    if (f := scan.fingerprint) is None:
        return (*row, None, None, None, None)
    coarse = f.coarse.astype("<f4").tobytes()
    return (*row, f.bits.tobytes(), coarse, f.shape, f.small.tobytes())
