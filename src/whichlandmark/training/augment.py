"""Random crop, flip, colour, crop shape."""

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


class Augmentation:
    """(H, W, 3) uint8 RGB + shape + seed → (3, *shape) float32, normalised.

    A piece of the crop's own aspect ratio is cut out, `least_area` to all of the photo (as far
    as such a piece fits), and resized: nothing is squashed. Then horizontal flip (1 in 2),
    brightness, contrast and saturation, each by up to `jitter` (no hue: in float arithmetic
    it costs more than all the rest).
    """

    def __init__(self, preprocessing: Preprocessing, least_area: float, jitter: float) -> None:
        self.preprocessing = preprocessing
        self.least_area, self.jitter = least_area, jitter
        self._made: dict[Shape, v2.Compose] = {}

    def __call__(self, image: Image, shape: Shape, seed: int) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            square = self._transform(shape)(torch.from_numpy(image.transpose(2, 0, 1).copy()))
        pixels = np.ascontiguousarray(square.numpy().transpose(1, 2, 0))
        return torch.from_numpy(self.preprocessing.normalise(pixels))

    def _transform(self, shape: Shape) -> v2.Compose:
        if shape not in self._made:
            ratio = shape[1] / shape[0]
            parts: list[torch.nn.Module] = [
                v2.RandomResizedCrop(shape, (self.least_area, 1.0), (ratio, ratio), antialias=True),
                v2.RandomHorizontalFlip(),
            ]
            if self.jitter:
                parts.append(v2.ColorJitter(self.jitter, self.jitter, 0.75 * self.jitter))
            self._made[shape] = v2.Compose(parts)
        return self._made[shape]


RATIOS = (3 / 4, 1.0, 4 / 3)  # width / height: portrait, square, landscape


def crop_shape(
    aspects: NDArray[np.float64], side: int, *, ratios: Sequence[float] = RATIOS, multiple: int = 32
) -> tuple[int, int]:
    """(height, width) of a batch's crops, both multiples of the network's stride.

    aspects: (B,) width / height of the batch's photos, above 0; their median decides.
    side: of the square crop whose area all shapes have, as nearly as `multiple` allows.
    Ratios are compared by their logarithms: 3:4 is as far from square as 4:3.
    Raises OptionError without photos, or for an aspect, ratio or side that is not above 0.
    """
    values = [*np.asarray(aspects, dtype=np.float64).tolist(), *ratios, side, multiple]
    if not len(aspects) or not len(ratios) or not all(0 < v < np.inf for v in values):
        raise OptionError(
            f"{len(aspects)} photos, ratios {tuple(ratios)}, crop {side} and multiple {multiple} "
            "given for a crop shape; expected at least one of each, all above 0"
        )
    median = float(np.median(np.log(aspects)))
    ratio = min(ratios, key=lambda r: abs(float(np.log(r)) - median))
    return _on_the_grid(side, ratio, multiple)


def _on_the_grid(side: int, ratio: float, multiple: int) -> tuple[int, int]:
    """The nearest multiples, by the errors of area and ratio; the smaller of equals."""
    exact = side / ratio**0.5 / multiple, side * ratio**0.5 / multiple
    heights, widths = ({max(1, int(x)), int(x) + 1} for x in exact)

    def error(shape: tuple[int, int]) -> tuple[float, int]:
        h, w = shape
        area = np.log(h * w / (exact[0] * exact[1]))
        return round(float(area**2 + np.log(w / h / ratio) ** 2), 9), h * w

    h, w = min(((h, w) for h in sorted(heights) for w in sorted(widths)), key=error)
    return h * multiple, w * multiple
