"""Detect, describe, store and load local features."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import DataError, OptionError
from ...core.types import Image

Points = NDArray[np.float32]  # (n, 2), x and y

SIFT_DIM = 128

CONTRAST = 0.02  # weaker keypoints than OpenCV's 0.04: hazy photos have few

LEAST = 4  # matches that fix a homography

LARGEST = 2000  # pixels: places are kept in 16 bits

UNIT = 32  # a place is a whole number of 1/32 pixels, at the size keypoints are looked for

STEPS, MOST = 60, 15  # a RootSIFT value is a whole number of 1/60, at most 15: 4 bits


@dataclass(frozen=True, kw_only=True)
class MatchOptions:
    """How photos are compared."""

    size: int = 640  # long side in pixels at which keypoints are looked for
    features: int = 1000  # strongest keypoints of a photo
    upright: bool = True  # photos stand upright: descriptors are not turned to their keypoints
    ratio: float = 0.85  # a match is at most so much as far as the second nearest
    tolerance: float = 6.0  # pixels, at `size`, between a point and where the homography puts it
    iterations: int = 2000
    confidence: float = 0.999
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("size", 32), ("features", LEAST), ("iterations", 1)):
            if getattr(self, name) < least:
                raise OptionError(f"{name} {getattr(self, name)} given; expected {least} or more")
        if self.size > LARGEST:
            raise OptionError(f"size {self.size} given; expected {LARGEST} pixels or fewer")
        if not 0 < self.ratio <= 1 or not 0 < self.confidence < 1 or self.tolerance <= 0:
            raise OptionError(
                f"ratio {self.ratio}, confidence {self.confidence}, tolerance {self.tolerance} "
                "given; expected two numbers between 0 and 1, and one above 0"
            )


@dataclass(frozen=True, eq=False)
class Keypoints:
    """Of one photo, the strongest first. points: (n, 2) float32, pixels of the photo as it was
    given; descriptors: (n, 128) uint8, 0 to 15, RootSIFT × 60; scale: pixels at which they were
    looked for per pixel of the photo.
    """

    points: Points
    descriptors: NDArray[np.uint8]
    scale: float


@dataclass(frozen=True, eq=False)
class Grey:
    """What keypoints of a photo are looked for in: (h, w) uint8, at most `Matching.size` a side.

    scale: pixels of it per pixel of the photo. It takes 0.2 MB whatever the photo's size.
    """

    pixels: NDArray[np.uint8]
    scale: float


def grey_of(image: Image, options: MatchOptions | None = None) -> Grey:
    """(H, W, 3) uint8 RGB → the small grey picture in which its keypoints are looked for."""
    import cv2

    options = options or MatchOptions()
    scale = min(options.size / max(image.shape[:2]), 2.0)  # small photos at most doubled
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    shrink = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small: Any = cv2.resize(grey, (width, height), interpolation=shrink)
    return Grey(small, scale)


def keypoints(image: Image | Grey, options: MatchOptions | None = None) -> Keypoints:
    """(H, W, 3) uint8 RGB → its strongest keypoints, at most one at a place."""
    import cv2

    options = options or MatchOptions()
    small = image if isinstance(image, Grey) else grey_of(image, options)
    grey, scale = small.pixels, small.scale
    sift = cv2.SIFT.create(nfeatures=options.features, contrastThreshold=CONTRAST)
    at: dict[tuple[int, int], Any] = {}  # a corner of two sizes or directions counts once
    for point in sorted(sift.detect(grey, None), key=_strength):
        at.setdefault(_pixel(point), point)
    for point in at.values() if options.upright else ():
        point.angle = 0
    if not at:
        return Keypoints(np.empty((0, 2), np.float32), np.empty((0, SIFT_DIM), np.uint8), scale)
    found, descriptors = sift.compute(grey, list(at.values()))
    units = np.rint(np.array([p.pt for p in found]) * UNIT).astype(np.uint16)
    return Keypoints(places(units, scale), root_steps(descriptors), scale)


def strongest(found: Keypoints, count: int) -> Keypoints:
    """The first `count` of them: the strongest."""
    return Keypoints(found.points[:count], found.descriptors[:count], found.scale)


def places(units: NDArray[np.uint16], scale: float) -> Points:
    """(n, 2) whole numbers of 1/32 pixels at the size looked at → pixels of the photo.

    A pixel's centre lies at its number: the resized picture's corner, not its centre, is fixed.
    """
    return np.asarray((units / UNIT + 0.5) / scale - 0.5, dtype=np.float32)


def root_steps(descriptors: NDArray[Any]) -> NDArray[np.uint8]:
    """RootSIFT: L1-normalised, square root; in steps of 1/60. (n, 128) SIFT → uint8, 0 to 15."""
    found = np.asarray(descriptors, dtype=np.float32)
    shares = found / np.maximum(found.sum(axis=1, keepdims=True), 1)
    return np.asarray(np.minimum(np.rint(np.sqrt(shares) * STEPS), MOST), dtype=np.uint8)


def _pixel(point: Any) -> tuple[int, int]:
    """The pixel it lies on, of its place as it is kept."""
    x, y = (round(at * UNIT) + UNIT // 2 for at in point.pt)
    return x // UNIT, y // UNIT


def _strength(point: Any) -> tuple[float, ...]:
    """Sorts keypoints from strong to weak, whatever the order they were found in."""
    return (-point.response, *point.pt, point.size, point.angle)


VERSION = 1

# Of 1,000 it keeps two thirds of the bytes and proves nine of ten pairs (benchmarks/LOG.md).
STORED = 500

_HEAD = struct.Struct("<BBHId")

_EACH = 4 + SIFT_DIM // 2


def pack(found: Keypoints, most: int = STORED) -> bytes:
    """The `most` strongest keypoints as bytes: 16 and 68 for each.

    Raises DataError for places or descriptors that `keypoints` would not give.
    """
    kept = strongest(found, most)
    units = np.rint(((kept.points.astype(np.float64) + 0.5) * kept.scale - 0.5) * UNIT)
    if not (np.isfinite(units).all() and (units >= 0).all() and (units < 2**16).all()):
        raise DataError("keypoints outside their photo; expected them as `keypoints` gives them")
    if kept.descriptors.shape != (len(units), SIFT_DIM) or (kept.descriptors > MOST).any():
        raise DataError(
            f"descriptors {kept.descriptors.shape} for {len(units)} keypoints; expected 128 "
            f"numbers from 0 to {MOST} for each"
        )
    halves = kept.descriptors[:, ::2] | kept.descriptors[:, 1::2] << 4
    body = np.concatenate([units.astype("<u2").view(np.uint8), halves], axis=1).tobytes()
    head = _HEAD.pack(VERSION, 0, len(units), 0, kept.scale)
    return _HEAD.pack(VERSION, 0, len(units), zlib.crc32(head + body), kept.scale) + body


def unpack(data: bytes) -> Keypoints:
    """What `pack` was given, to the last bit. Raises DataError when it is damaged."""
    if len(data) < _HEAD.size:
        raise DataError(f"local features of {len(data)} bytes; expected at least {_HEAD.size}")
    version, reserved, count, checksum, scale = _HEAD.unpack_from(data)
    if version != VERSION:
        raise DataError(f"local features of version {version}; this program reads {VERSION}")
    expected = _HEAD.size + count * _EACH
    if len(data) != expected:
        raise DataError(f"local features of {len(data)} bytes; expected {expected}")
    body = data[_HEAD.size :]
    blank = _HEAD.pack(version, reserved, count, 0, scale)
    if zlib.crc32(blank + body) != checksum or not 0 < scale < np.inf:
        raise DataError("local features are damaged: their checksum is another")
    rows = np.frombuffer(body, dtype=np.uint8).reshape(count, _EACH)
    units = np.ascontiguousarray(rows[:, :4]).view("<u2")
    descriptors = np.stack([rows[:, 4:] & MOST, rows[:, 4:] >> 4], axis=2)
    return Keypoints(places(units, scale), descriptors.reshape(count, SIFT_DIM), scale)
