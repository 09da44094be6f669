"""Shards on disk or in an object store: one Parquet file each, and a marker once it is done.

The columns are those of `GalleryRow` without the landmark, which is taken from the table when a
shard is loaded, so that a relabelled photo need not be embedded again. Vectors are little-endian
float16, as in galleries.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import DataError, ImageError, OptionError, WhichLandmarkError, install_command
from ...core.files import atomic_file, write_json
from ...core.storage import is_url, open_store, read_bytes, url_stamp
from ...gallery.records import GalleryRow, check

MAX_MARKER_BYTES = 200_000_000  # a marker lists all failed photos

GROUP_ROWS = 1024  # of a row group, the part that is in memory: about 50 MB with features

TEXT_COLUMNS = ("id", "path", "hash", "stamp")

BLOB_FIELDS = ("keypoints", "fingerprint", "thumbnail")  # of a GalleryRow

BLOB_COLUMNS = ("keypoints", "look", "thumbnail")  # the same in a file


@dataclass(frozen=True)
class Shard:
    """Rows `first` to `end` − 1 of a table: shard `number` (from 0) of `of`."""

    number: int
    of: int
    first: int
    end: int

    @property
    def name(self) -> str:
        """Name of its files, without the suffix."""
        return f"{self.number:05}-of-{self.of:05}"


@dataclass(frozen=True)
class Marker:
    """Describes a finished shard; the content of its .json file.

    Attributes:
        number, of: Which shard of how many.
        embedder, dim: Id and dimensions of the embedder.
        features: With local features, fingerprints and thumbnails?
        table: Fingerprint of its photos.
        rows: Photos in its file.
        bytes, checksum: Size and BLAKE2b of its file.
        failures: (id, reason) of photos that could not be read.
    """

    number: int
    of: int
    embedder: str
    dim: int
    features: bool
    table: str
    rows: int
    bytes: int
    checksum: str
    failures: tuple[tuple[str, str], ...] = ()

    @property
    def inputs(self) -> tuple[int, int, str, int, bool, str]:
        """What the shard was made from; a shard of other inputs has to be made again."""
        return self.number, self.of, self.embedder, self.dim, self.features, self.table


@dataclass(frozen=True)
class ShardFolder:
    """Folder or URL of all shards. Files are written atomically, the marker last."""

    location: str

    def address(self, shard: Shard, suffix: str) -> str:
        """Path or URL of a shard's file (suffix ".parquet") or marker (".json")."""
        return f"{self.location.rstrip('/')}/{shard.name}{suffix}"

    def marker(self, shard: Shard) -> Marker | None:
        """The shard's marker; None when it is missing or damaged."""
        address = self.address(shard, ".json")
        try:
            data = read_bytes(address, MAX_MARKER_BYTES)
            values: dict[str, Any] = json.loads(data)
            values["failures"] = tuple((str(a), str(b)) for a, b in values["failures"])
            return Marker(**values)
        except (ImageError, ValueError, TypeError, KeyError):
            return None

    def holds(self, shard: Shard, marker: Marker) -> bool:
        """Does the shard's file fit its marker?

        Behind a URL only the size is compared, because the checksum is compared when the file is
        fetched.
        """
        address = self.address(shard, ".parquet")
        try:
            if not is_url(address):
                return size_and_checksum(Path(address)) == (marker.bytes, marker.checksum)
            return url_stamp(address).split(":")[0] == str(marker.bytes)
        except OSError:
            return False

    @contextmanager
    def fetched(self, shard: Shard, marker: Marker) -> Iterator[Path]:
        """The shard's file on this machine, checked against its marker.

        Raises:
            DataError: When it is missing or differs; the marker is then removed, so that the next
                run makes the shard again.
        """
        address = self.address(shard, ".parquet")
        if not is_url(address):
            self._check_file(shard, marker, Path(address))
            yield Path(address)
            return
        store, path = open_store(address)
        with tempfile.TemporaryDirectory(prefix="whichlandmark-") as folder:
            local = Path(folder) / "shard.parquet"
            with _store_errors(address, "fetched"):
                store.get_file(path, str(local))
            self._check_file(shard, marker, local)
            yield local

    @contextmanager
    def writing(self, shard: Shard) -> Iterator[Path]:
        """A path to write the shard's file to; it replaces the old file when the block ends."""
        address = self.address(shard, ".parquet")
        if not is_url(address):
            with atomic_file(address) as temporary:
                yield temporary
            return
        with tempfile.TemporaryDirectory(prefix="whichlandmark-") as folder:
            local = Path(folder) / "shard.parquet"
            yield local
            store, path = open_store(address)
            with _store_errors(address, "written"):
                store.put_file(str(local), path)

    def mark(self, shard: Shard, marker: Marker) -> None:
        """Write the marker: the shard is done."""
        address = self.address(shard, ".json")
        if not is_url(address):
            write_json(address, asdict(marker))
            return
        store, path = open_store(address)
        with _store_errors(address, "written"):
            store.pipe_file(path, json.dumps(asdict(marker), ensure_ascii=False).encode())

    def forget(self, shard: Shard) -> None:
        """Remove the marker: the shard is not done."""
        address = self.address(shard, ".json")
        if not is_url(address):
            Path(address).unlink(missing_ok=True)
            return
        store, path = open_store(address)
        with _store_errors(address, "removed"):
            if store.exists(path):
                store.rm_file(path)

    def _check_file(self, shard: Shard, marker: Marker, file: Path) -> None:
        if not file.exists() or size_and_checksum(file) != (marker.bytes, marker.checksum):
            self.forget(shard)
            raise DataError(
                f"{self.address(shard, '.parquet')}: damaged, or not the file of its marker, which "
                "is removed now; the same command makes the shard again"
            )


def size_and_checksum(file: Path) -> tuple[int, str]:
    """Size in bytes and BLAKE2b of a file."""
    with open(file, "rb") as opened_file:
        digest = hashlib.file_digest(opened_file, lambda: hashlib.blake2b(digest_size=16))
        return opened_file.tell(), digest.hexdigest()


@contextmanager
def _store_errors(address: str, done: str) -> Iterator[None]:
    """Turn the errors of any object store into DataError."""
    try:
        yield
    except WhichLandmarkError:
        raise
    except Exception as error:  # each store's library has its own classes of errors
        raise DataError(f"{address}: cannot be {done} ({error})") from None


def write_rows(path: Path, rows: Iterable[GalleryRow], dim: int) -> int:
    """Write a shard's file, one group of rows in memory at a time; returns the number of rows.

    Raises DataError for texts that a gallery cannot store.
    """
    pa, parquet = import_pyarrow()
    schema = _schema(pa, dim)
    count = 0
    # No compression and no dictionary, because blobs are compressed and texts rarely repeat.
    with parquet.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
        for group in _groups(rows):
            writer.write_table(pa.table(_columns(group), schema=schema))
            count += len(group)
    return count


def read_rows(path: Path, dim: int) -> Iterator[list[GalleryRow]]:
    """Read a shard's file in groups of at most GROUP_ROWS rows, all with landmark "".

    Raises DataError when the file is not a shard of `dim` dimensions.
    """
    pa, parquet = import_pyarrow()
    try:
        with parquet.ParquetFile(path) as file:
            if file.schema_arrow != _schema(pa, dim):
                raise DataError(f"{path}: other columns than those of a shard of {dim} dimensions")
            for group in file.iter_batches(batch_size=GROUP_ROWS):
                columns = group.to_pydict()
                yield [_row(columns, i) for i in range(len(columns["id"]))]
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not readable as a shard ({error})") from None


def import_pyarrow() -> tuple[Any, Any]:
    """pyarrow and its Parquet. Raises OptionError when it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise OptionError(
            "shards are Parquet files, and pyarrow is not installed; "
            f"install it with: {install_command('cluster')}"
        ) from None
    return pyarrow, pyarrow.parquet


def _schema(pa: Any, dim: int) -> Any:
    fields = [pa.field(name, pa.string(), nullable=False) for name in TEXT_COLUMNS]
    fields += [pa.field("vector", pa.binary(2 * dim), nullable=False)]
    fields += [pa.field(name, pa.binary(), nullable=False) for name in BLOB_COLUMNS]
    return pa.schema(fields)


def _columns(rows: Sequence[GalleryRow]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {
        column: [getattr(row, field) for row in rows]
        for column, field in zip(
            (*TEXT_COLUMNS, *BLOB_COLUMNS), (*TEXT_COLUMNS, *BLOB_FIELDS), strict=True
        )
    }
    columns["vector"] = [row.vector.astype("<f2").tobytes() for row in rows]
    return columns


def _row(columns: dict[str, list[Any]], i: int) -> GalleryRow:
    photo_id, path, digest, stamp = (columns[name][i] for name in TEXT_COLUMNS)
    keypoints, fingerprint, thumbnail = (columns[name][i] for name in BLOB_COLUMNS)
    vector = np.frombuffer(columns["vector"][i], dtype="<f2").astype(np.float32)
    return GalleryRow(photo_id, path, "", digest, stamp, vector, keypoints, fingerprint, thumbnail)


def _groups(rows: Iterable[GalleryRow]) -> Iterator[list[GalleryRow]]:
    group: list[GalleryRow] = []
    for row in rows:
        check(row)
        group.append(row)
        if len(group) == GROUP_ROWS:
            yield group
            group = []
    if group:
        yield group
