"""Photos to ask about: pixels and place from one read of the bytes, then vectors to be answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.images import LatLon, location_of, read_image
from ..core.storage import read_bytes
from ..core.types import Image, Vectors
from ..features.local.keypoints import Keypoints
from .spatial_verification import query_keypoints

KeypointsOf = Callable[[int], Keypoints | None]  # row of a query → its keypoints

Shape = tuple[int, int]  # height and width


@dataclass(frozen=True, eq=False)
class QueryPhoto:
    """One decoded photo. image: (H, W, 3) uint8 RGB, upright; location: latitude and longitude in
    degrees where it was taken, None = not known, or not asked for.
    """

    image: Image
    location: LatLon | None = None


@dataclass(frozen=True, eq=False)
class Queries:
    """Q photos ready to be answered.

    vectors: (Q, D) unit rows. keypoints_of: called for the rows that geometry is to decide; None =
    nothing is compared by geometry. shapes: of the pixels that these keypoints lie in.
    locations: where each was taken; used only when the rules have `location_km`.
    """

    vectors: Vectors
    keypoints_of: KeypointsOf | None = None
    shapes: Sequence[Shape] | None = None
    locations: Sequence[LatLon | None] | None = None

    @classmethod
    def of(cls, vectors: Vectors, photos: Sequence[QueryPhoto]) -> Queries:
        """Photos with their vectors (Q, D)."""
        return cls(
            vectors,
            keypoints_of=lambda row: query_keypoints(photos[row].image),
            shapes=[(photo.image.shape[0], photo.image.shape[1]) for photo in photos],
            locations=[photo.location for photo in photos],
        )


def read_query(
    photo: str | Path | bytes | Image, *, short_side: int, location: bool = False
) -> QueryPhoto:
    """Decode a photo: a path, a file's bytes, or pixels that are decoded already.

    short_side: pixels of the short side that are needed; location: read the place in its EXIF data
    too, of the same bytes. Raises ImageError when it cannot be read or decoded.
    """
    if isinstance(photo, np.ndarray):
        return QueryPhoto(photo)
    name = "" if isinstance(photo, bytes) else str(photo)
    data = photo if isinstance(photo, bytes) else read_bytes(photo)
    image = read_image(data, short_side=short_side, name=name)
    return QueryPhoto(image, location_of(data) if location else None)
