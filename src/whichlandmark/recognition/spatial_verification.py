"""Spatial verification: match a query's local features with those stored for gallery photos."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..core import fingerprint as fingerprints
from ..core.types import Image
from ..features.local.keypoints import (
    MAX_STORED_KEYPOINTS,
    GreyImage,
    Keypoints,
    MatchOptions,
    has_corners,
    keypoints,
    pack,
    strongest,
    to_grey,
    unpack,
)
from ..features.local.matching import VerifiedMatch, verify_many
from ..gallery.base import Gallery
from ..gallery.index.exact import nearest
from ..gallery.records import GalleryRow

# At 480 px with 500 keypoints, a fifth of the true pairs that are proven here are not.
MATCHING = MatchOptions(size=640, features=MAX_STORED_KEYPOINTS, tolerance=6.0)

MAX_CACHED_KEYPOINT_SETS = 1_200  # unpacked keypoints of gallery photos: about 130 MB

DISTRACTOR_NEIGHBOURS = 3  # landmark photos that a new distractor is compared with

# Inliers with a landmark's photo from which a distractor shows that landmark. Of 160 photos of
# other things the most had 7 with their three nearest.
SAME_PLACE_INLIERS = 25

MAX_PHOTOS_COMPARED = 200_000  # of landmarks; in larger galleries distractors are not compared

MIN_SIDE = 16  # pixels of the short side of a photo that may show a landmark

EVEN_GREY_LEVELS = 8  # JPEG compression of one color changes fewer

# Short side in pixels that a photo must be decoded at: with 4 : 3 the long side is MATCHING.size.
MATCHING_SIDE = 480


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


def nothing_to_compare(image: Image | GreyImage) -> str:
    """Why a photo cannot show a landmark, whatever is similar to it; "" = it may.

    It is a few pixels large, of one even color, or has no keypoint: no place at which it could be
    compared. Plainly textured photos are told without a search for keypoints.
    """
    grey = image if isinstance(image, GreyImage) else query_grey(image)
    side = round(min(grey.pixels.shape) / grey.scale)
    if side < MIN_SIDE:
        return f"no landmark, because its short side has only {side} px; {MIN_SIDE} are needed"
    if int(grey.pixels.max()) - int(grey.pixels.min()) <= EVEN_GREY_LEVELS:
        return "no landmark, because it shows one even color"
    if has_corners(grey) or len(keypoints(grey, MATCHING).points):
        return ""
    return "no landmark, because it shows even areas or stripes, without a point to compare"


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


def agreement_by_rank(
    verified: Sequence[Mapping[int, VerifiedMatch]], width: int
) -> NDArray[np.float64]:
    """(Q, width) agreement of the matches by rank among the neighbours, 0 where there is none."""
    found = np.zeros((len(verified), width))
    for row, matches in enumerate(verified):
        for rank, match in matches.items():
            found[row, rank] = match.agreement
    return found


class DistractorCheck:
    """Finds new distractors that show a landmark of the gallery: the same picture or place.

    Each is compared with the nearest photos of landmarks, by perceptual fingerprint and by local
    features, where the gallery stores these.
    """

    def __init__(self, gallery: Gallery) -> None:
        labels = gallery.labels()
        self._gallery, self._verifier = gallery, SpatialVerifier(gallery)
        named = labels.codes >= 0
        self._names = [labels.names[code] for code in labels.codes[named]]
        self._ids, self._vectors = [], np.empty((0, gallery.dim), dtype=np.float16)
        if 0 < len(self._names) <= MAX_PHOTOS_COMPARED:
            rows = labels.rows[named]
            self._ids, self._vectors = gallery.ids_of(rows).tolist(), gallery.vectors_of(rows)

    def __call__(self, rows: Sequence[GalleryRow]) -> list[str | None]:
        """Why each of these distractors has to be left out; None = it can be one."""
        if not len(self._vectors) or not rows:
            return [None] * len(rows)
        queries = np.stack([row.vector for row in rows]).astype(np.float32)
        found = nearest(queries, self._vectors, DISTRACTOR_NEIGHBOURS).rows
        return [self._reason(row, near.tolist()) for row, near in zip(rows, found, strict=True)]

    def _reason(self, row: GalleryRow, near: list[int]) -> str | None:
        near = [one for one in near if one >= 0]
        ids = [self._ids[one] for one in near]
        if row.fingerprint:
            own, stored = fingerprints.unpack(row.fingerprint), self._gallery.fingerprints(ids)
            for one, photo_id in zip(near, ids, strict=True):
                other = stored.get(photo_id)
                if other and fingerprints.same_picture(own, fingerprints.unpack(other)):
                    return (
                        f"it is the same picture as gallery photo {photo_id}, which shows "
                        f"{self._names[one]!r}: left out of the distractors"
                    )
        if row.keypoints:
            matches = self._verifier.verify(unpack(row.keypoints), ids)
            for one, match in zip(near, matches, strict=True):
                if match is not None and match.inliers >= SAME_PLACE_INLIERS:
                    return (
                        f"it shows {self._names[one]!r}, by {match.inliers} matching points with "
                        f"gallery photo {self._ids[one]}: left out of the distractors"
                    )
        return None
