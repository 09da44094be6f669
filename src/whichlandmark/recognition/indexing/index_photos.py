"""Photos → a recognizer folder: in this process, in shards or on a Ray cluster; resumable."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from ...core.errors import GalleryError, ImageError, OptionError
from ...core.storage import is_url, open_store
from ...core.types import Embedder, Photos
from ...features.embedders.load import PREFIX
from ...features.pipeline import Failure, Progress
from ...gallery.address import new_link, write_link
from ...gallery.index.open import searched_there
from ...gallery.protocol import Gallery
from ..decision import Fitted
from ..folder.fill import (
    fill_gallery,
    gallery_for,
    open_embedder,
    photos_and_distractors,
    require_photos,
)
from ..folder.load import assemble, refresh_segments
from ..folder.settings import read_settings, stored_rules, write_settings
from ..recognizer import Recognizer
from ..rules import Rules, require_plain
from .ray_engine import Opening, made_by_ray
from .shard_folder import ShardFolder, arrow
from .shards import Task, cut, fill_from_shards, make_shard

ENGINES = ("local", "ray", "none")

SHARDS = "shards"  # the folder of shards within a recognizer folder

log = logging.getLogger("whichlandmark")


@dataclass(frozen=True, kw_only=True)
class IndexOptions:
    """How photos are indexed.

    rules: None = those of an earlier run into the folder, else `Rules.for_gallery`. features: keep
    local features, for geometry and evidence; False sets `verify` to 0. Where the rules compare
    nothing by geometry (verify 0), no local features are kept. device: as `load_embedder` takes it.
    gallery: address of a server that keeps the gallery; None = as the folder says, else a file in
    it. search: of such a gallery, "here" = its vectors are kept in the folder too, "there" = the
    server searches.
    shards: cut the table into so many pieces, each of which is embedded into a file first; None =
    no shards. shard: number of the only one to make; nothing is loaded then. shard_folder: folder
    or URL of the shards; None = `shards` in the recognizer folder. engine: "local" makes the shards
    in this process, "ray" on a Ray cluster, "none" only loads those that are there.
    """

    rules: Rules | None = None
    features: bool = True
    device: str = "auto"
    gallery: str | None = None
    search: str = "here"
    shards: int | None = None
    shard: int | None = None
    shard_folder: str | None = None
    engine: str = "local"

    def __post_init__(self) -> None:
        if self.engine == "here":
            _warn_of_old_engine_name()
            object.__setattr__(self, "engine", "local")
        if self.engine not in ENGINES:
            raise OptionError(f"engine {self.engine!r} given; expected {', '.join(ENGINES)}")
        if self.search != "here" and self.gallery is None:
            raise OptionError(
                f"search {self.search!r} without a gallery address; only a server can be told where"
            )
        asked = (self.shard, self.shard_folder) != (None, None) or self.engine != "local"
        if self.shards is None and asked:
            raise OptionError("shard, shard_folder or engine given; expected shards with it")
        if self.shard is not None and not 0 <= self.shard < (self.shards or 0):
            last = (self.shards or 0) - 1
            raise OptionError(f"shard {self.shard} given; the first is 0, the last {last}")
        if self.shard is not None and self.engine != "local":
            raise OptionError(f"shard {self.shard} and engine {self.engine!r} given; one shard is "
                              "made in this process")  # fmt: skip


@dataclass(frozen=True)
class Indexed:
    """What an index run left: numbers to print, and the photos that failed."""

    counts: dict[str, int | str]
    failures: list[Failure]


def index_photos(
    photos: Photos,
    distractors: Photos | None,
    folder: Path,
    embedder: Embedder | str | Path,
    options: IndexOptions | None = None,
    *,
    progress: Callable[[str], Progress],
) -> Indexed:
    """Embed photos and distractors into `folder`; add to what is there.

    embedder: an embedder, its folder, "timm:NAME", or "sift" (its vocabulary is fitted on these
    photos, unless the folder holds one already). With shards the recognizer is the same as without,
    to the last bit; photos that failed in their shards are tried once more.
    Raises OptionError for options that do not fit, and GalleryError when the folder was made by
    another embedder, before anything is written; DataError when no photo could be read, or when a
    shard is damaged.
    """
    options = options or IndexOptions()
    table = photos_and_distractors(photos, distractors)
    rules = rules_for(folder, options)
    features = rules.verify > 0
    tasks = _tasks(table, folder, options, features)
    if options.gallery is not None:
        write_link(folder, new_link(options.gallery, options.search))
    opened = open_embedder(
        embedder, table, folder, device=options.device, progress=progress("fitting")
    )
    if options.shard is not None:
        if embedder == "sift" and not (folder / "embedder" / "embedder.json").exists():
            opened.save(folder / "embedder")  # the other shards need not learn it again
        return _make_one_shard(tasks[options.shard], opened, progress("embedding"))
    with gallery_for(folder, opened) as gallery:
        rest = table
        if options.shards is not None:
            opening = Opening(_source_for_ray(embedder, folder), options.device)
            done = _made(tasks, opened, opening, options.engine, progress("embedding"))
            missing = set(
                fill_from_shards(tasks, done, gallery, progress=progress("loading shards"))
            )
            rest = table.take([row for row, one in enumerate(table.ids) if one in missing])
        failures = []
        if len(rest):
            failures = fill_gallery(
                opened, rest, gallery, features=features, progress=progress("indexing")
            )
        require_photos(gallery, failures)
        index = settle(folder, opened, gallery, rules).index
        counts: dict[str, int | str] = {
            "photos": len(index.ids), "landmarks": len(index.names),
            "distractors": len(index.bank), "failed": len(failures),
            "not in this table": gallery.count() - len(table) + len(failures),
            "embedder": opened.id, "score": rules.score,
        }  # fmt: skip
    return Indexed(counts, failures)


def rules_for(folder: Path, options: IndexOptions) -> Rules:
    """The rules given, else those of an earlier run, else those that such a gallery starts with.

    Raises OptionError when the gallery cannot be searched by them.
    """
    search = options.search
    if options.gallery is None and searched_there(folder):
        search = "there"
    rules = options.rules or stored_rules(folder)
    if rules is None:
        rules = Rules.for_gallery(search=search, features=options.features)
    elif not options.features:
        rules = replace(rules, verify=0)
    if search == "there":
        require_plain(rules)
    return rules


def settle(folder: Path, embedder: Embedder, gallery: Gallery, rules: Rules) -> Recognizer:
    """A filled gallery → a recognizer folder: what the rules need is fitted, unless nothing has
    changed since it was; settings and segment files are written.
    """
    gallery.optimize()
    far = folder if searched_there(folder) else None
    recognizer = assemble(embedder, gallery, rules, _still_fits(folder, rules, gallery), folder=far)
    write_settings(folder, rules, recognizer.fitted, gallery.generation)
    refresh_segments(folder, gallery)
    return recognizer


def _still_fits(folder: Path, rules: Rules, gallery: Gallery) -> Fitted | None:
    """What was fitted before (by `tune`, say), when neither photos nor rules have changed since."""
    with suppress(GalleryError):
        stored, fitted, generation = read_settings(folder)
        if stored == rules and generation == gallery.generation:
            return fitted
    return None


def _tasks(table: Photos, folder: Path, options: IndexOptions, features: bool) -> list[Task]:
    """The table cut into shards; none where no shards are asked for.

    Raises OptionError for a number or a URL that cannot be, and without pyarrow.
    """
    if options.shards is None:
        return []
    arrow()  # is it installed?
    place = (options.shard_folder or "").removeprefix("file://") or str(folder / SHARDS)
    if is_url(place):
        try:
            open_store(place)
        except ImageError as error:
            raise OptionError(f"--shard-folder {error}") from None
    else:
        place = os.path.abspath(place)  # other processes have another working folder
    return [
        Task(shard, table.take(range(shard.first, shard.end)), place, features)
        for shard in cut(len(table), options.shards)
    ]


def _make_one_shard(task: Task, embedder: Embedder, progress: Progress) -> Indexed:
    """Embed one shard into its file, and nothing else: several machines each do theirs."""
    done = make_shard(task, embedder, progress=progress)
    shard = task.shard
    counts: dict[str, int | str] = {
        "shard": f"{shard.number}/{shard.of}", "photos": done.marker.rows,
        "failed": len(done.marker.failures), "done before": "no" if done.made else "yes",
        "file": ShardFolder(task.place).address(shard, ".parquet"),
    }  # fmt: skip
    return Indexed(counts, [Failure(*failure) for failure in done.marker.failures])


def _made(
    tasks: list[Task], embedder: Embedder, opening: Opening, engine: str, progress: Progress
) -> Iterator[int]:
    """Numbers of tasks, as their shards get done. opening: what a cluster's machines open."""
    if engine == "ray":
        yield from made_by_ray(tasks, opening, progress=progress)
        return
    total, before = sum(len(task.photos) for task in tasks), 0

    def count(done: int, _: int) -> None:
        progress(before + done, total)

    for number, task in enumerate(tasks):
        if engine == "local":
            make_shard(task, embedder, progress=count)
        before += len(task.photos)
        yield number


def _source_for_ray(embedder: Embedder | str | Path, folder: Path) -> str:
    """Where other machines open the embedder: an object, and what sift has learned, is saved in the
    recognizer folder by now.
    """
    if not isinstance(embedder, str | Path) or embedder == "sift":
        return os.path.abspath(folder / "embedder")
    return str(embedder) if str(embedder).startswith(PREFIX) else os.path.abspath(embedder)


@cache
def _warn_of_old_engine_name() -> None:
    log.warning('engine "here" is now called "local"; the next release knows the new name alone')
