"""QdrantGallery: open, read, change and search a gallery on a Qdrant server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...core.errors import BusyError, GalleryError
from ...core.types import Neighbours, Vectors
from ..checksums import Meta
from ..protocol import Labels
from ..records import Credit, GalleryRow, GalleryTable, LandmarkRecord
from ..sqlite.queries import labels as labels_of
from . import collection as making
from . import points
from . import queries as reading
from .changes import QdrantChange
from .client import QdrantAddress, RetryingClient, connect, parse
from .collection import Snapshot
from .commit import BUSY_SECONDS, QdrantWriter
from .config import QdrantConfig
from .integrity import faults
from .points import Head
from .search import nearest, only_those

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

Answer = TypeVar("Answer")

TRIES = 5  # of a reading that a change came in between


class QdrantReads:
    """An open gallery, and everything that only reads it. `QdrantGallery` changes it too."""

    def __init__(self, calls: RetryingClient, head: Head, config: QdrantConfig) -> None:
        self._calls = calls
        self._embedder, self._dim = head.meta.embedder, head.meta.dim
        self._config = config
        self.name = calls.name

    @property
    def embedder_id(self) -> str:
        """Id of the embedder that all vectors come from."""
        return self._embedder

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._dim

    @property
    def generation(self) -> int:
        """Rises by one with every change."""
        return self.state().generation

    def count(self) -> int:
        """Photos, distractors included."""
        return self.state().photos

    def state(self) -> Meta:
        """The gallery's own numbers, all of one generation."""
        return reading.read_head(self._calls).meta

    def require(self, embedder_id: str) -> None:
        """Raises GalleryError unless the gallery was made by this embedder."""
        if self.embedder_id != embedder_id:
            raise GalleryError(
                f"{self.name} was made by embedder {self.embedder_id!r}, not by {embedder_id!r}: "
                "their vectors cannot be compared; use that embedder, or index into a new gallery"
            )

    def stamps(self, ids: Collection[str] | None = None) -> dict[str, tuple[str, str, str]]:
        """id → (path, stamp, landmark), of those ids that are there (None = of all)."""
        return {entry[1]: (entry[2], entry[5], entry[3]) for entry in self._entries(ids)}

    def sums(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row number and checksum of every photo, (N,) each, in row order."""
        return self._steadily(lambda head: reading.read_sums(self._calls, head))

    def table(self, *, after: int | None = None, vectors: bool = True) -> GalleryTable:
        """Everything that is searched, in row order. after: only higher row numbers than this."""
        return self._steadily(lambda head: reading.read_table(self._calls, head, after, vectors))

    def labels(self) -> Labels:
        """Row number and landmark of every photo: what fits in memory where vectors do not."""
        return self._steadily(
            lambda head: labels_of(reading.all_photos(self._calls, head), head.meta.generation)
        )

    def rows_after(self, row: int, limit: int) -> list[tuple[int, GalleryRow]]:
        """The next `limit` photos above this row number, whole, with their numbers: to copy."""
        return self._steadily(lambda head: reading.whole_rows(self._calls, head, row, limit))

    def ids_of(self, rows: NDArray[np.int64]) -> NDArray[np.object_]:
        """(n,) row numbers, in any order → (n,) ids. Raises GalleryError for unknown numbers."""
        head = reading.read_head(self._calls)
        ids = np.empty(len(rows), dtype=object)
        found = reading.few_rows(self._calls, head, rows, vectors=False)
        ids[:] = [entry[1] for entry, _ in found]
        return ids

    def vectors_of(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        """(n,) row numbers → (n, D). Raises GalleryError as `ids_of` does."""
        head = reading.read_head(self._calls)
        vectors = [
            points.vector_of(record, entry, self._dim, self.name)
            for entry, record in reading.few_rows(self._calls, head, rows, vectors=True)
        ]
        return np.array(vectors, dtype=np.float16).reshape(-1, self._dim)

    def nearest(
        self,
        queries: Vectors,
        k: int,
        *,
        distractors: bool = False,
        landmarks: Collection[str] | None = None,
    ) -> Neighbours:
        """Photos of the highest cosine: see `contract.AnyGallery.nearest`.

        All are compared up to `QdrantConfig.exact_below` photos; above, the server's graph finds.
        """
        only = only_those(distractors, landmarks)
        return self._steadily(
            lambda head: nearest(self._calls, head, self._config, queries, k, only)
        )

    def keypoints(self, ids: Iterable[str]) -> dict[str, bytes]:
        """id → packed local features; photos without them, or not there, are left out."""
        return self._blobs("keypoints", list(ids))

    def thumbnails(self, ids: Iterable[str]) -> dict[str, bytes]:
        """id → small JPEG; photos without one, or not there, are left out."""
        return self._blobs("thumbnails", list(ids))

    def looks(self, ids: Iterable[str] | None = None) -> dict[str, bytes]:
        """id → packed perceptual fingerprint, of those photos (None = all) that have one."""
        return self._blobs("looks", None if ids is None else list(ids))

    def credits(self, ids: Iterable[str]) -> dict[str, Credit]:
        """id → (author, licence), of those photos that are there."""
        return {entry[1]: Credit(entry[6], entry[7]) for entry in self._entries(list(ids))}

    def landmarks(self) -> dict[str, LandmarkRecord]:
        """Landmark → what is known of it, of those that have a record."""
        return self._steadily(lambda head: reading.read_landmarks(self._calls, head))

    def _entries(self, ids: Collection[str] | None) -> list[Any]:
        def read(head: Head) -> list[Any]:
            if ids is None:
                return reading.all_photos(self._calls, head)
            return reading.photos_of(self._calls, ids, head.meta.next_row)

        return self._steadily(read)

    def _blobs(self, kind: str, ids: Collection[str] | None) -> dict[str, bytes]:
        def read(head: Head) -> dict[str, bytes]:
            found = (reading.all_photos(self._calls, head) if ids is None
                     else reading.photos_of(self._calls, ids, head.meta.next_row))  # fmt: skip
            return reading.named_blobs(self._calls, kind, found)

        return self._steadily(read)

    def _steadily(self, read: Callable[[Head], Answer]) -> Answer:
        """What was read, of one generation: read again where a change came in between."""
        for _ in range(TRIES):
            head = reading.read_head(self._calls)
            try:
                return read(head)
            except BusyError:
                raise
            except GalleryError:
                if reading.read_head(self._calls).meta == head.meta:
                    raise
                self._calls.sleep(0.1)
        raise BusyError(f"{self.name}: it changes faster than it can be read; try again")


class QdrantGallery(QdrantReads):
    """Open with `create` or `open`; close with `close` or a with-statement.

    clock: seconds since 1970; patience: seconds that a writer waits for another.
    """

    def __init__(
        self, calls: RetryingClient, config: QdrantConfig | None, *, owned: bool = True
    ) -> None:
        head = making.check_there(calls)
        super().__init__(calls, head, config or making.kept_config(head))
        self._owned = owned  # is the client closed with the gallery?
        self._lock = threading.RLock()  # writers of one object wait for each other here
        self.clock: Callable[[], float] = time.time
        self.patience = BUSY_SECONDS

    @classmethod
    def create(cls, address: str, embedder_id: str, dim: int) -> Self:
        """A new gallery, made for one embedder. Raises GalleryError when there is one already."""
        place = parse(address)
        with _calls(place) as calls:
            making.check_server(calls)
            making.make(calls, embedder_id, dim, place.config or QdrantConfig())
            return cls(calls, None)

    @classmethod
    def open(cls, address: str) -> Self:
        """Open an existing gallery. Raises GalleryError when there is none, or no server answers;
        OptionError for an address that cannot be read.
        """
        place = parse(address)
        with _calls(place) as calls:
            making.check_server(calls)
            return cls(calls, place.config)

    @classmethod
    def create_in(
        cls,
        client: QdrantClient,
        name: str,
        embedder_id: str,
        dim: int,
        config: QdrantConfig | None = None,
    ) -> Self:
        """The same through a client that is there, as one of a Qdrant in memory."""
        calls = _calls_of(client, name)
        making.make(calls, embedder_id, dim, config or QdrantConfig())
        return cls(calls, None, owned=False)

    @classmethod
    def open_in(cls, client: QdrantClient, name: str, config: QdrantConfig | None = None) -> Self:
        """The same through a client that is there."""
        return cls(_calls_of(client, name), config, owned=False)

    def put(self, rows: Sequence[GalleryRow]) -> None:
        """Add photos, replacing those with the same id: all of them, or none.

        Raises GalleryError for a vector of another shape, DataError for words that cannot be kept.
        """
        with self._changing() as change:
            change.put(rows)

    def remove(self, ids: Iterable[str]) -> int:
        """Forget photos. Returns their number. Raises DataError for unknown ids.

        The server deletes their bytes when it next tidies the segment that held them.
        """
        with self._changing() as change:
            return change.remove(ids)

    def relabel(self, landmarks: Mapping[str, str]) -> None:
        """Give photos another landmark: {id: landmark}, "" = distractor.

        Raises DataError for unknown ids; nothing is changed then.
        """
        with self._changing() as change:
            change.relabel(landmarks)

    def describe(self, records: Iterable[LandmarkRecord]) -> None:
        """Keep what is known of landmarks, in place of what was known of them."""
        with self._changing() as change:
            change.describe(records)

    def credit(self, credits: Mapping[str, Credit]) -> None:
        """Say who made photos, and under which licence: {id: Credit}.

        Raises DataError for unknown ids; nothing is changed then.
        """
        with self._changing() as change:
            change.credit(credits)

    def repair(self) -> bool:
        """Finish or undo what a writer left that died. Was there anything?

        Every change does that first; this is for a gallery that nobody is about to change.
        """
        with self._lock:
            return QdrantWriter(self._calls, self.clock, self.patience).repair()

    def optimize(self) -> list[str]:
        """What the server is still building, in words: it does so by itself, in the background.

        Raises GalleryError when it says that it cannot.
        """
        return making.still_building(self._calls)

    def faults(self) -> list[str]:
        """Everything that is not as it was put there, in words; empty = whole."""
        return faults(self._calls, self.clock())

    def snapshot(self) -> list[Snapshot]:
        """Make snapshots of both collections, of one state, on the server's disk."""
        return making.make_snapshots(self._calls)

    def snapshots(self) -> list[Snapshot]:
        """Those that the server holds, oldest first."""
        return making.list_snapshots(self._calls)

    def close(self) -> None:
        """Close the connection; the object is of no use afterwards."""
        if self._owned:
            self._calls.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    @contextmanager
    def _changing(self) -> Iterator[QdrantChange]:
        """A whole batch and the next generation, or nothing."""
        with self._lock, QdrantWriter(self._calls, self.clock, self.patience).changing() as change:
            yield change


@contextmanager
def _calls(place: QdrantAddress) -> Iterator[RetryingClient]:
    """A client that is closed again when opening the gallery fails."""
    client = connect(place)
    try:
        yield RetryingClient(client, place.gallery, place.name)
    except BaseException:
        client.close()
        raise


def _calls_of(client: QdrantClient, name: str) -> RetryingClient:
    memory = client.init_options.get("location") == ":memory:"
    shown = f"qdrant in memory: {name}" if memory else f"qdrant: {name}"
    return RetryingClient(client, name, shown, in_memory=memory)
