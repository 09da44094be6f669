"""Keypoints ⇄ bytes for the gallery: 68 bytes a keypoint, and nothing lost.

version u8 · reserved u8 = 0 · count u16 · CRC-32 u32 · scale f64 · then, for each keypoint, x and y
as u16 in 1/32 pixels at the size looked at, and 64 bytes of 4-bit RootSIFT values, of dimensions 0
and 1 in the low and the high half of the first byte, and so on. Little-endian. The checksum is of
everything but itself: any single damaged bit is found.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

from ..errors import DataError
from .keypoints import MOST, SIFT_DIM, UNIT, Keypoints, places, strongest

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
