"""Random streams and noise by key."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item")


class SeededRandom:
    """Random choices that depend on (seed, key) alone: not on order, process or machine.

    Only `random` and `integers` of PCG64 are used; their streams are stable across releases.
    """

    def __init__(self, seed: int, key: str) -> None:
        digest = hashlib.sha256(f"{seed}|{key}".encode()).digest()
        self._rng = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))

    def uniform(self, low: float, high: float) -> float:
        """A number from low up to (not including) high."""
        return low + (high - low) * float(self._rng.random())

    def middle(self, low: float, high: float) -> float:
        """A number from low to high, more often near the middle (triangular)."""
        return low + (high - low) * 0.5 * (float(self._rng.random()) + float(self._rng.random()))

    def whole(self, low: int, high: int) -> int:
        """A whole number, low and high included."""
        return int(self._rng.integers(low, high + 1))

    def yes(self, share: float) -> bool:
        """True in `share` of the cases."""
        return float(self._rng.random()) < share

    def pick(self, items: Sequence[Item]) -> Item:
        """One of the items, all equally often."""
        return items[int(self._rng.integers(0, len(items)))]

    def shuffled(self, items: Sequence[Item]) -> list[Item]:
        """The items in random order."""
        keys = self._rng.random(len(items))
        return [items[i] for i in np.argsort(keys, kind="stable")]

    def many(self, count: int) -> NDArray[np.float64]:
        """(count,) numbers in 0–1."""
        return self._rng.random(count)

    def bytes(self, count: int) -> NDArray[np.uint8]:
        """(count,) uint8, every value equally often."""
        return self._rng.integers(0, 256, count, dtype=np.uint8)


SIDE = 256


@lru_cache(maxsize=1)
def pattern() -> NDArray[np.int32]:
    """(256, 256) int32 in 0–255: the sum of six octaves of smoothed random grids, periodic."""
    chance = SeededRandom(0, "pattern")
    total = np.zeros((SIDE, SIDE), dtype=np.int32)
    for octave in range(6):
        cells = 4 << octave
        grid = chance.bytes(cells * cells).astype(np.int32).reshape(cells, cells)
        total += _enlarged(_enlarged(grid).T).T * (32 >> octave)
    low, high = int(total.min()), int(total.max())
    return (total - low) * 255 // (high - low)


def _enlarged(grid: NDArray[np.int32]) -> NDArray[np.int32]:
    """Rows → 256 rows, linearly between them, wrapping around; whole-number arithmetic."""
    factor = SIDE // len(grid)
    following = np.roll(grid, -1, axis=0)
    steps = np.arange(factor, dtype=np.int32)[None, :, None]
    blended = (grid[:, None] * (factor - steps) + following[:, None] * steps) // factor
    return blended.reshape(SIDE, grid.shape[1])
