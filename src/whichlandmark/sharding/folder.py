"""Where shards lie: a folder, or a URL of an object store. A file, and a marker that it is done."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import DataError, ImageError, WhichLandmarkError
from ..files import whole_file, write_json
from ..remote import is_url, opened, read_range, url_stamp
from .cutting import Shard

LONGEST = 1_000_000_000  # bytes of a marker: it lists what failed


@dataclass(frozen=True)
class Marker:
    """What is said of a shard that is done.

    table: fingerprint of its photos (`task.py`); features: with local features, fingerprints and
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
            data = read_range(address, 0, LONGEST) if is_url(address) else _bytes(address)
            values: dict[str, Any] = json.loads(data)
            values["failures"] = tuple((str(a), str(b)) for a, b in values["failures"])
            return Marker(**values)
        except (FileNotFoundError, ImageError, ValueError, TypeError, KeyError):
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
        store, path = opened(address)
        with tempfile.TemporaryDirectory(prefix="whichlandmark-") as folder:
            local = Path(folder) / "shard.parquet"
            with _told(address, "fetched"):
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
            store, path = opened(address)
            with _told(address, "written"):
                store.put_file(str(local), path)

    def mark(self, shard: Shard, marker: Marker) -> None:
        """The shard is done."""
        address = self.address(shard, ".json")
        if not is_url(address):
            write_json(address, asdict(marker))
            return
        store, path = opened(address)
        with _told(address, "written"):
            store.pipe_file(path, json.dumps(asdict(marker), ensure_ascii=False).encode())

    def forget(self, shard: Shard) -> None:
        """The shard is not done."""
        address = self.address(shard, ".json")
        if not is_url(address):
            Path(address).unlink(missing_ok=True)
            return
        store, path = opened(address)
        with _told(address, "removed"):
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


def _bytes(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise FileNotFoundError(path) from error


@contextmanager
def _told(address: str, done: str) -> Iterator[None]:
    """A store's errors in our words."""
    try:
        yield
    except WhichLandmarkError:
        raise
    except Exception as error:  # every store's library raises its own kinds
        raise DataError(f"{address}: cannot be {done} ({error})") from None
