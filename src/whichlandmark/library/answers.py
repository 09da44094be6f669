"""Answers to all photos of a library, remembered in its state folder and made only once.

A photo is answered when it is new or has changed, and when the recognizer has. `answers.sqlite`
holds paths, answers and vectors, no pixels; deleting it costs nothing but time.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..core.errors import ImageError
from ..core.files import local_path, text_of_bytes, valid_text
from ..core.hardware import cpu_count
from ..core.images import content_hash
from ..core.prediction import Prediction
from ..core.storage import read_bytes
from ..core.types import Photos, Progress
from ..data.folders import find_photos
from ..data.left_out import SIDECAR_FILE
from ..gallery.sqlite.own_file import FileKind, OwnSqliteFile
from ..recognition.again import StoredQuery, answer_again, nothing_known
from ..recognition.answer import GalleryFacts, answer_object
from ..recognition.faults import failed_object
from ..recognition.recognizer import AnsweredPhoto, Recognizer
from .state import held_state, state_folder
from .stored_answers import answer_keys, prediction_of, stored_prediction

ANSWERS_FILE = "answers.sqlite"

PHOTOS_AT_ONCE = 64  # photos whose answers are committed together …

SECONDS_AT_ONCE = 3.0  # … or those of so many seconds

MOST_THREADS = 4  # that decode photos at once, each up to the largest size allowed

SETTLED_NS = 2_000_000_000  # age of a file whose next change gets another time; FAT counts 2 s

DAYS_REMEMBERED = 30  # of a photo that vanished, as with a disk that is not mounted

ROWS_AT_ONCE = 256  # read from the file

KIND = FileKind(
    0x776C6C61,  # "wlla"
    1,
    (
        "CREATE TABLE photos (path BLOB PRIMARY KEY, size INTEGER NOT NULL, "
        "mtime INTEGER NOT NULL, settled INTEGER NOT NULL, gone INTEGER NOT NULL, "
        "hash TEXT NOT NULL, embedder TEXT NOT NULL, recognizer TEXT NOT NULL, "
        "height INTEGER NOT NULL, width INTEGER NOT NULL, latitude REAL, longitude REAL, "
        "answer TEXT NOT NULL, vector BLOB NOT NULL)",
    ),
    "a library's answers",
    "delete it, then give the same command again: nothing is lost, and the photos are answered "
    "anew",
)


@dataclass(frozen=True, eq=False)
class LibraryAnswer:
    """The answer to one photo of a library.

    photo: its path below the library, with "/", as valid text. file: its absolute path, a `file:`
    URL where that is no text. answer: as every interface gives it (`AnswerObject`), or why the
    photo could not be read (`PhotoFailure`). vector: (D,), unit length but for rounding; empty of
    a photo that could not be read.
    """

    photo: str
    file: str
    answer: dict[str, Any]
    vector: NDArray[np.float16]

    @property
    def error(self) -> str | None:
        """Why the photo could not be read; None = it could."""
        failure = self.answer.get("error")
        return None if failure is None else str(failure["message"])


@dataclass(frozen=True)
class Counts:
    """What an update found and did.

    photos: there now. answered: of these now, the others before. moved: of these not answered
    anew, because only their path has changed. failed: not readable. left_out: others but sidecars.
    """

    photos: int
    answered: int
    moved: int
    failed: int
    left_out: int


@dataclass(frozen=True)
class _File:
    """A photo that is there. path: below the library."""

    path: bytes
    size: int
    mtime: int


class LibraryAnswers:
    """The answers to the photos of a library; a context manager.

    One process has the answers of a library at a time. An end at any moment, by Ctrl-C or a kill,
    loses at most the last 64 photos or some seconds of work.
    """

    def __init__(
        self, library: str | Path, recognizer: Recognizer, *, state: str | Path | None = None
    ) -> None:
        """Open or make the state folder and the file in it.

        Args:
            library: The folder of photos; nothing in it is changed.
            recognizer: Answers the photos.
            state: The state folder; None = the one of `state_folder`.

        Raises:
            BusyError: When another process works on this library.
            DataError: When the file is damaged, or the state folder may not be written to.
        """
        self.recognizer = recognizer
        self.left_out: dict[str, str] = {}
        self.state = state_folder(library, state)
        self._top = os.path.abspath(os.path.expanduser(library))
        self._embedder, self._key = answer_keys(recognizer)
        self._tried: set[bytes] = set()  # photos that failed in this process
        with ExitStack() as opened:
            opened.enter_context(held_state(self.state))
            self._file = OwnSqliteFile(self.state / ANSWERS_FILE, KIND)
            opened.callback(self._file.close)
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and let other processes have it."""
        self._opened.close()

    def update(self, progress: Progress | None = None, *, changing: Collection[str] = ()) -> Counts:
        """Look for photos, and answer those that are new or have changed.

        Args:
            progress: Called with (photos answered, photos to answer).
            changing: Paths of files that are not complete yet; they are not answered now.

        Raises:
            DataError: When the library is missing, or the disk of the state folder is full.
        """
        found = find_photos(self._top)
        self.left_out = {path: reason for path, reason in found.left_out.items()
                         if reason != SIDECAR_FILE}  # fmt: skip
        files = [file for path in found.photos if (file := self._seen(path))]
        moved = self._note_presence(files)
        ready = files
        if changing:
            ready = [file for file in files if local_path(self._place(file.path)) not in changing]
        again, new = self._to_answer(ready)
        total = len(again) + len(new)

        def move(done: int) -> None:
            if progress:
                progress(done, total)

        unreadable = self._answer_again(again, move)
        kept = len(again) - len(unreadable)
        self._answer([*new, *unreadable], lambda done, of: move(kept + done))
        with self._file.reading() as sql:
            (failed,) = sql.execute(
                "SELECT count(*) FROM photos WHERE gone = 0 AND vector = x''"
            ).fetchone()
        return Counts(len(files), total, moved, failed, len(self.left_out))

    def rows(self, *, language: str = "") -> Iterator[LibraryAnswer]:
        """The answers to all photos that the last update found, in the order of their paths.

        language: BCP 47 tag of the names in words and of the titles; "" = each record's title.
        """
        facts, after = GalleryFacts.of(self.recognizer), b""
        while True:
            with self._file.reading() as sql:
                found = sql.execute(
                    "SELECT path, answer, vector FROM photos WHERE gone = 0 AND recognizer = ? "
                    "AND path > ? ORDER BY path LIMIT ?", (self._key, after, ROWS_AT_ONCE)
                ).fetchall()  # fmt: skip
            for path, answer, vector in found:
                after = path
                yield self._row(path, answer, vector, facts, language)
            if not found:
                return

    def __iter__(self) -> Iterator[LibraryAnswer]:
        return self.rows()

    def _row(
        self, path: bytes, stored: str, vector: bytes, facts: GalleryFacts, language: str
    ) -> LibraryAnswer:
        photo, file = self._name(path), self._place(path)
        prediction, floats = self._prediction(path, stored), np.frombuffer(vector, dtype=np.float16)
        if prediction.decision == "failed":
            failed = failed_object(photo, prediction.error or "")
            return LibraryAnswer(photo, file, {**failed}, floats)
        answer = answer_object(photo, prediction, facts, language=language)
        return LibraryAnswer(photo, file, {**answer}, floats)

    def _prediction(self, path: bytes, stored: str) -> Prediction:
        try:
            return prediction_of(json.loads(stored), self._place(path))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise self._file.damaged(f"the answer to {self._name(path)}: {error}") from None

    def _place(self, path: bytes) -> str:
        """The absolute path of a photo, as `find_photos` gives it."""
        below = os.fsdecode(path).replace("/", os.sep)
        return valid_text(os.path.join(self._top, below))

    def _name(self, path: bytes) -> str:
        """The path below the library as text; of two photos the texts differ."""
        try:
            return path.decode()
        except UnicodeDecodeError:
            name = text_of_bytes(path.decode("utf-8", "surrogateescape"))
        with self._file.reading() as sql:
            while sql.execute("SELECT 1 FROM photos WHERE path = ?", (name.encode(),)).fetchone():
                name += "~"
        return name

    def _seen(self, path: str) -> _File | None:
        """What a photo is now; None where it has just vanished, which is noted."""
        place = local_path(path)
        try:
            status = os.stat(place)
        except OSError as error:
            self.left_out[path] = f"cannot be read ({error.strerror or error})"
            return None
        below = os.path.relpath(place, self._top).replace(os.sep, "/")
        return _File(os.fsencode(below), status.st_size, status.st_mtime_ns)

    def _note_presence(self, files: Sequence[_File]) -> int:
        """Note which photos are there, and which only have another path. Returns how many of these.

        A photo that is not there stays in the file for some time, because a disk that is not
        mounted looks like an empty folder.
        """
        now = int(time.time())
        with self._file.transaction() as sql:
            sql.execute("CREATE TEMP TABLE IF NOT EXISTS there (path BLOB PRIMARY KEY)")
            sql.execute("DELETE FROM there")
            sql.executemany("INSERT INTO there VALUES (?)", ((file.path,) for file in files))
            is_there = "IN (SELECT path FROM there)"
            sql.execute(
                f"UPDATE photos SET gone = ? WHERE gone = 0 AND path NOT {is_there}", (now,)
            )
            sql.execute(f"UPDATE photos SET gone = 0 WHERE gone > 0 AND path {is_there}")
            sql.execute("DELETE FROM photos WHERE gone > 0 AND gone < ?",
                        (now - DAYS_REMEMBERED * 86_400,))  # fmt: skip
            known = {path for (path,) in sql.execute("SELECT path FROM photos WHERE gone = 0")}
            vanished: dict[tuple[int, int], list[tuple[bytes, str]]] = {}
            for path, size, mtime, digest in sql.execute(
                "SELECT path, size, mtime, hash FROM photos WHERE gone > 0 AND hash != ''"
            ):
                vanished.setdefault((size, mtime), []).append((path, digest))
            moved = 0
            for file in files:
                same = vanished.get((file.size, file.mtime)) if file.path not in known else None
                if same and (digest := self._hash(file)):
                    old = next((one for one in same if one[1] == digest), None)
                    if old is not None:
                        same.remove(old)
                        sql.execute("UPDATE photos SET path = ?, gone = 0 WHERE path = ?",
                                    (file.path, old[0]))  # fmt: skip
                        moved += 1
        return moved

    def _hash(self, file: _File) -> str:
        """The content hash of a photo; "" where it cannot be read."""
        try:
            return content_hash(read_bytes(self._place(file.path)))
        except ImageError:
            return ""

    def _to_answer(self, files: Sequence[_File]) -> tuple[list[_File], list[_File]]:
        """The photos without an answer of this recognizer to what they are now.

        Returns:
            Those that have a vector of its embedder, and the others.
        """
        right: dict[bytes, tuple[int, int]] = {}
        embedded: dict[bytes, tuple[int, int]] = {}
        with self._file.reading() as sql:
            for path, size, mtime, key, failed in sql.execute(
                "SELECT path, size, mtime, recognizer, vector = x'' FROM photos "
                "WHERE gone = 0 AND settled = 1 AND embedder = ?", (self._embedder,)
            ):  # fmt: skip
                if failed and path not in self._tried:
                    continue
                (right if failed or key == self._key else embedded)[path] = (size, mtime)
        again, new = [], []
        for file in files:
            now = (file.size, file.mtime)
            if embedded.get(file.path) == now:
                again.append(file)
            elif right.get(file.path) != now:
                new.append(file)
        return again, new

    def _answer_again(self, files: Sequence[_File], move: Callable[[int], None]) -> list[_File]:
        """Answer photos from their vectors; returns those that cannot be decoded any more."""
        parts = [
            files[start : start + PHOTOS_AT_ONCE] for start in range(0, len(files), PHOTOS_AT_ONCE)
        ]
        unreadable: list[_File] = []
        done = 0
        with ThreadPoolExecutor(min(cpu_count(), MOST_THREADS), "again") as pool:
            try:
                # Each thread reads its rows itself, so that few are in memory at once.
                for part, answers in zip(parts, pool.map(self._again, parts), strict=True):
                    changed = [
                        (self._key, json.dumps(stored_prediction(one)), file.path)
                        for file, one in zip(part, answers, strict=True) if one is not None
                    ]  # fmt: skip
                    with self._file.transaction() as sql:
                        sql.executemany(
                            "UPDATE photos SET recognizer = ?, answer = ? WHERE path = ?", changed
                        )
                    unreadable += [
                        file for file, one in zip(part, answers, strict=True) if one is None
                    ]
                    move(done := done + len(changed))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return unreadable

    def _again(self, files: Sequence[_File]) -> list[Prediction | None]:
        stored = []
        with self._file.reading() as sql:
            for file in files:
                height, width, latitude, longitude, answer, vector = sql.execute(
                    "SELECT height, width, latitude, longitude, answer, vector FROM photos "
                    "WHERE path = ?", (file.path,)
                ).fetchone()  # fmt: skip
                location = None if latitude is None else (latitude, longitude)
                before = self._prediction(file.path, answer)
                stored.append(StoredQuery(
                    self._place(file.path), np.frombuffer(vector, dtype=np.float16),
                    (height, width), location, nothing_known(before),
                ))  # fmt: skip
        return answer_again(self.recognizer, stored)

    def _answer(self, files: Sequence[_File], progress: Progress | None) -> None:
        """Answer photos, and commit every few seconds."""
        ids = [str(number) for number in range(len(files))]
        table = Photos.of_columns(ids, [self._place(file.path) for file in files], [""] * len(ids))
        answered = self.recognizer.answer_rows(table, progress=progress)
        rows: list[tuple[Any, ...]] = []
        began = time.monotonic()
        try:
            for file, one in zip(files, answered, strict=True):
                rows.append(self._columns(file, one))
                if one.vector is None:
                    self._tried.add(file.path)
                if len(rows) >= PHOTOS_AT_ONCE or time.monotonic() - began > SECONDS_AT_ONCE:
                    full, rows = rows, []
                    self._store(full)
                    began = time.monotonic()
        finally:  # also what was answered before Ctrl-C
            self._store(rows)

    def _columns(self, file: _File, one: AnsweredPhoto) -> tuple[Any, ...]:
        settled = abs(time.time_ns() - file.mtime) > SETTLED_NS
        vector = b"" if one.vector is None else one.vector.astype(np.float16).tobytes()
        latitude, longitude = one.location or (None, None)
        return (
            file.path, file.size, file.mtime, settled, 0, one.hash, self._embedder, self._key,
            *one.shape, latitude, longitude, json.dumps(stored_prediction(one.prediction)), vector,
        )  # fmt: skip

    def _store(self, rows: Sequence[tuple[Any, ...]]) -> None:
        marks = ", ".join("?" * 14)
        with self._file.transaction() as sql:
            sql.executemany(f"INSERT OR REPLACE INTO photos VALUES ({marks})", rows)
