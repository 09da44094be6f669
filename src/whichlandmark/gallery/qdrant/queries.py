"""Reads of a Qdrant gallery; every photo and blob is compared with its checksum.

Photos with row numbers from `bound` on (the header's `next_row`) belong to a change that is not
committed, and are ignored.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import GalleryError
from ..checksums import Meta, PhotoRow, add_checksum, blob_sum, damaged, digest_of
from ..records import (
    MAX_IDS_COMPARED,
    GalleryRow,
    GalleryTable,
    LandmarkRecord,
    unknown_ids_message,
)
from ..sqlite.schema import BLOBS
from . import points
from .client import RetryingClient, where
from .points import Head

PAGE_VECTORS = 2_000  # points of a page with vectors

PAGE_BLOBS = 64  # points of a page with features, half a megabyte each or more


def read_head(client: RetryingClient) -> Head:
    """The gallery's header."""
    for found in client.retrieve(client.about, [points.HEAD], agreed=True):
        return points.head_of(found.payload or {}, client.name)
    raise damaged(client.name, "its header is missing")


def photos(client: RetryingClient, bound: int, after: int | None = None) -> Iterator[PhotoRow]:
    """Every photo in row order."""
    for record in _records(client, bound, after, vectors=False):
        yield points.photo_of(record, client.name)


def check_complete(client: RetryingClient, head: Head, count: int, digest: int) -> None:
    """Raise GalleryError unless number and digest of the photos match the header.

    They are not compared while a committed change is being applied, because old and new photos are
    mixed then.
    """
    expected = (head.meta.photos, head.meta.photo_digest)
    if head.phase != "applying" and (count, add_checksum(digest, 0)) != expected:
        raise damaged(client.name, f"{count} photos found, expected {head.meta.photos}")


def all_photos(client: RetryingClient, head: Head) -> list[PhotoRow]:
    """Every photo in row order. Raises GalleryError when one is changed, missing or added."""
    found = list(photos(client, head.meta.next_row))
    check_complete(client, head, len(found), sum(entry[-1] for entry in found))
    return found


def read_sums(client: RetryingClient, head: Head) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row number and checksum of every photo, in row order."""
    pairs = []
    for record in client.scroll(client.photos, payload=["sum"], batch=PAGE_VECTORS):
        if record.id < head.meta.next_row:
            pairs.append((record.id, record.payload["sum"]))
    table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    check_complete(client, head, len(table), digest_of(table[:, 1]))
    return table[:, 0], table[:, 1]


def read_table(
    client: RetryingClient, head: Head, after: int | None, with_vectors: bool = True
) -> GalleryTable:
    """The columns of all photos, or only of those with a row number above `after`."""
    name, dim = client.name, head.meta.dim
    entries: list[PhotoRow] = []
    vectors: list[NDArray[np.float16]] = []
    for record in _records(client, head.meta.next_row, after, vectors=with_vectors):
        entry = points.photo_of(record, name)
        if with_vectors:
            vectors.append(points.vector_of(record, entry, dim, name))
        entries.append(entry)
    if after is None:
        check_complete(client, head, len(entries), sum(entry[-1] for entry in entries))
    if len({entry[1] for entry in entries}) != len(entries):
        raise damaged(name, "two photos of one id")
    shared: dict[str, str] = {}  # one string object for each landmark, to save memory
    return GalleryTable(
        ids=_column([entry[1] for entry in entries]),
        paths=_column([entry[2] for entry in entries]),
        landmarks=_column([shared.setdefault(entry[3], entry[3]) for entry in entries]),
        hashes=_column([entry[4] for entry in entries]),
        vectors=np.array(vectors, dtype=np.float16).reshape(-1, dim),
        rows=np.array([entry[0] for entry in entries], dtype=np.int64),
        generation=head.meta.generation,
    )


def photos_of(client: RetryingClient, ids: Collection[str], bound: int) -> list[PhotoRow]:
    """The photos with these ids, in row order; unknown ids are omitted."""
    wanted = sorted(set(ids))
    found: list[PhotoRow] = []
    for start in range(0, len(wanted), 1000):
        some = where("id", wanted[start : start + 1000])
        for record in client.scroll(client.photos, filter=some):
            if record.id < bound:
                found.append(points.photo_of(record, client.name))
    if len({entry[1] for entry in found}) != len(found):
        raise damaged(client.name, "two photos of one id")
    return sorted(found, key=lambda entry: int(entry[0]))


def blobs(
    client: RetryingClient, kinds: Sequence[str], entries: Iterable[PhotoRow]
) -> list[list[bytes]]:
    """For each photo one blob of each kind (of BLOBS[1:]); b"" = none."""
    rows = list(entries)
    place = {kind: 8 + BLOBS.index(kind) for kind in kinds}
    wanted = {
        blobs_id_: entry for entry in rows
        if any(entry[at] is not None for at in place.values())
        and (blobs_id_ := points.blobs_id(entry[0], entry[9:12]))
    }  # fmt: skip
    found: dict[int, list[bytes]] = {}
    few = 1000 if list(kinds) == ["looks"] else PAGE_BLOBS
    for record in client.retrieve(client.about, wanted, payload=list(kinds), batch=few):
        entry = wanted[str(record.id)]
        found[entry[0]] = [
            _checked(record.payload or {}, kind, entry, at, client.name)
            for kind, at in place.items()
        ]
    for entry in wanted.values():
        if entry[0] not in found:
            raise damaged(client.name, f"features, fingerprint, thumbnail of photo {entry[1]!r}")
    return [found.get(entry[0], [b""] * len(place)) for entry in rows]


def _checked(payload: dict[str, Any], kind: str, entry: PhotoRow, at: int, name: str) -> bytes:
    if entry[at] is None:
        return b""
    data = points.blob_of(payload, kind)
    if data is None or blob_sum(data) != entry[at]:
        raise damaged(name, f"{kind} of photo {entry[1]!r}")
    return data


def whole_rows(
    client: RetryingClient, head: Head, after: int, limit: int
) -> list[tuple[int, GalleryRow]]:
    """At most `limit` complete photos, with blobs, from those above row `after`."""
    entries, vectors = [], []
    for record in _records(client, head.meta.next_row, after, vectors=True, most=limit):
        entries.append(points.photo_of(record, client.name))
        vectors.append(points.vector_of(record, entries[-1], head.meta.dim, client.name))
    kept = blobs(client, BLOBS[1:], entries)
    return [
        (entry[0], _whole(entry, vector, of))
        for entry, vector, of in zip(entries, vectors, kept, strict=True)
    ]


def _whole(entry: PhotoRow, vector: NDArray[np.float16], blobs: list[bytes]) -> GalleryRow:
    photo_id, path, landmark, stored, stamp, author, licence = entry[1:8]
    return GalleryRow(
        photo_id, path, landmark, stored, stamp, vector.astype(np.float32),
        keypoints=blobs[0], fingerprint=blobs[1], thumbnail=blobs[2],
        author=author, licence=licence,
    )  # fmt: skip


def photos_at(
    client: RetryingClient, head: Head, rows: NDArray[np.int64], *, vectors: bool
) -> list[tuple[PhotoRow, Any]]:
    """(photo, its point) of each row number, in the given order.

    Raises:
        GalleryError: for a row number without a photo.
    """
    wanted = sorted({int(row) for row in rows})
    found = {
        record.id: (points.photo_of(record, client.name), record)
        for record in client.retrieve(
            client.photos, [row for row in wanted if 0 <= row < head.meta.next_row], vectors=vectors
        )
    }
    for row in wanted:
        if row not in found:
            raise GalleryError(f"{client.name}: no photo of row number {row}; it was removed since")
    return [found[int(row)] for row in rows]


def read_landmarks(client: RetryingClient, head: Head) -> dict[str, LandmarkRecord]:
    """Landmark → its record, for landmarks that have one."""
    found: dict[str, LandmarkRecord] = {}
    digest = 0
    for record in client.scroll(client.about, filter=where("kind", ["landmark"])):
        landmark, text, stored = points.record_of(record.payload or {}, client.name)
        found[landmark] = LandmarkRecord.of_text(landmark, text)
        digest += stored
    expected = (head.meta.landmarks, head.meta.landmark_digest)
    if head.phase != "applying" and (len(found), add_checksum(digest, 0)) != expected:
        raise damaged(client.name, f"{len(found)} landmark records found, expected {expected[0]}")
    return dict(sorted(found.items()))


def unknown_ids(client: RetryingClient, ids: Sequence[str], meta: Meta) -> str:
    """The error text for unknown ids, in a small gallery with similar ids."""
    known: list[str] = []
    if meta.photos <= MAX_IDS_COMPARED:
        known = sorted(entry[1] for entry in photos(client, meta.next_row))
    return unknown_ids_message(ids, known, client.name)


def _records(
    client: RetryingClient, bound: int, after: int | None, *, vectors: bool, most: int | None = None
) -> Iterator[Any]:
    """Points of photos in row order, below row `bound`; most: their maximum number."""
    page = PAGE_VECTORS if vectors else 5_000
    left = most
    start = None if after is None else max(after + 1, 0)
    if most == 0:
        return
    found = client.scroll(client.photos, start, vectors=vectors, batch=min(page, most or page))
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
