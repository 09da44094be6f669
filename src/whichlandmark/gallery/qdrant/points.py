"""What a gallery's points on Qdrant look like, and how they are read back, every sum compared.

Photos: the point's id is the row number, its vector the photo's, its payload the words and sums of
`checks.py`. Everything else is in the second collection: point 0 has the gallery's own numbers;
landmark records and the blobs of photos have ids made from what they hold, so that new blobs of a
photo never overwrite those that its entry still names.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from ...core.errors import DataError, GalleryError
from ..checksums import Meta, PhotoRow, blob_sum, checked, damaged, landmark_sum, meta_sum
from ..records import GalleryRow, LandmarkRecord
from ..sqlite.schema import BLOBS
from ..sqlite.store import to_bytes

FORMAT = 1

NO_WRITER = "nobody"  # who is changing a gallery that nobody changes

HEAD = 0  # point of the gallery's own numbers

WORDS = ("id", "path", "landmark", "hash", "stamp", "author", "licence")

SUMS = BLOBS  # names of a photo's sums: vectors, keypoints, looks, thumbnails

LARGEST_POINT = 24_000_000  # characters of blobs; a server takes requests of 32 MB


@dataclass(frozen=True)
class Head:
    """The gallery's own numbers, and who is changing it.

    owner: the writer of now, until: seconds since 1970 when its claim ends. phase: "" = nothing
    under way, "staging" = not yet changed, "applying" = changed, but not yet everywhere. journal:
    pieces of what is under way, which the writer `author` wrote; journal_sum: their checksum.
    """

    meta: Meta
    config: str
    owner: str = NO_WRITER
    until: int = 0
    phase: str = ""
    author: str = ""
    journal: int = 0
    journal_sum: int = 0

    def payload(self) -> dict[str, Any]:
        """As it is stored."""
        values = {"kind": "meta", "format": FORMAT, "config": self.config, "owner": self.owner,
                  "until": self.until, "phase": self.phase, "author": self.author,
                  "journal": self.journal, "journal_sum": self.journal_sum}  # fmt: skip
        return {**values, **numbers(self.meta)}


def numbers(meta: Meta) -> dict[str, Any]:
    """The gallery's own numbers with their sum."""
    return {**meta._asdict(), "sum": meta_sum(meta)}


def head_of(payload: dict[str, Any], name: str) -> Head:
    """Raises GalleryError unless it is one that `Head.payload` made."""
    if payload.get("kind") != "meta" or payload.get("format") != FORMAT:
        raise GalleryError(f"{name}: not a gallery of format {FORMAT} of this program")
    try:
        meta = Meta(*(payload[field] for field in Meta._fields))
        whole = meta_sum(meta) == payload["sum"] and all(type(v) is int for v in meta[1:])
        head = Head(meta, payload["config"], payload["owner"], payload["until"], payload["phase"],
                    payload["author"], payload["journal"], payload["journal_sum"])  # fmt: skip
    except KeyError:
        raise damaged(name, "its own numbers") from None
    if not whole or head.phase not in ("", "staging", "applying"):
        raise damaged(name, "its own numbers")
    return head


def photo_payload(fields: PhotoRow) -> dict[str, Any]:
    """fields: in the order of `reading.COLUMNS`, without or with the row number's vector."""
    words = dict(zip(WORDS, fields[1:8], strict=True))
    sums = {
        kind: value for kind, value in zip(SUMS, fields[8:12], strict=True) if value is not None
    }
    return {**words, **sums, "sum": fields[12], "kind": kind_of(fields[3])}


def kind_of(landmark: str) -> str:
    """What a search is limited to."""
    return "landmark" if landmark else "distractor"


def photo_of(record: Any, name: str) -> PhotoRow:
    """A point → row number, 7 words, 4 sums, sum. Raises GalleryError unless the sum is right."""
    return checked(raw_photo(record), name)


def raw_photo(record: Any) -> PhotoRow:
    """The same, as it stands."""
    payload = record.payload or {}
    return (record.id, *(payload.get(key) for key in (*WORDS, *SUMS, "sum")))


def vector_of(record: Any, entry: PhotoRow, dim: int, name: str) -> NDArray[np.float16]:
    """(D,), as it was put there. Raises GalleryError when it is not what the entry has a sum of."""
    vector = halves(record.vector)
    if vector.shape != (dim,) or blob_sum(vector.astype("<f2").tobytes()) != entry[8]:
        raise damaged(name, f"vector of photo {entry[1]!r}, row {entry[0]}")
    return vector


def halves(values: Any) -> NDArray[np.float16]:
    """What a server says is the vector; none = empty."""
    if not isinstance(values, list):
        return np.empty(0, dtype=np.float16)
    with np.errstate(over="ignore"):  # a damaged one may hold anything
        return np.array(values, dtype=np.float32).astype(np.float16)


def point(point_id: int | str, payload: dict[str, Any], vector: list[float] | None = None) -> Any:
    """A point as the client takes it; None = one without a vector."""
    from qdrant_client import models

    return models.PointStruct(id=point_id, vector={} if vector is None else vector, payload=payload)


def vector_bytes(row: GalleryRow, dim: int) -> bytes:
    """float16, little-endian. Raises GalleryError for another shape, or no numbers."""
    return to_bytes(row.vector, dim)


def floats(data: bytes) -> list[float]:
    """float16 bytes → numbers that a server rounds to the same float16 again."""
    return [float(value) for value in np.frombuffer(data, "<f2")]


def blobs_id(row: int, sums: tuple[int | None, ...]) -> str | None:
    """The point of a photo's blobs; None = it has none. sums: of keypoints, looks, thumbnails."""
    return None if sums == (None, None, None) else _uuid(f"blobs {row} {sums}")


def blobs_point(row: int, sums: tuple[int | None, ...], blobs: tuple[bytes, ...]) -> Any:
    """blobs: keypoints, looks, thumbnails. Raises DataError when they are more than one request."""
    texts = {
        kind: b64encode(data).decode()
        for kind, data in zip(BLOBS[1:], blobs, strict=True) if data
    }  # fmt: skip
    if (size := sum(map(len, texts.values()))) > LARGEST_POINT:
        raise DataError(
            f"row {row}: features, look and thumbnail take {size} characters; Qdrant takes at most "
            f"{LARGEST_POINT} of one photo: keep fewer keypoints"
        )
    where = blobs_id(row, sums)
    assert where is not None
    return point(where, {"row": row, **texts})


def blob_of(payload: dict[str, Any], kind: str) -> bytes | None:
    """One blob as it stands; None = not there, or no base64."""
    text = payload.get(kind)
    try:
        return b64decode(text, validate=True) if isinstance(text, str) else None
    except (ValueError, binascii.Error):
        return None


def landmark_id(landmark: str) -> str:
    """The point of a landmark's record."""
    return _uuid(f"landmark {landmark}")


def landmark_point(landmark: str, text: str) -> Any:
    """text: as `LandmarkRecord.to_text` wrote it."""
    payload = {"kind": "landmark", "landmark": landmark, "record": text}
    return point(landmark_id(landmark), {**payload, "sum": landmark_sum(landmark, text)})


def record_of(payload: dict[str, Any], name: str) -> tuple[str, str, int]:
    """(landmark, text, sum). Raises GalleryError unless the sum is right."""
    landmark, text, stored = (payload.get(key) for key in ("landmark", "record", "sum"))
    if not (isinstance(landmark, str) and isinstance(text, str)) or (
        landmark_sum(landmark, text) != stored
    ):
        raise damaged(name, f"the record of landmark {landmark!r}")
    LandmarkRecord.of_text(landmark, text)
    return landmark, text, int(stored or 0)


def journal_id(author: str, piece: int) -> str:
    """The point of a piece of what is under way."""
    return _uuid(f"journal {author} {piece}")


def _uuid(text: str) -> str:
    return str(UUID(bytes=blake2b(text.encode(), digest_size=16).digest()))
