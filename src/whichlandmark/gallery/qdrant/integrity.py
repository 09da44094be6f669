"""Is a gallery on Qdrant as it was put there? Everything looked at, every fault found, in words."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from ...core.errors import BusyError, GalleryError
from ..checksums import PhotoRow, added, blob_sum, checked, damaged
from ..sqlite.integrity import SHOWN, UNIT
from ..sqlite.schema import BLOBS
from . import points
from .client import RetryingClient
from .points import NO_WRITER, Head
from .queries import PAGE_BLOBS, PAGE_VECTORS, read_head, read_landmarks

Check = Callable[[RetryingClient, Head | None], Iterator[str]]


def faults(calls: RetryingClient, now: float) -> list[str]:
    """What is wrong; empty = nothing. Takes memory for 8 bytes a photo.

    Looks at every point of both collections, at their sums, counts and digests, at the length of
    every vector, and at how the collections are set up. now: seconds since 1970.
    Raises BusyError while another process writes, GalleryError where there is no gallery.
    """
    head, found = None, []
    try:
        head = read_head(calls)
    except BusyError:
        raise
    except GalleryError as error:
        found.append(_inner(error))
    if head and head.owner != NO_WRITER and head.until >= now:
        raise BusyError(f"{calls.name}: {head.owner} is writing to it; wait for it, then try again")
    if head and head.phase:
        found.append(f"a change by {head.owner} was not finished ({head.phase}): the next one "
                     "finishes it, or undoes it")  # fmt: skip
    for check in (_setting, _photos, _blobs, _others):
        found += _at_most(check, calls, head)
    if head and not found and read_head(calls).meta.generation != head.meta.generation:
        return faults(calls, now)  # it has been changed meanwhile
    return list(dict.fromkeys(found))


def _at_most(check: Check, calls: RetryingClient, head: Head | None) -> list[str]:
    """The first faults of one kind; a check that cannot go on is a fault too."""
    found: list[str] = []
    try:
        lines = check(calls, head)
        found += islice(lines, SHOWN)
        if more := sum(1 for _ in lines):
            found.append(f"… and {more} more like the last")
    except BusyError:
        raise
    except GalleryError as error:
        found.append(_inner(error))
    return found


def _inner(error: GalleryError) -> str:
    return str(error).partition("damaged (")[2].partition(");")[0] or str(error)


def _setting(calls: RetryingClient, head: Head | None) -> Iterator[str]:
    """Another distance or type of numbers would not give back what was put there."""
    try:
        check_setting(calls, head.meta.dim if head else None)
    except GalleryError as error:
        yield _inner(error)


def check_setting(calls: RetryingClient, dim: int | None) -> None:
    """Raises GalleryError unless the photos' collection is as `qdrant_config` makes it."""
    found = calls.call("get_collection", collection_name=calls.photos).config.params.vectors
    kind = (
        str(getattr(getattr(found, key, None), "value", None)) for key in ("distance", "datatype")
    )
    if tuple(kind) != ("Dot", "float16") or (dim is not None and found.size != dim):
        raise damaged(calls.name, f"its vectors are not float16 of {dim} numbers, compared by Dot")


def _photos(calls: RetryingClient, head: Head | None) -> Iterator[str]:
    """Every entry with its vector, their count and their digest; every id once."""
    count = digest = broken = last = 0
    ids = array("q")
    for record in calls.scroll(calls.photos, vectors=True, at_once=PAGE_VECTORS):
        entry = points.raw_photo(record)
        count, last = count + 1, record.id
        ids.append(blob_sum(repr(entry[1]).encode()))
        try:
            digest += checked(entry, calls.name)[-1]
        except GalleryError:
            broken += 1
            yield f"the entry of photo {entry[1]!r}, row {entry[0]}"
        yield from _vector(record, entry, head)
    yield from _twice(calls, ids)
    if head is None:
        return
    if count != head.meta.photos:
        yield f"{count} photos found, {head.meta.photos} were put there"
    elif not broken and added(digest, 0) != head.meta.photo_digest:
        yield "the photos are not those that were put there last"
    if last >= head.meta.next_row:
        yield f"row {last}: a number that was not given yet"


def _vector(record: Any, entry: PhotoRow, head: Head | None) -> Iterator[str]:
    what = f"vectors of photo {entry[1]!r}, row {entry[0]}"
    vector = points.halves(record.vector)
    length = float(np.linalg.norm(vector.astype(np.float64)))
    if not len(vector):
        yield f"{what}: missing"
    elif blob_sum(vector.astype("<f2").tobytes()) != entry[8]:
        yield f"{what}: changed"
    elif (length and abs(length - 1) > UNIT) or (head and len(vector) != head.meta.dim):
        yield f"{what}: {len(vector)} numbers, length {length:.3f}; expected 1"
    if (record.payload or {}).get("kind") != points.kind_of(entry[3]):
        yield f"photo {entry[1]!r}, row {entry[0]}: wrongly marked as a distractor, or as none"


def _twice(calls: RetryingClient, ids: array[int]) -> Iterator[str]:
    values, counts = np.unique(
        np.frombuffer(ids, dtype=np.int64) if ids else [], return_counts=True
    )
    again = set(values[counts > 1].tolist())
    if not again:
        return
    for record in calls.scroll(calls.photos, payload=["id"]):
        photo_id = (record.payload or {}).get("id")
        if (key := blob_sum(repr(photo_id).encode())) in again:
            again.discard(key)
            yield f"photo {photo_id!r}: two entries"


def _blobs(calls: RetryingClient, head: Head | None) -> Iterator[str]:
    """Every blob against the sum that its photo has of it."""
    for page in _pages(calls.scroll(calls.photos), PAGE_BLOBS):
        entries = [points.raw_photo(record) for record in page]
        where = {points.blobs_id(entry[0], entry[9:12]): entry for entry in entries}
        where.pop(None, None)
        found = {
            str(record.id): record.payload or {}
            for record in calls.retrieve(calls.about, (str(one) for one in where))
        }
        for one, entry in where.items():
            for at, kind in enumerate(BLOBS[1:], 9):
                yield from _blob(found.get(str(one)), kind, entry, at)


def _blob(payload: dict[str, Any] | None, kind: str, entry: PhotoRow, at: int) -> Iterator[str]:
    what = f"{kind} of photo {entry[1]!r}, row {entry[0]}"
    data = points.blob_of(payload or {}, kind)
    if entry[at] is None:
        if payload and kind in payload:
            yield f"{what}: there, but not in its entry"
    elif data is None or blob_sum(data) != entry[at]:
        yield f"{what}: {'missing' if not payload or kind not in payload else 'changed'}"


def _others(calls: RetryingClient, head: Head | None) -> Iterator[str]:
    """Landmark records; and what stands in the second collection but belongs to nothing."""
    for page in _pages(calls.scroll(calls.about, payload=["kind", "row"]), 1000):
        owned = {
            points.blobs_id(entry[0], entry[9:12])
            for entry in map(points.raw_photo, calls.retrieve(calls.photos, _rows_of(page)))
        }
        for record in page:
            kind = (record.payload or {}).get("kind", "blobs")
            if kind == "journal" and not (head and head.owner != NO_WRITER):
                yield f"point {record.id}: the journal of a change that is over"
            elif kind not in ("meta", "landmark", "journal", "blobs"):
                yield f"point {record.id}: of unknown kind {kind!r}"
            elif kind == "blobs" and str(record.id) not in owned:
                yield f"point {record.id}: features, look or thumbnail without their photo"
            elif (kind == "meta") != (record.id == points.HEAD):
                yield f"point {record.id}: of kind {kind!r}, where none may be"
    if head:
        read_landmarks(calls, head)


def _rows_of(page: list[Any]) -> list[int]:
    rows = ((record.payload or {}).get("row") for record in page)
    return sorted({row for row in rows if isinstance(row, int) and row >= 0})


def _pages(records: Iterable[Any], size: int) -> Iterator[list[Any]]:
    left = iter(records)
    while page := list(islice(left, size)):
        yield page
