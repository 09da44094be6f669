"""Checksums of photos, landmark records and the whole gallery, and reads that verify them."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.errors import GalleryError
from .records import LandmarkRecord

# A row of `photos`: number, texts (id, path, landmark, hash, stamp, and the fields of Credit),
# checksums of the blobs in the order of BLOBS (None = no such blob), and its own checksum.
PhotoRow = tuple[Any, ...]

ID, LANDMARK, AUTHOR, SOURCE, FIRST_BLOB = 1, 3, 6, 9, 10  # indices of a PhotoRow

BLOBS = ("vectors", "keypoints", "looks", "thumbnails")  # looks: perceptual fingerprints


class Meta(NamedTuple):
    """The single row of table `meta`, which describes the whole gallery.

    next_row: the row number of the next new photo; photo_digest, landmark_digest: sums of the
    checksums, modulo 2^64; stale: 1 = the file may still hold bytes of removed data.
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
    """64 bits of BLAKE2b (RFC 7693), as a signed integer because SQLite has no other."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little", signed=True)


def photo_sum(fields: Sequence[object]) -> int:
    """The checksum of a photo.

    A zero byte separates the fields. No text holds one (`records.check`), so different rows never
    give the same bytes. Source and licence_url follow where they are given, so that galleries
    without them keep their checksums.

    Args:
        fields: a PhotoRow, its last field is not used.

    Raises:
        TypeError: when a text field holds something else.
    """
    number, sums = fields[0], f"{fields[10]} {fields[11]} {fields[12]} {fields[13]}"
    texts: Sequence[str] = fields[1:8]  # type: ignore[assignment]
    source, licence_url = fields[9], fields[8]
    links: Sequence[str] = () if source == licence_url == "" else (source,)  # type: ignore[assignment]
    if licence_url != "":
        links = (source, licence_url)  # type: ignore[assignment]
    return blob_sum("\0".join((f"photo {number}", *texts, sums, *links)).encode())


def landmark_sum(name: str, record: str) -> int:
    """The checksum of a landmark record; record: its JSON text."""
    return blob_sum(f"landmark\0{name}\0{record}".encode())


def meta_sum(meta: Meta) -> int:
    """The checksum of the row of table `meta`."""
    return blob_sum("\0".join(("meta", *map(str, meta))).encode())


def add_checksum(digest: int, change: int) -> int:
    """digest + change, modulo 2^64, as a signed integer."""
    return (digest + change + 2**63) % 2**64 - 2**63


def damaged(name: str, what: str) -> GalleryError:
    """The error for stored data that differs from what was written.

    Args:
        name: file or address of the gallery.
        what: the damaged item.
    """
    remedy = (
        "restore it from its server's backup" if "://" in name
        else "`whichlandmark gallery rebuild` keeps everything that is intact"
    )  # fmt: skip
    return GalleryError(
        f"{name}: damaged ({what}); `whichlandmark gallery verify` lists all damage, {remedy}"
    )


def checked(row: PhotoRow, name: str) -> PhotoRow:
    """Return the row. Raises GalleryError unless it matches its checksum."""
    try:
        if photo_sum(row) == row[-1]:
            return row
    except (TypeError, UnicodeEncodeError):
        pass
    raise damaged(name, f"the entry of photo {row[1]!r}, row {row[0]}")


def digest_of(sums: NDArray[np.int64]) -> int:
    """The sum of (N,) photo checksums, modulo 2^64: `Meta.photo_digest`."""
    return int(sums.astype(np.uint64).sum(dtype=np.uint64).astype(np.int64))


def checked_record(landmark: Any, text: Any, stored: Any, name: str) -> LandmarkRecord:
    """The record in a row of `landmarks`. Raises GalleryError unless its checksum matches."""
    if not (isinstance(landmark, str) and isinstance(text, str)) or (
        landmark_sum(landmark, text) != stored
    ):
        raise damaged(name, f"the record of landmark {landmark!r}")
    return LandmarkRecord.of_text(landmark, text)
