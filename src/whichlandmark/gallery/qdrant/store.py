"""QdrantGallery: create, open, read, change, search and close a gallery in Qdrant."""

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
from ..records import Credit, GalleryRow, GalleryTable, Labels, LandmarkRecord, other_embedder
from ..sqlite.queries import labels as labels_of
from . import collection as collection
from . import points
from . import queries as point_queries
from .changes import QdrantChange
from .client import QdrantAddress, RetryingClient, connect, parse
from .collection import Snapshot
from .commit import BUSY_SECONDS, QdrantWriter
from .config import QdrantConfig
from .integrity import faults
from .points import Head
from .search import nearest, photo_filter

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

Answer = TypeVar("Answer")

MAX_READ_TRIES = 5  # of a read during which the gallery changes


class QdrantReads:
    """The reading half of `QdrantGallery`; see `base.Gallery` for the methods."""

    def __init__(self, client: RetryingClient, head: Head, config: QdrantConfig) -> None:
        self._client = client
        self._embedder, self._dim = head.meta.embedder, head.meta.dim
        self._config = config
        self.name = client.name

    @property
    def embedder_id(self) -> str:
        """Id of the embedder that computed all vectors."""
        return self._embedder

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return self._dim

    @property
    def generation(self) -> int:
        """Number of changes so far."""
        return self.state().generation

    def count(self) -> int:
        """Number of photos, distractors included."""
        return self.state().photos

    def state(self) -> Meta:
        """Embedder, counts and digests, all of one generation."""
        return point_queries.read_head(self._client).meta

    def require(self, embedder_id: str) -> None:
        """Raise GalleryError unless this embedder computed the gallery's vectors."""
        if self.embedder_id != embedder_id:
            raise other_embedder(self.name, self.embedder_id, embedder_id)

    def stamps(self, ids: Collection[str] | None = None) -> dict[str, tuple[str, str, str]]:
        """Id → (path, stamp, landmark); unknown ids are omitted. ids: None = all photos."""
        return {entry[1]: (entry[2], entry[5], entry[3]) for entry in self._entries(ids)}

    def sums(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row number and checksum of every photo, (N,) each, in row order."""
        return self._read_consistently(lambda head: point_queries.read_sums(self._client, head))

    def table(self, *, after: int | None = None, vectors: bool = True) -> GalleryTable:
        """The columns of all photos, or only of those with a row number above `after`."""
        return self._read_consistently(
            lambda head: point_queries.read_table(self._client, head, after, vectors)
        )

    def labels(self) -> Labels:
        """Row number and landmark of every photo, for galleries whose vectors exceed the memory."""
        return self._read_consistently(
            lambda head: labels_of(
                point_queries.all_photos(self._client, head), head.meta.generation
            )
        )

    def rows_after(self, row: int, limit: int) -> list[tuple[int, GalleryRow]]:
        """At most `limit` complete photos with their row numbers, from those above `row`."""
        return self._read_consistently(
            lambda head: point_queries.whole_rows(self._client, head, row, limit)
        )

    def ids_of(self, rows: NDArray[np.int64]) -> NDArray[np.object_]:
        """Ids of (n,) row numbers. Raises GalleryError for a row number without a photo."""
        head = point_queries.read_head(self._client)
        ids = np.empty(len(rows), dtype=object)
        found = point_queries.photos_at(self._client, head, rows, vectors=False)
        ids[:] = [entry[1] for entry, _ in found]
        return ids

    def vectors_of(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        """Vectors (n, D) of (n,) row numbers. Raises GalleryError as `ids_of` does."""
        head = point_queries.read_head(self._client)
        vectors = [
            points.vector_of(record, entry, self._dim, self.name)
            for entry, record in point_queries.photos_at(self._client, head, rows, vectors=True)
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
        """The k photos of highest cosine; see `base.Gallery.nearest`.

        Up to `QdrantConfig.exact_below` photos the server compares all; above, it uses its graph.
        """
        only = photo_filter(distractors, landmarks)
        return self._read_consistently(
            lambda head: nearest(self._client, head, self._config, queries, k, only)
        )

    def keypoints(self, ids: Iterable[str]) -> dict[str, bytes]:
        """Id → packed local features; unknown ids and photos without features are omitted."""
        return self._blobs("keypoints", list(ids))

    def thumbnails(self, ids: Iterable[str]) -> dict[str, bytes]:
        """Id → small JPEG; unknown ids and photos without a thumbnail are omitted."""
        return self._blobs("thumbnails", list(ids))

    def fingerprints(self, ids: Iterable[str] | None = None) -> dict[str, bytes]:
        """Id → packed perceptual fingerprint, of the photos that have one. ids: None = all."""
        return self._blobs("looks", None if ids is None else list(ids))

    def credits(self, ids: Iterable[str]) -> dict[str, Credit]:
        """Id → (author, licence); unknown ids are omitted."""
        return {entry[1]: Credit(entry[6], entry[7]) for entry in self._entries(list(ids))}

    def landmarks(self) -> dict[str, LandmarkRecord]:
        """Landmark → its record, for landmarks that have one."""
        return self._read_consistently(
            lambda head: point_queries.read_landmarks(self._client, head)
        )

    def _entries(self, ids: Collection[str] | None) -> list[Any]:
        def read(head: Head) -> list[Any]:
            if ids is None:
                return point_queries.all_photos(self._client, head)
            return point_queries.photos_of(self._client, ids, head.meta.next_row)

        return self._read_consistently(read)

    def _blobs(self, kind: str, ids: Collection[str] | None) -> dict[str, bytes]:
        def read(head: Head) -> dict[str, bytes]:
            if ids is None:
                found = point_queries.all_photos(self._client, head)
            else:
                found = point_queries.photos_of(self._client, ids, head.meta.next_row)
            blobs = point_queries.blobs(self._client, [kind], found)
            return {entry[1]: data for entry, (data,) in zip(found, blobs, strict=True) if data}

        return self._read_consistently(read)

    def _read_consistently(self, read: Callable[[Head], Answer]) -> Answer:
        """Call `read`, and repeat it if it failed because the gallery changed meanwhile."""
        for _ in range(MAX_READ_TRIES):
            head = point_queries.read_head(self._client)
            try:
                return read(head)
            except BusyError:
                raise
            except GalleryError:
                if point_queries.read_head(self._client).meta == head.meta:
                    raise
                self._client.sleep(0.1)
        raise BusyError(f"{self.name}: it changes faster than it can be read; try again")


class QdrantGallery(QdrantReads):
    """A gallery in Qdrant; see `base.Gallery` for the methods.

    Open with `create` or `open`; close with `close` or a with-statement.

    clock: seconds since 1970; max_wait: seconds that a writer waits for another one.
    """

    def __init__(
        self, client: RetryingClient, config: QdrantConfig | None, *, owned: bool = True
    ) -> None:
        head = collection.check_exists(client)
        super().__init__(client, head, config or collection.stored_config(head))
        self._owned = owned  # whether `close` closes the client
        self._lock = threading.RLock()  # so that threads that share the object write in turn
        self.clock: Callable[[], float] = time.time
        self.max_wait = BUSY_SECONDS

    @classmethod
    def create(cls, address: str, embedder_id: str, dim: int) -> Self:
        """Create an empty gallery for vectors of one embedder.

        Raises:
            GalleryError: when there is one of this name, or no server answers.
            OptionError: for an invalid address.
        """
        place = parse(address)
        with _open_client(place) as client:
            collection.check_server(client)
            collection.make(client, embedder_id, dim, place.config or QdrantConfig())
            return cls(client, None)

    @classmethod
    def open(cls, address: str) -> Self:
        """Open an existing gallery.

        Raises:
            GalleryError: when it does not exist, or no server answers.
            OptionError: for an invalid address.
        """
        place = parse(address)
        with _open_client(place) as client:
            collection.check_server(client)
            return cls(client, place.config)

    @classmethod
    def create_in(
        cls,
        client: QdrantClient,
        name: str,
        embedder_id: str,
        dim: int,
        config: QdrantConfig | None = None,
    ) -> Self:
        """As `create`, with an existing client, e.g. of a Qdrant in memory."""
        retrying = _wrap(client, name)
        collection.make(retrying, embedder_id, dim, config or QdrantConfig())
        return cls(retrying, None, owned=False)

    @classmethod
    def open_in(cls, client: QdrantClient, name: str, config: QdrantConfig | None = None) -> Self:
        """As `open`, with an existing client."""
        return cls(_wrap(client, name), config, owned=False)

    def put(self, rows: Sequence[GalleryRow]) -> None:
        """Add photos; a photo with a known id is replaced and keeps its row number.

        Raises:
            GalleryError: for a vector of another shape.
            DataError: for a text that cannot be stored (`records.check`).
        """
        with self._changing() as change:
            change.put(rows)

    def remove(self, ids: Iterable[str]) -> int:
        """Delete photos with all their data, and return how many.

        The server erases their bytes when it next optimizes the segment that holds them.

        Raises:
            DataError: for unknown ids.
        """
        with self._changing() as change:
            return change.remove(ids)

    def relabel(self, landmarks: Mapping[str, str]) -> None:
        """Change the landmark of photos: id → landmark, "" = distractor.

        Raises:
            DataError: for unknown ids; nothing is changed then.
        """
        with self._changing() as change:
            change.relabel(landmarks)

    def describe(self, records: Iterable[LandmarkRecord]) -> None:
        """Store landmark records, replacing those of the same landmarks."""
        with self._changing() as change:
            change.describe(records)

    def credit(self, credits: Mapping[str, Credit]) -> None:
        """Set author and licence of photos by id.

        Raises:
            DataError: for unknown ids; nothing is changed then.
        """
        with self._changing() as change:
            change.credit(credits)

    def repair(self) -> bool:
        """Finish or undo the change of a crashed writer; False when there was none.

        Every change does this first, so a call is only needed if no change follows.
        """
        with self._lock:
            return QdrantWriter(self._client, self.clock, self.max_wait).repair()

    def optimize(self) -> list[str]:
        """A line if the server is still building its search graph, which it does by itself.

        Raises GalleryError when the server cannot build it.
        """
        return collection.still_building(self._client)

    def faults(self) -> list[str]:
        """Verify all stored data; one line for each fault, empty = intact."""
        return faults(self._client, self.clock())

    def snapshot(self) -> list[Snapshot]:
        """Make snapshots of both collections, of one generation, on the server's disk."""
        return collection.make_snapshots(self._client)

    def snapshots(self) -> list[Snapshot]:
        """The snapshots on the server, oldest first."""
        return collection.list_snapshots(self._client)

    def close(self) -> None:
        """Close the connection; the object cannot be used afterwards."""
        if self._owned:
            self._client.qdrant.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    @contextmanager
    def _changing(self) -> Iterator[QdrantChange]:
        """Collect changes inside the with-block, and make all or none of them at its end."""
        with self._lock, QdrantWriter(self._client, self.clock, self.max_wait).changing() as change:
            yield change


@contextmanager
def _open_client(place: QdrantAddress) -> Iterator[RetryingClient]:
    """Connect; the client is closed again if the with-block fails."""
    client = connect(place)
    try:
        yield RetryingClient(client, place.gallery, place.name)
    except BaseException:
        client.close()
        raise


def _wrap(client: QdrantClient, name: str) -> RetryingClient:
    memory = client.init_options.get("location") == ":memory:"
    shown = f"qdrant in memory: {name}" if memory else f"qdrant: {name}"
    return RetryingClient(client, name, shown, in_memory=memory)
