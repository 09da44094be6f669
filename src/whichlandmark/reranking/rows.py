"""Rows of numbers, each brought to unit length."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Scores = NDArray[np.float64]


def unit_rows(rows: NDArray[Any]) -> Floats:
    """(…, D) to unit length, float32; a row that is shorter than 1e-9 becomes zeros."""
    wide = np.asarray(rows, dtype=np.float64)
    lengths = np.linalg.norm(wide, axis=-1, keepdims=True)
    known = lengths > 1e-9  # below it a direction is rounding, not a photo
    return np.where(known, wide / np.where(known, lengths, 1), 0).astype(np.float32)
