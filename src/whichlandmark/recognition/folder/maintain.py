"""Verify, rebuild, compact, copy."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from ...core.errors import DataError, GalleryError, OptionError, WhichLandmarkError
from ...core.storage import stamp
from ...features.embedders.load import load_embedder
from ...gallery.address import (
    FILE,
    Link,
    gallery_in,
    is_server,
    open_at,
    open_or_create,
    open_or_create_at,
    read_link,
    write_link,
)
from ...gallery.copy import Progress, copy_gallery
from ...gallery.index.open import searched_there
from ...gallery.index.refresh import segment_fault
from ...gallery.protocol import Gallery
from ...gallery.sqlite import integrity, salvage
from ...gallery.sqlite.store import SqliteGallery
from .edit import EditResult, open_gallery
from .load import refresh_segments
from .settings import read_settings, write_settings


@dataclass(frozen=True)
class GalleryCheck:
    """faults: of the gallery, empty = whole. warnings: of what can be done without, or made again:
    segment files, and photo files that the gallery names.
    """

    counts: dict[str, int | str]
    faults: list[str]
    warnings: list[str]


def verify_gallery(folder: Path) -> GalleryCheck:
    """Everything that can be checked: the file, every checksum, the embedder, the photo files."""
    path = folder / FILE
    if not folder.is_dir():
        raise DataError(f"{folder}: no such recognizer folder; make one with `whichlandmark index`")
    there = read_link(folder)
    faults = integrity.faults(path) if there is None else []
    if faults:
        return GalleryCheck({"faults": len(faults)}, faults, [])
    with gallery_in(folder) as gallery:
        faults = [] if there is None else gallery.faults()
        if faults:
            return GalleryCheck({"faults": len(faults)}, faults, [])
        stamps, made_by = gallery.stamps(), gallery.embedder_id
        counts: dict[str, int | str] = {
            "faults": 0, "photos": len(stamps), "landmark records": len(gallery.landmarks()),
            **({"bytes": path.stat().st_size} if there is None else {"gallery": gallery.name}),
            "generation": gallery.generation, "embedder": made_by,
        }  # fmt: skip
        fault = segment_fault(folder, gallery)
    warnings = [fault] if fault else []
    try:
        own = load_embedder(folder / "embedder", device="cpu").id
        if own != made_by:
            faults.append(f"the folder's embedder is {own!r}; the gallery was made by {made_by!r}")
    except WhichLandmarkError as error:
        faults.append(f"the folder's embedder cannot be opened: {error}")
    counts["faults"] = len(faults)
    for photo_id, (name, then, _) in stamps.items():
        if (now := stamp(name)) != then:
            what = "changed since" if now else "gone"
            warnings.append(f"photo {photo_id!r}: its file is {what} ({name})")
    return GalleryCheck(counts, faults, warnings)


def rebuild_gallery(folder: Path) -> EditResult:
    """A damaged gallery → a new file of all that is whole, in its place; the rest is listed.

    Raises GalleryError when nothing is whole, BusyError when another process has it open.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such recognizer folder; make one with `whichlandmark index`")
    if read_link(folder) is not None:
        return _rebuild_segments(folder)
    embedder_id, dim = None, None
    try:
        embedder = load_embedder(folder / "embedder", device="cpu")
        embedder_id, dim = embedder.id, embedder.dim
    except WhichLandmarkError:
        pass  # the gallery's own record of it may be whole
    path = folder / FILE
    salvaged = salvage.rebuild(path, embedder_id, dim)
    with gallery_in(folder) as gallery:
        refresh_segments(folder, gallery, anew=True)
    counts: dict[str, int | str] = {
        "photos": salvaged.photos, "landmark records": salvaged.landmarks,
        "lost": len(salvaged.lost), "bytes": path.stat().st_size,
    }  # fmt: skip
    return EditResult(counts, salvaged.lost)


def _rebuild_segments(folder: Path) -> EditResult:
    """Of a gallery on a server: what is damaged there, its own backups heal."""
    with gallery_in(folder) as gallery:
        if faults := gallery.faults():
            raise GalleryError(
                f"{gallery.name}: {len(faults)} faults ({faults[0]}); restore it from the server's "
                "backup, or index again"
            )
        refresh_segments(folder, gallery, anew=True)
        return EditResult({"photos": gallery.count(), "lost": 0})


def compact_gallery(folder: Path) -> EditResult:
    """Give the space of removed photos back. Raises GalleryError when the gallery is damaged,
    OptionError when it is on a server, which does that itself.
    """
    path = folder / FILE
    with open_gallery(folder) as gallery:
        if not isinstance(gallery, SqliteGallery):
            raise OptionError(f"{gallery.name}: its server gives space back by itself")
        gallery.table()  # a damaged file is for `rebuild`
        gallery.checkpoint()
        before = path.stat().st_size
        gallery.compact()
    return EditResult({"bytes before": before, "bytes": path.stat().st_size})


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


def _copied(mine: Gallery, other: Gallery, progress: Progress | None) -> Counts:
    counts: Counts = asdict(copy_gallery(mine, other, progress=progress))
    other.optimize()
    return counts | {"gallery": other.name, "generation": other.generation}


def _opened(place: str) -> Gallery:
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
