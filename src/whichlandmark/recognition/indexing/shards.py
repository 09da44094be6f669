"""Cut a table into shards, embed one shard into its file, load shards into a gallery; resumable."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from ...core.errors import DataError, GalleryError, OptionError
from ...core.storage import stamps as stamps_of
from ...core.types import Embedder, Photos
from ...features.pipeline import NOTHING, SECTION_ROWS, EmbeddedBatch, Failure, Progress, embed
from ...features.prefetch import BackgroundTask
from ...gallery.protocol import Gallery
from ...gallery.records import GalleryRow
from ..folder.fill import FEATURES, gallery_row
from .shard_folder import Marker, Shard, ShardFolder, measured, read_rows, write_rows

MAX_SHARDS = 100_000


def cut(rows: int, shards: int, section: int | None = None) -> list[Shard]:
    """A table of so many rows → its shards, of sizes as equal as whole sections allow.

    section: rows; None = that of `embed`, so that a photo's vector is the same, to the last bit, as
      in a run without shards: a network's numbers may depend on the other photos of a pass, and
      passes end with a section. Where there are fewer sections than shards, some shards are empty.
    Raises OptionError unless 1 ≤ shards ≤ 100,000.
    """
    if not 1 <= shards <= MAX_SHARDS:
        raise OptionError(f"--shards {shards} given; expected 1 to {MAX_SHARDS}")
    section = section or SECTION_ROWS
    sections = -(-rows // section)
    borders = [min(-(-i * sections // shards) * section, rows) for i in range(shards + 1)]
    return [Shard(i, shards, borders[i], borders[i + 1]) for i in range(shards)]


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
class MadeShard:
    """marker: of the shard; made: was it made now, or was it there?"""

    marker: Marker
    made: bool


def make_shard(
    task: Task, embedder: Embedder, *, threads: int | None = None, progress: Progress | None = None
) -> MadeShard:
    """Embed the photos of a shard, unless its marker says that this was done: by the same embedder,
    of the same photos, none of which has changed, and into the file that is there.

    Whatever ends it, there is a whole shard or none. Two processes at the same shard do the work
    twice and leave it once. threads: see `embed`.
    """
    stamps = stamps_of(task.photos.paths)
    folder, table = ShardFolder(task.place), fingerprint(task.photos, stamps)
    shard = task.shard
    marker = folder.marker(shard)
    expected = (shard.number, shard.of, embedder.id, embedder.dim, task.features, table)
    if marker and marker.made_of == expected and folder.holds(shard, marker):
        return MadeShard(marker, made=False)
    each = FEATURES if task.features else NOTHING
    batches = embed(embedder, task.photos, each=each, threads=threads, progress=progress)
    failures: list[Failure] = []
    with folder.writing(shard) as path:
        rows = _gallery_rows(task.photos, batches, stamps, failures)
        count = write_rows(path, rows, embedder.dim)
        size, checksum = measured(path)
    failed = tuple((f.id, f.reason) for f in failures)
    marker = Marker(*expected, count, size, checksum, failed)
    folder.mark(shard, marker)
    return MadeShard(marker, made=True)


def fingerprint(photos: Photos, stamps: list[str]) -> str:
    """BLAKE2b of ids, paths and stamps: photos that have changed give another. Landmarks do not
    count, because they are taken from the table when a shard is loaded.
    """
    digest = hashlib.blake2b(digest_size=16)
    for row in zip(photos.ids, photos.paths, stamps, strict=True):
        digest.update("\0".join((*row, "")).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _gallery_rows(
    photos: Photos, batches: Iterable[EmbeddedBatch], stamps: list[str], failures: list[Failure]
) -> Iterator[GalleryRow]:
    """The photos that could be read, in the table's order; the others go to `failures`."""
    for batch in batches:
        for i, row in enumerate(batch.rows):
            yield gallery_row(photos, batch, i, stamps[row])
        failures += batch.failures


def fill_from_shards(
    tasks: list[Task],
    done: Iterable[int],
    gallery: Gallery,
    *,
    progress: Progress | None = None,
) -> list[str]:
    """Put the shards into the gallery, each as soon as those before it are there; returns the ids
    of photos that no shard holds, in the table's order: those that failed.

    done: numbers of tasks, in any order, as their shards get done. A shard is loaded in a thread
      while the next ones are made. Photos that the gallery holds already, with the same path and
      stamp, stay: an interrupted run goes on where it stopped, and row numbers are those of a run
      without shards. progress: counts shards that are loaded.
    Raises DataError when a shard is damaged, GalleryError when another embedder made it.
    """
    missing: list[str] = []
    loaded = 0

    def load(task: Task) -> None:
        missing.extend(load_shard(task, gallery))

    def count(_: int) -> None:
        nonlocal loaded
        loaded += 1
        if progress:
            progress(loaded, len(tasks))

    with BackgroundTask(count) as loading:
        for task in _in_order(tasks, done):
            loading.start(partial(load, task), 1)
    return missing


def load_shard(task: Task, gallery: Gallery) -> list[str]:
    """Put one shard's photos into a gallery, those that it has not yet; returns the ids of the
    task's photos that the shard does not hold.

    The landmark is the table's: a photo that is there under another one is relabelled.
    Raises as `fill_from_shards`; also DataError when the shard is not done.
    """
    folder = ShardFolder(task.place)
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
    places = {photo_id: row for row, photo_id in enumerate(task.photos.ids)}
    missing, read = dict.fromkeys(task.photos.ids.tolist()), 0
    with folder.fetched(task.shard, marker) as path:
        for rows in read_rows(path, marker.dim):
            read += len(rows)
            stored = gallery.stamps([row.id for row in rows])
            new, renamed = [], {}
            for row in rows:
                place = places.get(row.id)
                if place is None:
                    raise DataError(
                        f"photo {row.id!r} of a shard is not in the table; make the shard again"
                    )
                if row.path != task.photos.paths[place]:
                    continue  # the table has another file under this id now
                missing.pop(row.id, None)
                landmark = task.photos.landmarks[place]
                if row.id not in stored or stored[row.id][:2] != (row.path, row.stamp):
                    new.append(replace(row, landmark=landmark))
                elif stored[row.id][2] != landmark:
                    renamed[row.id] = landmark
            if renamed:
                gallery.relabel(renamed)
            if new:
                gallery.put(new)
    if read != marker.rows:
        raise DataError(f"{path}: {read} rows; its marker says {marker.rows}")
    return list(missing)


def _in_order(tasks: list[Task], done: Iterable[int]) -> Iterator[Task]:
    """Tasks from the first to the last, each when it and all before it are done."""
    early: set[int] = set()
    turn = 0
    for number in done:
        early.add(number)
        while turn in early:
            early.remove(turn)
            yield tasks[turn]
            turn += 1
