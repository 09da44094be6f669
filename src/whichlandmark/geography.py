"""Where landmarks stand, and how far a photo was taken from them: an opt-in prior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .deciding import Prior
from .gallery.index import GalleryIndex
from .gallery.records import LandmarkRecord
from .location import distance_km, location_of, location_prior
from .storage import read_bytes

Place = tuple[float, float]  # latitude, longitude in degrees


@dataclass(frozen=True, eq=False)
class Places:
    """where: (C, 2) latitude and longitude of each landmark of an index, NaN = not known."""

    where: NDArray[np.float64]

    @classmethod
    def of(cls, index: GalleryIndex, records: Mapping[str, LandmarkRecord]) -> Places:
        """From what the gallery knows of its landmarks."""
        where = np.full((len(index.names), 2), np.nan)
        for code, name in enumerate(index.names):
            record = records.get(name)
            if record and record.latitude is not None and record.longitude is not None:
                where[code] = record.latitude, record.longitude
        return cls(where)

    @staticmethod
    def of_photo(photo: Any) -> Place | None:
        """The place in a photo's EXIF data; None when it has none, or is an array."""
        if isinstance(photo, str | Path):
            photo = read_bytes(photo)
        return location_of(photo) if isinstance(photo, bytes) else None

    def prior(self, places: Sequence[Place | None], scale_km: float) -> Prior:
        """Log weights of candidate landmarks by their distance; 0 where either place is unknown."""

        def weigh(row: int, codes: NDArray[np.int64]) -> NDArray[np.float64]:
            here = places[row]
            if here is None:
                return np.zeros(len(codes))
            there = np.where(codes[:, None] < 0, np.nan, self.where[codes])
            return location_prior(distance_km(here, there), scale_km)

        return weigh
