"""An upright photo → what a network sees. Saved with the weights: the two travel together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from .errors import OptionError
from .types import Image


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
