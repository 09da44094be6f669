"""Where a photo was taken, and how near that is to landmarks whose places are known.

Never used unless a user asks for it: a position tells where its photographer was, may be wrong,
and is private. Recognition looks at pixels alone.
"""

from __future__ import annotations

import io
import math
import struct
import warnings

import numpy as np
from numpy.typing import NDArray

from .errors import OptionError
from .images import FORMATS
from .storage import MAX_BYTES

Place = tuple[float, float]  # latitude, longitude in degrees
EARTH_KM = 6371.0088  # mean radius of the Earth (IUGG)

_GPS = 0x8825  # the EXIF folder of positions, and its tags
_LATITUDE_REF, _LATITUDE, _LONGITUDE_REF, _LONGITUDE, _STATUS = 1, 2, 3, 4, 9

# What Pillow raises on metadata that is cut short, corrupt or hostile.
_BROKEN = (OSError, ValueError, SyntaxError, struct.error, EOFError, MemoryError, IndexError,
           KeyError, TypeError, AttributeError, ZeroDivisionError, RuntimeError,
           OverflowError)  # fmt: skip


def location_of(data: bytes) -> Place | None:
    """A photo's bytes → (latitude, longitude) in degrees, north and east positive.

    None when the photo has no position in its EXIF data, or a damaged or impossible one; a
    position that the receiver marked as void, or 0° 0' exactly, is none. No pixel is decoded.
    Only for a user who asked that positions be used.
    """
    from PIL import Image as Pillow

    if len(data) > MAX_BYTES:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Pillow.open(io.BytesIO(data), formats=FORMATS) as opened:
                tags = opened.getexif().get_ifd(_GPS)
        if str(tags.get(_STATUS, "A")).strip("\0 ").upper() == "V":
            return None
        latitude = _degrees(tags[_LATITUDE], tags[_LATITUDE_REF], "NS", 90)
        longitude = _degrees(tags[_LONGITUDE], tags[_LONGITUDE_REF], "EW", 180)
    except (Pillow.DecompressionBombError, *_BROKEN):
        return None
    if latitude is None or longitude is None or latitude == longitude == 0:
        return None
    return latitude, longitude


def distance_km(origin: Place, places: NDArray[np.float64] | Place) -> NDArray[np.float64]:
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


def _degrees(parts: object, direction: object, names: str, most: int) -> float | None:
    """Degrees, minutes and seconds with their direction → signed degrees; None when impossible."""
    if isinstance(direction, bytes):
        direction = direction.decode("ascii", "replace")
    direction = str(direction).strip("\0 ").upper()
    degrees, minutes, seconds = (float(part) for part in parts)  # type: ignore[attr-defined]
    if direction not in tuple(names):
        return None
    if not (degrees >= 0 and 0 <= minutes < 60.001 and 0 <= seconds < 60.001):  # NaN is none of it
        return None
    value = degrees + minutes / 60 + seconds / 3600
    if not value <= most:
        return None
    return -value if direction == names[1] else value
