"""Bring a collection in step with a gallery.

A sync first writes its own token into the marker, which makes the collection incomplete, so that
nobody searches it. Then it compares row numbers and checksums, deletes what is gone, and writes
what is missing or changed; each request can be repeated. At the end the marker gets the gallery's
generation and digest. After an interruption the next sync compares again, and goes on.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import BusyError, GalleryError
from ...core.types import Progress
from ..base import Gallery
from ..checksums import Meta, digest_of
from ..index.remote import Synced
from .client import RetryingClient
from .collection import MARKER_ID, Marker, QdrantConfig, make, read_marker, set_marker

MAX_REQUEST_BYTES = 16_000_000  # a server takes at most 32 MB (`max_request_size_mb`)

MAX_POINTS_PER_REQUEST = 1_000

SUMS_PER_PAGE = 10_000

MAX_GAPS = 10_000  # row numbers of removed photos that are looked up instead of reading all

MAX_PASSES = 20  # over a gallery that changes meanwhile

WATCH_SECONDS = 3.0  # that an unfinished sync is watched, to see whether it still works

Sums = tuple[NDArray[np.int64], NDArray[np.int64]]  # row numbers and checksums of photos


class Sync:
    """One sync of a gallery into the collection of a client.

    Args:
        client: of the collection.
        gallery: it is only read.
        progress: called with (photos in step, photos in all).
    """

    def __init__(
        self, client: RetryingClient, gallery: Gallery, progress: Progress | None = None
    ) -> None:
        self.client, self.gallery, self.progress = client, gallery, progress
        self.run = secrets.token_hex(8)
        self.steps = self.written = self.deleted = 0

    def __call__(self, config: QdrantConfig, *, rebuild: bool = False) -> Synced:
        """Bring the collection in step; config: how it is made, if there is none or to `rebuild`.

        Raises:
            BusyError: when another sync works on it, or the gallery changes all the time.
            GalleryError: when it belongs to another embedder or is no search index, or server or
                gallery cannot be used.
        """
        state, marker = self.gallery.state(), read_marker(self.client)
        if marker is not None and marker.holds(state) and not rebuild:
            return Synced(state.photos, 0, 0, state.generation)
        marker = self._begin(marker, config, rebuild)
        held: Sums | None = None
        for _ in range(MAX_PASSES):
            state, sums = self.gallery.state(), self.gallery.sums()
            if (len(sums[0]), digest_of(sums[1])) != (state.photos, state.photo_digest):
                continue  # changed between both reads
            try:
                held = held or self._held(marker, sums) or self._read_all()
                self._write(sums, held)
                held = sums
            except BusyError:
                raise
            except GalleryError:
                if self.gallery.generation == state.generation:
                    raise
                held, marker = None, Marker("", 0)  # a photo was removed while it was read
            if self.gallery.generation == state.generation and self._end(state):
                return Synced(state.photos, self.written, self.deleted, state.generation)
        raise BusyError(f"{self.gallery.name}: it changes faster than it can be synced; try again")

    def _begin(self, marker: Marker | None, config: QdrantConfig, rebuild: bool) -> Marker:
        """Take the collection for this sync; returns the marker as it was."""
        ours = self.gallery.embedder_id, self.gallery.dim
        if marker is not None and marker.run and not marker.complete:
            time.sleep(WATCH_SECONDS)
            if read_marker(self.client) != marker:
                raise self._busy()
        if marker is None or rebuild:
            marker = make(self.client, config, *ours)
        if (marker.embedder, marker.dim) != ours:
            raise GalleryError(
                f"{self.client.name}: a search index of embedder {marker.embedder!r} with "
                f"{marker.dim} dimensions; {self.gallery.name} is of {ours[0]!r} with {ours[1]}. "
                "Take another name, or run `whichlandmark gallery sync FOLDER --rebuild`, which "
                "throws that index away"
            )
        if not set_marker(self.client, marker.run, complete=False, run=self.run, done=0):
            raise self._busy()
        return marker

    def _held(self, marker: Marker, sums: Sums) -> Sums | None:
        """What the collection holds, where its marker proves it; None = it must be read.

        It may lack new photos, and hold photos that were removed: their row numbers are gaps.
        """
        known = int(np.searchsorted(sums[0], marker.last_row, side="right"))
        rows, found = sums[0][:known], sums[1][:known]
        if not marker.complete or marker.last_row - known > MAX_GAPS:
            return None
        if (known, digest_of(found)) != (marker.count, marker.digest):
            gaps = np.setdiff1d(np.arange(1, marker.last_row + 1), rows)
            for part in _parts(gaps):
                self._step()
                more = _sums(self.client.call(
                    "retrieve", ids=part.tolist(), with_payload=["sum"], with_vectors=False
                ))  # fmt: skip
                rows, found = np.append(rows, more[0]), np.append(found, more[1])
        proven = (len(rows), digest_of(found)) == (marker.count, marker.digest)
        return (rows, found) if proven else None

    def _read_all(self) -> Sums:
        """Row numbers and checksums of all photos in the collection."""
        pages, start = [_sums([])], MARKER_ID + 1
        while start is not None:
            self._step()
            points, start = self.client.call(
                "scroll", limit=SUMS_PER_PAGE, offset=start, with_payload=["sum"],
                with_vectors=False,
            )  # fmt: skip
            pages.append(_sums(points))
        return np.concatenate([p[0] for p in pages]), np.concatenate([p[1] for p in pages])

    def _write(self, sums: Sums, held: Sums) -> None:
        """Delete what is gone, write what is missing or changed."""
        from qdrant_client import models

        for part in _parts(np.setdiff1d(held[0], sums[0])):
            self._step()
            gone = models.PointIdsList(points=part.tolist())
            self.client.change("delete", points_selector=gone)
            self.deleted += len(part)
        order = np.argsort(held[0])
        at = np.searchsorted(held[0], sums[0], sorter=order)
        there = np.append(order, -1)[at]  # −1 = behind the last
        rows_there, sums_there = np.append(held[0], -1)[there], np.append(held[1], 0)[there]
        new = np.flatnonzero((rows_there != sums[0]) | (sums_there != sums[1]))
        done = len(sums[0]) - len(new)
        for part in _parts(new, MAX_REQUEST_BYTES // (4 * self.gallery.dim + 200)):
            points = self._points(sums[0][part], sums[1][part])
            self._step()
            self.client.change("upsert", points=points)
            self.written, done = self.written + len(part), done + len(part)
            if self.progress:
                self.progress(done, len(sums[0]))

    def _points(self, rows: NDArray[np.int64], sums: NDArray[np.int64]) -> list[Any]:
        """The points of photos, read from the gallery without local features and thumbnails."""
        from qdrant_client import models

        ids, vectors = self.gallery.ids_of(rows).tolist(), self.gallery.vectors_of(rows)
        stamps = self.gallery.stamps(ids)
        if len(stamps) < len(ids):
            raise GalleryError(f"{self.gallery.name}: photos were removed while they were read")
        return [
            models.PointStruct(id=row, vector=vector, payload={
                "sum": total, "kind": "landmark" if stamps[one][2] else "distractor",
            })
            for row, total, one, vector in zip(
                rows.tolist(), sums.tolist(), ids, vectors.astype(np.float64).tolist(), strict=True
            )
        ]  # fmt: skip

    def _end(self, state: Meta) -> bool:
        """Mark the collection as complete; False when the gallery has changed meanwhile."""
        found = self.client.call("count", exact=True).count - 1
        if found != state.photos:
            raise GalleryError(
                f"{self.client.name}: holds {found} photos after the sync, expected "
                f"{state.photos}; `whichlandmark gallery sync FOLDER --rebuild` makes it again"
            )
        self._step(complete=True, generation=state.generation, digest=state.photo_digest,
                   count=state.photos, last_row=state.next_row - 1)  # fmt: skip
        if self.gallery.generation != state.generation:
            self._step(complete=False)
            return False
        return True

    def _step(self, **changed: Any) -> None:
        """Show in the marker that this sync works. Raises BusyError if another took over."""
        self.steps += 1
        if not set_marker(self.client, self.run, done=self.steps, **changed):
            raise self._busy()

    def _busy(self) -> BusyError:
        return BusyError(
            f"{self.client.name}: another sync is working on it; wait for it, then run "
            "`whichlandmark gallery sync FOLDER`"
        )


def _sums(points: list[Any]) -> Sums:
    pairs = [(point.id, (point.payload or {}).get("sum", 0)) for point in points]
    table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _parts(rows: NDArray[np.int64], most: int = MAX_POINTS_PER_REQUEST) -> list[NDArray[np.int64]]:
    """Cut (n,) numbers into requests of at most `most` points."""
    size = max(1, min(most, MAX_POINTS_PER_REQUEST))
    return [rows[start : start + size] for start in range(0, len(rows), size)]
