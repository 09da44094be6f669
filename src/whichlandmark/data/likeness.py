"""Is this the same picture, re-encoded, resized or slightly cropped? Not: the same place.

A perceptual hash finds candidates; comparing small copies of the pictures confirms them, because
a hash alone confuses facades that look alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..types import Image

SIDE = 64  # of the small copies
NEAR_BITS = 16  # of 64: re-encoding moves 0–4, a crop of 6 % up to about 16
SAME = 0.97  # correlation after alignment; other photos from one spot stay below (see the tests)


@dataclass(frozen=True)
class Fingerprint:
    """bits: (8,) uint8, a 64-bit hash; small: (64, 64) uint8 grey copy; shape: height / width."""

    bits: NDArray[np.uint8]
    small: NDArray[np.uint8]
    shape: float


def fingerprint(image: Image) -> Fingerprint:
    """(H, W, 3) uint8 → its fingerprint.

    The hash: signs of the 64 lowest cosine frequencies of a 32 × 32 grey copy against their
    median (Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010).
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    tiny = cv2.resize(small, (32, 32), interpolation=cv2.INTER_AREA)
    low = cv2.dct(tiny.astype(np.float32))[:8, :8].ravel()
    return Fingerprint(
        np.packbits(low > np.median(low[1:])),
        small.astype(np.uint8),
        image.shape[0] / image.shape[1],
    )


def near_pairs(prints: Sequence[Fingerprint]) -> Iterator[tuple[int, int]]:
    """Pairs (a, b), a < b, of the same picture, in order. Compares all pairs of hashes: 10,000
    photos take a second, 100,000 about two minutes.
    """
    import faiss

    if not prints:
        return
    bits = np.stack([p.bits for p in prints])
    index = faiss.IndexBinaryFlat(64)
    index.add(bits)
    for start in range(0, len(bits), 4096):
        limits, _, found = index.range_search(bits[start : start + 4096], NEAR_BITS + 1)
        for row in range(len(limits) - 1):
            near = np.sort(found[int(limits[row]) : int(limits[row + 1])])
            a = start + row
            yield from ((a, int(b)) for b in near if b > a and same_picture(prints[a], prints[b]))


def same_picture(a: Fingerprint, b: Fingerprint) -> bool:
    """Do the small copies agree once one is aligned to the other?

    The alignment (shift, scale, a little shear) undoes a crop; the correlation ignores
    brightness and contrast. Evangelidis & Psarakis, "Parametric image alignment using enhanced
    correlation coefficient maximization", TPAMI 2008.
    """
    if abs(math.log(a.shape / b.shape)) > 0.25:
        return False
    if min(float(a.small.std()), float(b.small.std())) < 2:  # nothing to align by
        return bool(np.abs(a.small.astype(int) - b.small).max() <= 3)
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 40, 1e-4)
    try:
        agreement, warp = cv2.findTransformECC(
            a.small, b.small, np.eye(2, 3, dtype=np.float32), cv2.MOTION_AFFINE, stop, None, 3
        )
    except cv2.error:  # did not converge: nothing alike
        return False
    slight = np.abs(warp - np.eye(2, 3)).max(axis=0) <= (0.25, 0.25, SIDE / 5)
    return bool(agreement > SAME and slight.all())
