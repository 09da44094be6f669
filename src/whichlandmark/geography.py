"""Where landmarks stand, and how far a photo was taken from them: an opt-in prior."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .gallery.index import GalleryIndex
from .gallery.records import LandmarkRecord
from .location import Place, distance_km, location_prior

# Row of a query, codes of its candidate landmarks (n,) → their log weights (n,).
Prior = Callable[[int, NDArray[np.int64]], NDArray[np.float64]]


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

    def prior(self, locations: Sequence[Place | None], scale_km: float) -> Prior:
        """Log weights of candidate landmarks by their distance; 0 where either place is unknown.

        locations: where each query was taken.
        """

        def weigh(row: int, codes: NDArray[np.int64]) -> NDArray[np.float64]:
            origin = locations[row]
            if origin is None:
                return np.zeros(len(codes))
            landmarks = np.where(codes[:, None] < 0, np.nan, self.where[codes])
            return location_prior(distance_km(origin, landmarks), scale_km)

        return weigh
