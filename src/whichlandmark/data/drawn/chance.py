"""One independent stream of random choices per thing drawn, named by a key."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item")


class Chance:
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
