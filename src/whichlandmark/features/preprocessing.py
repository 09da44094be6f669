"""Prepare images for any embedder: resize, multi-scale views, same-shape batches. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from ..core.errors import OptionError
from ..core.json_options import LATER, Span, check_fields, count, to_json
from ..core.types import Image, Vectors

Fit = Literal["keep", "pad", "pad-center", "squash", "crop"]

Interpolation = Literal["bilinear", "bicubic"]

Network = Callable[[NDArray[np.float32]], Vectors]  # (n, 3, h, w) normalised → (n, dim) unit rows


SPANS = {  # option → the numbers that it takes
    "size": Span(16, 4096, whole=True, note="pixels"), "multiple": count(1, 4096),
    "mean": Span(0, 1, note="of pixels from 0 to 1: divide by 255"),
    "std": Span(0, 1, above=True, note="of pixels from 0 to 1: divide by 255"),
    "crop": Span(0.1, 1), "sides": count(1, 4096), "scales": Span(0.1, 4),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How photos are resized and normalised; saved in embedder.json.

    size: pixels of the long side ("keep", "pad", "pad-center") or of both sides ("squash", "crop").
    fit: "keep" preserves the aspect ratio, with both sides rounded to a multiple of `multiple`;
      "pad" preserves it exactly, and fills the short side up to a multiple with the mean color;
      "pad-center" is the padding of the ILIAS benchmark's own code: the long side is `size` itself,
      the short side is rounded down, and the photo stands in the middle of the mean color;
      "squash" resizes to a square, for networks that were trained that way; "crop" takes the
      central square of the photo, as ImageNet's evaluation does.
    mean, std: per channel, of pixel values scaled to 0–1.
    interpolation: of the resize, always with antialiasing.
    crop: share of the short side that the square of "crop" has.
    strict: the network takes multiples of `multiple` only, so the sides of squares are rounded too.
    sides: (height, width) to squash to in the place of a square, for networks that take no other.
    """

    spans: ClassVar[Mapping[str, Span]] = SPANS

    size: int = 256
    fit: Fit = "keep"
    multiple: int = 32
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    interpolation: Interpolation = field(default="bilinear", metadata=LATER)
    crop: float = field(default=1.0, metadata=LATER)
    strict: bool = field(default=False, metadata=LATER)
    sides: tuple[int, int] | None = field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.multiple > self.size:
            raise OptionError(f"multiple {self.multiple} given; expected 1 to size {self.size}")

    @property
    def short_side(self) -> int:
        """Minimum short side, in pixels, to decode at, when only the short side can be requested.

        1.5 times `size`, so that the resize determines the sharpness, not the JPEG decoder's
        scaling in powers of two.
        """
        return self.size * 3 // 2

    @property
    def decode_sides(self) -> tuple[int, int]:
        """Minimum (short, long) side, in pixels, to decode at; 0 = any.

        1.5 times the network's input: a JPEG that is decoded at 1/8 to 1/2 of its size and then
        resized gives vectors with a median cosine of at least 0.995 to those of the full photo; at
        1.25 and 1.0 times it is 0.992 and 0.980 (benchmarks/decode_speed.py).
        """
        if self.fit == "squash":
            return self.short_side, 0
        if self.fit == "crop":
            return round(self.short_side / self.crop), 0
        return self.multiple * 3 // 2, self.short_side

    def target_shape(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) of the network's input for a photo of this size.

        Idempotent: an already resized photo keeps its size.
        """
        if self.fit in ("squash", "crop"):
            side = self._rounded(self.size) if self.strict else self.size
            return self.sides or (side, side)
        if self.fit in ("pad", "pad-center"):
            if self._is_padded(height, width):
                return height, width
            rows, columns = self._padded_content(height, width)
            return self._filled(rows), self._filled(columns)
        longest = max(height, width)  # so that the long side is `size` before rounding
        return self._rounded(height * self.size / longest), self._rounded(
            width * self.size / longest
        )

    def _rounded(self, side: float) -> int:
        return max(self.multiple, round(side / self.multiple) * self.multiple)

    def _padded_content(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the resized photo itself; with "pad", its long side is a multiple.

        "pad-center": as LargeSideResize of ilias-vrg/ilias, feature_extraction/src/datasets/
        transforms.py, which rounds the short side down.
        """
        if self.fit == "pad-center":
            ratio = height / width
            if ratio > 1:
                return self.size, max(1, int(self.size / ratio))
            return max(1, int(self.size * ratio)), self.size
        scale = self._rounded(self.size) / max(height, width)
        return max(1, round(height * scale)), max(1, round(width * scale))

    def _is_padded(self, height: int, width: int) -> bool:
        """Has "pad-center" made a photo of this size? Its long side is `size`, filled up."""
        sides = (height, width)
        return (
            self.fit == "pad-center"
            and max(sides) == self._filled(self.size)
            and all(side % self.multiple == 0 for side in sides)
        )

    def _filled(self, side: int) -> int:
        return -(-side // self.multiple) * self.multiple

    def resize(self, image: Image) -> Image:
        """(H, W, 3) uint8 → (h, w, 3) uint8 of the target shape: resized, padded or cropped."""
        height, width = self.target_shape(*image.shape[:2])
        if image.shape[:2] == (height, width):
            return image
        if self.fit in ("pad", "pad-center"):
            rows, columns = self._padded_content(*image.shape[:2])
            color = np.rint(np.asarray(self.mean) * 255).clip(0, 255).astype(np.uint8)
            padded = np.empty((height, width, 3), np.uint8)
            padded[:] = color
            top, left = (height - rows) // 2, (width - columns) // 2
            if self.fit == "pad":
                top = left = 0
            padded[top : top + rows, left : left + columns] = self._resized(image, rows, columns)
            return padded
        if self.fit == "crop":
            image = _middle(image)
            scale = height / self.crop / min(image.shape[:2])
            rows, columns = (max(height, round(side * scale)) for side in image.shape[:2])
            top, left = (rows - height) // 2, (columns - width) // 2
            resized = self._resized(image, rows, columns)
            return np.ascontiguousarray(resized[top : top + height, left : left + width])
        return self._resized(image, height, width)

    def _resized(self, image: Image, height: int, width: int) -> Image:
        how = Pillow.Resampling.BILINEAR
        if self.interpolation == "bicubic":
            how = Pillow.Resampling.BICUBIC
        return np.asarray(Pillow.fromarray(image).resize((width, height), how))

    def __call__(self, image: Image) -> NDArray[np.float32]:
        """(H, W, 3) uint8 RGB → (3, h, w) float32, resized and normalised."""
        return self.normalise(self.resize(image))

    def normalise(self, image: Image) -> NDArray[np.float32]:
        """(h, w, 3) uint8 → (3, h, w) float32: (value / 255 − mean) / std."""
        std = np.asarray(self.std, dtype=np.float32)
        shift = np.asarray(self.mean, dtype=np.float32) / std
        scaled = image.astype(np.float32) * (1 / (255 * std)) - shift
        return np.ascontiguousarray(scaled.transpose(2, 0, 1))


def _middle(image: Image) -> Image:
    """Without the ends of a strip, which a crop leaves out: resized whole, it would be enormous."""
    most = 16 * min(image.shape[:2])
    top, left = (max(0, side - most) // 2 for side in image.shape[:2])
    return image[top : top + most, left : left + most]


@dataclass(frozen=True, kw_only=True)
class Views:
    """Test-time augmentation: the sizes at which a photo is embedded, and whether mirrored too.

    scales: factors of the preprocessing's size. The unit rows of all views are added and
    normalised. Noh et al., "DELF", ICCV 2017, use seven scales; Cao et al., "DELG", ECCV 2020,
    three for the global descriptor.
    """

    spans: ClassVar[Mapping[str, Span]] = SPANS

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        if not 1 <= len(self.scales) <= 9:
            raise OptionError(f"scales {list(self.scales)} given; expected 1 to 9 numbers")

    def expand(self, preprocessing: Preprocessing) -> list[Preprocessing]:
        """One preprocessing per scale."""
        return [
            replace(
                preprocessing,
                size=max(16, preprocessing.multiple, round(preprocessing.size * scale)),
            )
            for scale in self.scales
        ]


@dataclass(frozen=True)
class InputPipeline:
    """From images to unit rows with a given network: preprocessing, views, batching by shape.

    batch_size: maximum number of images in a forward pass, all of equal resized shape.
    """

    preprocessing: Preprocessing
    views: Views = field(default_factory=Views)
    batch_size: int = 32

    @property
    def short_side(self) -> int:
        """Minimum short side, in pixels, of a decoded photo; see `Preprocessing.short_side`."""
        return max(view.short_side for view in self.views.expand(self.preprocessing))

    def settings(self) -> dict[str, Any]:
        """All settings that change the network's input, as JSON; part of an embedder's id."""
        settings: dict[str, Any] = {"preprocessing": to_json(self.preprocessing)}
        if self.views != Views():  # left out, so that ids from before there were views stay valid
            settings["views"] = to_json(self.views)
        return settings

    def __call__(self, images: Sequence[Image], network: Network, dim: int) -> Vectors:
        """(H, W, 3) uint8 RGB images of any sizes → (N, dim) float32, unit rows."""
        views = self.views.expand(self.preprocessing)
        per_view = [self._embed_view(images, view, network, dim) for view in views]
        if len(per_view) == 1 and not self.views.flip:
            return per_view[0]
        rows = np.sum(per_view, axis=0, dtype=np.float64)
        lengths = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return np.asarray(rows / lengths, dtype=np.float32)

    def batches(self, images: Sequence[Image]) -> list[NDArray[np.float32]]:
        """The (n, 3, h, w) batches that `__call__` would give to the network, without flips."""
        return [
            np.stack([view(images[row]) for row in group])
            for view in self.views.expand(self.preprocessing)
            for group in self._same_shape_groups(images, view)
        ]

    def _embed_view(
        self, images: Sequence[Image], view: Preprocessing, network: Network, dim: int
    ) -> Vectors:
        """(N, dim) rows at one scale; with `flip`, each is the sum with its mirror image."""
        rows = np.zeros((len(images), dim), dtype=np.float32)
        for group in self._same_shape_groups(images, view):
            pixels = np.stack([view(images[row]) for row in group])
            rows[group] = network(pixels)
            if self.views.flip:
                rows[group] += network(np.ascontiguousarray(pixels[..., ::-1]))
        return rows

    def _same_shape_groups(self, images: Sequence[Image], view: Preprocessing) -> list[list[int]]:
        """Indices of images that share a pass: equal resized shape, at most `batch_size`."""
        by_shape: dict[tuple[int, int], list[int]] = {}
        for row, image in enumerate(images):
            by_shape.setdefault(view.target_shape(*image.shape[:2]), []).append(row)
        return [
            group[start : start + self.batch_size]
            for group in by_shape.values()
            for start in range(0, len(group), self.batch_size)
        ]
