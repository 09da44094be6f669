"""Colour histograms as an embedder: a baseline without learning, used by tests and the demo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...core.files import write_json
from ...core.types import Image, Vectors


class HistogramEmbedder:
    """Histogram of RGB colours, with `bins` per channel, as a unit row.

    Swain & Ballard, "Color indexing", IJCV 1991. The square root of each bin (Hellinger kernel)
    reduces the weight of large uniform areas, such as the sky.
    """

    name = "histogram"
    short_side = 64

    def __init__(self, bins: int = 6) -> None:
        self.bins = bins
        self.dim = bins**3
        self.id = f"histogram-{bins}"

    def __call__(self, images: Sequence[Image], /) -> Vectors:
        """(H, W, 3) uint8 images → (N, bins³) float32, unit rows."""
        rows = np.zeros((len(images), self.dim), dtype=np.float32)
        for row, image in enumerate(images):
            red, green, blue = (image.astype(np.int64) * self.bins // 256).reshape(-1, 3).T
            codes = (red * self.bins + green) * self.bins + blue
            counts = np.bincount(codes, minlength=self.dim)
            rows[row] = np.sqrt(counts / counts.sum())
        return rows

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}, {self.dim} dimensions)"

    def save(self, folder: Path, /) -> None:
        """Write embedder.json; there are no weights."""
        write_json(
            Path(folder) / "embedder.json",
            {"kind": "histogram", "name": self.name, "id": self.id, "bins": self.bins},
        )
