"""Linear projections of vectors (whitening), and L2 normalisation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import ModelError


@dataclass(frozen=True, eq=False)
class Projection:
    """y = axes · (x − mean), L2-normalised; mean: (D,), axes: (d, D), float32."""

    mean: NDArray[np.float32]
    axes: NDArray[np.float32]

    def __call__(self, vectors: NDArray[Any]) -> NDArray[np.float32]:
        """(N, D) → (N, d) unit rows; a row of zeros, or equal to the mean, becomes zeros."""
        rows = np.asarray(vectors, dtype=np.float32)
        projected = (rows - self.mean) @ self.axes.T
        return unit_rows(np.where(rows.any(axis=1, keepdims=True), projected, 0))

    def to_arrays(self) -> dict[str, NDArray[np.float32]]:
        """`mean` and `axes`, for a safetensors file."""
        return {"mean": self.mean, "axes": self.axes}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Projection:
        """The inverse of `to_arrays`. Raises ModelError for other arrays."""
        mean, axes = arrays.get("mean"), arrays.get("axes")
        if mean is None or axes is None:
            raise ModelError(f"a projection with {sorted(arrays)}; expected ['axes', 'mean']")
        if mean.ndim != 1 or axes.ndim != 2 or axes.shape[1] != len(mean):
            raise ModelError(
                f"a projection of mean {mean.shape} and axes {axes.shape}; expected (D,) and (d, D)"
            )
        if not (np.isfinite(mean).all() and np.isfinite(axes).all()):
            raise ModelError("a projection with NaN or infinite entries; fit it again")
        return cls(mean.astype(np.float32), axes.astype(np.float32))


def projection_key(projection: Projection | None) -> str:
    """A hash that identifies a projection; "" = none."""
    if projection is None:
        return ""
    data = projection.mean.tobytes() + projection.axes.tobytes()
    return blake2b(data, digest_size=16).hexdigest()


def unit_rows(rows: NDArray[Any]) -> NDArray[np.float32]:
    """Scale (…, D) rows to unit length, as float32; a row shorter than 1e-9 becomes zeros."""
    wide = np.asarray(rows, dtype=np.float64)
    lengths = np.linalg.norm(wide, axis=-1, keepdims=True)
    nonzero = lengths > 1e-9  # because a shorter row is only rounding errors
    return np.where(nonzero, wide / np.where(nonzero, lengths, 1), 0).astype(np.float32)
