"""Tables and DataLoader of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..core.errors import DataError, ImageError
from ..core.images import photo_size, read_image
from ..core.types import Image, Photos, Rows
from ..features.preprocessing import Preprocessing
from .augment import Augmentation, Shape, crop_shape
from .checkpoint import RunState
from .config import TrainConfig
from .photo_cache import build_photo_cache
from .samplers import epoch_batches

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


Validation = tuple[Photos, Photos]  # database, queries


class TrainingData:
    """train: the photos that are learned from, all readable; codes: (N,) their landmarks.

    database, queries: what validation asks. `asked` None = a share of each landmark's photos
    are the queries, and the train photos the database.
    """

    def __init__(
        self,
        photos: Photos,
        asked: Validation | None,
        unreadable: Sequence[str],
        config: TrainConfig,
    ) -> None:
        self.config = config
        usable = photos.take(~np.isin(photos.ids, list(unreadable)))
        if asked:
            self.train = usable
            self.database, self.queries = asked
        else:
            self.train, self.queries = usable.split(test=config.validation, seed=config.seed)
            self.database = self.train
        names, codes = np.unique(self.train.landmarks, return_inverse=True)
        self.codes, self.landmarks = codes.astype(np.int64), len(names)
        self.aspects = _aspects(self.train) if config.shapes else None
        self.reader: PhotoReader = PhotoFiles(self.train, config.crop)

    def prepare(self) -> None:
        """Read photos from the cache of prepared ones, which is made where it is missing."""
        if self.config.cache:
            self.reader = build_photo_cache(
                self.train, Path(self.config.cache), self.config.crop * 5 // 4
            )

    def batches(self, state: RunState) -> list[Rows]:
        """The batches of an epoch, the same in every process."""
        config = self.config
        seed = (config.seed, state.epoch)
        if config.batches == "shuffled":
            size = config.landmarks_per_batch * config.photos_per_landmark
            return shuffled_batches(len(self.train), size, seed=seed)
        return epoch_batches(
            self.codes,
            state.groups,
            landmarks=config.landmarks_per_batch,
            photos=config.photos_per_landmark,
            seed=seed,
        )

    def load(
        self,
        batches: list[Rows],
        state: RunState,
        preprocessing: Preprocessing,
        share: Callable[[int], slice],
    ) -> Iterable[Tensor]:
        """Augmented pixels of this process's share of the batches that are still to be seen."""
        config = self.config
        side = crop_side(config, state.epoch)
        shapes = [(side, side)] * len(batches)
        if self.aspects is not None:
            shapes = [crop_shape(self.aspects[rows], side) for rows in batches]
        keys = epoch_keys(batches, shapes, seed=(config.seed, state.epoch))[state.step :]
        augmentation = Augmentation(preprocessing, config.least_area, config.jitter)
        dataset = AugmentedPhotos(self.reader, augmentation)
        return batch_loader(dataset, [key[share(len(key))] for key in keys], config.workers)


def crop_side(config: TrainConfig, epoch: int) -> int:
    """Side of this epoch's crops: it grows from `first_crop` to `crop` by half of the run.

    Small crops first are quicker, and as good: Tan & Le, "EfficientNetV2", ICML 2021.
    """
    if not config.first_crop:
        return config.crop
    share = min(1.0, 2 * epoch / max(1, config.epochs - 1))
    side = config.first_crop + share * (config.crop - config.first_crop)
    return config.crop if share == 1 else round(side / 32) * 32


def labelled_photos(photos: Photos) -> Photos:
    """The photos that can be learned from. Raises DataError when they are too few."""
    labelled = photos.take(photos.landmarks != "")
    labelled.require_one_landmark("training")
    sizes = [len(rows) for rows in labelled.rows_by_landmark().values()]
    enough = sum(size > 1 for size in sizes)
    if enough < 2:
        raise DataError(
            f"{len(sizes)} landmarks given, {enough} of them with two photos or more; "
            "training needs at least two such landmarks"
        )
    return labelled


def table_hash(*tables: Photos) -> str:
    """What the tables hold, as 16 hexadecimal digits: ids and landmarks."""
    digest = hashlib.sha256()
    for photos in tables:
        for photo_id, landmark in zip(photos.ids, photos.landmarks, strict=True):
            digest.update(f"{photo_id}\0{landmark}\n".encode())
        digest.update(b"\n")
    return digest.hexdigest()[:16]


def _aspects(photos: Photos) -> NDArray[np.float64]:
    """Width / height of every photo, from its header; 1 where it cannot be read."""
    with ThreadPoolExecutor() as pool:
        return np.array(list(pool.map(_aspect, photos.paths)), dtype=np.float64)


def _aspect(path: str) -> float:
    try:
        height, width = photo_size(path)
    except ImageError:
        return 1.0
    return width / height
