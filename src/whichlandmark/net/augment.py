"""What training does to a photo: a random crop of unchanged aspect ratio, flip, light.

Every draw depends on a seed alone, so a resumed run sees the same crops, with any number
of loader processes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from ..preprocessing import Preprocessing
from ..types import Image

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
