"""Spatial verification: match a query's local features with those stored for gallery photos."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..core.types import Image
from ..features.local.keypoints import (
    MAX_STORED_KEYPOINTS,
    GreyImage,
    Keypoints,
    MatchOptions,
    keypoints,
    pack,
    strongest,
    to_grey,
    unpack,
)
from ..features.local.matching import VerifiedMatch, verify_many
from ..gallery.protocol import Gallery

# 480 px separates true from false pairs as well as 640 px, in half the time.
MATCHING = MatchOptions(size=480, features=650, tolerance=4.5)

MAX_CACHED_KEYPOINT_SETS = 2_000  # unpacked keypoints of gallery photos: about 130 MB

MATCHING_SIDE = MATCHING.size  # short side in pixels that a photo must be decoded at


def local_features(image: Image) -> bytes:
    """(H, W, 3) uint8 RGB → the strongest keypoints, packed as a gallery stores them."""
    return pack(query_keypoints(image))


def query_grey(image: Image) -> GreyImage:
    """The small grey image that `query_keypoints` needs, for queries that have to be kept."""
    return to_grey(image, MATCHING)


def query_keypoints(image: Image | GreyImage) -> Keypoints:
    """The strongest keypoints of a query.

    As many as a gallery photo stores, so that inlier counts are comparable.
    """
    return strongest(keypoints(image, MATCHING), MAX_STORED_KEYPOINTS)


class SpatialVerifier:
    """Compares keypoints with those stored in a gallery, by photo id. Thread-safe."""

    def __init__(self, gallery: Gallery) -> None:
        self.gallery = gallery
        self._cached: OrderedDict[str, Keypoints | None] = OrderedDict()
        self._lock = threading.Lock()  # guards the cache

    def keypoints(self, ids: Sequence[str]) -> list[Keypoints | None]:
        """Stored keypoints of gallery photos, None where there are none."""
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

    def verify(self, query: Keypoints, ids: Sequence[str]) -> list[VerifiedMatch | None]:
        """Match a query with each photo; None where the photo has no stored keypoints."""
        stored = self.keypoints(ids)
        present = [i for i, keypoints in enumerate(stored) if keypoints is not None]
        known = [keypoints for keypoints in stored if keypoints is not None]
        matches: list[VerifiedMatch | None] = [None] * len(ids)
        for i, match in zip(present, verify_many(query, known, MATCHING), strict=True):
            matches[i] = match
        return matches


def inliers_by_rank(
    matches: Sequence[VerifiedMatch | None], ranks: Sequence[int], width: int
) -> NDArray[np.int64]:
    """(width,) inliers by rank among the neighbours, −1 where nothing was compared."""
    row = np.full(width, -1, dtype=np.int64)
    for rank, match in zip(ranks, matches, strict=True):
        if match is not None:
            row[rank] = match.inliers
    return row
