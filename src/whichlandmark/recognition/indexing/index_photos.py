"""Index photos into a recognizer folder: in one process, in shards or on Ray. Resumable."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np

from ...core.disks import require_writable
from ...core.errors import GalleryError, ImageError, OptionError
from ...core.hardware import check_device
from ...core.json_options import Span, check_fields, count
from ...core.storage import is_url, open_store
from ...core.types import Embedder, Photos, Progress, ProgressFor
from ...features.embedders.by_count import embedder_for
from ...features.embedders.lite0 import stored_version
from ...features.embedders.load import TIMM_PREFIX
from ...features.embedders.own import recorded_object
from ...features.pipeline import Failure
from ...gallery.address import (
    Link,
    changed_link,
    is_search_index,
    open_search_index,
    read_link,
    write_link,
)
from ...gallery.base import Gallery
from ...gallery.copy import LandmarkTables
from ...gallery.index.open import searched_on_server
from ..decision import Fitted
from ..folder.fill import gallery_for, open_embedder, photos_and_distractors, require_photos
from ..folder.load import assemble, refresh_index_files
from ..folder.settings import read_settings, require_place, stored_rules, write_settings
from ..folder.update import GalleryUpdate, UpdateOptions, fill_gallery, updating
from ..recognizer import Recognizer
from ..rules import Rules, require_server_rules
from .ray_engine import EmbedderSource, make_shards_on_ray
from .shard_folder import ShardFolder, import_pyarrow
from .shards import ShardTask, cut_table, fill_from_shards, make_shard

ENGINES = ("local", "ray", "none")

SHARDS_FOLDER = "shards"  # within a recognizer folder

log = logging.getLogger("whichlandmark")


@dataclass(frozen=True, kw_only=True)
class IndexOptions:
    """How photos are indexed.

    Attributes:
        rules: None = those of an earlier run into the folder, else `Rules.for_gallery`.
        features: Store local features, for spatial verification and evidence; False sets `verify`
            to 0. With `verify` 0 none are stored.
        device: As `load_embedder` takes it.
        gallery: Address of a server for the gallery; None = as the folder says, else a file in it.
        search: "here" = index files in the folder, "there" = the gallery's server searches, or the
            address of a search index, as qdrant://HOST:6334/NAME; None = as the folder says, else
            "here".
        shards: Number of shards of the table, each embedded into a file first; None = no shards.
        shard: Number of the only shard to make; nothing is loaded then.
        shard_folder: Folder or URL of the shards; None = `shards` in the recognizer folder.
        engine: "local" makes the shards in this process, "ray" on a Ray cluster, "none" only loads
            existing ones.
        relabel: The table's landmarks count also where landmarks were changed by hand, and where
            the gallery has the same bytes under another landmark.
        restore: Add photos again that were removed by hand.
        landmarks: landmarks.csv, records of the landmarks. credits: credits.csv, credits of the
            photos and distractors, by the ids in their tables.
    """

    rules: Rules | None = None
    features: bool = True
    device: str = "auto"
    gallery: str | None = None
    search: str | None = None
    shards: int | None = None
    shard: int | None = None
    shard_folder: str | None = None
    engine: str = "local"
    relabel: bool = False
    restore: bool = False
    landmarks: Path | None = None
    credits: Path | None = None

    spans: ClassVar[Mapping[str, Span]] = {"shards": count(1, 100_000), "shard": count(0, 99_999)}

    def __post_init__(self) -> None:
        check_fields(self)
        check_device(self.device)
        if self.engine == "here":
            _warn_of_old_engine_name()
            object.__setattr__(self, "engine", "local")
        if self.engine not in ENGINES:
            raise OptionError(f"engine {self.engine!r} given; expected {', '.join(ENGINES)}")
        needs_shards = (self.shard, self.shard_folder) != (None, None) or self.engine != "local"
        if self.shards is None and needs_shards:
            raise OptionError("shard, shard_folder or engine given; expected shards with it")
        if self.shard is not None and not 0 <= self.shard < (self.shards or 0):
            last = (self.shards or 0) - 1
            raise OptionError(f"shard {self.shard} given; the first is 0, the last {last}")
        if self.shard is not None and self.engine != "local":
            raise OptionError(f"shard {self.shard} and engine {self.engine!r} given; one shard is "
                              "made in this process")  # fmt: skip
        if self.shard is not None and (self.landmarks or self.credits):
            raise OptionError(
                f"shard {self.shard} and a table of landmarks or credits given; one shard loads "
                "nothing: give the tables to the command that loads the shards"
            )


@dataclass(frozen=True)
class Indexed:
    """Result of an index run.

    Attributes:
        counts: Numbers to print.
        failures: The photos that were not used, with the reasons: unreadable ones, those that the
            gallery has under another landmark, and distractors that show a landmark.
        notes: What a user may not expect, one line each.
    """

    counts: dict[str, int | str]
    failures: list[Failure]
    notes: tuple[str, ...] = ()


def index_photos(
    photos: Photos,
    distractors: Photos | None,
    folder: Path,
    embedder: Embedder | str | Path | None = None,
    options: IndexOptions | None = None,
    *,
    progress: ProgressFor,
) -> Indexed:
    """Embed photos and distractors into a recognizer folder; existing photos stay.

    With shards the result is bit-identical; photos that failed in their shards are tried again.

    Args:
        photos: Landmark photos.
        distractors: Photos without a landmark.
        folder: The recognizer folder, new or not.
        embedder: As `open_embedder` takes it; None = the folder's, else "lite0".
        options: None = the defaults.
        progress: Name of a step → its progress function.

    Raises:
        OptionError: For options that do not fit together; nothing is written then.
        GalleryError: When another embedder made the folder; nothing is written then.
        DataError: When the folder cannot be written, no photo could be read, or a shard or one of
            the tables that `options` name, which are read first, is damaged.
    """
    options = options or IndexOptions()
    rows = LandmarkTables(options.landmarks, options.credits).read()
    require_place(folder)
    require_writable(folder, folder=True)
    table = photos_and_distractors(photos, distractors)
    rules = rules_for(folder, options)
    tasks = _shard_tasks(table.of_one_landmark()[0], folder, options, features=rules.verify > 0)
    link = _write_link(folder, options)
    chosen = open_embedder(
        embedder, table, folder, device=options.device, progress=progress("fitting")
    )
    opened = embedder_for(chosen, len(table))  # of the whole table, also with shards
    if options.shard is not None:
        return _make_one_shard(tasks[options.shard], opened, folder, progress("embedding"))
    how = UpdateOptions(rules.verify > 0, relabel=options.relabel, restore=options.restore)
    with gallery_for(folder, opened) as gallery:
        with updating(folder, table, gallery, "index", how) as (update, todo):
            if options.shards is not None:
                source = EmbedderSource(_address_for_ray(embedder, folder), options.device)
                done = _make_shards(tasks, opened, source, options.engine, progress("embedding"))
                failed = fill_from_shards(
                    tasks, done, gallery, update=update, progress=progress("loading shards")
                )
                todo = todo.take(np.isin(todo.ids, np.array(failed, dtype=object)))
            fill_gallery(opened, todo, update, progress=progress("indexing"))
            require_photos(gallery, update.changes)
            from_tables = rows.put_into(gallery, table)
            syncing = progress("syncing") if is_search_index(link.search) else None
            recognizer = finish_recognizer(folder, opened, gallery, rules, progress=syncing)
        counts = _counts(update, recognizer)
        if options.landmarks or options.credits:
            counts |= from_tables
    unused = [Failure(*problem) for problem in update.changes.problems.items()]
    return Indexed(counts, unused, (*update.changes.notes(), *recognizer.notes))


def _write_link(folder: Path, options: IndexOptions) -> Link:
    """Write where the gallery is and is searched.

    Raises GalleryError where the server of a new search index does not answer, or holds something
    else, because that would be found out hours later.
    """
    link = changed_link(folder, options.gallery, options.search)
    if is_search_index(link.search) and link != read_link(folder) and options.shard is None:
        open_search_index(link.search).state()
    write_link(folder, link)
    return link


def _counts(update: GalleryUpdate, recognizer: Recognizer) -> dict[str, int | str]:
    """The numbers of a run, to print."""
    index, changed = recognizer.index, update.changes.counts
    by_default = recognizer.fitted.note
    return {
        "photos": len(index.ids), "landmarks": len(index.names),
        "distractors": len(index.distractor_vectors), "failed": changed.pop("failed"),
        "not in this table": recognizer.gallery.count() - update.in_table, **changed,
        "embedder": recognizer.embedder.id, "score": recognizer.rules.score,
        "calibration": "default: too few photos" if by_default else "fitted on these photos",
    }  # fmt: skip


def rules_for(folder: Path, options: IndexOptions) -> Rules:
    """The given rules, else those of an earlier run, else the defaults for such a gallery.

    Raises OptionError when the gallery's server cannot search by them.
    """
    search = changed_link(folder, options.gallery, options.search).search
    rules = options.rules or stored_rules(folder)
    if rules is None:
        rules = Rules.for_gallery(search=search, features=options.features)
    elif not options.features:
        rules = replace(rules, verify=0)
    if search != "here" and options.rules is None and rules.whitening != "none":
        log.warning("%s: whitening is left out, because a server searches the gallery", folder)
        rules = replace(rules, whitening="none")
    if search != "here":
        require_server_rules(rules)
    return rules


def finish_recognizer(
    folder: Path,
    embedder: Embedder,
    gallery: Gallery,
    rules: Rules,
    *,
    progress: Progress | None = None,
) -> Recognizer:
    """Turn a filled gallery into a recognizer folder: fit, write settings and index files.

    An earlier fit is used where neither photos nor rules have changed. progress: of the sync of a
    search index.
    """
    gallery.optimize()
    fitted = _earlier_fit(folder, rules, gallery)
    server_folder = folder if searched_on_server(folder) else None
    recognizer = assemble(embedder, gallery, rules, fitted, folder=server_folder)
    write_settings(folder, rules, recognizer.fitted, gallery.generation)
    refresh_index_files(folder, gallery, begin=True, progress=progress)
    return recognizer


def _earlier_fit(folder: Path, rules: Rules, gallery: Gallery) -> Fitted | None:
    """What was fitted before, for example by `tune`; None when photos or rules have changed."""
    with suppress(GalleryError):
        stored, fitted, generation = read_settings(folder)
        if stored == rules and generation == gallery.generation:
            return fitted
    return None


def _shard_tasks(
    table: Photos, folder: Path, options: IndexOptions, features: bool
) -> list[ShardTask]:
    """The shards of the table; none without the option `shards`.

    Raises OptionError for an invalid number or URL, and without pyarrow.
    """
    if options.shards is None:
        return []
    import_pyarrow()  # raises when it is not installed
    location = (options.shard_folder or "").removeprefix("file://") or str(folder / SHARDS_FOLDER)
    if is_url(location):
        try:
            open_store(location)
        except ImageError as error:
            raise OptionError(f"--shard-folder {error}") from None
    else:
        location = os.path.abspath(location)  # because other processes have other working folders
    return [
        ShardTask(shard, table.take(range(shard.first, shard.end)), location, features)
        for shard in cut_table(len(table), options.shards)
    ]


def _make_one_shard(
    task: ShardTask, embedder: Embedder, folder: Path, progress: Progress
) -> Indexed:
    """Embed one shard into its file and load nothing, so that several machines can share a run."""
    if embedder.name == "sift" and not (folder / "embedder" / "embedder.json").exists():
        embedder.save(folder / "embedder")  # so that the other shards use the same vocabulary
    made = make_shard(task, embedder, progress=progress)
    shard = task.shard
    counts: dict[str, int | str] = {
        "shard": f"{shard.number}/{shard.of}", "photos": made.marker.rows,
        "failed": len(made.marker.failures), "done before": "no" if made.newly_made else "yes",
        "file": ShardFolder(task.location).address(shard, ".parquet"),
    }  # fmt: skip
    return Indexed(counts, [Failure(*failure) for failure in made.marker.failures])


def _make_shards(
    tasks: list[ShardTask],
    embedder: Embedder,
    source: EmbedderSource,
    engine: str,
    progress: Progress,
) -> Iterator[int]:
    """Yields the numbers of tasks as their shards get done. source: for a cluster's machines."""
    if engine == "ray":
        if recorded_object(Path(source.address)):
            raise OptionError(
                f"embedder {embedder.name!r} is a Python object, which the machines of a cluster "
                "cannot open from a folder; leave out engine ray"
            )
        yield from make_shards_on_ray(tasks, source, progress=progress)
        return
    total, before = sum(len(task.photos) for task in tasks), 0

    def count(done: int, _: int) -> None:
        progress(before + done, total)

    for number, task in enumerate(tasks):
        if engine == "local":
            make_shard(task, embedder, progress=count)
        before += len(task.photos)
        yield number


def _address_for_ray(embedder: Embedder | str | Path | None, folder: Path) -> str:
    """Where other machines open the embedder.

    An embedder object and a fitted SIFT are saved in the recognizer folder by now.
    """
    if not isinstance(embedder, str | Path) or embedder == "sift":
        return os.path.abspath(folder / "embedder")
    version = stored_version(embedder, folder / "embedder")
    named = str(version).startswith(TIMM_PREFIX) or version == "lite0"
    return str(version) if named else os.path.abspath(version)


@cache
def _warn_of_old_engine_name() -> None:
    log.warning(
        'engine "here" is now called "local"; the old name will stop working in the next release'
    )
