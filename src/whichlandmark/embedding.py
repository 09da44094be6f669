"""Photos → vectors: decode and embed in batches; a bad photo is listed, never fatal."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import ImageError, OptionError
from .gallery.store import Gallery, GalleryRow
from .images import content_hash, read_bytes, read_image
from .members import stamp
from .types import Embedder, Image, Photos, Vectors

BATCH = 64  # photos decoded ahead: bounds memory to two batches of pixels
Progress = Callable[[int, int], None]  # (photos done, photos in all)


@dataclass(frozen=True)
class Failure:
    """A photo that could not be used, and why."""

    id: str
    reason: str


@dataclass(frozen=True, eq=False)
class Embedded:
    """One batch: rows into the table (n,), vectors (n, D), content hashes; what failed."""

    rows: NDArray[np.int64]
    vectors: Vectors
    hashes: list[str]
    failures: list[Failure]


def embed(
    embedder: Embedder, photos: Photos, *, progress: Progress | None = None
) -> Iterator[Embedded]:
    """Embed a table batch by batch, in table order; the next batch is decoded meanwhile."""
    starts = range(0, len(photos), BATCH)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:

        def submit(start: int) -> list[Future[tuple[Image, str]]]:
            stop = min(start + BATCH, len(photos))
            return [
                pool.submit(_read, Path(path), embedder.short_side)
                for path in photos.paths[start:stop]
            ]

        ahead = submit(0)
        for start in starts:
            current = ahead
            ahead = submit(start + BATCH)
            yield _embed_batch(embedder, photos, start, current)
            if progress:
                progress(start + len(current), len(photos))


def _read(path: Path, short_side: int) -> tuple[Image, str]:
    data = read_bytes(path)
    return read_image(data, short_side=short_side, name=str(path)), content_hash(data)


def _embed_batch(
    embedder: Embedder, photos: Photos, start: int, reads: list[Future[tuple[Image, str]]]
) -> Embedded:
    rows, images, hashes, failures = [], [], [], []
    for row, read in enumerate(reads, start):
        try:
            image, digest = read.result()
        except ImageError as error:
            failures.append(Failure(photos.ids[row], str(error)))
            continue
        rows.append(row)
        images.append(image)
        hashes.append(digest)
    vectors = embedder(images) if images else np.empty((0, embedder.dim), dtype=np.float32)
    return Embedded(np.array(rows, dtype=np.int64), vectors, hashes, failures)


def fill_gallery(
    embedder: Embedder, photos: Photos, gallery: Gallery, *, progress: Progress | None = None
) -> list[Failure]:
    """Put every photo that is not there yet into the gallery; returns what failed.

    A photo is there when its id, path, file size and file time are unchanged: an
    interrupted run goes on where it stopped. A changed landmark is relabelled without
    embedding again. Each batch is one transaction.
    Raises GalleryError when the gallery was made by another embedder.
    """
    gallery.require(embedder.id)
    stamps = [stamp(path) for path in photos.paths]
    known = gallery.stamps()
    todo, renamed = [], {}
    for row, photo_id in enumerate(photos.ids):
        stored = known.get(photo_id)
        if stored is None or stored[:2] != (photos.paths[row], stamps[row]):
            todo.append(row)
        elif stored[2] != photos.landmarks[row]:
            renamed[photo_id] = photos.landmarks[row]
    if renamed:
        gallery.relabel(renamed)
    failures = []
    part = photos.take(todo)
    for batch in embed(embedder, part, progress=progress):
        gallery.put(
            [
                GalleryRow(
                    part.ids[row], part.paths[row], part.landmarks[row], digest,
                    stamps[todo[row]], vector,
                )
                for row, digest, vector in zip(batch.rows, batch.hashes, batch.vectors, strict=True)
            ]
        )  # fmt: skip
        failures += batch.failures
    return failures


def merged(photos: Photos, distractors: Photos | None) -> Photos:
    """Landmark photos and distractors as one table; the distractors lose their landmarks.

    Raises OptionError when a landmark photo has no landmark, DataError when one has several, or
    when ids collide.
    """
    if unnamed := int((photos.landmarks == "").sum()):
        raise OptionError(
            f"{unnamed} of the {len(photos)} photos to index have no landmark; give photos "
            "without a landmark as distractors"
        )
    photos.require_one_landmark("indexing")
    if distractors is None or not len(distractors):
        return photos
    table = Photos(
        np.concatenate([photos.ids, distractors.ids]),
        np.concatenate([photos.paths, distractors.paths]),
        np.concatenate([photos.landmarks, np.full(len(distractors), "", dtype=object)]),
        np.concatenate([photos.usages, distractors.usages]),
    )
    table.check_ids()
    return table
