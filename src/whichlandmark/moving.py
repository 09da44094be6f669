"""A recognizer's gallery → a file or a server, with everything that makes the same answers."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

from .errors import DataError, GalleryError, OptionError
from .gallery.addresses import is_server, open_at, open_or_create_at
from .gallery.contract import AnyGallery
from .gallery.copying import Progress, copy_gallery
from .gallery.link import Link, gallery_in, open_or_create, write_link
from .opening import refresh_segments, searched_there
from .settings import read_settings, write_settings

Counts = dict[str, int | str]


def copy_to(
    source: str,
    target: str,
    *,
    link: Link | None = None,
    progress: Progress | None = None,
) -> Counts:
    """Copy a gallery, where an interrupted run of the same copy goes on.

    source, target: a recognizer folder, or the address of a gallery on a server. Into a folder the
    embedder and what was fitted go too, so that it answers alike; link: where the gallery of that
    new folder is to be. Raises OptionError when the two cannot be copied so, GalleryError when the
    target holds something else.
    """
    if source.rstrip("/") == target.rstrip("/"):
        raise OptionError(f"{source} given twice; expected another place to copy to")
    if is_server(target):
        if link is not None:
            raise OptionError(f"{target} and --gallery {link.address} given; expected one of both")
        with (
            _opened(source) as mine,
            open_or_create_at(target, mine.embedder_id, mine.dim) as other,
        ):
            return _copied(mine, other, progress)
    if is_server(source):
        raise OptionError(
            f"{source} has no embedder to put into {target}; give the recognizer folder that is "
            "linked to it"
        )
    return _copy_folder(Path(source), Path(target), link, progress)


def _copy_folder(
    source: Path, target: Path, link: Link | None, progress: Progress | None
) -> Counts:
    with _opened(str(source)) as mine:
        if not (source / "embedder").is_dir():
            raise GalleryError(f"{source}: has no embedder/ to copy; the folder is not whole")
        if link is not None:
            write_link(target, link)
        if not (target / "embedder").exists():
            _copy_whole(source / "embedder", target / "embedder")
        with open_or_create(target, mine.embedder_id, mine.dim) as other:
            counts = _copied(mine, other, progress)
            rules, fitted, generation = read_settings(source)
            if fitted is not None:
                settled = generation == mine.generation  # else what was fitted is older, here too
                write_settings(target, rules, fitted, other.generation if settled else generation)
            if not searched_there(target):
                refresh_segments(target, other)
    return counts


def _copied(mine: AnyGallery, other: AnyGallery, progress: Progress | None) -> Counts:
    counts: Counts = asdict(copy_gallery(mine, other, progress=progress))
    other.optimize()
    return counts | {"gallery": other.name, "generation": other.generation}


def _opened(place: str) -> AnyGallery:
    if is_server(place):
        return open_at(place)
    if not Path(place).is_dir():
        raise DataError(f"{place}: no such recognizer folder; make one with `whichlandmark index`")
    return gallery_in(Path(place))


def _copy_whole(source: Path, target: Path) -> None:
    """A folder under another name first: a broken copy is never taken for the whole."""
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, part)
    part.rename(target)
