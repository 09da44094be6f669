"""Fill a gallery with photos, resumable: what is embedded already stays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ...core.errors import DataError, GalleryError, ImageError, OptionError
from ...core.fingerprint import fingerprint, pack
from ...core.images import jpeg, read_image
from ...core.storage import stamps as stamps_of
from ...core.types import Embedder, Image, Photos
from ...features.embedders.load import load_embedder
from ...features.pipeline import NOTHING, EmbeddedBatch, Failure, PerPhoto, Progress, embed
from ...features.prefetch import BackgroundTask
from ...gallery.address import open_or_create
from ...gallery.protocol import Gallery
from ...gallery.records import GalleryRow
from ..spatial_verification import SIDE, local_features


@dataclass(frozen=True)
class StoredFeatures:
    """What a gallery keeps of a photo beside its vector, each packed; b"" = not kept."""

    keypoints: bytes
    look: bytes
    thumbnail: bytes


def features_of(image: Image) -> StoredFeatures:
    """(H, W, 3) uint8 → local features, fingerprint and thumbnail."""
    return StoredFeatures(local_features(image), pack(fingerprint(image)), jpeg(image))


FEATURES = PerPhoto(features_of, SIDE)


def fill_gallery(
    embedder: Embedder,
    photos: Photos,
    gallery: Gallery,
    *,
    features: bool = True,
    short_side: int = 0,
    progress: Progress | None = None,
) -> list[Failure]:
    """Put every photo that is not there yet into the gallery; returns what failed.

    A photo is there when its id, path, file size and file time are unchanged: an interrupted run
    goes on where it stopped. A changed landmark is relabelled without embedding again. Each batch
    is one transaction, written while the next is embedded; `progress` counts what is stored.
    features: keep local features, fingerprints and thumbnails too, some 50 KB a photo; without them
    nothing is compared by geometry. short_side: pixels that photos are decoded at, at least, where
    neither the embedder nor `features` needs as many.
    Raises GalleryError when the gallery was made by another embedder.
    """
    gallery.require(embedder.id)
    stamps = stamps_of(photos.paths)
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
    failures: list[Failure] = []
    part = photos.take(todo)
    each = FEATURES if features else PerPhoto(NOTHING.make, short_side)
    done = 0

    def count(stored: int) -> None:
        nonlocal done
        done += stored
        if progress:
            progress(done, len(part))

    with BackgroundTask(count) as writing:
        for batch in embed(embedder, part, each=each):
            before = [stamps[todo[row]] for row in batch.rows]
            rows = [gallery_row(part, batch, i, stamp) for i, stamp in enumerate(before)]
            # An empty put would be a change of the gallery, with a new generation.
            write = partial(gallery.put, rows) if rows else _write_nothing
            writing.start(write, len(rows) + len(batch.failures))
            failures += batch.failures
    return failures


def _write_nothing() -> None:
    """Every photo of the batch failed, so there is nothing to store."""


def gallery_row(photos: Photos, batch: EmbeddedBatch, i: int, stamp: str) -> GalleryRow:
    """The i-th photo of a batch as a gallery keeps it. stamp: of its file, before it was read."""
    row, kept = batch.rows[i], batch.made[i] or StoredFeatures(b"", b"", b"")
    return GalleryRow(
        photos.ids[row], photos.paths[row], photos.landmarks[row], batch.hashes[i], stamp,
        batch.vectors[i], keypoints=kept.keypoints, look=kept.look, thumbnail=kept.thumbnail,
    )  # fmt: skip


def photos_and_distractors(photos: Photos, distractors: Photos | None) -> Photos:
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


def require_photos(gallery: Gallery, failures: Sequence[Failure]) -> None:
    """Raises DataError, with the first reasons, when a gallery came out empty."""
    if gallery.count() == 0:
        reasons = "; ".join(f.reason for f in failures[:3]) or "none were given"
        raise DataError(f"no photo could be indexed: {reasons}")


def open_embedder(
    embedder: Embedder | str | Path,
    photos: Photos,
    folder: Path,
    *,
    device: str = "auto",
    progress: Progress | None = None,
) -> Embedder:
    """The embedder that fills the gallery of a folder: as it is given, or opened by name.

    embedder: an embedder folder, "timm:NAME", or "sift" (the one of the folder, else its vocabulary
    is fitted on these photos). Raises GalleryError for "sift" when another embedder is there.
    """
    if not isinstance(embedder, str | Path):
        return embedder
    if embedder != "sift":
        return load_embedder(embedder, device=device)
    if (folder / "embedder" / "embedder.json").exists():
        stored = load_embedder(folder / "embedder")
        if stored.name != "sift":
            raise GalleryError(f"{folder}: made by embedder {stored.name!r}, not by sift")
        return stored
    from ...features.embedders.sift import SiftEmbedder, SiftOptions

    options = SiftOptions()
    return SiftEmbedder.fit(_readable(photos, options.size, progress), options)


def _readable(photos: Photos, size: int, progress: Progress | None) -> Iterator[Image]:
    """The photos that can be decoded, one at a time; `fill_gallery` lists the others."""
    for row, path in enumerate(photos.paths):
        with suppress(ImageError):
            yield read_image(path, short_side=size)
        if progress:
            progress(row + 1, len(photos))


def gallery_for(folder: Path, embedder: Embedder) -> Gallery:
    """The gallery of a folder, opened or made, for this embedder: where `gallery.json` says, or in
    a file.

    The embedder is saved first: a folder with a gallery always has what made it. Raises
    GalleryError when there is one of another embedder.
    """
    if not (folder / "embedder" / "embedder.json").exists():
        embedder.save(folder / "embedder")
    gallery = open_or_create(folder, embedder.id, embedder.dim)
    try:
        gallery.require(embedder.id)
    except GalleryError:
        gallery.close()
        raise
    return gallery
