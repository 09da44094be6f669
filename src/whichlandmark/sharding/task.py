"""One shard embedded into its file: done once, however often and wherever it is asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..embedding import KEEP, NOTHING, Embedded, Failure, Progress, embed, gallery_row
from ..gallery.records import GalleryRow
from ..members import stamps as stamps_of
from ..types import Embedder, Photos
from .cutting import Shard
from .folder import Marker, ShardFolder, measured
from .rows_file import write_rows


@dataclass(frozen=True, eq=False)
class Task:
    """shard: which; photos: its rows of the table; place: the folder or URL of all shards.

    features: keep local features, fingerprints and thumbnails too.
    """

    shard: Shard
    photos: Photos
    place: str
    features: bool


@dataclass(frozen=True)
class Done:
    """marker: of the shard; made: was it made now, or was it there?"""

    marker: Marker
    made: bool


def make_shard(
    task: Task, embedder: Embedder, *, threads: int | None = None, progress: Progress | None = None
) -> Done:
    """Embed the photos of a shard, unless its marker says that this was done: by the same embedder,
    of the same photos, none of which has changed, and into the file that is there.

    Whatever ends it, there is a whole shard or none. Two processes at the same shard do the work
    twice and leave it once. threads: see `embed`.
    """
    stamps = stamps_of(task.photos.paths)
    folder, table = ShardFolder(task.place), fingerprint(task.photos, stamps)
    there = folder.marker(task.shard)
    if there and _says(there, task, embedder, table) and folder.holds(task.shard, there):
        return Done(there, made=False)
    each = KEEP if task.features else NOTHING
    batches = embed(embedder, task.photos, each=each, threads=threads, progress=progress)
    failures: list[Failure] = []
    with folder.writing(task.shard) as path:
        rows = _rows(task.photos, batches, stamps, failures)
        count = write_rows(path, rows, embedder.dim)
        size, checksum = measured(path)
    marker = Marker(
        task.shard.number, task.shard.of, embedder.id, embedder.dim, task.features, table,
        count, size, checksum, tuple((f.id, f.reason) for f in failures),
    )  # fmt: skip
    folder.mark(task.shard, marker)
    return Done(marker, made=True)


def fingerprint(photos: Photos, stamps: list[str]) -> str:
    """BLAKE2b of ids, paths and stamps: photos that have changed give another. Landmarks do not
    count: the table says them when a shard is loaded.
    """
    digest = hashlib.blake2b(digest_size=16)
    for row in zip(photos.ids, photos.paths, stamps, strict=True):
        digest.update("\0".join((*row, "")).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _says(marker: Marker, task: Task, embedder: Embedder, table: str) -> bool:
    said = (marker.number, marker.of, marker.embedder, marker.dim, marker.features, marker.table)
    shard = task.shard
    return said == (shard.number, shard.of, embedder.id, embedder.dim, task.features, table)


def _rows(
    photos: Photos, batches: Iterable[Embedded], stamps: list[str], failures: list[Failure]
) -> Iterator[GalleryRow]:
    """The photos that could be read, in the table's order; the others go to `failures`."""
    for batch in batches:
        for i, row in enumerate(batch.rows):
            yield gallery_row(photos, batch, i, stamps[row])
        failures += batch.failures
