"""P×K batches of augmented photos, by torch's DataLoader, the same for any number of workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..errors import ImageError
from ..images import read_image
from ..types import Image, Photos
from .augment import Augmentation, Shape

Key = tuple[int, Shape, int]  # (row of the table, shape of the crop, seed of its augmentation)


class PhotoReader(Protocol):
    """Where the pixels of a row come from."""

    def read(self, row: int) -> Image:
        """(H, W, 3) uint8 RGB. Raises ImageError."""
        ...


class PhotoFiles:
    """The photos as they lie on disk, decoded near `short_side` pixels."""

    def __init__(self, photos: Photos, short_side: int) -> None:
        self.paths, self.short_side = photos.paths, short_side

    def read(self, row: int) -> Image:
        """(H, W, 3) uint8 RGB. Raises ImageError."""
        return read_image(self.paths[row], short_side=self.short_side)


class AugmentedPhotos(Dataset[Tensor]):
    """Looks up a key: the photo decoded, augmented, normalised."""

    def __init__(self, reader: PhotoReader, augmentation: Augmentation) -> None:
        self.reader, self.augmentation = reader, augmentation

    def __getitem__(self, key: Key) -> Tensor:
        row, shape, seed = key
        try:
            image = self.reader.read(row)
        except ImageError:
            # Readable when the run began; a grey picture costs one photo, not the run.
            image = np.full((*shape, 3), 128, dtype=np.uint8)
        return self.augmentation(image, shape, seed)


def epoch_keys(
    batches: Sequence[NDArray[np.int64]], shapes: Sequence[Shape], seed: Sequence[int]
) -> list[list[Key]]:
    """Give every place in an epoch its augmentation seed, so that a resumed epoch repeats them.

    shapes: the crop's (height, width) of each batch.
    """
    rng = np.random.default_rng(list(seed))
    return [
        [
            (int(row), shape, int(s))
            for row, s in zip(rows, rng.integers(2**62, size=len(rows)), strict=True)
        ]
        for rows, shape in zip(batches, shapes, strict=True)
    ]


def shuffled_batches(count: int, size: int, *, seed: Sequence[int]) -> list[NDArray[np.int64]]:
    """Plain shuffling, for losses that need no pairs: (size,) rows of `count`, all full.

    Rows that would leave the last batch short wait for another epoch; with fewer photos than
    one batch, some come twice.
    """
    rows = np.random.default_rng(list(seed)).permutation(count)
    if count < size:
        rows = np.resize(rows, size)
    return list(rows[: len(rows) // size * size].reshape(-1, size))


def batch_loader(
    dataset: AugmentedPhotos, keys: Sequence[list[Key]], workers: int
) -> DataLoader[Tensor]:
    """(B, 3, h, w) float32 for each list of keys, in order."""
    return DataLoader(
        dataset,
        batch_sampler=keys,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        pin_memory=torch.cuda.is_available(),
    )
