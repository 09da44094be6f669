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


class Augmentation:
    """(H, W, 3) uint8 RGB + seed → (3, crop, crop) float32, normalised.

    A square of the photo is cut out, `least_area` to all of its area (as far as a square fits),
    and resized: nothing is squashed. Then horizontal flip (1 in 2), brightness, contrast,
    saturation (no hue: in float arithmetic it costs more than all the rest).
    """

    def __init__(self, preprocessing: Preprocessing, crop: int, least_area: float) -> None:
        self.preprocessing = preprocessing
        self.crop = crop
        self.transform = v2.Compose(
            [
                v2.RandomResizedCrop(crop, (least_area, 1.0), (1.0, 1.0), antialias=True),
                v2.RandomHorizontalFlip(),
                v2.ColorJitter(0.4, 0.4, 0.3),
            ]
        )

    def __call__(self, image: Image, seed: int) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            square = self.transform(torch.from_numpy(image.transpose(2, 0, 1).copy()))
        pixels = np.ascontiguousarray(square.numpy().transpose(1, 2, 0))
        return torch.from_numpy(self.preprocessing.normalise(pixels))
