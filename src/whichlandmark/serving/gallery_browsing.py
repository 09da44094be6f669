"""Read the gallery of the running server: landmarks, their photos and credits."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..gallery.index import GalleryIndex
from ..gallery.records import Credit, LandmarkRecord
from ..recognition.answer import landmark_object, shown_name, thumbnail_address
from .api_errors import ApiError
from .landmark_search import LandmarkSearch, folded
from .schemas import (
    CreditReply,
    LandmarkReply,
    LandmarksReply,
    ListedLandmark,
    ListedPhoto,
    PhotosReply,
)

if TYPE_CHECKING:
    from .live_recognizer import OpenRecognizer

MAX_ORDERS = 16  # languages of which the order of the landmarks is kept


def landmarks(
    opened: OpenRecognizer, query: str, offset: int, limit: int, language: str = ""
) -> LandmarksReply:
    """Landmarks sorted by what is shown of them; with a query those that it finds, the best first.

    Args:
        opened: The recognizer of one generation.
        query: As `LandmarkSearch.find` takes it; blank = all landmarks.
        offset: Landmarks to leave out.
        limit: The most to list.
        language: BCP 47 tag of the titles; "" = each record's title.
    """
    catalogue = opened.catalogue
    order = catalogue.order(language)
    found = catalogue.search.find(query, order) if query.strip() else order
    return {
        "total": len(found),
        "photos": len(catalogue.index.codes),
        "distractors": len(catalogue.index.distractor_ids),
        "generation": opened.generation,
        "landmarks": [
            _listed(opened, int(code), language) for code in found[offset : offset + limit]
        ],
    }  # fmt: skip


def landmark(opened: OpenRecognizer, name: str, language: str = "") -> LandmarkReply:
    """One landmark: its record, number of photos and thumbnail. Raises ApiError 404."""
    found = _listed(opened, opened.catalogue.code_of(name), language)
    return {**found, "generation": opened.generation}


def _listed(opened: OpenRecognizer, code: int, language: str) -> ListedLandmark:
    catalogue = opened.catalogue
    first = str(catalogue.index.ids[int(catalogue.first_rows[code])])
    return {
        **landmark_object(catalogue.names[code], catalogue.records, language),
        "photos": int(catalogue.counts[code]),
        "thumbnail": thumbnail_address(first) if opened.facts.thumbnails else None,
    }


def photos(opened: OpenRecognizer, name: str, offset: int, limit: int) -> PhotosReply:
    """One page of a landmark's photos, or of those without a landmark (name ""). ApiError 404."""
    ids = photo_ids(opened, name) if name else opened.catalogue.index.distractor_ids
    page = [str(one) for one in ids[offset : offset + limit]]
    credits, shown = opened.facts.gallery.credits(page), opened.facts.thumbnails
    return {
        "landmark": name,
        "total": len(ids),
        "photos": [_photo(one, credits.get(one, Credit("", "")), shown) for one in page],
    }


def photo(opened: OpenRecognizer, photo_id: str) -> CreditReply:
    """Landmark and credit of a photo. Raises ApiError 404."""
    gallery = opened.facts.gallery
    found = gallery.stamps([photo_id]).get(photo_id)
    if found is None:
        raise unknown_photo()
    shown = _photo(photo_id, gallery.credits([photo_id])[photo_id], opened.facts.thumbnails)
    return {**shown, "landmark": found[2], "generation": opened.generation}


def _photo(photo_id: str, credit: Credit, shown: bool) -> ListedPhoto:
    return {"id": photo_id, "author": credit.author, "licence": credit.licence,
            "licence_url": credit.licence_url, "source": credit.source,
            "thumbnail": thumbnail_address(photo_id) if shown else None}  # fmt: skip


def photo_ids(opened: OpenRecognizer, name: str) -> list[str]:
    """Ids of a landmark's photos, in gallery order. Raises ApiError 404."""
    index, code = opened.catalogue.index, opened.catalogue.code_of(name)
    return [str(index.ids[row]) for row in np.flatnonzero(np.asarray(index.codes) == code)]


def thumbnail(opened: OpenRecognizer, photo_id: str) -> bytes:
    """The JPEG thumbnail that the gallery stores for a photo. Raises ApiError 404."""
    data = without_metadata(opened.facts.gallery.thumbnails([photo_id]).get(photo_id, b""))
    if data:
        return data
    if photo_id not in opened.facts.gallery.stamps([photo_id]):
        raise unknown_photo()
    raise ApiError(404, "no_thumbnail", "The gallery stores no thumbnail of that photo.")


def without_metadata(jpeg: bytes) -> bytes:
    """Remove EXIF, comments and application segments from a JPEG without re-encoding it.

    Thumbnails made by this package have none, but a gallery may come from elsewhere.

    Returns:
        The JPEG; b"" when the input is not a JPEG.
    """
    parts, at = [b"\xff\xd8"], 2
    if not jpeg.startswith(b"\xff\xd8"):
        return b""
    while at + 4 <= len(jpeg) and jpeg[at] == 0xFF:
        marker = jpeg[at + 1]
        if marker == 0xDA:  # start of scan: only pixels follow
            return b"".join([*parts, jpeg[at:]])
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        # 0xEE is kept because it defines the colour space
        metadata = marker == 0xFE or (0xE1 <= marker <= 0xEF and marker != 0xEE)
        if not metadata:
            parts.append(jpeg[at:end])
        at = end
    return b""


def unknown_photo() -> ApiError:
    """404: the gallery has no photo of that id."""
    hint = "GET /v1/landmarks/{name}/photos lists the photos of a landmark."
    return ApiError(404, "unknown_photo", "The gallery has no such photo.", hint)


def unknown_landmark(name: str) -> ApiError:
    """404: the gallery has no photo of that landmark."""
    hint = "GET /v1/landmarks lists the landmarks."
    return ApiError(404, "unknown_landmark", f"The gallery has no landmark {name!r}.", hint)


class Catalogue:
    """The landmarks of one generation, prepared for listing and searching. Thread-safe."""

    def __init__(self, index: GalleryIndex, records: Mapping[str, LandmarkRecord]) -> None:
        self.index, self.records = index, records
        self.names = [str(name) for name in index.names]
        self._lock, self._search_lock = threading.Lock(), threading.Lock()
        self._orders: dict[str, list[int]] = {}
        self._search: LandmarkSearch | None = None
        self._older: LandmarkSearch | None = None

    def take_over(self, older: Catalogue) -> None:
        """Keep what an older generation has prepared of names that have not changed since."""
        same = self.names == older.names and self.records == older.records
        with older._lock:
            self._orders = older._orders.copy() if same else {}
        self._older = older._search or older._older  # which is not waited for
        self._search = older._search if same else None

    def code_of(self, name: str) -> int:
        """The index of a landmark in `names`. Raises ApiError 404."""
        code = bisect_left(self.names, name)
        if code == len(self.names) or self.names[code] != name:
            raise unknown_landmark(name)
        return code

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Number of photos of each landmark."""
        return np.bincount(np.asarray(self.index.codes), minlength=len(self.names))

    @cached_property
    def first_rows(self) -> NDArray[np.int64]:
        """The row of the first photo of each landmark."""
        return np.unique(np.asarray(self.index.codes), return_index=True)[1]

    @property
    def search(self) -> LandmarkSearch:
        """The search of names; prepared when it is used first."""
        with self._search_lock:
            if self._search is None:
                self._search = LandmarkSearch(self.names, self.records, self._older)
            return self._search

    def order(self, language: str) -> list[int]:
        """All landmarks, sorted by the names shown in a language, whatever their accents."""
        with self._lock:
            if language not in self._orders:
                if len(self._orders) >= MAX_ORDERS:
                    self._orders.pop(next(iter(self._orders)))
                shown = [shown_name(name, self.records, language) for name in self.names]
                keys = [(" ".join(folded(text)), text) for text in shown]
                self._orders[language] = sorted(range(len(keys)), key=keys.__getitem__)
            return self._orders[language]
