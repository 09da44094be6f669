"""Shards of an index run: cut a table, embed a shard into its file, load shards into a gallery.

Each shard is embedded on any machine; the gallery is then filled in the table's order. All steps
are resumable.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from ...core.errors import DataError, GalleryError, OptionError
from ...core.storage import stamps as stamps_of
from ...core.types import Embedder, Photos, Progress
from ...features.pipeline import COMPUTE_NOTHING, SECTION_ROWS, EmbeddedBatch, Failure, embed
from ...features.prefetch import BackgroundTask
from ...gallery.base import Gallery
from ...gallery.records import GalleryRow
from ..folder.fill import FEATURES, gallery_row
from ..folder.update import GalleryUpdate
from .shard_folder import Marker, Shard, ShardFolder, read_rows, size_and_checksum, write_rows

MAX_SHARDS = 100_000


def cut_table(rows: int, shards: int, section: int | None = None) -> list[Shard]:
    """Shards of a table, of sizes as equal as whole sections allow.

    A section is never cut, because a network's output may depend on the other photos of its batch,
    and batches end with a section: so every vector is bit-identical to that of a run without
    shards. Where there are fewer sections than shards, some shards are empty.

    Args:
        rows: Rows of the table.
        shards: Number of shards.
        section: Rows of a section; None = that of `embed`.

    Raises:
        OptionError: Unless 1 ≤ shards ≤ 100,000.
    """
    if not 1 <= shards <= MAX_SHARDS:
        raise OptionError(f"--shards {shards} given; expected 1 to {MAX_SHARDS}")
    section = section or SECTION_ROWS
    sections = -(-rows // section)
    borders = [min(-(-i * sections // shards) * section, rows) for i in range(shards + 1)]
    return [Shard(i, shards, borders[i], borders[i + 1]) for i in range(shards)]


@dataclass(frozen=True, eq=False)
class ShardTask:
    """A shard to be made.

    Attributes:
        shard: Its number and rows.
        photos: Its rows of the table.
        location: Folder or URL of all shards.
        features: Store local features, fingerprints and thumbnails too.
    """

    shard: Shard
    photos: Photos
    location: str
    features: bool


@dataclass(frozen=True)
class MadeShard:
    """A finished shard. newly_made: False = it existed already."""

    marker: Marker
    newly_made: bool


def make_shard(
    task: ShardTask,
    embedder: Embedder,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> MadeShard:
    """Embed the photos of a shard into its file, unless it exists already.

    It exists when its marker names the same embedder and the same photos, none of them changed,
    and fits the file. An interruption leaves a complete shard or none. Two processes that make the
    same shard both do the work and write the same result. threads: see `embed`.
    """
    stamps = stamps_of(task.photos.paths)
    folder, table = ShardFolder(task.location), table_fingerprint(task.photos, stamps)
    shard = task.shard
    marker = folder.marker(shard)
    expected = (shard.number, shard.of, embedder.id, embedder.dim, task.features, table)
    if marker and marker.inputs == expected and folder.holds(shard, marker):
        return MadeShard(marker, newly_made=False)
    each = FEATURES if task.features else COMPUTE_NOTHING
    batches = embed(embedder, task.photos, per_photo=each, threads=threads, progress=progress)
    failures: list[Failure] = []
    with folder.writing(shard) as path:
        rows = _gallery_rows(task.photos, batches, stamps, failures)
        count = write_rows(path, rows, embedder.dim)
        size, checksum = size_and_checksum(path)
    failed = tuple((f.id, f.reason) for f in failures)
    marker = Marker(*expected, count, size, checksum, failed)
    folder.mark(shard, marker)
    return MadeShard(marker, newly_made=True)


def table_fingerprint(photos: Photos, stamps: list[str]) -> str:
    """BLAKE2b of ids, paths and stamps, which differs when a photo has changed.

    Without landmarks, because these are taken from the table when a shard is loaded.
    """
    digest = hashlib.blake2b(digest_size=16)
    for row in zip(photos.ids, photos.paths, stamps, strict=True):
        digest.update("\0".join((*row, "")).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _gallery_rows(
    photos: Photos, batches: Iterable[EmbeddedBatch], stamps: list[str], failures: list[Failure]
) -> Iterator[GalleryRow]:
    """Rows of the photos that could be read, in the table's order; the others go to `failures`."""
    for batch in batches:
        for i, row in enumerate(batch.rows):
            yield gallery_row(photos, batch, i, stamps[row])
        failures += batch.failures


def fill_from_shards(
    tasks: list[ShardTask],
    done: Iterable[int],
    gallery: Gallery,
    *,
    update: GalleryUpdate | None = None,
    progress: Progress | None = None,
) -> list[str]:
    """Load shards into the gallery in order, each as soon as it and all before it are done.

    A shard is loaded in a thread while the next ones are made. Photos that the gallery has stay, so
    an interrupted run continues where it stopped, and row numbers are those of a run without
    shards.

    Args:
        tasks: All shards.
        done: Numbers of tasks, in any order, as their shards get done.
        gallery: Where the photos are stored.
        update: Stores what the gallery lacks; None = one of the shards' photos alone.
        progress: Counts loaded shards.

    Returns:
        Ids of photos that no shard holds, because they failed, in the table's order.

    Raises:
        DataError: When a shard is damaged.
        GalleryError: When another embedder made it.
    """
    missing: list[str] = []
    loaded = 0

    def load(task: ShardTask) -> None:
        missing.extend(load_shard(task, gallery, update))

    def count(_: int) -> None:
        nonlocal loaded
        loaded += 1
        if progress:
            progress(loaded, len(tasks))

    with BackgroundTask(count) as loading:
        for task in _in_order(tasks, done):
            loading.start(partial(load, task), 1)
    return missing


def load_shard(task: ShardTask, gallery: Gallery, update: GalleryUpdate | None = None) -> list[str]:
    """Store the photos of one shard that the gallery lacks, under the landmarks of the table.

    update: of the whole table, prepared; None = of this shard's photos.

    Returns:
        Ids of the task's photos that the shard does not hold.

    Raises:
        DataError: When the shard is damaged or not done.
        GalleryError: When another embedder made it.
    """
    folder = ShardFolder(task.location)
    marker = folder.marker(task.shard)
    if marker is None:
        raise DataError(
            f"{folder.address(task.shard, '.json')}: no such shard, or not done; make it with "
            f"--shard {task.shard.number}/{task.shard.of}"
        )
    if marker.embedder != gallery.embedder_id or marker.dim != gallery.dim:
        raise GalleryError(
            f"{folder.address(task.shard, '.parquet')}: made by embedder {marker.embedder!r}, and "
            f"{gallery.name} by {gallery.embedder_id!r}; use another --shard-folder for each "
            "embedder"
        )
    if update is None:
        update = GalleryUpdate(task.photos, gallery)
        update.prepare()
    row_of = {photo_id: row for row, photo_id in enumerate(task.photos.ids)}
    missing, read = dict.fromkeys(task.photos.ids.tolist()), 0
    with folder.fetched(task.shard, marker) as path:
        for rows in read_rows(path, marker.dim):
            read += len(rows)
            new = []
            for row in rows:
                table_row = row_of.get(row.id)
                if table_row is None:
                    raise DataError(
                        f"photo {row.id!r} of a shard is not in the table; make the shard again"
                    )
                if row.path != task.photos.paths[table_row]:
                    continue  # the table now has another file under this id
                missing.pop(row.id, None)
                new.append(row)
            update.store(new)
    if read != marker.rows:
        raise DataError(f"{path}: {read} rows; its marker says {marker.rows}")
    return list(missing)


def _in_order(tasks: list[ShardTask], done: Iterable[int]) -> Iterator[ShardTask]:
    """Tasks in order, each as soon as it and all before it are done."""
    finished: set[int] = set()
    next_number = 0
    for number in done:
        finished.add(number)
        while next_number in finished:
            finished.remove(next_number)
            yield tasks[next_number]
            next_number += 1
