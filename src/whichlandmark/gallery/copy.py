"""Copy into a gallery: another gallery of any kind, or csv tables of records and credits.

The copy of a gallery can be resumed, and is verified at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.errors import GalleryError
from ..core.types import Photos, Progress
from .base import Gallery
from .checksums import blob_sum
from .records import (
    Credit,
    GalleryRow,
    Labels,
    LandmarkRecord,
    read_credits,
    read_landmarks,
)

BATCH_PHOTOS = 500  # written in one change of the target; 50 KB each with local features

SAMPLE_PHOTOS = 1_000  # compared in full at the end


@dataclass(frozen=True)
class LandmarkTables:
    """CSV files that go with photos: landmark records, and credits of photos."""

    landmarks: Path | None = None
    credits: Path | None = None

    def read(self) -> TableRows:
        """The rows of both. Raises DataError for a file that cannot be read, naming the line."""
        return TableRows(
            read_landmarks(self.landmarks) if self.landmarks else [],
            read_credits(self.credits) if self.credits else {},
        )


@dataclass(frozen=True)
class TableRows:
    """Landmark records, and credits by photo id."""

    records: list[LandmarkRecord]
    credits: Mapping[str, Credit]

    def put_into(self, gallery: Gallery, photos: Photos | None) -> dict[str, int]:
        """Store what belongs to landmarks and photos of a gallery; the numbers, to print.

        What the gallery has already is not written again, so that its generation stays; that it
        had something else is counted, because that may have been changed by hand.

        Args:
            gallery: Filled.
            photos: The table that the credits go with, whose photos may have another id in the
                gallery, where another photo has theirs; None = the ids are those of the gallery.
        """
        used = {*gallery.labels().names} if self.records else set()
        described = [record for record in self.records if record.name in used]
        there = gallery.landmarks() if described else {}
        new = [record for record in described if there.get(record.name) != record]
        if new:
            gallery.describe(new)
        given = self._by_gallery_id(gallery, photos)
        old = gallery.credits(given)
        credited = {photo_id: credit for photo_id, credit in given.items() if photo_id in old}
        changed = {one: credit for one, credit in credited.items() if old[one] != credit}
        if changed:
            gallery.credit(changed)
        replaced = {
            "records replaced": sum(record.name in there for record in new),
            "credits replaced": sum(any(old[one]) for one in changed),
        }
        unused = len(self.records) - len(described), len(self.credits) - len(credited)
        return {
            "records": len(described), "records without a photo": unused[0],
            "credits": len(credited), "credits without a photo": unused[1],
            **{name: count for name, count in replaced.items() if count},
        }  # fmt: skip

    def _by_gallery_id(self, gallery: Gallery, photos: Photos | None) -> dict[str, Credit]:
        if photos is None or not self.credits:
            return dict(self.credits)
        rows = zip(photos.ids, photos.paths, strict=True)
        paths = {photo_id: path for photo_id, path in rows if photo_id in self.credits}
        id_at = {path: photo_id for photo_id, (path, _, _) in gallery.stamps().items()}
        return {id_at.get(paths.get(one, ""), one): credit for one, credit in self.credits.items()}


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
