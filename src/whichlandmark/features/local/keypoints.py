"""Local features of a photo: detect and describe keypoints; pack them into bytes and back."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import DataError, OptionError
from ...core.types import Image
from .descriptors import upright_sift
from .scale_space import scale_points

Points = NDArray[np.float32]  # (n, 2), x and y

SIFT_DIM = 128

MIN_MATCHES = 4  # matches that determine a homography

MAX_SIZE = 2000  # pixels, because positions are stored in 16 bits

MAX_ENLARGEMENT = 2.0  # of a small photo before keypoints are detected

SCREEN_SIDE = 160  # pixels of the long side of a copy that shows whether there are keypoints

CORNER_STRENGTH = 0.002  # least eigenvalue of the gradients' covariance, of grey from 0 to 1

SPACING = 2  # pixels of the side of a square that gives at most one keypoint

STEPS_PER_PIXEL = 32  # positions are stored in steps of 1/32 pixel of the resized photo

ROOT_SIFT_STEPS = 60  # RootSIFT values are stored in steps of 1/60

MAX_DESCRIPTOR_VALUE = 15  # of these steps, so that a value takes 4 bits

FORMAT_VERSION = 1  # of packed keypoints

# Of 500, 650 and 800, the most true pairs are proven with 800 (benchmarks/LOG.md): 54 kB a photo.
MAX_STORED_KEYPOINTS = 800

_HEADER = struct.Struct("<BBHId")  # version, reserved, count, CRC-32, scale

_BYTES_PER_KEYPOINT = 4 + SIFT_DIM // 2


@dataclass(frozen=True, kw_only=True)
class MatchOptions:
    """How keypoints are detected and matched."""

    size: int = 640  # long side in pixels at which keypoints are detected
    features: int = 1000  # maximum number of keypoints of a photo, the strongest
    ratio: float = 0.85  # of the distances to the nearest and second nearest (Lowe's ratio test)
    tolerance: float = 6.0  # reprojection error of an inlier, in pixels at `size`
    iterations: int = 2000  # of MAGSAC++
    confidence: float = 0.999  # of MAGSAC++
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("size", 32), ("features", MIN_MATCHES), ("iterations", 1)):
            if getattr(self, name) < least:
                raise OptionError(f"{name} {getattr(self, name)} given; expected {least} or more")
        if self.size > MAX_SIZE:
            raise OptionError(f"size {self.size} given; expected {MAX_SIZE} pixels or fewer")
        if not 0 < self.ratio <= 1 or not 0 < self.confidence < 1 or self.tolerance <= 0:
            raise OptionError(
                f"ratio {self.ratio}, confidence {self.confidence}, tolerance {self.tolerance} "
                "given; expected two numbers between 0 and 1, and one above 0"
            )


@dataclass(frozen=True, eq=False)
class Keypoints:
    """Keypoints of one photo, strongest first.

    points: (n, 2) float32, in pixels of the photo as given. descriptors: (n, 128) uint8, RootSIFT
    in steps of 1/60, 0 to 15. scale: size at which they were detected / size of the photo.
    """

    points: Points
    descriptors: NDArray[np.uint8]
    scale: float


@dataclass(frozen=True, eq=False)
class GreyImage:
    """The resized grey image in which keypoints are detected; 0.3 MB for most photos.

    pixels: (h, w) uint8, long side at most `MatchOptions.size`. scale: its size / the photo's.
    """

    pixels: NDArray[np.uint8]
    scale: float


def to_grey(image: Image, options: MatchOptions | None = None) -> GreyImage:
    """(H, W, 3) uint8 RGB → the resized grey image in which keypoints are detected."""
    import cv2

    options = options or MatchOptions()
    scale = min(options.size / max(image.shape[:2]), MAX_ENLARGEMENT)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    resized: Any = cv2.resize(grey, (width, height), interpolation=interpolation)
    return GreyImage(resized, scale)


def has_corners(grey: GreyImage) -> bool:
    """Has a photo so many corners that it is sure to have keypoints? Takes 1 ms.

    In a copy of at most 160 px a side, one pixel of fifty or more has a gradient in all directions,
    which straight edges and stripes do not have.
    """
    import cv2

    scale = min(1.0, SCREEN_SIDE / max(grey.pixels.shape))
    height, width = (max(1, round(side * scale)) for side in grey.pixels.shape)
    small = cv2.resize(grey.pixels, (width, height), interpolation=cv2.INTER_AREA)
    return bool(np.percentile(cv2.cornerMinEigenVal(small, 3), 98) > CORNER_STRENGTH)


def keypoints(image: Image | GreyImage, options: MatchOptions | None = None) -> Keypoints:
    """The strongest keypoints of an (H, W, 3) uint8 RGB photo, at most one in 2 × 2 pixels.

    Strength is contrast times scale, because coarse details are found again in more photos. Photos
    are taken upright, so descriptors are not rotated.
    """
    options = options or MatchOptions()
    resized = image if isinstance(image, GreyImage) else to_grey(image, options)
    pyramid, points = scale_points(resized.pixels)
    # Ties are broken by position and scale.
    sizes = points.sigma * np.exp2(points.octave, dtype=np.float32)
    points = points.take(np.lexsort((sizes, points.y, points.x, -points.contrast * sizes)))
    column, row = (((place + 0.5) / SPACING).astype(np.int64) for place in (points.x, points.y))
    _, first = np.unique(row * MAX_SIZE + column, return_index=True)
    points = points.take(np.sort(first)[: options.features])
    units = np.rint(np.stack([points.x, points.y], axis=1) * STEPS_PER_PIXEL).astype(np.uint16)
    descriptors = quantized_root_sift(upright_sift(pyramid, points))
    return Keypoints(photo_points(units, resized.scale), descriptors, resized.scale)


def strongest(found: Keypoints, count: int) -> Keypoints:
    """The `count` strongest keypoints, which come first."""
    return Keypoints(found.points[:count], found.descriptors[:count], found.scale)


def photo_points(units: NDArray[np.uint16], scale: float) -> Points:
    """(n, 2) stored positions, in 1/32 pixels of the resized photo → pixels of the photo.

    Pixel centres are at whole numbers, so a photo begins at −0.5; resizing keeps that corner fixed.
    """
    return np.asarray((units / STEPS_PER_PIXEL + 0.5) / scale - 0.5, dtype=np.float32)


def quantized_root_sift(descriptors: NDArray[Any]) -> NDArray[np.uint8]:
    """(n, 128) SIFT → RootSIFT (L1-normalised, square root) in steps of 1/60: uint8, 0 to 15."""
    raw = np.asarray(descriptors, dtype=np.float32)
    normalised = raw / np.maximum(raw.sum(axis=1, keepdims=True), 1)
    steps = np.rint(np.sqrt(normalised) * ROOT_SIFT_STEPS)
    return np.asarray(np.minimum(steps, MAX_DESCRIPTOR_VALUE), dtype=np.uint8)


def pack(found: Keypoints, limit: int = MAX_STORED_KEYPOINTS) -> bytes:
    """The `limit` strongest keypoints as bytes: 16 for the header and 68 per keypoint.

    Raises DataError for positions or descriptors that `keypoints` does not return.
    """
    kept = strongest(found, limit)
    units = np.rint(((kept.points.astype(np.float64) + 0.5) * kept.scale - 0.5) * STEPS_PER_PIXEL)
    if not (np.isfinite(units).all() and (units >= 0).all() and (units < 2**16).all()):
        raise DataError(
            "keypoints outside their photo; expected keypoints as `keypoints` returns them"
        )
    if (
        kept.descriptors.shape != (len(units), SIFT_DIM)
        or (kept.descriptors > MAX_DESCRIPTOR_VALUE).any()
    ):
        raise DataError(
            f"descriptors {kept.descriptors.shape} for {len(units)} keypoints; expected 128 "
            f"numbers from 0 to {MAX_DESCRIPTOR_VALUE} for each"
        )
    packed_pairs = kept.descriptors[:, ::2] | kept.descriptors[:, 1::2] << 4
    body = np.concatenate([units.astype("<u2").view(np.uint8), packed_pairs], axis=1).tobytes()
    header = _HEADER.pack(FORMAT_VERSION, 0, len(units), 0, kept.scale)
    return _HEADER.pack(FORMAT_VERSION, 0, len(units), zlib.crc32(header + body), kept.scale) + body


def unpack(data: bytes) -> Keypoints:
    """The keypoints that were packed, exactly. Raises DataError when the bytes are damaged."""
    if len(data) < _HEADER.size:
        raise DataError(f"local features of {len(data)} bytes; expected at least {_HEADER.size}")
    version, reserved, count, checksum, scale = _HEADER.unpack_from(data)
    if version != FORMAT_VERSION:
        raise DataError(f"local features of version {version}; this program reads {FORMAT_VERSION}")
    expected = _HEADER.size + count * _BYTES_PER_KEYPOINT
    if len(data) != expected:
        raise DataError(f"local features of {len(data)} bytes; expected {expected}")
    body = data[_HEADER.size :]
    header = _HEADER.pack(version, reserved, count, 0, scale)
    if zlib.crc32(header + body) != checksum or not 0 < scale < np.inf:
        raise DataError("local features are damaged: their checksum does not match")
    rows = np.frombuffer(body, dtype=np.uint8).reshape(count, _BYTES_PER_KEYPOINT)
    units = np.ascontiguousarray(rows[:, :4]).view("<u2")
    descriptors = np.stack([rows[:, 4:] & MAX_DESCRIPTOR_VALUE, rows[:, 4:] >> 4], axis=2)
    return Keypoints(photo_points(units, scale), descriptors.reshape(count, SIFT_DIM), scale)
