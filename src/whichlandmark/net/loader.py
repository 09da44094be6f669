"""P×K batches of augmented photos, by torch's DataLoader, the same for any number of workers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..errors import ImageError
from ..images import read_image
from ..types import Image, Photos
from .augment import Augmentation

Key = tuple[int, int]  # (row of the table, seed of its augmentation)


class AugmentedPhotos(Dataset[Tensor]):
    """Looks up a (row, seed) key: the photo decoded, augmented, normalised."""

    def __init__(self, photos: Photos, augmentation: Augmentation, short_side: int) -> None:
        self.paths = photos.paths
        self.augmentation = augmentation
        self.short_side = short_side

    def __getitem__(self, key: Key) -> Tensor:
        row, seed = key
        return self.augmentation(self._image(self.paths[row]), seed)

    def _image(self, path: str) -> Image:
        try:
            return read_image(path, short_side=self.short_side)
        except (
            ImageError
        ):  # readable when the run began; a grey square costs one photo, not the run
            return np.full((self.short_side, self.short_side, 3), 128, dtype=np.uint8)


def epoch_keys(batches: Sequence[NDArray[np.int64]], seed: Sequence[int]) -> list[list[Key]]:
    """Give every place in an epoch its augmentation seed, so that a resumed epoch repeats them."""
    rng = np.random.default_rng(list(seed))
    return [
        [
            (int(row), int(s))
            for row, s in zip(rows, rng.integers(2**62, size=len(rows)), strict=True)
        ]
        for rows in batches
    ]


def batch_loader(
    dataset: AugmentedPhotos, keys: Sequence[list[Key]], workers: int
) -> DataLoader[Tensor]:
    """(B, 3, crop, crop) float32 for each list of keys, in order."""
    return DataLoader(
        dataset,
        batch_sampler=keys,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
    )
