"""Random vectors as alike as a trained embedder's, for tests and benchmarks of search.

Real ones (MobileNetV2 fine-tuned on the real photos, 512 numbers): cosine of two photos of one
landmark 0.76 on average, of different ones −0.01 ± 0.13, which is the spread of vectors of some
60 free directions. Here landmarks are drawn from a spectrum of 60 free directions (participation
ratio), and photos around them with a mean cosine of `same`. "Unstructured" vectors have all
directions alike and no landmarks: the worst case.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from whichlandmark.core.types import Vectors

BLOCK = 65_536
FREE = 60.0  # participation ratio (Σλ)² / Σλ²
SAME = 0.65


class MadeVectors:
    """`count` landmarks (or kinds of things) in `dim` dimensions."""

    def __init__(
        self, count: int, dim: int, *, seed: int = 0, same: float = SAME, free: float | None = FREE
    ) -> None:
        self.dim, self.spread = dim, np.float32(np.sqrt(1 / same - 1))
        self._scale = np.sqrt(_spectrum(dim, free)).astype(np.float32)
        turn = np.random.default_rng(99).standard_normal((dim, dim))  # shared by all seeds
        self._turn = np.linalg.qr(turn)[0].astype(np.float32)
        self.centres = _unit(self._drawn(count, seed))

    def near(self, codes: NDArray[np.int64], seed: int) -> Vectors:
        """(n, D) unit rows, each a centre with noise around it."""
        return _unit(self.centres[codes] + self.spread * self._drawn(len(codes), seed))

    def stored(self, codes: NDArray[np.int64], seed: int) -> NDArray[np.float16]:
        """The same as float16, made block by block."""
        vectors = np.empty((len(codes), self.dim), dtype=np.float16)
        for start in range(0, len(codes), BLOCK):
            part = slice(start, start + BLOCK)
            vectors[part] = self.near(codes[part], seed + start)
        return vectors

    def _drawn(self, count: int, seed: int) -> NDArray[np.float32]:
        rows = np.empty((count, self.dim), dtype=np.float32)
        rng = np.random.default_rng(seed)
        for start in range(0, count, BLOCK):
            size = min(BLOCK, count - start)
            drawn = rng.standard_normal((size, self.dim), np.float32) * self._scale
            rows[start : start + size] = drawn @ self._turn
        return rows


def long_tail(photos: int, landmarks: int, seed: int = 0) -> NDArray[np.int64]:
    """(photos,) landmark codes, rising: a long tail, two photos each at least."""
    tail = (landmarks * np.random.default_rng(seed).random(photos) ** 2).astype(np.int64)
    return np.sort(np.concatenate([np.tile(np.arange(landmarks), 2), tail])[:photos])


def _spectrum(dim: int, free: float | None) -> NDArray[np.float64]:
    """Shares of `dim` directions that fall as a power, with this participation ratio."""
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
