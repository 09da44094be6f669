"""Augment training photos: random crop, flip and colour; choose the crop shape of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import v2

from ..core.errors import OptionError
from ..core.types import Image
from ..features.preprocessing import Preprocessing

Shape = tuple[int, int]  # (height, width) of a crop

CROP_RATIOS = (3 / 4, 1.0, 4 / 3)  # width / height: portrait, square, landscape


class Augmentation:
    """(H, W, 3) uint8 RGB image, crop shape and seed → (3, *shape) float32, normalised.

    A random crop with the aspect ratio of `shape`, covering a share of the photo between
    `least_area` and 1 (if it fits), is resized to `shape`. Then random horizontal flip, and random
    brightness, contrast and saturation, each by up to `jitter`. Hue stays, because changing it in
    float arithmetic would take longer than everything else together.
    """

    def __init__(self, preprocessing: Preprocessing, least_area: float, jitter: float) -> None:
        self.preprocessing = preprocessing
        self.least_area, self.jitter = least_area, jitter
        self._transforms: dict[Shape, v2.Compose] = {}

    def __call__(self, image: Image, shape: Shape, seed: int) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            crop = self._transform(shape)(torch.from_numpy(image.transpose(2, 0, 1).copy()))
        pixels = np.ascontiguousarray(crop.numpy().transpose(1, 2, 0))
        return torch.from_numpy(self.preprocessing.normalise(pixels))

    def _transform(self, shape: Shape) -> v2.Compose:
        if shape not in self._transforms:
            ratio = shape[1] / shape[0]
            steps: list[torch.nn.Module] = [
                v2.RandomResizedCrop(shape, (self.least_area, 1.0), (ratio, ratio), antialias=True),
                v2.RandomHorizontalFlip(),
            ]
            if self.jitter:
                steps.append(v2.ColorJitter(self.jitter, self.jitter, 0.75 * self.jitter))
            self._transforms[shape] = v2.Compose(steps)
        return self._transforms[shape]


def crop_shape(
    aspects: NDArray[np.float64],
    side: int,
    *,
    ratios: Sequence[float] = CROP_RATIOS,
    multiple: int = 32,
) -> tuple[int, int]:
    """(height, width) of the crops of a batch, with the ratio nearest to that of its photos.

    Ratios are compared by their logarithms, so that 3:4 and 4:3 are equally far from a square.

    Args:
        aspects: (B,) width / height of the photos, above 0; their median counts.
        side: Side of the square crop. All shapes have its area, as nearly as `multiple` allows.
        ratios: The possible values of width / height.
        multiple: The stride of the network; height and width are multiples of it.

    Raises:
        OptionError: Without photos, or for an aspect, ratio or side that is not above 0.
    """
    values = [*np.asarray(aspects, dtype=np.float64).tolist(), *ratios, side, multiple]
    if not len(aspects) or not len(ratios) or not all(0 < v < np.inf for v in values):
        raise OptionError(
            f"{len(aspects)} photos, ratios {tuple(ratios)}, crop {side} and multiple {multiple} "
            "given for a crop shape; expected at least one of each, all above 0"
        )
    median = float(np.median(np.log(aspects)))
    ratio = min(ratios, key=lambda r: abs(float(np.log(r)) - median))
    return _round_to_multiple(side, ratio, multiple)


def _round_to_multiple(side: int, ratio: float, multiple: int) -> tuple[int, int]:
    """The multiples with the least error of area and ratio; if equal, the smaller shape."""
    exact = side / ratio**0.5 / multiple, side * ratio**0.5 / multiple
    heights, widths = ({max(1, int(x)), int(x) + 1} for x in exact)

    def error(shape: tuple[int, int]) -> tuple[float, int]:
        h, w = shape
        area = np.log(h * w / (exact[0] * exact[1]))
        return round(float(area**2 + np.log(w / h / ratio) ** 2), 9), h * w

    h, w = min(((h, w) for h in sorted(heights) for w in sorted(widths)), key=error)
    return h * multiple, w * multiple
