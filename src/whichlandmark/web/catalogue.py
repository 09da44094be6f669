"""What a gallery holds, to look through: landmarks, photos, small pictures without metadata."""

from __future__ import annotations

import numpy as np

from ..answer_object import landmark_object, thumbnail_address
from ..gallery.store import Credit
from .live import Opened
from .problems import not_found
from .schema import LandmarksReply, ListedPhoto, PhotosReply


def landmarks(opened: Opened, query: str, offset: int, limit: int) -> LandmarksReply:
    """Landmarks whose label, title, a name or Wikidata id holds the query, by label."""
    index, facts = opened.recognizer.index, opened.facts
    names = [str(name) for name in index.names]
    counts = np.bincount(index.codes, minlength=len(names)) if names else np.empty(0, np.int64)
    wanted = query.strip().casefold().replace("_", " ")
    found = [code for code, name in enumerate(names) if _speaks_of(opened, name, wanted)]
    page = found[offset : offset + limit]
    return {
        "total": len(found),
        "photos": len(index.codes),
        "distractors": len(index.bank_ids),
        "generation": opened.generation,
        "landmarks": [
            {**landmark_object(names[code], facts), "photos": int(counts[code]),
             "thumbnail": _first_thumbnail(opened, code)}
            for code in page
        ],
    }  # fmt: skip


def photos(opened: Opened, landmark: str, offset: int, limit: int) -> PhotosReply:
    """The photos of one landmark. Raises ApiError 404."""
    ids = photo_ids(opened, landmark)
    page = ids[offset : offset + limit]
    credits, shown = opened.facts.gallery.credits(page), opened.facts.thumbnails
    return {
        "landmark": landmark,
        "total": len(ids),
        "photos": [
            _photo(one, credits.get(one, Credit("", "")), shown) for one in page
        ],
    }  # fmt: skip


def _photo(photo_id: str, credit: Credit, shown: bool) -> ListedPhoto:
    return {"id": photo_id, "author": credit.author, "licence": credit.licence,
            "thumbnail": thumbnail_address(photo_id) if shown else None}  # fmt: skip


def photo_ids(opened: Opened, landmark: str) -> list[str]:
    """Ids of a landmark's photos, in gallery order. Raises ApiError 404."""
    index = opened.recognizer.index
    code = int(np.searchsorted(index.names.astype(str), landmark)) if len(index.names) else 0
    if code >= len(index.names) or str(index.names[code]) != landmark:
        raise not_found(f"No landmark {landmark!r}.")
    return [str(index.ids[row]) for row in np.flatnonzero(np.asarray(index.codes) == code)]


def thumbnail(opened: Opened, photo_id: str) -> bytes:
    """The small JPEG that a gallery keeps of a photo. Raises ApiError 404."""
    data = opened.facts.gallery.thumbnails([photo_id]).get(photo_id)
    if not data:
        raise not_found("No picture of that photo.")
    return without_metadata(data)


def without_metadata(jpeg: bytes) -> bytes:
    """A JPEG without EXIF, comments and other words; pixels are untouched. b"" for no JPEG.

    Thumbnails made here have none; those of a gallery from elsewhere may.
    """
    kept, at = [b"\xff\xd8"], 2
    if not jpeg.startswith(b"\xff\xd8"):
        return b""
    while at + 4 <= len(jpeg) and jpeg[at] == 0xFF:
        marker = jpeg[at + 1]
        if marker == 0xDA:  # the scan: nothing but pixels follows
            return b"".join([*kept, jpeg[at:]])
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        # 0xEE tells the colour space
        wordy = marker == 0xFE or (0xE1 <= marker <= 0xEF and marker != 0xEE)
        if not wordy:
            kept.append(jpeg[at:end])
        at = end
    return b""


def _first_thumbnail(opened: Opened, code: int) -> str | None:
    if not opened.facts.thumbnails:
        return None
    index = opened.recognizer.index
    row = int(np.argmax(np.asarray(index.codes) == code))
    return thumbnail_address(str(index.ids[row]))


def _speaks_of(opened: Opened, name: str, wanted: str) -> bool:
    record = opened.facts.records.get(name)
    words = [name] if record is None else [name, record.title, record.wikidata,
                                           *record.names.values()]  # fmt: skip
    return any(wanted in word.casefold().replace("_", " ") for word in words)
