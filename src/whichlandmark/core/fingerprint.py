"""Is this the same photograph, re-encoded, resized or slightly cropped? Not: the same place.

A perceptual hash finds candidates. Small copies of the pictures, one aligned to the other, confirm
them: a hash alone confuses photos that were taken from the same spot.
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

SIDE = 96  # pixels of the small copies; at 64, crops and other photos are harder to tell apart

NEAR_BITS = 16  # of 64: re-encoding moves 0–4, a crop of 6 % moves 16 in one of 50 photos

SAME_COARSE = 0.85  # correlation of 8 × 8 copies; crops of 6 % stay above

SAME = 0.987  # correlation after alignment: over 99 of 100 crops, other photos next to never

MARGIN = 6  # pixels of a small copy that the other may lack; with 0, crops fell to 0.94

_FRONT = struct.Struct("<8s128sdB")  # hash, coarse copy, shape, bits left out of a pixel

_DROPPED = 2  # of 8: a third less to keep, no verdict changed (tests/gallery/test_leak_check.py)

_ROWS, _PAIRS = 4096, 100_000  # hashes compared, and coarse copies compared, at a time

_STOP = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 40, 1e-4)


@dataclass(frozen=True)
class Fingerprint:
    """bits: (8,) uint8, a 64-bit hash; small: (96, 96) uint8 grey copy; coarse: (64,) float32,
    an 8 × 8 copy less its mean, unit length (zeros for an even picture); shape: height / width.
    About 10 KB.
    """

    bits: NDArray[np.uint8]
    small: NDArray[np.uint8]
    coarse: NDArray[np.float32]
    shape: float


def fingerprint(image: Image) -> Fingerprint:
    """(H, W, 3) uint8, best with 96 px or more on the short side → its fingerprint.

    The hash: the 8 × 8 lowest cosine frequencies of a 32 × 32 grey copy, each above or below
    their median; the mean brightness is left out of the median (Zauner, "Implementation and
    benchmarking of perceptual image hash functions", 2010).
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    tiny = cv2.resize(small, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(tiny)[:8, :8].ravel()
    coarse = tiny.reshape(8, 4, 8, 4).mean(axis=(1, 3)).ravel()
    coarse -= coarse.mean()
    length = float(np.linalg.norm(coarse)) if small.std() >= 2 else math.inf  # even: only noise
    return Fingerprint(
        bits=np.packbits(low > np.median(low[1:])),
        small=np.asarray(small, dtype=np.uint8),
        coarse=coarse / max(1e-6, length),
        shape=image.shape[0] / image.shape[1],
    )


def candidates(
    bits: NDArray[np.uint8], coarse: NDArray[np.float32], near_bits: int = NEAR_BITS
) -> Iterator[tuple[int, int]]:
    """Pairs (a, b), a < b, in order, that `same_picture` should look at closely.

    bits: (N, 8), coarse: (N, 64), as in `Fingerprint`; near_bits: hashes that differ in so many
      bits are alike. All pairs of hashes are compared: 100,000 photos take five seconds. Of
      photos of a few landmarks one pair in 2,500 has hashes alike; the coarse copies, 264 bytes
      a photo with the hash, dismiss most of those, so that the larger copies may lie on disk.
    """
    import faiss

    index = faiss.IndexBinaryFlat(64)
    index.add(bits)
    even = np.asarray(~coarse.any(axis=1))  # nothing to correlate: looked at closely
    for start in range(0, len(bits), _ROWS):
        limits, _, found = index.range_search(bits[start : start + _ROWS], near_bits + 1)
        a = start + np.repeat(
            np.arange(len(limits) - 1), limits[1:].astype(np.int64) - limits[:-1].astype(np.int64)
        )
        after = found > a
        order = np.lexsort((found[after], a[after]))
        a, b = a[after][order], found[after][order]
        for part in range(0, len(a), _PAIRS):
            one, two = a[part : part + _PAIRS], b[part : part + _PAIRS]
            agreement = np.einsum("ij,ij->i", coarse[one], coarse[two])
            alike = np.flatnonzero(even[one] | even[two] | (agreement >= SAME_COARSE))
            yield from zip(one[alike].tolist(), two[alike].tolist(), strict=True)


def same_picture(a: Fingerprint, b: Fingerprint) -> bool:
    """Do the small copies agree once one is aligned to the other?

    The middle of one is looked for in the other: by shift, scale and a little shear, which undo
    a crop; the correlation ignores brightness and contrast. Evangelidis & Psarakis, "Parametric
    image alignment using enhanced correlation coefficient maximization", TPAMI 2008.
    """
    if abs(math.log(a.shape / b.shape)) > 0.25:
        return False
    if not (a.coarse.any() and b.coarse.any()):  # nothing to align by
        return bool(np.abs(a.small.astype(int) - b.small).max() <= 3)
    if float(a.coarse @ b.coarse) < SAME_COARSE:  # saves the alignment of most candidates
        return False
    middle = np.ascontiguousarray(a.small[MARGIN:-MARGIN, MARGIN:-MARGIN])
    still = np.array([[1, 0, MARGIN], [0, 1, MARGIN]], dtype=np.float32)
    try:
        agreement, warp = cv2.findTransformECC(
            middle, b.small, still.copy(), cv2.MOTION_AFFINE, _STOP, None, 3
        )
    except cv2.error:  # did not converge: nothing alike
        return False
    slight = np.abs(warp - still).max(axis=0) <= (0.15, 0.15, 0.15 * SIDE)
    return bool(agreement > SAME and slight.all())


def pack(print_: Fingerprint) -> bytes:
    """A fingerprint as bytes, to be kept beside its photo: about 4.6 KB instead of 10.

    Hash, coarse copy (float16) and shape as they are; the small copy at 64 grey levels (an even
    picture, which deflates to nothing, at all 256) as differences of neighbours, deflated.
    """
    dropped = _DROPPED if print_.coarse.any() else 0
    steps = np.diff(print_.small >> dropped, axis=1, prepend=np.uint8(0))  # modulo 256
    front = _FRONT.pack(
        print_.bits.tobytes(), print_.coarse.astype("<f2").tobytes(), print_.shape, dropped
    )
    return front + zlib.compress(steps.tobytes(), 6)


def unpack(data: bytes) -> Fingerprint:
    """The fingerprint that `pack` was given, its small copy within 2 grey levels.

    Raises GalleryError when the bytes are no packed fingerprint.
    """
    try:
        bits, coarse, shape, dropped = _FRONT.unpack_from(data)
        inflated = zlib.decompressobj().decompress(data[_FRONT.size :], SIDE * SIDE + 1)
        steps = np.frombuffer(inflated, np.uint8).reshape(SIDE, SIDE)
    except (struct.error, zlib.error, ValueError) as error:
        raise GalleryError(
            f"a fingerprint of {len(data)} bytes is damaged ({error}); index its photo again"
        ) from None
    small = np.cumsum(steps, axis=1, dtype=np.uint8) << dropped
    return Fingerprint(
        bits=np.frombuffer(bits, np.uint8),
        small=small + np.uint8((1 << dropped) >> 1),  # the middle of what was left out
        coarse=np.frombuffer(coarse, "<f2").astype(np.float32),
        shape=shape,
    )


def fronts(packed: Sequence[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """Hashes (N, 8) and coarse copies (N, 64) of packed fingerprints, which are not inflated.

    Raises GalleryError when one is too short to be a fingerprint.
    """
    if short := [data for data in packed if len(data) <= _FRONT.size]:
        raise GalleryError(
            f"a fingerprint of {len(short[0])} bytes is damaged; index its photo again"
        )
    joined = np.frombuffer(b"".join(data[:136] for data in packed), np.uint8).reshape(-1, 136)
    return joined[:, :8].copy(), joined[:, 8:].copy().view("<f2")
