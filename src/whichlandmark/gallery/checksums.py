"""Sums of rows and of the whole; checked reads."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.errors import GalleryError
from .records import LandmarkRecord

WORDS = slice(1, 8)  # of a row of `photos`: the fields that are text


class Meta(NamedTuple):
    """The one row of `meta`. next_row: never given to a photo yet; digests: sums of the sums.

    stale: 1 = something was removed whose bytes may still stand in unused parts of the file.
    """

    embedder: str
    dim: int
    generation: int
    next_row: int
    photos: int
    photo_digest: int
    landmarks: int
    landmark_digest: int
    stale: int = 0


def blob_sum(data: bytes) -> int:
    """The checksum of some bytes: 64 bits of BLAKE2b (RFC 7693), as SQLite's signed integer."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little", signed=True)


def photo_sum(fields: Sequence[object]) -> int:
    """The checksum of a photo: row number, 7 texts, 4 sums of blobs (None = it has no such blob).

    Raises TypeError when a text is none. No text holds a zero byte (`records.check`), so that
    two different rows never make the same bytes.
    """
    number, sums = fields[0], f"{fields[8]} {fields[9]} {fields[10]} {fields[11]}"
    words: Sequence[str] = fields[WORDS]  # type: ignore[assignment]
    return blob_sum("\0".join((f"photo {number}", *words, sums)).encode())


def landmark_sum(name: str, record: str) -> int:
    """The checksum of a landmark's record."""
    return blob_sum(f"landmark\0{name}\0{record}".encode())


def meta_sum(meta: Meta) -> int:
    """The checksum of the gallery's own numbers."""
    return blob_sum("\0".join(("meta", *map(str, meta))).encode())


def added(digest: int, change: int) -> int:
    """digest + change, modulo 2^64, as SQLite's signed integer."""
    return (digest + change + 2**63) % 2**64 - 2**63


def damaged(name: str, what: str) -> GalleryError:
    """The error of a gallery file whose content is not what was written."""
    heals = (
        "restore it from its server's backup" if "://" in name
        else "`whichlandmark gallery rebuild` keeps everything that is whole"
    )  # fmt: skip
    return GalleryError(
        f"{name}: damaged ({what}); `whichlandmark gallery verify` lists all of it, {heals}"
    )


PhotoRow = tuple[Any, ...]  # in the order of COLUMNS


def checked(row: PhotoRow, name: str) -> PhotoRow:
    """The same row. Raises GalleryError unless its sum is right."""
    try:
        if photo_sum(row) == row[-1]:
            return row
    except (TypeError, UnicodeEncodeError):
        pass
    raise damaged(name, f"the entry of photo {row[1]!r}, row {row[0]}")


def digest_of(sums: NDArray[np.int64]) -> int:
    """What the checksums of photos add up to, as `Meta.photo_digest` has it."""
    return int(sums.astype(np.uint64).sum(dtype=np.uint64).astype(np.int64))


def checked_record(landmark: Any, text: Any, stored: Any, name: str) -> LandmarkRecord:
    """The record in a row of `landmarks`. Raises GalleryError unless its sum is right."""
    if not (isinstance(landmark, str) and isinstance(text, str)) or (
        landmark_sum(landmark, text) != stored
    ):
        raise damaged(name, f"the record of landmark {landmark!r}")
    return LandmarkRecord.of_text(landmark, text)
