"""What photos are compared and shown by: keypoints, fingerprint, thumbnail, place and time.

Each is read once and kept in the state folder of its library, because finding keypoints takes
longer than all else; deleting the file costs nothing but time.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ..core.errors import DataError, ImageError
from ..core.fingerprint import Fingerprint
from ..core.fingerprint import unpack as unpack_fingerprint
from ..core.hardware import cpu_count
from ..core.images import content_hash, read_image
from ..core.photo_files import METADATA_ERRORS, LatLon, exif_of, location_of, open_photo
from ..core.storage import read_bytes, stamp
from ..core.types import Progress
from ..features.local.keypoints import Keypoints
from ..features.local.keypoints import unpack as unpack_keypoints
from ..features.local.matching import verify_many
from ..gallery.sqlite.own_file import FileKind, OwnSqliteFile
from ..recognition.folder.fill import features_of
from ..recognition.spatial_verification import MATCHING, MATCHING_SIDE

LOOKS_FILE = "looks.sqlite"

PHOTOS_AT_ONCE = 32  # decoded and committed together

MOST_THREADS = 4

MAX_CACHED_KEYPOINTS = 2_000  # unpacked: about 130 MB

_EXIF, _TAKEN, _CHANGED = 0x8769, 0x9003, 0x0132  # tags: the block, DateTimeOriginal, DateTime

KIND = FileKind(
    0x776C6C6B + 1,  # "wlll"
    1,
    (
        "CREATE TABLE looks (file TEXT PRIMARY KEY, stamp TEXT NOT NULL, hash TEXT NOT NULL, "
        "latitude REAL, longitude REAL, time REAL, error TEXT NOT NULL, keypoints BLOB NOT NULL, "
        "fingerprint BLOB NOT NULL, thumbnail BLOB NOT NULL)",
    ),
    "what photos look like",
    "delete it, then give the same command again: nothing is lost, and the photos are read anew",
)


@dataclass(frozen=True)
class PhotoLook:
    """A photo. hash: of its content. place: latitude and longitude. time: seconds, without zone.

    error: why it cannot be read; "" = it can. None = unknown.
    """

    hash: str
    place: LatLon | None = None
    time: float | None = None
    error: str = ""


class PhotoLooks:
    """The looks of a library's photos, in its state folder, which the caller holds."""

    def __init__(self, file: OwnSqliteFile) -> None:
        self._file = file
        self._keypoints: OrderedDict[str, Keypoints] = OrderedDict()

    @classmethod
    @contextmanager
    def open(cls, state: Path | None) -> Iterator[PhotoLooks]:
        """The looks in a state folder, None = in memory.

        Raises DataError when the file is damaged, or the folder may not be written to.
        """
        file = OwnSqliteFile(state / LOOKS_FILE if state else None, KIND)
        try:
            yield cls(file)
        finally:
            file.close()

    def update(
        self, files: Sequence[str], progress: Progress | None = None
    ) -> dict[str, PhotoLook]:
        """Read the photos that are new or have changed; file → its look, of all files given."""
        stamps = {file: stamp(file) for file in files}
        with self._file.reading() as sql:
            known = {
                file: PhotoLook(digest, _place(latitude, longitude), time, error)
                for file, was, digest, latitude, longitude, time, error in sql.execute(
                    "SELECT file, stamp, hash, latitude, longitude, time, error FROM looks"
                )
                if was and stamps.get(file) == was
            }
        missing = [file for file in stamps if file not in known]
        with ThreadPoolExecutor(min(MOST_THREADS, cpu_count())) as pool:
            for start in range(0, len(missing), PHOTOS_AT_ONCE):
                part = missing[start : start + PHOTOS_AT_ONCE]
                rows = list(pool.map(_look, part))
                with self._file.transaction() as sql:
                    sql.executemany(
                        "INSERT OR REPLACE INTO looks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                        [(file, stamps[file], one.hash, *(one.place or (None, None)), one.time,
                          one.error, *blobs)
                         for file, (one, *blobs) in zip(part, rows, strict=True)],
                    )  # fmt: skip
                known |= {file: row[0] for file, row in zip(part, rows, strict=True)}
                if progress:
                    progress(start + len(part), len(missing))
        return {file: known[file] for file in files}

    def forget_unless(self, files: Sequence[str]) -> None:
        """Forget all photos but these."""
        with self._file.transaction() as sql:
            sql.execute("CREATE TEMP TABLE IF NOT EXISTS there (file TEXT PRIMARY KEY)")
            sql.execute("DELETE FROM there")
            sql.executemany("INSERT OR IGNORE INTO there VALUES (?)", ((one,) for one in files))
            sql.execute("DELETE FROM looks WHERE file NOT IN (SELECT file FROM there)")

    def inliers(self, file: str, others: Sequence[str]) -> list[int]:
        """Keypoints of a photo that agree with each of others on one homography."""
        query, found = self._keypoints_of(file), [self._keypoints_of(one) for one in others]
        return [match.inliers for match in verify_many(query, found, MATCHING)]

    def fingerprint(self, file: str) -> Fingerprint:
        """The fingerprint of a photo that could be read."""
        return unpack_fingerprint(self._blob(file, "fingerprint"))

    def packed_fingerprints(self, files: Sequence[str]) -> list[bytes]:
        """The packed fingerprints of photos that could be read."""
        return [self._blob(file, "fingerprint") for file in files]

    def thumbnail(self, file: str) -> bytes:
        """The JPEG of a photo that could be read."""
        return self._blob(file, "thumbnail")

    def _keypoints_of(self, file: str) -> Keypoints:
        if (found := self._keypoints.get(file)) is None:
            try:
                found = unpack_keypoints(self._blob(file, "keypoints"))
            except DataError as error:
                raise self._file.damaged(f"{file}: {error}") from None
            self._keypoints[file] = found
            while len(self._keypoints) > MAX_CACHED_KEYPOINTS:
                self._keypoints.popitem(last=False)
        self._keypoints.move_to_end(file)
        return found

    def _blob(self, file: str, column: str) -> bytes:
        with self._file.reading() as sql:
            query = f"SELECT {column} FROM looks WHERE file = ?"
            row = sql.execute(query, (file,)).fetchone()
        if row is None or not row[0]:
            raise self._file.damaged(f"{column} of {file} is missing")
        return bytes(row[0])


def _look(file: str) -> tuple[PhotoLook, bytes, bytes, bytes]:
    """A photo's look, keypoints, fingerprint and thumbnail, from one reading of its file."""
    try:
        data = read_bytes(file)
        image = read_image(data, short_side=MATCHING_SIDE, name=file)
    except ImageError as error:
        return PhotoLook("", error=str(error)), b"", b"", b""
    found = features_of(image)
    look = PhotoLook(content_hash(data), location_of(data), _time_of(data))
    return look, found.keypoints, found.fingerprint, found.thumbnail


def _time_of(data: bytes) -> float | None:
    """When a photo was taken, by its EXIF data; None where they do not say it."""
    with suppress(ImageError, *METADATA_ERRORS), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with open_photo(data) as opened:
            tags = exif_of(opened)
            text = tags.get_ifd(_EXIF).get(_TAKEN) or tags.get(_CHANGED)
        with suppress(ValueError):
            taken = datetime.strptime(str(text).strip("\0 "), "%Y:%m:%d %H:%M:%S")
            return taken.replace(tzinfo=UTC).timestamp()
    return None


def _place(latitude: float | None, longitude: float | None) -> LatLon | None:
    return None if latitude is None or longitude is None else (latitude, longitude)
