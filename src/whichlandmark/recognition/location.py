"""Location prior: landmarks near the place where the photo was taken become more likely.

Optional: used only when the rules have `location_km`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.errors import OptionError
from ..core.photo_files import LatLon
from ..gallery.index import GalleryIndex
from ..gallery.records import LandmarkRecord

EARTH_RADIUS_KM = 6371.0088  # mean radius (IUGG)

# Row of a query, codes of its candidate landmarks (n,) → their log weights (n,).
Prior = Callable[[int, NDArray[np.int64]], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class LandmarkLocations:
    """coordinates: (C, 2) latitude and longitude of each landmark in degrees, NaN = unknown."""

    coordinates: NDArray[np.float64]

    @classmethod
    def of(cls, index: GalleryIndex, records: Mapping[str, LandmarkRecord]) -> LandmarkLocations:
        """The coordinates in the gallery's records, in the order of the index."""
        coordinates = np.full((len(index.names), 2), np.nan)
        for code, name in enumerate(index.names):
            record = records.get(name)
            if record and record.latitude is not None and record.longitude is not None:
                coordinates[code] = record.latitude, record.longitude
        return cls(coordinates)

    def prior(self, locations: Sequence[LatLon | None], scale_km: float) -> Prior:
        """The prior of queries taken at `locations`; weight 0 where either location is unknown."""

        def log_weights(row: int, codes: NDArray[np.int64]) -> NDArray[np.float64]:
            origin = locations[row]
            if origin is None:
                return np.zeros(len(codes))
            landmarks = np.where(codes[:, None] < 0, np.nan, self.coordinates[codes])
            return location_prior(distance_km(origin, landmarks), scale_km)

        return log_weights


def distance_km(origin: LatLon, points: NDArray[np.float64] | LatLon) -> NDArray[np.float64]:
    """Great-circle distances by the haversine formula, in km.

    Args:
        origin: Latitude and longitude in degrees.
        points: (..., 2) in degrees; NaN = unknown.

    Returns:
        (...,) distances, NaN where the point is unknown.

    Raises:
        OptionError: When `origin` is not a latitude and a longitude.
    """
    if not (abs(origin[0]) <= 90 and abs(origin[1]) <= 180):
        raise OptionError(f"position {origin} given; expected latitude ±90°, longitude ±180°")
    one, two = np.radians(origin), np.radians(np.asarray(points, dtype=np.float64))
    haversines = np.sin((two - one) / 2) ** 2  # of latitude and of longitude
    haversine = haversines[..., 0] + np.cos(one[0]) * np.cos(two[..., 0]) * haversines[..., 1]
    return np.asarray(2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(haversine, 0, 1))))


def location_prior(
    distances_km: NDArray[np.float64], scale_km: float = 1.0, *, wrong: float = 0.01
) -> NDArray[np.float64]:
    """Log weights of landmarks by their distance from the place where the photo was taken.

    log(wrong + (1 − wrong) / (1 + (d / scale)²)): 0 at the landmark, about log ½ at `scale_km`,
    never below log(wrong), because locations are sometimes wrong: no landmark is ruled out.

    Args:
        distances_km: (n,) distances; NaN = the landmark has no coordinates, and gets weight 0.
        scale_km: Distance at which the weight has halved.
        wrong: Share of photos whose location is wrong, between 0 and 1.

    Returns:
        (n,) log weights.

    Raises:
        OptionError: For a scale or a share out of range, or a negative distance.
    """
    distances = np.asarray(distances_km, dtype=np.float64)
    if not 0 < scale_km < math.inf or not 0 < wrong < 1:
        raise OptionError(
            f"scale {scale_km} km, wrong {wrong} given; expected a length above 0, and a share "
            "between 0 and 1"
        )
    if (distances < 0).any():
        raise OptionError(f"distance {np.nanmin(distances)} km given; expected 0 or more")
    weights = np.log(wrong + (1 - wrong) / (1 + (distances / scale_km) ** 2))
    return np.where(np.isnan(distances), 0.0, weights)
