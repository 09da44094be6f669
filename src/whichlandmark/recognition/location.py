"""Optional prior from the photo’s location."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.errors import OptionError
from ..core.images import LatLon
from ..gallery.index import GalleryIndex
from ..gallery.records import LandmarkRecord

# Row of a query, codes of its candidate landmarks (n,) → their log weights (n,).
Prior = Callable[[int, NDArray[np.int64]], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class LandmarkLocations:
    """where: (C, 2) latitude and longitude of each landmark of an index, NaN = not known."""

    where: NDArray[np.float64]

    @classmethod
    def of(cls, index: GalleryIndex, records: Mapping[str, LandmarkRecord]) -> LandmarkLocations:
        """From what the gallery knows of its landmarks."""
        where = np.full((len(index.names), 2), np.nan)
        for code, name in enumerate(index.names):
            record = records.get(name)
            if record and record.latitude is not None and record.longitude is not None:
                where[code] = record.latitude, record.longitude
        return cls(where)

    def prior(self, locations: Sequence[LatLon | None], scale_km: float) -> Prior:
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


EARTH_KM = 6371.0088  # mean radius of the Earth (IUGG)


def distance_km(origin: LatLon, places: NDArray[np.float64] | LatLon) -> NDArray[np.float64]:
    """Great-circle distances by the haversine formula, in km.

    places: (..., 2) in degrees, NaN = not known, and so is its distance. Returns (...,).
    Raises OptionError when `origin` lies nowhere on Earth.
    """
    if not (abs(origin[0]) <= 90 and abs(origin[1]) <= 180):
        raise OptionError(f"position {origin} given; expected latitude ±90°, longitude ±180°")
    one, two = np.radians(origin), np.radians(np.asarray(places, dtype=np.float64))
    half = np.sin((two - one) / 2) ** 2  # of latitude and of longitude
    chord = half[..., 0] + np.cos(one[0]) * np.cos(two[..., 0]) * half[..., 1]
    return np.asarray(2 * EARTH_KM * np.arcsin(np.sqrt(np.clip(chord, 0, 1))))


def location_prior(
    distances_km: NDArray[np.float64], scale_km: float = 1.0, *, wrong: float = 0.01
) -> NDArray[np.float64]:
    """(n,) log weights of landmarks at these distances from where the photo was taken.

    log(wrong + (1 − wrong) / (1 + (d / scale)²)): 0 beside the landmark, log ½ or so at `scale_km`,
    and never below log(wrong), because positions are sometimes wrong: no landmark is ruled out.
    A landmark without coordinates (NaN) gets 0: nothing is held against it. Opt-in: adding this to
    a score is for a user who asked for it, never done silently.
    Raises OptionError for a scale or a share out of range, or a negative distance.
    """
    far = np.asarray(distances_km, dtype=np.float64)
    if not 0 < scale_km < math.inf or not 0 < wrong < 1:
        raise OptionError(
            f"scale {scale_km} km, wrong {wrong} given; expected a length above 0, and a share "
            "between 0 and 1"
        )
    if (far < 0).any():
        raise OptionError(f"distance {np.nanmin(far)} km given; expected 0 or more")
    weights = np.log(wrong + (1 - wrong) / (1 + (far / scale_km) ** 2))
    return np.where(np.isnan(far), 0.0, weights)
