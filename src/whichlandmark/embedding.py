"""Photos → vectors: decode and embed in batches; a bad photo is listed, never fatal."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .data.likeness import fingerprint, pack
from .errors import ImageError, OptionError
from .gallery.store import Gallery, GalleryRow
from .geometry import SIDE, local_features
from .images import content_hash, read_bytes, read_image
from .members import stamp
from .thumbnails import jpeg
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
    """One batch: rows into the table (n,), vectors (n, D), content hashes, what `each` made of
    the photos; what failed.
    """

    rows: NDArray[np.int64]
    vectors: Vectors
    hashes: list[str]
    made: list[Any]
    failures: list[Failure]


@dataclass(frozen=True)
class Each:
    """Something to make of each photo while it is in memory, in the decoding threads.

    short_side: pixels of the short side that it needs.
    """

    make: Callable[[Image], Any]
    short_side: int


NOTHING = Each(lambda image: None, 0)


def embed(
    embedder: Embedder, photos: Photos, *, each: Each = NOTHING, progress: Progress | None = None
) -> Iterator[Embedded]:
    """Embed a table batch by batch, in table order; the next batch is decoded meanwhile."""
    starts = range(0, len(photos), BATCH)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:

        def submit(start: int) -> list[Future[tuple[Image, str, Any]]]:
            stop = min(start + BATCH, len(photos))
            return [
                pool.submit(_read, Path(path), embedder.short_side, each)
                for path in photos.paths[start:stop]
            ]

        ahead = submit(0)
        for start in starts:
            current = ahead
            ahead = submit(start + BATCH)
            yield _embed_batch(embedder, photos, start, current)
            if progress:
                progress(start + len(current), len(photos))


def _read(path: Path, short_side: int, each: Each) -> tuple[Image, str, Any]:
    data = read_bytes(path)
    image = read_image(data, short_side=max(short_side, each.short_side), name=str(path))
    return image, content_hash(data), each.make(image)


def _embed_batch(
    embedder: Embedder, photos: Photos, start: int, reads: list[Future[tuple[Image, str, Any]]]
) -> Embedded:
    rows, images, hashes, made, failures = [], [], [], [], []
    for row, read in enumerate(reads, start):
        try:
            image, digest, extra = read.result()
        except ImageError as error:
            failures.append(Failure(photos.ids[row], str(error)))
            continue
        rows.append(row)
        images.append(image)
        hashes.append(digest)
        made.append(extra)
    vectors = embedder(images) if images else np.empty((0, embedder.dim), dtype=np.float32)
    return Embedded(np.array(rows, dtype=np.int64), vectors, hashes, made, failures)


@dataclass(frozen=True)
class Kept:
    """What a gallery keeps of a photo beside its vector, each packed; b"" = not kept."""

    keypoints: bytes
    look: bytes
    thumbnail: bytes


def keep(image: Image) -> Kept:
    """(H, W, 3) uint8 → local features, fingerprint and thumbnail."""
    return Kept(local_features(image), pack(fingerprint(image)), jpeg(image))


KEEP = Each(keep, SIDE)


def fill_gallery(
    embedder: Embedder,
    photos: Photos,
    gallery: Gallery,
    *,
    features: bool = True,
    progress: Progress | None = None,
) -> list[Failure]:
    """Put every photo that is not there yet into the gallery; returns what failed.

    A photo is there when its id, path, file size and file time are unchanged: an
    interrupted run goes on where it stopped. A changed landmark is relabelled without
    embedding again. Each batch is one transaction. features: keep local features, fingerprints
    and thumbnails too, some 50 KB a photo; without them nothing is compared by geometry.
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
    each = KEEP if features else NOTHING
    for batch in embed(embedder, part, each=each, progress=progress):
        gallery.put([_row(part, batch, i, stamps[todo[row]]) for i, row in enumerate(batch.rows)])
        failures += batch.failures
    return failures


def _row(photos: Photos, batch: Embedded, i: int, seen: str) -> GalleryRow:
    row, kept = batch.rows[i], batch.made[i] or Kept(b"", b"", b"")
    return GalleryRow(
        photos.ids[row], photos.paths[row], photos.landmarks[row], batch.hashes[i], seen,
        batch.vectors[i], keypoints=kept.keypoints, look=kept.look, thumbnail=kept.thumbnail,
    )  # fmt: skip


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
