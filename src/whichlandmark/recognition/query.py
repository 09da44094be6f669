"""Queries: photos decoded once, with location, then embedded; the input of `Recognizer.answer`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.images import read_image
from ..core.photo_files import LatLon, location_of
from ..core.storage import read_bytes
from ..core.types import Image, Vectors
from ..features.local.keypoints import Keypoints
from .spatial_verification import query_keypoints

KeypointsOf = Callable[[int], Keypoints | None]  # row of a query → its keypoints

Shape = tuple[int, int]  # height and width


@dataclass(frozen=True, eq=False)
class QueryPhoto:
    """One decoded photo.

    Attributes:
        image: (H, W, 3) uint8 RGB, upright.
        location: Latitude and longitude in degrees where it was taken; None = unknown or not read.
    """

    image: Image
    location: LatLon | None = None


@dataclass(frozen=True, eq=False)
class Queries:
    """Q embedded photos.

    Attributes:
        vectors: (Q, D) unit rows.
        keypoints_of: Row → keypoints, called only for rows that are verified; None = no query is
            verified.
        shapes: Height and width of the pixels that these keypoints refer to.
        locations: Latitude and longitude where each was taken; used only when the rules have
            `location_km`.
    """

    vectors: Vectors
    keypoints_of: KeypointsOf | None = None
    shapes: Sequence[Shape] | None = None
    locations: Sequence[LatLon | None] | None = None

    @classmethod
    def of(cls, vectors: Vectors, photos: Sequence[QueryPhoto]) -> Queries:
        """Queries from photos and their vectors (Q, D)."""
        return cls(
            vectors,
            keypoints_of=lambda row: query_keypoints(photos[row].image),
            shapes=[(photo.image.shape[0], photo.image.shape[1]) for photo in photos],
            locations=[photo.location for photo in photos],
        )


def read_query(
    photo: str | Path | bytes | Image, *, short_side: int, location: bool = False
) -> QueryPhoto:
    """Read and decode a photo, its bytes read only once.

    Args:
        photo: A path, URL or tar address, a file's bytes, or decoded pixels.
        short_side: Pixels that the short side must have at least.
        location: Read the location in the EXIF data too.

    Raises:
        ImageError: When the photo cannot be read or decoded.
    """
    if isinstance(photo, np.ndarray):
        return QueryPhoto(photo)
    name = "" if isinstance(photo, bytes) else str(photo)
    data = photo if isinstance(photo, bytes) else read_bytes(photo)
    image = read_image(data, short_side=short_side, name=name)
    return QueryPhoto(image, location_of(data) if location else None)
