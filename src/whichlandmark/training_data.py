"""What a training run looks at: its tables, and each epoch's batches of pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .errors import DataError, ImageError
from .images import photo_size
from .net.augment import Augmentation
from .net.batches import epoch_batches
from .net.checkpoint import RunState
from .net.loader import (
    AugmentedPhotos,
    PhotoFiles,
    PhotoReader,
    batch_loader,
    epoch_keys,
    shuffled_batches,
)
from .net.prepared import prepare
from .net.shapes import crop_shape
from .preprocessing import Preprocessing
from .train_config import TrainConfig
from .types import Photos, Rows

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
            self.reader = prepare(self.train, Path(self.config.cache), self.config.crop * 5 // 4)

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
