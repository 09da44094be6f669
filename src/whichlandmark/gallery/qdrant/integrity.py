"""Verify a Qdrant gallery: checksums, counts, vector lengths and settings of the collections."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from ...core.errors import BusyError, GalleryError
from ..checksums import PhotoRow, add_checksum, blob_sum, checked, damaged
from ..sqlite.integrity import MAX_FAULTS_SHOWN, MAX_LENGTH_ERROR
from ..sqlite.schema import BLOBS
from . import points
from .client import RetryingClient
from .points import NO_WRITER, Head
from .queries import PAGE_BLOBS, PAGE_VECTORS, read_head, read_landmarks

FaultCheck = Callable[[RetryingClient, Head | None], Iterator[str]]


def faults(client: RetryingClient, now: float) -> list[str]:
    """Verify a gallery; one line for each fault, empty = intact.

    Checks every point of both collections: checksums, counts, digests, the length of every vector,
    and the settings of the collections. Needs 8 bytes of memory per photo.

    Args:
        client: of the gallery.
        now: seconds since 1970.

    Raises:
        BusyError: while another process writes.
        GalleryError: when there is no gallery.
    """
    head, found = None, []
    try:
        head = read_head(client)
    except BusyError:
        raise
    except GalleryError as error:
        found.append(_fault_text(error))
    if head and head.owner != NO_WRITER and head.until >= now:
        raise BusyError(
            f"{client.name}: {head.owner} is writing to it; wait for it, then try again"
        )
    if head and head.phase:
        found.append(f"a change by {head.owner} was not finished ({head.phase}): the next change "
                     "finishes or undoes it")  # fmt: skip
    for check in (_setting, _photos, _blobs, _other_points):
        found += _first_faults(check, client, head)
    if head and not found and read_head(client).meta.generation != head.meta.generation:
        return faults(client, now)  # again, because it was changed meanwhile
    return list(dict.fromkeys(found))


def _first_faults(check: FaultCheck, client: RetryingClient, head: Head | None) -> list[str]:
    """The first faults that a check finds; an error that ends the check counts as a fault."""
    found: list[str] = []
    try:
        lines = check(client, head)
        found += islice(lines, MAX_FAULTS_SHOWN)
        if more := sum(1 for _ in lines):
            found.append(f"… and {more} more like the last")
    except BusyError:
        raise
    except GalleryError as error:
        found.append(_fault_text(error))
    return found


def _fault_text(error: GalleryError) -> str:
    return str(error).partition("damaged (")[2].partition(");")[0] or str(error)


def _setting(client: RetryingClient, head: Head | None) -> Iterator[str]:
    """Check distance and data type, because others would change the stored vectors."""
    try:
        check_setting(client, head.meta.dim if head else None)
    except GalleryError as error:
        yield _fault_text(error)


def check_setting(client: RetryingClient, dim: int | None) -> None:
    """Raise GalleryError unless the photos' collection has the distance and type of `config`."""
    found = client.call("get_collection", collection_name=client.photos).config.params.vectors
    kind = (
        str(getattr(getattr(found, key, None), "value", None)) for key in ("distance", "datatype")
    )
    if tuple(kind) != ("Dot", "float16") or (dim is not None and found.size != dim):
        raise damaged(
            client.name, f"its vectors are not float16 of {dim} dimensions, compared by Dot"
        )


def _photos(client: RetryingClient, head: Head | None) -> Iterator[str]:
    """Check every photo with its vector, their number, their digest, and that ids are unique."""
    count = digest = broken = last = 0
    ids = array("q")
    for record in client.scroll(client.photos, vectors=True, batch=PAGE_VECTORS):
        entry = points.raw_photo(record)
        count, last = count + 1, record.id
        ids.append(blob_sum(repr(entry[1]).encode()))
        try:
            digest += checked(entry, client.name)[-1]
        except GalleryError:
            broken += 1
            yield f"the entry of photo {entry[1]!r}, row {entry[0]}"
        yield from _vector(record, entry, head)
    yield from _duplicate_ids(client, ids)
    if head is None:
        return
    if count != head.meta.photos:
        yield f"{count} photos found, expected {head.meta.photos}"
    elif not broken and add_checksum(digest, 0) != head.meta.photo_digest:
        yield "the photos do not match the digest of the last change"
    if last >= head.meta.next_row:
        yield f"row {last}: expected row numbers below {head.meta.next_row}"


def _vector(record: Any, entry: PhotoRow, head: Head | None) -> Iterator[str]:
    what = f"vectors of photo {entry[1]!r}, row {entry[0]}"
    vector = points.to_float16(record.vector)
    length = float(np.linalg.norm(vector.astype(np.float64)))
    if not len(vector):
        yield f"{what}: missing"
    elif blob_sum(vector.astype("<f2").tobytes()) != entry[8]:
        yield f"{what}: changed"
    elif (length and abs(length - 1) > MAX_LENGTH_ERROR) or (head and len(vector) != head.meta.dim):
        yield f"{what}: {len(vector)} numbers, length {length:.3f}; expected 1"
    if (record.payload or {}).get("kind") != points.kind_of(entry[3]):
        yield f"photo {entry[1]!r}, row {entry[0]}: wrongly marked as a distractor, or not marked"


def _duplicate_ids(client: RetryingClient, ids: array[int]) -> Iterator[str]:
    values, counts = np.unique(
        np.frombuffer(ids, dtype=np.int64) if ids else [], return_counts=True
    )
    again = set(values[counts > 1].tolist())
    if not again:
        return
    for record in client.scroll(client.photos, payload=["id"]):
        photo_id = (record.payload or {}).get("id")
        if (key := blob_sum(repr(photo_id).encode())) in again:
            again.discard(key)
            yield f"photo {photo_id!r}: two entries"


def _blobs(client: RetryingClient, head: Head | None) -> Iterator[str]:
    """Compare every blob with the checksum in its photo."""
    for page in _pages(client.scroll(client.photos), PAGE_BLOBS):
        entries = [points.raw_photo(record) for record in page]
        where = {points.blobs_id(entry[0], entry[9:12]): entry for entry in entries}
        where.pop(None, None)
        found = {
            str(record.id): record.payload or {}
            for record in client.retrieve(client.about, (str(one) for one in where))
        }
        for one, entry in where.items():
            for at, kind in enumerate(BLOBS[1:], 9):
                yield from _blob(found.get(str(one)), kind, entry, at)


def _blob(payload: dict[str, Any] | None, kind: str, entry: PhotoRow, at: int) -> Iterator[str]:
    what = f"{kind} of photo {entry[1]!r}, row {entry[0]}"
    data = points.blob_of(payload or {}, kind)
    if entry[at] is None:
        if payload and kind in payload:
            yield f"{what}: stored, but not in its entry"
    elif data is None or blob_sum(data) != entry[at]:
        yield f"{what}: {'missing' if not payload or kind not in payload else 'changed'}"


def _other_points(client: RetryingClient, head: Head | None) -> Iterator[str]:
    """Check landmark records, and find points of the second collection that are not used."""
    for page in _pages(client.scroll(client.about, payload=["kind", "row"]), 1000):
        owned = {
            points.blobs_id(entry[0], entry[9:12])
            for entry in map(points.raw_photo, client.retrieve(client.photos, _rows_of(page)))
        }
        for record in page:
            kind = (record.payload or {}).get("kind", "blobs")
            if kind == "journal" and not (head and head.owner != NO_WRITER):
                yield f"point {record.id}: the journal of a finished change"
            elif kind not in ("meta", "landmark", "journal", "blobs"):
                yield f"point {record.id}: of unknown kind {kind!r}"
            elif kind == "blobs" and str(record.id) not in owned:
                yield f"point {record.id}: features, fingerprint or thumbnail without their photo"
            elif (kind == "meta") != (record.id == points.HEAD):
                yield f"point {record.id}: unexpected kind {kind!r}"
    if head:
        read_landmarks(client, head)


def _rows_of(page: list[Any]) -> list[int]:
    rows = ((record.payload or {}).get("row") for record in page)
    return sorted({row for row in rows if isinstance(row, int) and row >= 0})


def _pages(records: Iterable[Any], size: int) -> Iterator[list[Any]]:
    left = iter(records)
    while page := list(islice(left, size)):
        yield page
