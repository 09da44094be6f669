"""The whole job: a table in shards, here or on a cluster, into a recognizer folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..embedding import Failure, Progress, merged
from ..errors import ImageError, OptionError
from ..indexing import Indexed, embedder_of, gallery_of, index_photos, rules_of
from ..loading import PREFIX
from ..remote import is_url, opened
from ..rules import Rules
from ..types import Embedder, Photos
from .asked import Asked
from .cutting import cut
from .filling import fill_from_shards
from .folder import ShardFolder
from .ray_engine import Opening, made_by_ray
from .rows_file import arrow
from .task import Task, make_shard

SHARDS = "shards"  # the folder of shards within a recognizer folder


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is indexed, and how.

    photos, distractors, out, source, rules, device: as `index_photos` takes them.
    shards: how many. place: folder or URL of the shards; "" = `shards` in `out`.
    engine: "here" = one after another in this process, "ray" = on a Ray cluster, "none" = they
    were made before, and are only loaded.
    """

    photos: Photos
    distractors: Photos | None
    out: Path
    source: str
    shards: int
    rules: Rules | None = None
    device: str = "auto"
    place: str = ""
    engine: str = "here"


def in_shards(
    asked: Asked, photos: Photos, distractors: Photos | None, out: Path, source: str, *,
    progress: Callable[[str], Progress], **options: Any,
) -> Indexed:  # fmt: skip
    """What the options ask for: one shard, or the job. Called as `index_photos` is.

    Raises OptionError, before anything is embedded, for options that do not fit together, and
    without pyarrow.
    """
    shards, number, engine = asked.settled()
    arrow()  # is it installed?
    job = Job(
        photos=photos, distractors=distractors, out=out, source=source, shards=shards,
        place=asked.folder or "", engine=engine, **options,
    )  # fmt: skip
    if number is None:
        return index_in_shards(job, progress)
    return make_one_shard(job, number, progress)


def index_in_shards(job: Job, progress: Callable[[str], Progress]) -> Indexed:
    """Make the shards that are not done, load them, and end as `index_photos` does, which tries
    photos that failed once more: the recognizer is that of a run without shards.

    Raises as `index_photos`, `make_shard` and `fill_from_shards` do.
    """
    embedder, tasks = _planned(job, progress)
    with gallery_of(job.out, embedder) as gallery:
        done = _done(job, tasks, embedder, progress("embedding"))
        fill_from_shards(tasks, done, gallery, progress=progress("loading shards"))
    return index_photos(
        job.photos, job.distractors, job.out, job.source,
        rules=job.rules, device=job.device, progress=progress,
    )  # fmt: skip


def make_one_shard(job: Job, number: int, progress: Callable[[str], Progress]) -> Indexed:
    """Embed one shard into its file, and nothing else: several machines each do theirs."""
    embedder, tasks = _planned(job, progress)
    record = job.out / "embedder" / "embedder.json"
    if job.source == "sift" and not record.exists():
        embedder.save(record.parent)  # what was learned from all photos need not be learned again
    done = make_shard(tasks[number], embedder, progress=progress("embedding"))
    counts: dict[str, int | str] = {
        "shard": f"{number}/{job.shards}", "photos": done.marker.rows,
        "failed": len(done.marker.failures), "done before": "no" if done.made else "yes",
        "file": ShardFolder(tasks[number].place).address(tasks[number].shard, ".parquet"),
    }  # fmt: skip
    return Indexed(counts, [Failure(*failure) for failure in done.marker.failures])


def _planned(job: Job, progress: Callable[[str], Progress]) -> tuple[Embedder, list[Task]]:
    place = _place(job)
    table = merged(job.photos, job.distractors)
    shards = cut(len(table), job.shards)
    features = rules_of(job.out, job.rules).verify > 0
    embedder = embedder_of(
        job.source, table, job.out, device=job.device, progress=progress("fitting")
    )
    rows = [range(shard.first, shard.end) for shard in shards]
    return embedder, [
        Task(shard, table.take(part), place, features)
        for shard, part in zip(shards, rows, strict=True)
    ]


def _place(job: Job) -> str:
    """Of the shards: a URL, or an absolute path, for other processes have another working folder.

    Raises OptionError for a URL that shards cannot go to.
    """
    place = job.place.removeprefix("file://") or str(job.out / SHARDS)
    if not is_url(place):
        return os.path.abspath(place)
    try:
        opened(place)
    except ImageError as error:
        raise OptionError(f"--shard-folder {error}") from None
    return place


def _done(job: Job, tasks: list[Task], embedder: Embedder, progress: Progress) -> Iterator[int]:
    """Numbers of tasks, as their shards get done."""
    if job.engine == "ray":
        # What sift has learned lies in the folder by now; other sources are opened as here.
        source = str(job.out / "embedder") if job.source == "sift" else job.source
        if not source.startswith(PREFIX):
            source = os.path.abspath(source)
        yield from made_by_ray(tasks, Opening(source, job.device), progress=progress)
        return
    total, before = sum(len(task.photos) for task in tasks), 0
    for number, task in enumerate(tasks):
        if job.engine == "here":
            make_shard(task, embedder, progress=partial(_told, progress, before, total))
        before += len(task.photos)
        yield number


def _told(progress: Progress, before: int, total: int, done: int, _: int) -> None:
    progress(before + done, total)
