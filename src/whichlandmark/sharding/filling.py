"""Shards that are done → a gallery, in the table's order, resumable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

from ..embedding import Progress
from ..errors import DataError, GalleryError
from ..gallery.contract import AnyGallery
from ..gallery.records import GalleryRow
from ..pipeline import Behind
from .folder import Marker, ShardFolder
from .rows_file import read_rows
from .task import Task


def fill_from_shards(
    tasks: list[Task],
    done: Iterable[int],
    gallery: AnyGallery,
    *,
    progress: Progress | None = None,
) -> None:
    """Put the shards into the gallery, each as soon as those before it are there.

    done: numbers of tasks, in any order, as their shards get done. A shard is loaded in a thread
      while the next ones are made. Photos that the gallery holds already, with the same path and
      stamp, stay: an interrupted run goes on where it stopped, and row numbers are those of a run
      without shards. progress: counts shards that are loaded.
    Raises DataError when a shard is damaged, GalleryError when another embedder made it.
    """
    loaded = 0

    def tell(_: int) -> None:
        nonlocal loaded
        loaded += 1
        if progress:
            progress(loaded, len(tasks))

    with Behind(tell) as loading:
        for task in _in_order(tasks, done):
            loading.start(partial(load_shard, task, gallery), 1)


def load_shard(task: Task, gallery: AnyGallery) -> None:
    """Put one shard's photos into a gallery that has them not yet.

    Raises as `fill_from_shards`; also DataError when the shard is not done.
    """
    folder = ShardFolder(task.place)
    marker = folder.marker(task.shard)
    if marker is None:
        raise DataError(
            f"{folder.address(task.shard, '.json')}: no such shard, or not done; make it with "
            f"--shard {task.shard.number}/{task.shard.of}"
        )
    _require(marker, gallery, folder.address(task.shard, ".parquet"))
    landmarks = dict(zip(task.photos.ids, task.photos.landmarks, strict=True))
    read = 0
    with folder.fetched(task.shard, marker) as path:
        for rows in read_rows(path, marker.dim):
            read += len(rows)
            there = gallery.stamps([row.id for row in rows])
            if new := [_named(row, landmarks) for row in rows if not _same(row, there)]:
                gallery.put(new)
    if read != marker.rows:
        raise DataError(f"{path}: {read} rows; its marker says {marker.rows}")


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


def _same(row: GalleryRow, there: dict[str, tuple[str, str, str]]) -> bool:
    return row.id in there and there[row.id][:2] == (row.path, row.stamp)


def _named(row: GalleryRow, landmarks: dict[str, str]) -> GalleryRow:
    """The table's landmark. Raises DataError for a photo that the table has not."""
    if row.id not in landmarks:
        raise DataError(f"photo {row.id!r} of a shard is not in the table; make the shard again")
    return replace(row, landmark=landmarks[row.id])


def _require(marker: Marker, gallery: AnyGallery, name: str) -> None:
    if marker.embedder != gallery.embedder_id or marker.dim != gallery.dim:
        raise GalleryError(
            f"{name}: made by embedder {marker.embedder!r}, and {gallery.name} by "
            f"{gallery.embedder_id!r}; use another --shard-folder for each embedder"
        )
