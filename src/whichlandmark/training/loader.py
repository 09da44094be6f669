"""Photo tables and DataLoader of a training run, and its validation."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..core.errors import DataError, ImageError
from ..core.hardware import children_without_interrupts
from ..core.images import photo_size, read_image
from ..core.types import Image, Photos, Rows, Vectors, is_true, one_landmark_each, true_landmarks
from ..features.preprocessing import Preprocessing
from ..gallery.index.exact import nearest
from ..metrics.ranking import gap
from .augment import Augmentation, Shape, crop_shape
from .checkpoint import RunState
from .config import TrainConfig
from .photo_cache import build_photo_cache
from .samplers import class_centres, epoch_batches

log = logging.getLogger("whichlandmark")

CropKey = tuple[int, Shape, int]  # (row of the table, crop shape, seed of its augmentation)

Validation = tuple[Photos, Photos]  # (database, queries)

Embed = Callable[[Photos], tuple[Vectors, dict[str, str]]]  # vectors; id → reason of a failure


class PhotoReader(Protocol):
    """Source of decoded photos: original files, or the cache of re-encoded ones."""

    def read(self, row: int) -> Image:
        """(H, W, 3) uint8 RGB. Raises ImageError."""
        ...


class PhotoFiles:
    """Reads the original files, decoded near a short side of `short_side` pixels."""

    def __init__(self, photos: Photos, short_side: int) -> None:
        self.paths, self.short_side = photos.paths, short_side

    def read(self, row: int) -> Image:
        """(H, W, 3) uint8 RGB. Raises ImageError."""
        return read_image(self.paths[row], short_side=self.short_side)


class AugmentedPhotos(Dataset[Tensor]):
    """CropKey → the photo decoded, augmented and normalised: (3, h, w) float32."""

    def __init__(self, reader: PhotoReader, augmentation: Augmentation) -> None:
        self.reader, self.augmentation = reader, augmentation
        self._lost: set[int] = set()  # rows of photos that became unreadable during the run

    def __getitem__(self, key: CropKey) -> Tensor:
        row, shape, seed = key
        try:
            image = self.reader.read(row)
        except ImageError as error:
            # It was readable when the run began; a gray image in its place keeps the run going.
            if row not in self._lost:  # each process of the DataLoader says it once
                self._lost.add(row)
                log.warning("%s; it was readable before: trained as an empty gray photo", error)
            image = np.full((*shape, 3), 128, dtype=np.uint8)
        return self.augmentation(image, shape, seed)


def epoch_keys(
    batches: Sequence[NDArray[np.int64]], shapes: Sequence[Shape], seed: Sequence[int]
) -> list[list[CropKey]]:
    """Assign an augmentation seed to every photo of an epoch, so that a resumed epoch repeats it.

    shapes: (height, width) of the crops of each batch.
    """
    rng = np.random.default_rng(list(seed))
    return [
        [
            (int(row), shape, int(photo_seed))
            for row, photo_seed in zip(rows, rng.integers(2**62, size=len(rows)), strict=True)
        ]
        for rows, shape in zip(batches, shapes, strict=True)
    ]


class _Loader(DataLoader[Tensor]):
    """Starts its processes so that Ctrl-C reaches this one alone."""

    def __iter__(self) -> Any:
        with children_without_interrupts():
            return super().__iter__()


def batch_loader(
    dataset: AugmentedPhotos, keys: Sequence[list[CropKey]], workers: int
) -> DataLoader[Tensor]:
    """(B, 3, h, w) float32 for each list of keys, in order."""
    return _Loader(
        dataset,
        batch_sampler=keys,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        pin_memory=torch.cuda.is_available(),
    )


class TrainingData:
    """The photo tables of a run.

    train: training photos, all readable. codes: (N,) their landmarks, as numbers from 0 to
    `landmarks` − 1. database, queries: of validation.

    validation: (database, queries); None = the queries are a share of each landmark's photos, and
    the training photos are the database.
    """

    def __init__(
        self,
        photos: Photos,
        validation: Validation | None,
        unreadable: Sequence[str],
        config: TrainConfig,
    ) -> None:
        self.config = config
        usable = photos.take(~np.isin(photos.ids, list(unreadable)))
        require_two_landmarks(usable, unreadable=len(unreadable))
        if validation:
            self.train = usable
            self.database, self.queries = validation
            if _same_photos(self.database, photos):  # their vectors also give the subspaces
                self.database = usable
        else:
            self.train, self.queries = usable.split(test=config.validation, seed=config.seed)
            self.database = self.train
        names, codes = np.unique(self.train.landmarks, return_inverse=True)
        self.codes, self.landmarks = codes.astype(np.int64), len(names)
        self.aspect_ratios: NDArray[np.float64] | None = None
        if config.shapes:
            with ThreadPoolExecutor() as pool:
                ratios = list(pool.map(_aspect_ratio, self.train.paths))
            self.aspect_ratios = np.array(ratios, dtype=np.float64)
        self.reader: PhotoReader = PhotoFiles(self.train, config.crop)

    def prepare(self) -> None:
        """Build the photo cache if one is configured, and read photos from it."""
        if self.config.cache:
            self.reader = build_photo_cache(
                self.train, Path(self.config.cache), self.config.crop * 5 // 4
            )

    def batches(self, state: RunState) -> list[Rows]:
        """Rows of each batch of an epoch, the same in every process."""
        config = self.config
        seed = (config.seed, state.epoch)
        if config.batches == "shuffled":
            # For losses that need no positive pairs. An incomplete last batch is dropped; with
            # fewer photos than one batch, some are repeated.
            size = config.landmarks_per_batch * config.photos_per_landmark
            rows = np.random.default_rng(seed).permutation(len(self.train))
            if len(rows) < size:
                rows = np.resize(rows, size)
            return list(rows[: len(rows) // size * size].reshape(-1, size))
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
        process_slice: Callable[[int], slice],
    ) -> Iterable[Tensor]:
        """Yields the augmented pixels of this process's share of each remaining batch.

        process_slice: number of photos of a batch → the part that this process loads.
        """
        config = self.config
        side = crop_side(config, state.epoch)
        shapes = [(side, side)] * len(batches)
        if self.aspect_ratios is not None:
            shapes = [crop_shape(self.aspect_ratios[rows], side) for rows in batches]
        keys = epoch_keys(batches, shapes, seed=(config.seed, state.epoch))[state.step :]
        augmentation = Augmentation(preprocessing, config.least_area, config.jitter)
        dataset = AugmentedPhotos(self.reader, augmentation)
        return batch_loader(
            dataset, [batch[process_slice(len(batch))] for batch in keys], config.workers
        )


def crop_side(config: TrainConfig, epoch: int) -> int:
    """Side of the crops of an epoch: it grows from `first_crop` to `crop` in the first half.

    Small crops first are faster and do not reduce accuracy: Tan & Le, "EfficientNetV2", ICML 2021.
    """
    if not config.first_crop:
        return config.crop
    share = min(1.0, 2 * epoch / max(1, config.epochs - 1))
    side = config.first_crop + share * (config.crop - config.first_crop)
    return config.crop if share == 1 else round(side / 32) * 32


def labelled_photos(photos: Photos) -> Photos:
    """The photos with a landmark. Raises DataError when there are too few to train on."""
    labelled = one_landmark_each(photos.take(photos.landmarks != ""))
    require_two_landmarks(labelled)
    return labelled


def require_two_landmarks(photos: Photos, *, unreadable: int = 0) -> None:
    """Raises DataError unless two landmarks have two photos or more: one cannot be told from none.

    unreadable: number of photos that were left out already.
    """
    sizes = [len(rows) for rows in photos.rows_by_landmark().values()]
    enough = sum(size > 1 for size in sizes)
    if enough >= 2:
        return
    left = "given"
    if unreadable:
        left = f"left, because {unreadable} photos could not be read"
    raise DataError(
        f"{len(photos)} photos of {len(sizes)} landmark{'' if len(sizes) == 1 else 's'} {left}; "
        f"{enough} of them with two photos or more: training needs at least two such landmarks, "
        "because it learns to tell one from another"
    )


def require_validation(validation: Validation) -> None:
    """Raises DataError when a database and queries cannot measure anything."""
    database, queries = validation
    names = sorted(set(database.landmarks) - {""})
    if len(names) < 2:
        raise DataError(
            f"--database has {len(names)} landmark{'' if len(names) == 1 else 's'}; expected two "
            "or more: with one, every answer would be right"
        )
    asked = sorted({name for cell in queries.landmarks for name in true_landmarks(cell)})
    if not set(asked) & set(names):
        have, want = (", ".join(map(repr, some[:5])) for some in (names, asked))
        raise DataError(
            f"none of the {len(queries)} queries of --queries shows a landmark of --database, so "
            f"nothing could be measured; the queries name {want or 'none'}, the database {have}"
        )


def table_hash(*tables: Photos) -> str:
    """Hash of the ids and landmarks of tables, as 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for photos in tables:
        for photo_id, landmark in zip(photos.ids, photos.landmarks, strict=True):
            digest.update(f"{photo_id}\0{landmark}\n".encode())
        digest.update(b"\n")
    return digest.hexdigest()[:16]


def _same_photos(one: Photos, other: Photos) -> bool:
    """Whether two tables have the same photos with the same landmarks, in order."""
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("ids", "paths", "landmarks")
    )


def _aspect_ratio(path: str) -> float:
    """Width / height of a photo, from its header; 1 if it cannot be read."""
    try:
        height, width = photo_size(path)
    except ImageError:
        return 1.0
    return width / height


def validate(data: TrainingData, train_vectors: Vectors | None, embed: Embed) -> dict[str, float]:
    """gap_… and top1_… of the validation queries against their database, 0 to 1.

    Unreadable photos are ignored. M = number of queries whose landmark is in the database; other
    queries count as wrong answers in the ranking, as in `evaluation`.
    train_vectors: of the training photos, needed if they are the database, which is then not
    embedded again. Raises DataError when no query has a landmark of the database.
    """
    vectors, database = train_vectors, data.database
    if vectors is None or database is not data.train:
        vectors, database = _readable(database, embed)
    query_vectors, queries = _readable(data.queries, embed)
    names, codes = np.unique(database.landmarks, return_inverse=True)
    centres = class_centres(vectors, codes.astype(np.int64), len(names))
    true = map(true_landmarks, queries.landmarks)
    known = np.array([bool({*landmarks} & {*names}) for landmarks in true], dtype=bool)
    scores = {}
    for name, gallery, landmark_codes in (
        ("nearest_photo", vectors, codes),
        ("class_centre", centres, np.arange(len(names))),
    ):
        found = nearest(query_vectors, gallery, 1)
        right = is_true(queries.landmarks, names[landmark_codes[found.rows[:, 0]]])
        similarity = found.similarity[:, 0].astype(np.float64)
        scores[f"gap_{name}"] = gap(similarity, right, int(known.sum()))
        scores[f"top1_{name}"] = float(right[known].mean())
    return scores


def _readable(photos: Photos, embed: Embed) -> tuple[Vectors, Photos]:
    vectors, failures = embed(photos)
    readable = ~np.isin(photos.ids, list(failures))
    return vectors[readable], photos.take(readable)
