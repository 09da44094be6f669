"""Convert gallery data to points of Qdrant and back, verifying checksums.

First collection: a point for each photo; its id is the row number, its payload the texts and
checksums. Second collection: point 0 is the header; landmark records and blobs have ids derived
from their content, so that new blobs never overwrite those that a photo still refers to.
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
from ..records import LandmarkRecord
from ..sqlite.schema import BLOBS

FORMAT = 1

NO_WRITER = "nobody"  # value of `owner` while no change is in progress

HEAD = 0  # id of the header point

TEXT_FIELDS = ("id", "path", "landmark", "hash", "stamp", "author", "licence")

SUMS = BLOBS  # payload keys of a photo's blob checksums; looks: the perceptual fingerprint

MAX_BLOB_CHARACTERS = 24_000_000  # of one photo, because a server takes requests of 32 MB


@dataclass(frozen=True)
class Head:
    """The header point: embedder, counts and digests, and the state of a change in progress.

    config: options as JSON; owner: the current writer; until: seconds since 1970 when its claim
    expires; phase: "" = no change in progress, "staging" = not committed, "applying" = committed,
    old points remain; author: writer of the journal; journal: its number of parts; journal_sum:
    their checksum.
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
        """The payload of the header point."""
        values = {"kind": "meta", "format": FORMAT, "config": self.config, "owner": self.owner,
                  "until": self.until, "phase": self.phase, "author": self.author,
                  "journal": self.journal, "journal_sum": self.journal_sum}  # fmt: skip
        return {**values, **meta_payload(self.meta)}


def meta_payload(meta: Meta) -> dict[str, Any]:
    """The header without the state of changes, and its checksum."""
    return {**meta._asdict(), "sum": meta_sum(meta)}


def head_of(payload: dict[str, Any], name: str) -> Head:
    """The inverse of `Head.payload`. Raises GalleryError for other payloads."""
    if payload.get("kind") != "meta" or payload.get("format") != FORMAT:
        raise GalleryError(f"{name}: not a gallery of format {FORMAT} of this program")
    try:
        meta = Meta(*(payload[field] for field in Meta._fields))
        whole = meta_sum(meta) == payload["sum"] and all(type(v) is int for v in meta[1:])
        head = Head(meta, payload["config"], payload["owner"], payload["until"], payload["phase"],
                    payload["author"], payload["journal"], payload["journal_sum"])  # fmt: skip
    except KeyError:
        raise damaged(name, "its header") from None
    if not whole or head.phase not in ("", "staging", "applying"):
        raise damaged(name, "its header")
    return head


def photo_payload(fields: PhotoRow) -> dict[str, Any]:
    """The payload of a photo's point; fields: row number, 7 texts, 4 blob checksums, checksum."""
    texts = dict(zip(TEXT_FIELDS, fields[1:8], strict=True))
    sums = {
        kind: value for kind, value in zip(SUMS, fields[8:12], strict=True) if value is not None
    }
    return {**texts, **sums, "sum": fields[12], "kind": kind_of(fields[3])}


def kind_of(landmark: str) -> str:
    """The payload value by which a search selects landmark photos or distractors."""
    return "landmark" if landmark else "distractor"


def photo_of(record: Any, name: str) -> PhotoRow:
    """The photo of a point. Raises GalleryError unless it matches its checksum."""
    return checked(raw_photo(record), name)


def raw_photo(record: Any) -> PhotoRow:
    """The photo of a point, unverified; missing fields are None."""
    payload = record.payload or {}
    return (record.id, *(payload.get(key) for key in (*TEXT_FIELDS, *SUMS, "sum")))


def vector_of(record: Any, entry: PhotoRow, dim: int, name: str) -> NDArray[np.float16]:
    """The vector (D,) of a photo. Raises GalleryError unless it matches its checksum."""
    vector = to_float16(record.vector)
    if vector.shape != (dim,) or blob_sum(vector.astype("<f2").tobytes()) != entry[8]:
        raise damaged(name, f"vector of photo {entry[1]!r}, row {entry[0]}")
    return vector


def to_float16(values: Any) -> NDArray[np.float16]:
    """A vector from a response of the server; empty if there is none."""
    if not isinstance(values, list):
        return np.empty(0, dtype=np.float16)
    with np.errstate(over="ignore"):  # because a damaged vector may hold any number
        return np.array(values, dtype=np.float32).astype(np.float16)


def point(point_id: int | str, payload: dict[str, Any], vector: list[float] | None = None) -> Any:
    """A point for the client; vector: None = without."""
    from qdrant_client import models

    return models.PointStruct(id=point_id, vector={} if vector is None else vector, payload=payload)


def floats(data: bytes) -> list[float]:
    """Little-endian float16 bytes → numbers that a server rounds to the same float16 again."""
    return [float(value) for value in np.frombuffer(data, "<f2")]


def blobs_id(row: int, sums: tuple[int | None, ...]) -> str | None:
    """Id of the point with a photo's blobs; None = no blobs. sums: checksums of BLOBS[1:]."""
    return None if sums == (None, None, None) else _uuid(f"blobs {row} {sums}")


def blobs_point(row: int, sums: tuple[int | None, ...], blobs: tuple[bytes, ...]) -> Any:
    """The point of a photo's blobs BLOBS[1:]. Raises DataError if they exceed one request."""
    texts = {
        kind: b64encode(data).decode()
        for kind, data in zip(BLOBS[1:], blobs, strict=True) if data
    }  # fmt: skip
    if (size := sum(map(len, texts.values()))) > MAX_BLOB_CHARACTERS:
        raise DataError(
            f"row {row}: features, fingerprint and thumbnail take {size} characters; Qdrant takes "
            f"at most {MAX_BLOB_CHARACTERS} of one photo: keep fewer keypoints"
        )
    point_id = blobs_id(row, sums)
    assert point_id is not None
    return point(point_id, {"row": row, **texts})


def blob_of(payload: dict[str, Any], kind: str) -> bytes | None:
    """One blob, unverified; None if it is missing or not base64."""
    text = payload.get(kind)
    try:
        return b64decode(text, validate=True) if isinstance(text, str) else None
    except (ValueError, binascii.Error):
        return None


def landmark_id(landmark: str) -> str:
    """Id of the point of a landmark record."""
    return _uuid(f"landmark {landmark}")


def landmark_point(landmark: str, text: str) -> Any:
    """The point of a landmark record; text: from `LandmarkRecord.to_text`."""
    payload = {"kind": "landmark", "landmark": landmark, "record": text}
    return point(landmark_id(landmark), {**payload, "sum": landmark_sum(landmark, text)})


def record_of(payload: dict[str, Any], name: str) -> tuple[str, str, int]:
    """(landmark, text, checksum) of a point. Raises GalleryError unless the checksum matches."""
    landmark, text, stored = (payload.get(key) for key in ("landmark", "record", "sum"))
    if not (isinstance(landmark, str) and isinstance(text, str)) or (
        landmark_sum(landmark, text) != stored
    ):
        raise damaged(name, f"the record of landmark {landmark!r}")
    LandmarkRecord.of_text(landmark, text)
    return landmark, text, int(stored or 0)


def journal_id(author: str, part: int) -> str:
    """Id of the point of a part of the journal; author: the writer."""
    return _uuid(f"journal {author} {part}")


def _uuid(text: str) -> str:
    return str(UUID(bytes=blake2b(text.encode(), digest_size=16).digest()))
