"""What a gallery on Qdrant holds, every sum compared on the way.

Row numbers that the gallery's own numbers do not count yet (`bound` and above) belong to a change
that is under way, and are passed over.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import GalleryError
from ..checksums import Meta, PhotoRow, added, blob_sum, damaged, digest_of
from ..records import FEW, GalleryRow, GalleryTable, LandmarkRecord, unknown_message
from ..sqlite.schema import BLOBS
from . import points
from .client import RetryingClient, where
from .points import Head

PAGE_VECTORS = 2_000  # points of a page with vectors

PAGE_BLOBS = 64  # with features: half a megabyte each, or more


def read_head(calls: RetryingClient) -> Head:
    """The gallery's own numbers, and who is changing it."""
    for found in calls.retrieve(calls.about, [points.HEAD], agreed=True):
        return points.head_of(found.payload or {}, calls.name)
    raise damaged(calls.name, "its own numbers are missing")


def photos(calls: RetryingClient, bound: int, after: int | None = None) -> Iterator[PhotoRow]:
    """Every photo in row order."""
    for record in _records(calls, bound, after, vectors=False):
        yield points.photo_of(record, calls.name)


def whole(calls: RetryingClient, head: Head, count: int, digest: int) -> None:
    """Raises GalleryError unless these are the photos that were put there.

    Where a change is being carried through, each photo may still be as it was, or be new.
    """
    expected = (head.meta.photos, head.meta.photo_digest)
    if head.phase != "applying" and (count, added(digest, 0)) != expected:
        raise damaged(calls.name, f"{count} photos found, {head.meta.photos} were put there")


def all_photos(calls: RetryingClient, head: Head) -> list[PhotoRow]:
    """Every photo in row order; raises GalleryError when one is changed, missing or too many."""
    found = list(photos(calls, head.meta.next_row))
    whole(calls, head, len(found), sum(entry[-1] for entry in found))
    return found


def read_sums(calls: RetryingClient, head: Head) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row number and checksum of every photo, in row order."""
    pairs = []
    for record in calls.scroll(calls.photos, payload=["sum"], at_once=PAGE_VECTORS):
        if record.id < head.meta.next_row:
            pairs.append((record.id, record.payload["sum"]))
    table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    whole(calls, head, len(table), digest_of(table[:, 1]))
    return table[:, 0], table[:, 1]


def read_table(
    calls: RetryingClient, head: Head, after: int | None, with_vectors: bool = True
) -> GalleryTable:
    """Everything that is searched; after: only the photos of higher row numbers than this."""
    name, dim = calls.name, head.meta.dim
    entries: list[PhotoRow] = []
    vectors: list[NDArray[np.float16]] = []
    for record in _records(calls, head.meta.next_row, after, vectors=with_vectors):
        entry = points.photo_of(record, name)
        if with_vectors:
            vectors.append(points.vector_of(record, entry, dim, name))
        entries.append(entry)
    if after is None:
        whole(calls, head, len(entries), sum(entry[-1] for entry in entries))
    if len({entry[1] for entry in entries}) != len(entries):
        raise damaged(name, "two photos of one id")
    shared: dict[str, str] = {}  # equal landmarks share memory
    return GalleryTable(
        ids=_column([entry[1] for entry in entries]),
        paths=_column([entry[2] for entry in entries]),
        landmarks=_column([shared.setdefault(entry[3], entry[3]) for entry in entries]),
        hashes=_column([entry[4] for entry in entries]),
        vectors=np.array(vectors, dtype=np.float16).reshape(-1, dim),
        rows=np.array([entry[0] for entry in entries], dtype=np.int64),
        generation=head.meta.generation,
    )


def photos_of(calls: RetryingClient, ids: Collection[str], bound: int) -> list[PhotoRow]:
    """The photos of some ids, in row order; unknown ids are left out."""
    wanted = sorted(set(ids))
    found: list[PhotoRow] = []
    for start in range(0, len(wanted), 1000):
        some = where("id", wanted[start : start + 1000])
        for record in calls.scroll(calls.photos, filter=some):
            if record.id < bound:
                found.append(points.photo_of(record, calls.name))
    if len({entry[1] for entry in found}) != len(found):
        raise damaged(calls.name, "two photos of one id")
    return sorted(found, key=lambda entry: int(entry[0]))


def blobs(
    calls: RetryingClient, kinds: Sequence[str], entries: Iterable[PhotoRow]
) -> list[list[bytes]]:
    """For each entry one blob of each kind (keypoints, looks, thumbnails); b"" = it has none."""
    rows = list(entries)
    place = {kind: 8 + BLOBS.index(kind) for kind in kinds}
    wanted = {
        where_is: entry for entry in rows
        if any(entry[at] is not None for at in place.values())
        and (where_is := points.blobs_id(entry[0], entry[9:12]))
    }  # fmt: skip
    found: dict[int, list[bytes]] = {}
    few = 1000 if list(kinds) == ["looks"] else PAGE_BLOBS
    for record in calls.retrieve(calls.about, wanted, payload=list(kinds), at_once=few):
        entry = wanted[str(record.id)]
        found[entry[0]] = [
            _checked(record.payload or {}, kind, entry, at, calls.name)
            for kind, at in place.items()
        ]
    for entry in wanted.values():
        if entry[0] not in found:
            raise damaged(calls.name, f"features, look and thumbnail of photo {entry[1]!r}")
    return [found.get(entry[0], [b""] * len(place)) for entry in rows]


def _checked(payload: dict[str, Any], kind: str, entry: PhotoRow, at: int, name: str) -> bytes:
    if entry[at] is None:
        return b""
    data = points.blob_of(payload, kind)
    if data is None or blob_sum(data) != entry[at]:
        raise damaged(name, f"{kind} of photo {entry[1]!r}")
    return data


def named_blobs(calls: RetryingClient, kind: str, entries: Sequence[PhotoRow]) -> dict[str, bytes]:
    """id → blob of one kind, of those photos that have it."""
    found = blobs(calls, [kind], entries)
    return {entry[1]: data for entry, (data,) in zip(entries, found, strict=True) if data}


def whole_rows(
    calls: RetryingClient, head: Head, after: int, limit: int
) -> list[tuple[int, GalleryRow]]:
    """The next photos above a row number, with everything that hangs on them."""
    entries, vectors = [], []
    for record in _records(calls, head.meta.next_row, after, vectors=True, most=limit):
        entries.append(points.photo_of(record, calls.name))
        vectors.append(points.vector_of(record, entries[-1], head.meta.dim, calls.name))
    kept = blobs(calls, BLOBS[1:], entries)
    return [
        (entry[0], _whole(entry, vector, of))
        for entry, vector, of in zip(entries, vectors, kept, strict=True)
    ]


def _whole(entry: PhotoRow, vector: NDArray[np.float16], blobs: list[bytes]) -> GalleryRow:
    photo_id, path, landmark, stored, stamp, author, licence = entry[1:8]
    return GalleryRow(
        photo_id, path, landmark, stored, stamp, vector.astype(np.float32),
        keypoints=blobs[0], look=blobs[1], thumbnail=blobs[2], author=author, licence=licence,
    )  # fmt: skip


def few_rows(
    calls: RetryingClient, head: Head, rows: NDArray[np.int64], *, vectors: bool
) -> list[tuple[PhotoRow, Any]]:
    """(entry, its point) of each row number, in the order asked. Raises GalleryError for a number
    that no photo has.
    """
    wanted = sorted({int(row) for row in rows})
    found = {
        record.id: (points.photo_of(record, calls.name), record)
        for record in calls.retrieve(
            calls.photos, [row for row in wanted if 0 <= row < head.meta.next_row], vectors=vectors
        )
    }
    for row in wanted:
        if row not in found:
            raise GalleryError(f"{calls.name}: no photo of row number {row}; it was removed since")
    return [found[int(row)] for row in rows]


def read_landmarks(calls: RetryingClient, head: Head) -> dict[str, LandmarkRecord]:
    """Landmark → what is known of it, of those that have a record."""
    found: dict[str, LandmarkRecord] = {}
    digest = 0
    for record in calls.scroll(calls.about, filter=where("kind", ["landmark"])):
        landmark, text, stored = points.record_of(record.payload or {}, calls.name)
        found[landmark] = LandmarkRecord.of_text(landmark, text)
        digest += stored
    expected = (head.meta.landmarks, head.meta.landmark_digest)
    if head.phase != "applying" and (len(found), added(digest, 0)) != expected:
        raise damaged(
            calls.name, f"{len(found)} landmark records found, {expected[0]} were put there"
        )
    return dict(sorted(found.items()))


def unknown_ids(calls: RetryingClient, ids: Sequence[str], meta: Meta) -> str:
    """A message naming the unknown ids; in a small gallery, each with the nearest id there."""
    known: list[str] = []
    if meta.photos <= FEW:
        known = sorted(entry[1] for entry in photos(calls, meta.next_row))
    return unknown_message(ids, known, calls.name)


def _records(
    calls: RetryingClient, bound: int, after: int | None, *, vectors: bool, most: int | None = None
) -> Iterator[Any]:
    """Points of photos in row order, below the bound; most: no more than this many."""
    page = PAGE_VECTORS if vectors else 5_000
    left = most
    start = None if after is None else max(after + 1, 0)
    if most == 0:
        return
    found = calls.scroll(calls.photos, start, vectors=vectors, at_once=min(page, most or page))
    for record in found:
        if record.id >= bound:
            return
        yield record
        if left is not None and (left := left - 1) == 0:
            return


def _column(values: Sequence[str]) -> NDArray[np.object_]:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
