"""Apply a linear projection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import ModelError

Wide = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Projection:
    """y = unit(axes · (x − mean)): mean (D,) and axes (d, D), float32."""

    mean: Floats
    axes: Floats

    def __call__(self, vectors: NDArray[Any]) -> Floats:
        """(N, D) → (N, d) unit rows; zeros stay zeros, and a row at the mean becomes zeros."""
        rows = np.asarray(vectors, dtype=np.float32)
        turned = (rows - self.mean) @ self.axes.T
        return unit_rows(np.where(rows.any(axis=1, keepdims=True), turned, 0))

    def to_arrays(self) -> dict[str, Floats]:
        """`mean` and `axes`, for a safetensors file."""
        return {"mean": self.mean, "axes": self.axes}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Projection:
        """Raises ModelError when the arrays are not a projection's."""
        mean, axes = arrays.get("mean"), arrays.get("axes")
        if mean is None or axes is None:
            raise ModelError(f"a projection with {sorted(arrays)}; expected ['axes', 'mean']")
        if mean.ndim != 1 or axes.ndim != 2 or axes.shape[1] != len(mean):
            raise ModelError(
                f"a projection of mean {mean.shape} and axes {axes.shape}; expected (D,) and (d, D)"
            )
        if not (np.isfinite(mean).all() and np.isfinite(axes).all()):
            raise ModelError("a projection with entries that are no numbers; fit it again")
        return cls(mean.astype(np.float32), axes.astype(np.float32))


Floats = NDArray[np.float32]

Scores = NDArray[np.float64]


def unit_rows(rows: NDArray[Any]) -> Floats:
    """(…, D) to unit length, float32; a row that is shorter than 1e-9 becomes zeros."""
    wide = np.asarray(rows, dtype=np.float64)
    lengths = np.linalg.norm(wide, axis=-1, keepdims=True)
    known = lengths > 1e-9  # below it a direction is rounding, not a photo
    return np.where(known, wide / np.where(known, lengths, 1), 0).astype(np.float32)
