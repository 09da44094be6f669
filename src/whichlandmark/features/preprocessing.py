"""Resize, crop, normalise; multi-scale views; batches of equal shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from ..core.errors import OptionError
from ..core.json_options import to_json
from ..core.types import Image, Vectors

Network = Callable[[NDArray[np.float32]], Vectors]  # (n, 3, h, w) normalised → (n, dim) unit rows


@dataclass(frozen=True, kw_only=True)
class Views:
    """How often a network looks at one photo: at each of these sizes, mirrored or not.

    scales: of the preprocessing's size. The unit rows of all views are added: Noh et al., "DELF",
    ICCV 2017, take seven scales; Cao et al., "DELG", ECCV 2020, three for the global descriptor.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __post_init__(self) -> None:
        if not 1 <= len(self.scales) <= 9 or not all(0.1 <= scale <= 4 for scale in self.scales):
            raise OptionError(f"scales {self.scales} given; expected 1 to 9 numbers of 0.1 to 4")

    def of(self, preprocessing: Preprocessing) -> list[Preprocessing]:
        """The preprocessing of each size."""
        return [
            replace(
                preprocessing,
                size=max(16, preprocessing.multiple, round(preprocessing.size * scale)),
            )
            for scale in self.scales
        ]


@dataclass(frozen=True)
class InputPipeline:
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


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How photos are resized and normalised, flat and JSON-able.

    size: pixels of the long side ("keep") or of both sides ("squash").
    fit: "keep" holds the aspect ratio, both sides rounded to a multiple of `multiple`;
      "squash" makes squares, for networks that were trained so.
    mean, std: per channel, on values scaled to 0–1.
    """

    size: int = 256
    fit: Literal["keep", "squash"] = "keep"
    multiple: int = 32
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        if not 16 <= self.size <= 4096:
            raise OptionError(f"size {self.size} given; expected 16 to 4096 pixels")
        if not 1 <= self.multiple <= self.size:
            raise OptionError(f"multiple {self.multiple} given; expected 1 to size {self.size}")
        if min(self.std) <= 0:
            raise OptionError(f"std {self.std} given; expected numbers above 0")

    @property
    def short_side(self) -> int:
        """Decode at least this short side: enough for "squash", and for "keep" of any shape.

        The margin lets the resize, not the JPEG decoder's steps of two, set the sharpness.
        """
        return self.size * 3 // 2

    @property
    def least(self) -> tuple[int, int]:
        """Pixels of the short and of the long side to decode at, where both can be asked for.

        Half as much again as the network sees: a JPEG that is decoded at an eighth to a half of
        its size and then resized gives vectors of cosine 0.995 or more (median) with those of the
        whole photo; at 1.25 and 1.0 times, 0.992 and 0.980 (benchmarks/decode_speed.py).
        """
        if self.fit == "squash":
            return self.short_side, 0
        return self.multiple * 3 // 2, self.short_side

    def target(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) that a photo of this height and width is resized to.

        A photo that was resized to it already stays as it is.
        """
        if self.fit == "squash":
            return self.size, self.size
        longest = max(height, width)  # the long side is exactly `size` before it is rounded
        return self._rounded(height * self.size / longest), self._rounded(
            width * self.size / longest
        )

    def _rounded(self, side: float) -> int:
        return max(self.multiple, round(side / self.multiple) * self.multiple)

    def resize(self, image: Image) -> Image:
        """(H, W, 3) uint8 → (h, w, 3) uint8, bilinear with antialiasing."""
        height, width = self.target(*image.shape[:2])
        if image.shape[:2] == (height, width):
            return image
        picture = Pillow.fromarray(image)
        return np.asarray(picture.resize((width, height), Pillow.Resampling.BILINEAR))

    def __call__(self, image: Image) -> NDArray[np.float32]:
        """(H, W, 3) uint8 RGB → (3, h, w) float32, resized and normalised."""
        return self.normalise(self.resize(image))

    def normalise(self, image: Image) -> NDArray[np.float32]:
        """(h, w, 3) uint8 → (3, h, w) float32: (value / 255 − mean) / std."""
        std = np.asarray(self.std, dtype=np.float32)
        shift = np.asarray(self.mean, dtype=np.float32) / std
        scaled = image.astype(np.float32) * (1 / (255 * std)) - shift
        return np.ascontiguousarray(scaled.transpose(2, 0, 1))
