"""Fingerprint of a photo: finds the same picture re-encoded, resized or slightly cropped.

It does not find other photos of the same place. A perceptual hash finds candidate pairs; two small
grey copies, one aligned to the other, confirm them, because a hash alone confuses photos that were
taken from the same viewpoint.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import GalleryError
from .types import Image

SMALL_COPY_SIDE = 96  # pixels; at 64, crops and other photos are harder to distinguish

MAX_HASH_DISTANCE = 16  # of 64 bits: re-encoding changes 0–4; of crops of 6 %, 1 in 50 changes 16

MIN_COARSE_CORRELATION = 0.85  # of the 8 × 8 copies; crops of 6 % stay above

MIN_CORRELATION = 0.987  # after alignment: over 99 % of crops reach it, other photos almost never

MARGIN_PIXELS = 6  # of a small copy that the other copy may lack; with 0, crops fell to 0.94

_HEADER = struct.Struct("<8s128sdB")  # hash, coarse copy, shape, dropped bits of a pixel

# Of the 8 bits of a pixel: a third fewer bytes, and no result changed (test_leak_check.py).
_DROPPED_BITS = 2

_HASHES_AT_ONCE, _PAIRS_AT_ONCE = 4096, 100_000  # compared in one step, to bound the memory

_ALIGNMENT_STOP = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 40, 1e-4)


@dataclass(frozen=True)
class Fingerprint:
    """What is stored of a photo to recognise the same picture again; about 10 KB.

    Attributes:
        bits: (8,) uint8, a 64-bit perceptual hash.
        small: (96, 96) uint8, a grey copy.
        coarse: (64,) float32, an 8 × 8 copy minus its mean, of unit length; zeros for a picture
            of one even grey.
        shape: height / width of the photo.
    """

    bits: NDArray[np.uint8]
    small: NDArray[np.uint8]
    coarse: NDArray[np.float32]
    shape: float


def fingerprint(image: Image) -> Fingerprint:
    """Compute the fingerprint of an image.

    The hash compares the 8 × 8 lowest cosine frequencies of a 32 × 32 grey copy with their median,
    which leaves out the mean brightness (Zauner, "Implementation and benchmarking of perceptual
    image hash functions", 2010).

    Args:
        image: (H, W, 3) uint8; the short side should have 96 pixels or more.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (SMALL_COPY_SIDE, SMALL_COPY_SIDE), interpolation=cv2.INTER_AREA)
    tiny = cv2.resize(small, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(tiny)[:8, :8].ravel()
    coarse = tiny.reshape(8, 4, 8, 4).mean(axis=(1, 3)).ravel()
    coarse -= coarse.mean()
    # An even picture has nothing but noise to correlate.
    length = float(np.linalg.norm(coarse)) if small.std() >= 2 else math.inf
    return Fingerprint(
        bits=np.packbits(low > np.median(low[1:])),
        small=np.asarray(small, dtype=np.uint8),
        coarse=coarse / max(1e-6, length),
        shape=image.shape[0] / image.shape[1],
    )


def candidate_pairs(
    bits: NDArray[np.uint8],
    coarse: NDArray[np.float32],
    max_hash_distance: int = MAX_HASH_DISTANCE,
) -> Iterator[tuple[int, int]]:
    """Yield the pairs of photos (a, b), a < b, in order, that `same_picture` should compare.

    All pairs of hashes are compared: 100,000 photos take five seconds. Among photos of a few
    landmarks, one pair in 2,500 has similar hashes. The coarse copies (with the hash, 264 bytes a
    photo) reject most of those, so the larger copies can stay on disk.

    Args:
        bits: (N, 8) as in `Fingerprint`.
        coarse: (N, 64) as in `Fingerprint`.
        max_hash_distance: bits in which the hashes of a pair may differ, 0 to 64.
    """
    import faiss

    index = faiss.IndexBinaryFlat(64)
    index.add(bits)
    even = np.asarray(~coarse.any(axis=1))  # cannot be correlated, so never rejected
    for start in range(0, len(bits), _HASHES_AT_ONCE):
        queries = bits[start : start + _HASHES_AT_ONCE]
        limits, _, found = index.range_search(queries, max_hash_distance + 1)
        a = start + np.repeat(
            np.arange(len(limits) - 1), limits[1:].astype(np.int64) - limits[:-1].astype(np.int64)
        )
        after = found > a
        order = np.lexsort((found[after], a[after]))
        a, b = a[after][order], found[after][order]
        for part in range(0, len(a), _PAIRS_AT_ONCE):
            one, two = a[part : part + _PAIRS_AT_ONCE], b[part : part + _PAIRS_AT_ONCE]
            correlation = np.einsum("ij,ij->i", coarse[one], coarse[two])
            alike = np.flatnonzero(even[one] | even[two] | (correlation >= MIN_COARSE_CORRELATION))
            yield from zip(one[alike].tolist(), two[alike].tolist(), strict=True)


def same_picture(a: Fingerprint, b: Fingerprint) -> bool:
    """Do two fingerprints come from the same picture? Aligns their small copies and compares.

    The middle of a's copy is aligned to b's copy by shift, scale and a little shear, which undo a
    crop; the correlation ignores brightness and contrast. Evangelidis & Psarakis, "Parametric
    image alignment using enhanced correlation coefficient maximization", TPAMI 2008.
    """
    if abs(math.log(a.shape / b.shape)) > 0.25:
        return False
    if not (a.coarse.any() and b.coarse.any()):  # an even picture cannot be aligned
        return bool(np.abs(a.small.astype(int) - b.small).max() <= 3)
    if float(a.coarse @ b.coarse) < MIN_COARSE_CORRELATION:  # saves most of the slow alignments
        return False
    inner = slice(MARGIN_PIXELS, -MARGIN_PIXELS)
    middle = np.ascontiguousarray(a.small[inner, inner])
    identity = np.array([[1, 0, MARGIN_PIXELS], [0, 1, MARGIN_PIXELS]], dtype=np.float32)
    try:
        correlation, warp = cv2.findTransformECC(
            middle, b.small, identity.copy(), cv2.MOTION_AFFINE, _ALIGNMENT_STOP, None, 3
        )
    except cv2.error:  # the alignment did not converge: different pictures
        return False
    slight = np.abs(warp - identity).max(axis=0) <= (0.15, 0.15, 0.15 * SMALL_COPY_SIDE)
    return bool(correlation > MIN_CORRELATION and slight.all())


def pack(full: Fingerprint) -> bytes:
    """The bytes in which a fingerprint is stored beside its photo: about 4.6 KB instead of 10.

    Hash, coarse copy (as float16) and shape are stored unchanged. The small copy is reduced to 64
    grey levels, except for an even picture (which compresses to almost nothing), and stored as
    compressed differences of adjacent pixels.
    """
    dropped = _DROPPED_BITS if full.coarse.any() else 0
    steps = np.diff(full.small >> dropped, axis=1, prepend=np.uint8(0))  # modulo 256
    header = _HEADER.pack(
        full.bits.tobytes(), full.coarse.astype("<f2").tobytes(), full.shape, dropped
    )
    return header + zlib.compress(steps.tobytes(), 6)


def unpack(data: bytes) -> Fingerprint:
    """Restore a packed fingerprint; its small copy differs by at most 2 grey levels.

    Raises:
        GalleryError: when the bytes are not a packed fingerprint.
    """
    side = SMALL_COPY_SIDE
    try:
        bits, coarse, shape, dropped = _HEADER.unpack_from(data)
        inflated = zlib.decompressobj().decompress(data[_HEADER.size :], side * side + 1)
        steps = np.frombuffer(inflated, np.uint8).reshape(side, side)
    except (struct.error, zlib.error, ValueError) as error:
        raise GalleryError(
            f"a fingerprint of {len(data)} bytes is damaged ({error}); index its photo again"
        ) from None
    small = np.cumsum(steps, axis=1, dtype=np.uint8) << dropped
    return Fingerprint(
        bits=np.frombuffer(bits, np.uint8),
        small=small + np.uint8((1 << dropped) >> 1),  # the middle of the dropped bits' range
        coarse=np.frombuffer(coarse, "<f2").astype(np.float32),
        shape=shape,
    )


def unpack_hashes(packed: Sequence[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """Hashes (N, 8) and coarse copies (N, 64) of packed fingerprints, without decompressing.

    Raises:
        GalleryError: when one is too short to be a fingerprint.
    """
    if short := [data for data in packed if len(data) <= _HEADER.size]:
        raise GalleryError(
            f"a fingerprint of {len(short[0])} bytes is damaged; index its photo again"
        )
    joined = np.frombuffer(b"".join(data[:136] for data in packed), np.uint8).reshape(-1, 136)
    return joined[:, :8].copy(), joined[:, 8:].copy().view("<f2")
