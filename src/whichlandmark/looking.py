"""What stands around any network: views, batches of equal shape, unit rows. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .options import to_json
from .preprocessing import Preprocessing, Views
from .types import Image, Vectors

Network = Callable[[NDArray[np.float32]], Vectors]  # (n, 3, h, w) normalised → (n, dim) unit rows


@dataclass(frozen=True)
class Looking:
    """How photos reach a network: preprocessing, views, and how many at once.

    batch: most images in one pass; photos of equal resized shape share a pass.
    """

    preprocessing: Preprocessing
    views: Views = field(default_factory=Views)
    batch: int = 32

    @property
    def short_side(self) -> int:
        """Pixels of the short side that a photo needs; see `Preprocessing`."""
        return max(view.short_side for view in self.views.of(self.preprocessing))

    def described(self) -> dict[str, Any]:
        """All that is done to a photo before the network sees it, as JSON."""
        looking: dict[str, Any] = {"preprocessing": to_json(self.preprocessing)}
        if self.views != Views():  # ids of embedders with one view stay what they were
            looking["views"] = to_json(self.views)
        return looking

    def __call__(self, images: Sequence[Image], network: Network, dim: int) -> Vectors:
        """(H, W, 3) uint8 RGB images of any sizes → (N, dim) float32, unit rows."""
        looks = [self._look(images, view, network, dim) for view in self._sizes()]
        if len(looks) == 1 and not self.views.flip:
            return looks[0]
        rows = np.sum(looks, axis=0, dtype=np.float64)
        lengths = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return np.asarray(rows / lengths, dtype=np.float32)

    def batches(self, images: Sequence[Image]) -> list[NDArray[np.float32]]:
        """The (n, 3, h, w) batches that a network would see of these images, of all sizes."""
        return [
            np.stack([view(images[row]) for row in part])
            for view in self._sizes()
            for part in self._parts(images, view)
        ]

    def _sizes(self) -> list[Preprocessing]:
        return self.views.of(self.preprocessing)

    def _look(
        self, images: Sequence[Image], view: Preprocessing, network: Network, dim: int
    ) -> Vectors:
        """The rows of one size; a photo and its mirror image are added."""
        rows = np.zeros((len(images), dim), dtype=np.float32)
        for part in self._parts(images, view):
            pixels = np.stack([view(images[row]) for row in part])
            rows[part] = network(pixels)
            if self.views.flip:
                rows[part] += network(np.ascontiguousarray(pixels[..., ::-1]))
        return rows

    def _parts(self, images: Sequence[Image], view: Preprocessing) -> list[list[int]]:
        """Rows of images that share a pass: of equal resized shape, at most `batch`."""
        by_shape: dict[tuple[int, int], list[int]] = {}
        for row, image in enumerate(images):
            by_shape.setdefault(view.target(*image.shape[:2]), []).append(row)
        return [
            group[start : start + self.batch]
            for group in by_shape.values()
            for start in range(0, len(group), self.batch)
        ]
