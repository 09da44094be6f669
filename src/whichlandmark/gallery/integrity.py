"""Verify a gallery: header, entries, blobs, landmark records, and the back end's own checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice

import numpy as np

from ..core.errors import BusyError, GalleryError
from .checksums import BLOBS, FIRST_BLOB, ID, Meta, PhotoRow, add_checksum, blob_sum, checked
from .tables import Tables, read_meta, read_records

MAX_FAULTS_SHOWN = 100  # of one kind; the others are counted

MAX_LENGTH_ERROR = 0.01  # of a unit vector; rounding to float16 causes less


def faults_of(tables: Tables, name: str) -> list[str]:
    """Verify a gallery in an open transaction; one line for each fault, empty = intact.

    Checks what the back end itself can check, every checksum, the counts, and the length of every
    vector (0 is allowed, because an embedder may find nothing in a photo).

    Raises:
        BusyError: when another process keeps the data from being read.
    """
    photos: list[PhotoRow] = []
    checks: list[Callable[[], Iterator[str]]] = [
        tables.structure_faults,
        lambda: _entries(tables, name, photos),
        *(lambda kind=kind: _blobs(tables, kind, photos) for kind in BLOBS),
        lambda: _records(tables, name),
    ]
    return list(dict.fromkeys(line for check in checks for line in _first(check, tables)))


def _first(check: Callable[[], Iterator[str]], tables: Tables) -> list[str]:
    """The first faults that a check finds; an error that ends the check counts as a fault."""
    found: list[str] = []
    try:
        with tables.checking():
            lines = check()
            found += islice(lines, MAX_FAULTS_SHOWN)
            if more := sum(1 for _ in lines):
                found.append(f"… and {more} more like the last")
    except BusyError:
        raise
    except GalleryError as error:
        found.append(str(error).partition("damaged (")[2].partition(");")[0] or str(error))
    return found


def _entries(tables: Tables, name: str, photos: list[PhotoRow]) -> Iterator[str]:
    """Check every entry, their number, their digest, and that ids are unique.

    photos: what is needed of the entries to check the blobs is added to it.
    """
    meta: Meta | None = None
    try:
        meta = read_meta(tables, name)
    except BusyError:
        raise
    except GalleryError:
        yield "the gallery's header"
    digest = broken = 0
    ids: set[str] = set()
    with closing(tables.entries(None)) as entries:
        for row in entries:
            try:
                digest += checked(row, name)[-1]
            except GalleryError:
                broken += 1
                yield f"the entry of photo {row[ID]!r}, row {row[0]}"
            if row[ID] in ids:
                yield f"photo {row[ID]!r}: two entries"
            ids.add(row[ID])
            photos.append((row[0], row[ID], *row[FIRST_BLOB:-1]))
    if meta and len(photos) != meta.photos:
        yield f"{len(photos)} photos found, expected {meta.photos}"
    elif meta and not broken and add_checksum(digest, 0) != meta.photo_digest:
        yield "the photos do not match the digest of the last change"
    if meta and photos and photos[-1][0] >= meta.next_row:
        yield f"row {photos[-1][0]}: expected row numbers below {meta.next_row}"


def _blobs(tables: Tables, kind: str, photos: list[PhotoRow]) -> Iterator[str]:
    """Compare every blob of one kind with the checksum in its photo; both are in row order.

    photos: row number, id and checksums of blobs.
    """
    expected, column = iter(photos), 2 + BLOBS.index(kind)
    photo = next(expected, None)
    with closing(tables.blobs(kind)) as stored:
        for number, data in stored:
            while photo is not None and photo[0] < number:
                yield from _missing(photo, kind, column)
                photo = next(expected, None)
            if photo is None or photo[0] != number:
                yield f"{kind}, row {number}: without its photo"
                continue
            what = f"{kind} of photo {photo[1]!r}, row {number}"
            if photo[column] is None:
                yield f"{what}: stored, but not in its entry"
            elif not isinstance(data, bytes) or blob_sum(data) != photo[column]:
                yield f"{what}: changed"
            elif kind == "vectors":
                vector = np.frombuffer(data[: len(data) // 2 * 2], "<f2").astype(float)
                length = float(np.linalg.norm(vector))
                if length and abs(length - 1) > MAX_LENGTH_ERROR:
                    yield f"{what}: length {length:.3f}; expected 1"
            photo = next(expected, None)
    while photo is not None:
        yield from _missing(photo, kind, column)
        photo = next(expected, None)


def _missing(photo: PhotoRow, kind: str, column: int) -> Iterator[str]:
    if photo[column] is not None or kind == "vectors":
        yield f"{kind} of photo {photo[1]!r}, row {photo[0]}: missing"


def _records(tables: Tables, name: str) -> Iterator[str]:
    read_records(tables, read_meta(tables, name), name)
    yield from ()
