"""Random numbers that depend only on a seed and a key, and a noise texture."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item")


NOISE_SIDE = 256  # pixels


class SeededRandom:
    """Random numbers that depend only on (seed, key), not on drawing order, process or machine.

    Only numpy's `random` and `integers` of PCG64 are used, because their streams do not change
    between numpy releases.
    """

    def __init__(self, seed: int, key: str) -> None:
        digest = hashlib.sha256(f"{seed}|{key}".encode()).digest()
        self._rng = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))

    def uniform(self, low: float, high: float) -> float:
        """A number from low up to, not including, high."""
        return low + (high - low) * float(self._rng.random())

    def triangular(self, low: float, high: float) -> float:
        """A number from low to high of the triangular distribution: more often near the middle."""
        return low + (high - low) * 0.5 * (float(self._rng.random()) + float(self._rng.random()))

    def integer(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return int(self._rng.integers(low, high + 1))

    def bernoulli(self, probability: float) -> bool:
        """True with this probability."""
        return float(self._rng.random()) < probability

    def choice(self, items: Sequence[Item]) -> Item:
        """One of the items, all with equal probability."""
        return items[int(self._rng.integers(0, len(items)))]

    def shuffled(self, items: Sequence[Item]) -> list[Item]:
        """The items in random order."""
        keys = self._rng.random(len(items))
        return [items[i] for i in np.argsort(keys, kind="stable")]

    def random(self, count: int) -> NDArray[np.float64]:
        """(count,) numbers from 0 up to, not including, 1."""
        return self._rng.random(count)

    def bytes(self, count: int) -> NDArray[np.uint8]:
        """(count,) uint8, all values with equal probability."""
        return self._rng.integers(0, 256, count, dtype=np.uint8)


@lru_cache(maxsize=1)
def noise_pattern() -> NDArray[np.int32]:
    """(256, 256) int32 in 0–255: a periodic sum of six octaves of interpolated random grids."""
    rng = SeededRandom(0, "pattern")
    total = np.zeros((NOISE_SIDE, NOISE_SIDE), dtype=np.int32)
    for octave in range(6):
        side = 4 << octave
        grid = rng.bytes(side * side).astype(np.int32).reshape(side, side)
        total += _enlarged(_enlarged(grid).T).T * (32 >> octave)
    low, high = int(total.min()), int(total.max())
    return (total - low) * 255 // (high - low)


def _enlarged(grid: NDArray[np.int32]) -> NDArray[np.int32]:
    """Interpolate the rows linearly to 256, periodically; in integers, to be exact everywhere."""
    factor = NOISE_SIDE // len(grid)
    following = np.roll(grid, -1, axis=0)
    steps = np.arange(factor, dtype=np.int32)[None, :, None]
    blended = (grid[:, None] * (factor - steps) + following[:, None] * steps) // factor
    return blended.reshape(NOISE_SIDE, grid.shape[1])
