"""Random vectors distributed like a trained embedder's, for tests and benchmarks of search.

Measured with MobileNetV2 fine-tuned on real photos (512 dimensions): the cosine of two photos of
one landmark is 0.76 on average, of different landmarks −0.01 ± 0.13, as for random vectors with an
effective dimension of about 60. Accordingly, the landmarks' centres are drawn from a spectrum with
a participation ratio of 60, and photos around them with a mean cosine of `same`. With `free=None`
all directions have equal variance, which is the worst case for search indexes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from whichlandmark.core.types import Vectors

BLOCK = 65_536  # rows drawn at once
EFFECTIVE_DIMENSION = 60.0  # participation ratio (Σλ)² / Σλ²
SAME_LANDMARK_COSINE = 0.65


class RandomVectors:
    """Random centres of `count` landmarks in `dim` dimensions, and photos around them.

    Args:
        same: mean cosine of two photos of one landmark.
        free: participation ratio of the spectrum; None = equal variance in all directions.
    """

    def __init__(
        self,
        count: int,
        dim: int,
        *,
        seed: int = 0,
        same: float = SAME_LANDMARK_COSINE,
        free: float | None = EFFECTIVE_DIMENSION,
    ) -> None:
        self.dim, self.spread = dim, np.float32(np.sqrt(1 / same - 1))
        self._scale = np.sqrt(_spectrum(dim, free)).astype(np.float32)
        matrix = np.random.default_rng(99).standard_normal((dim, dim))  # the same for all seeds
        self._rotation = np.linalg.qr(matrix)[0].astype(np.float32)
        self.centres = _unit(self._drawn(count, seed))

    def around(self, codes: NDArray[np.int64], seed: int) -> Vectors:
        """(n, D) rows of unit length: photos of the landmarks with these numbers (n,)."""
        return _unit(self.centres[codes] + self.spread * self._drawn(len(codes), seed))

    def around_float16(self, codes: NDArray[np.int64], seed: int) -> NDArray[np.float16]:
        """The same as float16, drawn in blocks to save memory."""
        vectors = np.empty((len(codes), self.dim), dtype=np.float16)
        for start in range(0, len(codes), BLOCK):
            part = slice(start, start + BLOCK)
            vectors[part] = self.around(codes[part], seed + start)
        return vectors

    def _drawn(self, count: int, seed: int) -> NDArray[np.float32]:
        rows = np.empty((count, self.dim), dtype=np.float32)
        rng = np.random.default_rng(seed)
        for start in range(0, count, BLOCK):
            size = min(BLOCK, count - start)
            drawn = rng.standard_normal((size, self.dim), np.float32) * self._scale
            rows[start : start + size] = drawn @ self._rotation
        return rows


def long_tail(photos: int, landmarks: int, seed: int = 0) -> NDArray[np.int64]:
    """(photos,) sorted landmark numbers with a long tail; each landmark has at least two photos."""
    tail = (landmarks * np.random.default_rng(seed).random(photos) ** 2).astype(np.int64)
    return np.sort(np.concatenate([np.tile(np.arange(landmarks), 2), tail])[:photos])


def _spectrum(dim: int, free: float | None) -> NDArray[np.float64]:
    """(dim,) variances that fall as a power law with this participation ratio; their sum is 1."""
    if free is None:
        return np.full(dim, 1 / dim)
    low, high = 0.0, 4.0
    for _ in range(60):
        power = (low + high) / 2
        shares = (np.arange(dim) + 4.0) ** -power
        shares /= shares.sum()
        low, high = (power, high) if 1 / (shares**2).sum() > free else (low, power)
    return shares


def _unit(rows: NDArray[np.float32]) -> Vectors:
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows
