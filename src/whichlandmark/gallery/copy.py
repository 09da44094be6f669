"""Copy a gallery into another, of any kind; the copy can be resumed and is verified at the end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.errors import GalleryError
from ..core.types import Progress
from .base import Gallery
from .checksums import blob_sum
from .records import GalleryRow, Labels

BATCH_PHOTOS = 500  # written in one change of the target; 50 KB each with local features

SAMPLE_PHOTOS = 1_000  # compared in full at the end


@dataclass(frozen=True)
class CopyResult:
    """Counts of a copy.

    photos: in the source; copied: photos written by this run; records: landmark records; compared:
    photos compared in full.
    """

    photos: int
    copied: int
    records: int
    compared: int


def copy_gallery(
    source: Gallery, target: Gallery, *, progress: Progress | None = None, seed: int = 0
) -> CopyResult:
    """Copy all photos, with vectors and blobs, and all landmark records.

    Photos copied by an interrupted run are skipped. At the end the number of photos per landmark,
    all records and a random sample of complete photos are compared.

    Args:
        source: read in row order.
        target: another gallery of the same embedder, empty or from an interrupted copy.
        progress: called with (photos done, photos in all).
        seed: of the sample.

    Raises:
        GalleryError: when the target has another embedder or other photos, or when the source
            changed during the copy.
    """
    target.require(source.embedder_id)
    _require_copy(source, target)
    generation, total = source.generation, source.count()
    copied = done = 0
    after = -(2**63)
    while batch := source.rows_after(after, BATCH_PHOTOS):
        after = batch[-1][0]
        known = target.stamps([row.id for _, row in batch])
        new = [row for _, row in batch
               if known.get(row.id) != (row.path, row.stamp, row.landmark)]  # fmt: skip
        if new:
            target.put(new)
        copied, done = copied + len(new), done + len(batch)
        if progress:
            progress(done, total)
    records = source.landmarks()
    if records and records != target.landmarks():
        target.describe(records.values())
    if source.generation != generation:
        raise GalleryError(
            f"{source.name}: changed while it was copied; run the command again: photos that are "
            "copied already are skipped"
        )
    return CopyResult(total, copied, len(records), _check_copy(source, target, seed))


def _require_copy(source: Gallery, target: Gallery) -> None:
    """Raise GalleryError where the target holds other photos, before one is replaced."""
    theirs = target.stamps()
    if not theirs:
        return
    mine = source.stamps(list(theirs))
    others = [one for one in theirs if one not in mine or mine[one][0] != theirs[one][0]]
    if others:
        raise GalleryError(
            f"{target.name}: holds {len(others)} photos that are not in {source.name}, such as "
            f"{others[0]!r}; copy into an empty gallery, or add photos with `gallery add`"
        )


def content_sum(row: GalleryRow) -> int:
    """A checksum of a photo without its row number, which differs between galleries."""
    texts = (row.id, row.path, row.landmark, row.hash, row.stamp, row.author, row.licence,
             row.licence_url, row.source)  # fmt: skip
    blobs = (row.vector.astype("<f2").tobytes(), row.keypoints, row.fingerprint, row.thumbnail)
    sums = " ".join(str(blob_sum(blob)) for blob in blobs)
    return blob_sum("\0".join(("content", *texts, sums)).encode())


def _check_copy(source: Gallery, target: Gallery, seed: int) -> int:
    """Raise GalleryError unless both are equal; return the number of photos compared in full."""
    originals, copies = source.labels(), target.labels()
    if len(originals.rows) != len(copies.rows):
        more = len(copies.rows) - len(originals.rows)
        what = f"{more} photos that are not in {source.name}" if more > 0 else "too few photos"
        raise GalleryError(f"{target.name}: holds {what}; copy into an empty gallery")
    if _per_landmark(originals) != _per_landmark(copies):
        raise GalleryError(f"{target.name}: other landmarks than in {source.name}; copy again")
    if source.landmarks() != target.landmarks():
        raise GalleryError(f"{target.name}: other landmark records than in {source.name}")
    rng = np.random.default_rng(seed)
    rows = originals.rows[np.sort(rng.permutation(len(originals.rows))[:SAMPLE_PHOTOS])]
    ids = source.ids_of(rows).tolist()
    for start in range(0, len(ids), BATCH_PHOTOS):
        part = ids[start : start + BATCH_PHOTOS]
        mine, theirs = _content(source, part), _content(target, part)
        if different := [one for one in part if mine.get(one) != theirs.get(one, "missing")]:
            raise GalleryError(f"{target.name}: photo {different[0]!r} is not as in {source.name}")
    return len(rows)


def _per_landmark(labels: Labels) -> dict[str, int]:
    counts = np.bincount(labels.codes + 1, minlength=len(labels.names) + 1).tolist()
    return dict(zip(["", *labels.names], counts, strict=True))


def _content(gallery: Gallery, ids: list[str]) -> dict[str, object]:
    return {row.id: content_sum(row) for _, row in gallery.rows_after(-(2**63), len(ids), ids)}
