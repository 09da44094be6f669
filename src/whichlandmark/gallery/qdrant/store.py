"""The gallery on Qdrant: photos as points with their vectors, everything else beside them.

Two collections: NAME is searched, NAME_about holds the gallery's own numbers, landmark records,
features, looks and thumbnails. How a change is made without transactions: `qdrant_commit.py`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from ..records import Credit, GalleryRow, LandmarkRecord
from . import collection as making
from .changes import QdrantChange
from .client import QdrantAddress, RetryingClient, connect, parse
from .collection import Snapshot
from .commit import BUSY_SECONDS, QdrantWriter
from .config import QdrantConfig
from .integrity import faults
from .reads import QdrantReads

if TYPE_CHECKING:
    from qdrant_client import QdrantClient


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
