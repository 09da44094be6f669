"""A query's keypoints against those that the gallery keeps of its photos."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..core.types import Image
from ..features.local.keypoints import (
    STORED,
    Grey,
    Keypoints,
    MatchOptions,
    grey_of,
    keypoints,
    pack,
    strongest,
    unpack,
)
from ..features.local.matching import VerifiedMatch, verify_many
from ..gallery.protocol import Gallery

# At 480 px right pairs are told from wrong ones as well as at 640, in half the time.
MATCHING = MatchOptions(size=480, features=650, tolerance=4.5)

MAX_CACHED_KEYPOINT_SETS = 2_000  # of gallery photos, unpacked, in memory: about 130 MB

SIDE = MATCHING.size  # pixels a photo needs


def local_features(image: Image) -> bytes:
    """(H, W, 3) uint8 → its strongest keypoints, packed for the gallery."""
    return pack(query_keypoints(image))


def query_grey(image: Image) -> Grey:
    """The little of a query that `query_keypoints` needs, for queries that wait."""
    return grey_of(image, MATCHING)


def query_keypoints(image: Image | Grey) -> Keypoints:
    """As many keypoints of a query as are kept of a gallery photo: counts then mean the same."""
    return strongest(keypoints(image, MATCHING), STORED)


class SpatialVerifier:
    """Compares keypoints with those of the gallery's photos, by id; several threads may ask."""

    def __init__(self, gallery: Gallery) -> None:
        self.gallery = gallery
        self._cached: OrderedDict[str, Keypoints | None] = OrderedDict()
        self._lock = threading.Lock()  # of the cache

    def of(self, ids: Sequence[str]) -> list[Keypoints | None]:
        """Keypoints of gallery photos, None where none are stored."""
        with self._lock:
            if missing := [photo_id for photo_id in ids if photo_id not in self._cached]:
                packed = self.gallery.keypoints(missing)
                for photo_id in missing:
                    data = packed.get(photo_id)
                    self._cached[photo_id] = unpack(data) if data else None
            found = [self._cached[photo_id] for photo_id in ids]
            while len(self._cached) > MAX_CACHED_KEYPOINT_SETS:
                self._cached.popitem(last=False)
        return found

    def check(self, query: Keypoints, ids: Sequence[str]) -> list[VerifiedMatch | None]:
        """The matches of a query with each photo; None where the photo has no keypoints."""
        others = self.of(ids)
        stored = [i for i, other in enumerate(others) if other is not None]
        checked: list[VerifiedMatch | None] = [None] * len(ids)
        known = [other for other in others if other is not None]
        for place, verified in zip(stored, verify_many(query, known, MATCHING), strict=True):
            checked[place] = verified
        return checked


def inlier_row(
    checked: Sequence[VerifiedMatch | None], places: Sequence[int], width: int
) -> NDArray[np.int64]:
    """(width,) inliers by place among the neighbours, −1 where nothing was compared."""
    row = np.full(width, -1, dtype=np.int64)
    for place, verified in zip(places, checked, strict=True):
        if verified is not None:
            row[place] = verified.inliers
    return row
