"""Qdrant as a search index of a gallery: it names candidates, the gallery has everything else.

The server searches a graph or quantised vectors, and rounds queries to float16. Landmarks, ids and
exact cosines of the candidates come from the gallery.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ...core.errors import GalleryError
from ...core.types import Progress, Vectors
from ..base import Gallery
from ..checksums import Meta
from ..index.remote import IndexState, Synced
from .client import RetryingClient, parse
from .collection import read_marker
from .sync import Sync

MAX_QUERIES_PER_REQUEST = 100


class QdrantIndex:
    """A search index in Qdrant; see `index.remote.SearchIndex`.

    Opened with `open`; the server is asked when it is first needed.
    """

    def __init__(self, client: RetryingClient) -> None:
        self._client, self.name = client, client.name

    @classmethod
    def open(cls, address: str) -> Self:
        """The index at qdrant://HOST:PORT/NAME. Raises OptionError for an invalid address."""
        return cls(RetryingClient(parse(address)))

    def sync(
        self, gallery: Gallery, *, rebuild: bool = False, progress: Progress | None = None
    ) -> Synced:
        """Bring the index in step with the gallery; `Sync` says what it raises."""
        sync = Sync(self._client, gallery, progress)
        return sync(self._client.address.config, rebuild=rebuild)

    def state(self) -> IndexState | None:
        """What it holds; None = there is none yet."""
        m = read_marker(self._client)
        return IndexState(m.complete, m.generation, m.count, m.digest) if m else None

    def nearest(
        self, state: Meta, queries: Vectors, k: int, *, distractors: bool
    ) -> NDArray[np.int64]:
        """About k nearest photos of each query, of a collection that holds exactly `state`.

        The marker is compared before and after: its token shows whether a sync began meanwhile.

        Returns:
            Row numbers (Q, k), −1 where fewer are found.

        Raises:
            GalleryError: when it holds anything else, or the server does not answer.
        """
        while True:
            run = self._matching(state)
            rows = self._found(state, queries, k, distractors)
            if self._matching(state) == run:
                return rows

    def _matching(self, state: Meta) -> str:
        """The marker's token. Raises GalleryError unless the collection holds this state."""
        marker = read_marker(self._client, search=True)
        if marker is not None and marker.holds(state):
            return marker.run
        if marker is None or marker.complete:
            holds = f"holds generation {marker.generation}" if marker else "is empty"
            holds += f", the gallery is at {state.generation}"
        else:
            holds = "a sync has not ended"
        raise GalleryError(f"{self.name}: {holds}")

    def _found(self, state: Meta, queries: Vectors, k: int, distractors: bool) -> NDArray[np.int64]:
        from qdrant_client import models

        kind = models.MatchValue(value="distractor" if distractors else "landmark")
        request: dict[str, Any] = {
            "filter": models.Filter(must=[models.FieldCondition(key="kind", match=kind)]),
            "params": self._client.address.config.search_params(state.photos),
            "limit": k,
        }
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        for start in range(0, len(queries) if k else 0, MAX_QUERIES_PER_REQUEST):
            part = queries[start : start + MAX_QUERIES_PER_REQUEST].astype(np.float32).tolist()
            requests = [models.QueryRequest(query=query, **request) for query in part]
            answers = self._client.call("query_batch_points", search=True, requests=requests)
            for at, answer in enumerate(answers, start):
                rows[at, : len(answer.points)] = [point.id for point in answer.points]
        return rows
