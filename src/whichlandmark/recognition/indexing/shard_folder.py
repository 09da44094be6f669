"""Shards on disk or in an object store: a Parquet file each, and a marker that it is done.

The columns are those of `GalleryRow` without the landmark, which is taken from the table when a
shard is loaded: a photo that is renamed need not be embedded again. Vectors are little-endian
float16, as galleries keep them.
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

from ...core.errors import DataError, ImageError, OptionError, WhichLandmarkError
from ...core.files import whole_file, write_json
from ...core.storage import is_url, open_store, read_bytes, url_stamp
from ...gallery.records import GalleryRow, check

MAX_MARKER_BYTES = 200_000_000  # a marker lists every photo that failed

GROUP_ROWS = 1024  # of a row group, which is what memory holds: some 50 MB with features

TEXT_COLUMNS = ("id", "path", "hash", "stamp")

BLOB_COLUMNS = ("keypoints", "look", "thumbnail")


@dataclass(frozen=True)
class Shard:
    """Rows `first` up to `end` of a table, the shard `number` (from 0) of so many."""

    number: int
    of: int
    first: int
    end: int

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"{self.number:05}-of-{self.of:05}"


@dataclass(frozen=True)
class Marker:
    """What is said of a shard that is done.

    table: fingerprint of its photos; features: with local features, fingerprints and
    thumbnails; bytes, checksum: of its file (BLAKE2b); failures: (id, reason) of photos that
    could not be read.
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
    def made_of(self) -> tuple[int, int, str, int, bool, str]:
        """What decides whether a shard has to be made again."""
        return self.number, self.of, self.embedder, self.dim, self.features, self.table


@dataclass(frozen=True)
class ShardFolder:
    """place: a folder, or a URL. Files appear whole or not at all; the marker comes last."""

    place: str

    def address(self, shard: Shard, suffix: str) -> str:
        """Of the file (`.parquet`) or the marker (`.json`)."""
        return f"{self.place.rstrip('/')}/{shard.name}{suffix}"

    def marker(self, shard: Shard) -> Marker | None:
        """None where there is none, or none that can be read."""
        address = self.address(shard, ".json")
        try:
            data = read_bytes(address, MAX_MARKER_BYTES)
            values: dict[str, Any] = json.loads(data)
            values["failures"] = tuple((str(a), str(b)) for a, b in values["failures"])
            return Marker(**values)
        except (ImageError, ValueError, TypeError, KeyError):
            return None

    def holds(self, shard: Shard, marker: Marker) -> bool:
        """Is the shard's file the one of its marker? Behind a URL only its size is compared: the
        rest is, when it is fetched to be loaded.
        """
        address = self.address(shard, ".parquet")
        try:
            if not is_url(address):
                return measured(Path(address)) == (marker.bytes, marker.checksum)
            return url_stamp(address).split(":")[0] == str(marker.bytes)
        except OSError:
            return False

    @contextmanager
    def fetched(self, shard: Shard, marker: Marker) -> Iterator[Path]:
        """The shard's file on this machine, compared with its marker.

        Raises DataError when it is another or missing; the marker is then gone, and the shard is
        made again by the next run.
        """
        address = self.address(shard, ".parquet")
        if not is_url(address):
            self._require(shard, marker, Path(address))
            yield Path(address)
            return
        store, path = open_store(address)
        with tempfile.TemporaryDirectory(prefix="whichlandmark-") as folder:
            local = Path(folder) / "shard.parquet"
            with _store_errors(address, "fetched"):
                store.get_file(path, str(local))
            self._require(shard, marker, local)
            yield local

    @contextmanager
    def writing(self, shard: Shard) -> Iterator[Path]:
        """A path to write the shard's file to; it is put in its place when the block ends."""
        address = self.address(shard, ".parquet")
        if not is_url(address):
            with whole_file(address) as temporary:
                yield temporary
            return
        with tempfile.TemporaryDirectory(prefix="whichlandmark-") as folder:
            local = Path(folder) / "shard.parquet"
            yield local
            store, path = open_store(address)
            with _store_errors(address, "written"):
                store.put_file(str(local), path)

    def mark(self, shard: Shard, marker: Marker) -> None:
        """The shard is done."""
        address = self.address(shard, ".json")
        if not is_url(address):
            write_json(address, asdict(marker))
            return
        store, path = open_store(address)
        with _store_errors(address, "written"):
            store.pipe_file(path, json.dumps(asdict(marker), ensure_ascii=False).encode())

    def forget(self, shard: Shard) -> None:
        """The shard is not done."""
        address = self.address(shard, ".json")
        if not is_url(address):
            Path(address).unlink(missing_ok=True)
            return
        store, path = open_store(address)
        with _store_errors(address, "removed"):
            if store.exists(path):
                store.rm_file(path)

    def _require(self, shard: Shard, marker: Marker, file: Path) -> None:
        if not file.exists() or measured(file) != (marker.bytes, marker.checksum):
            self.forget(shard)
            raise DataError(
                f"{self.address(shard, '.parquet')}: damaged, or not the file of its marker, which "
                "is removed now; the same command makes the shard again"
            )


def measured(file: Path) -> tuple[int, str]:
    """(bytes, BLAKE2b) of a file."""
    with open(file, "rb") as opened_file:
        digest = hashlib.file_digest(opened_file, lambda: hashlib.blake2b(digest_size=16))
        return opened_file.tell(), digest.hexdigest()


@contextmanager
def _store_errors(address: str, done: str) -> Iterator[None]:
    """Every store's errors become DataError."""
    try:
        yield
    except WhichLandmarkError:
        raise
    except Exception as error:  # every store's library raises its own kinds
        raise DataError(f"{address}: cannot be {done} ({error})") from None


def write_rows(path: Path, rows: Iterable[GalleryRow], dim: int) -> int:
    """Write a file; memory holds one group of rows. Returns their number.

    Raises DataError for texts that no gallery could keep.
    """
    pa, parquet = arrow()
    schema = _schema(pa, dim)
    count = 0
    # Blobs are compressed already, and no text occurs often.
    with parquet.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
        for group in _groups(rows):
            writer.write_table(pa.table(_columns(group), schema=schema))
            count += len(group)
    return count


def read_rows(path: Path, dim: int) -> Iterator[list[GalleryRow]]:
    """Groups of at most `GROUP_ROWS` rows, landmarks "". Raises DataError for any other file."""
    pa, parquet = arrow()
    try:
        with parquet.ParquetFile(path) as file:
            if file.schema_arrow != _schema(pa, dim):
                raise DataError(f"{path}: other columns than those of a shard of {dim} dimensions")
            for group in file.iter_batches(batch_size=GROUP_ROWS):
                columns = group.to_pydict()
                yield [_row(columns, i) for i in range(len(columns["id"]))]
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not readable as a shard ({error})") from None


def arrow() -> tuple[Any, Any]:
    """pyarrow and its Parquet. Raises OptionError when it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise OptionError(
            "shards are Parquet files, and pyarrow is not installed; "
            "install it with: pip install 'whichlandmark[cluster]'"
        ) from None
    return pyarrow, pyarrow.parquet


def _schema(pa: Any, dim: int) -> Any:
    fields = [pa.field(name, pa.string(), nullable=False) for name in TEXT_COLUMNS]
    fields += [pa.field("vector", pa.binary(2 * dim), nullable=False)]
    fields += [pa.field(name, pa.binary(), nullable=False) for name in BLOB_COLUMNS]
    return pa.schema(fields)


def _columns(rows: Sequence[GalleryRow]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {
        name: [getattr(row, name) for row in rows] for name in (*TEXT_COLUMNS, *BLOB_COLUMNS)
    }
    columns["vector"] = [row.vector.astype("<f2").tobytes() for row in rows]
    return columns


def _row(columns: dict[str, list[Any]], i: int) -> GalleryRow:
    photo_id, path, digest, stamp = (columns[name][i] for name in TEXT_COLUMNS)
    keypoints, look, thumbnail = (columns[name][i] for name in BLOB_COLUMNS)
    vector = np.frombuffer(columns["vector"][i], dtype="<f2").astype(np.float32)
    return GalleryRow(photo_id, path, "", digest, stamp, vector, keypoints, look, thumbnail)


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
