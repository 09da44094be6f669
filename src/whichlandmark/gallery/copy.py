"""One gallery → another, wherever each is kept: resumable, and compared at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.errors import GalleryError
from .checksums import blob_sum
from .protocol import Gallery, Labels
from .records import GalleryRow

BATCH = 500  # photos: one change of the target; 50 KB each with local features

SAMPLE = 1_000  # photos that are compared whole at the end

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class CopyResult:
    """photos: in the source; copied: by this run; compared: whole, at the end."""

    photos: int
    copied: int
    records: int
    compared: int


def copy_gallery(
    source: Gallery, target: Gallery, *, progress: Progress | None = None, seed: int = 0
) -> CopyResult:
    """Put every photo of `source` into `target`, in row order, with all that hangs on it.

    What an interrupted run has copied stays. At the end counts and every photo's landmark are
    compared, the records, and a sample of photos whole.
    Raises GalleryError when the target is of another embedder, holds other photos, or when the
    source changed meanwhile.
    """
    target.require(source.embedder_id)
    generation, total = source.generation, source.count()
    copied = done = 0
    after = -(2**63)
    while batch := source.rows_after(after, BATCH):
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
            f"{source.name}: changed while it was copied; run the command again: what is there "
            "already is passed over"
        )
    return CopyResult(total, copied, len(records), _compared(source, target, seed))


def content_sum(row: GalleryRow) -> int:
    """A checksum of everything of a photo but its row number, which is each gallery's own."""
    words = (row.id, row.path, row.landmark, row.hash, row.stamp, row.author, row.licence)
    blobs = (row.vector.astype("<f2").tobytes(), row.keypoints, row.look, row.thumbnail)
    sums = " ".join(str(blob_sum(blob)) for blob in blobs)
    return blob_sum("\0".join(("content", *words, sums)).encode())


def _compared(source: Gallery, target: Gallery, seed: int) -> int:
    """Raises GalleryError unless both hold the same; returns how many were compared whole."""
    mine, others = source.labels(), target.labels()
    if len(mine.rows) != len(others.rows):
        more = len(others.rows) - len(mine.rows)
        what = f"{more} photos that are not in {source.name}" if more > 0 else "too few photos"
        raise GalleryError(f"{target.name}: holds {what}; copy into a gallery of its own")
    if _per_landmark(mine) != _per_landmark(others):
        raise GalleryError(f"{target.name}: other landmarks than in {source.name}; copy again")
    if source.landmarks() != target.landmarks():
        raise GalleryError(f"{target.name}: other landmark records than in {source.name}")
    rng = np.random.default_rng(seed)
    places = np.sort(rng.permutation(len(mine.rows))[:SAMPLE])
    ids = source.ids_of(mine.rows[places])
    row_of = _rows_of(target, others, ids)
    for place, photo_id in zip(places, ids, strict=True):
        one = _whole(source, int(mine.rows[place]))
        other = _whole(target, row_of[photo_id]) if photo_id in row_of else None
        if one is None or other is None or content_sum(one) != content_sum(other):
            raise GalleryError(f"{target.name}: photo {photo_id!r} is not as in {source.name}")
    return len(places)


def _per_landmark(labels: Labels) -> dict[str, int]:
    counts = np.bincount(labels.codes + 1, minlength=len(labels.names) + 1).tolist()
    return dict(zip(["", *labels.names], counts, strict=True))


def _rows_of(gallery: Gallery, labels: Labels, ids: NDArray[np.object_]) -> dict[str, int]:
    """id → row number, of some ids; all are read, in blocks."""
    wanted, found = set(ids.tolist()), {}
    for start in range(0, len(labels.rows), 100_000):
        rows = labels.rows[start : start + 100_000]
        for photo_id, row in zip(gallery.ids_of(rows).tolist(), rows.tolist(), strict=True):
            if photo_id in wanted:
                found[photo_id] = row
    return found


def _whole(gallery: Gallery, row: int) -> GalleryRow | None:
    found = gallery.rows_after(row - 1, 1)
    return found[0][1] if found and found[0][0] == row else None
