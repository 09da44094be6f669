"""A cloudy pattern of whole numbers that repeats, made once: clouds, ground, leaves, grain."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .chance import Chance

SIDE = 256


@lru_cache(maxsize=1)
def pattern() -> NDArray[np.int32]:
    """(256, 256) int32 in 0–255: the sum of six octaves of smoothed random grids, periodic."""
    chance = Chance(0, "pattern")
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
