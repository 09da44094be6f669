"""Maintain a recognizer's gallery: verify, rebuild, compact, copy."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ...core.disks import require_writable, write_error
from ...core.errors import GalleryError, OptionError, WhichLandmarkError
from ...core.files import atomic_file
from ...core.storage import stamp
from ...core.types import Progress
from ...features.embedders.load import load_embedder
from ...features.embedders.own import recorded_object
from ...gallery.address import (
    GALLERY_FILE,
    Link,
    gallery_in,
    is_server,
    open_at,
    open_or_create,
    open_or_create_at,
    read_link,
    write_link,
)
from ...gallery.base import Gallery
from ...gallery.copy import copy_gallery
from ...gallery.index.open import searched_on_server
from ...gallery.index.refresh import index_file_fault
from ...gallery.sqlite import salvage
from ...gallery.sqlite.store import SqliteGallery
from ...gallery.sqlite.store import faults as file_faults
from .edit import EditResult, open_gallery
from .load import refresh_index_files
from .settings import (
    STATE_FILE,
    read_settings,
    read_state,
    require_folder,
    require_place,
    write_settings,
)

Counts = dict[str, int | str]


@dataclass(frozen=True)
class GalleryCheck:
    """Result of `verify_gallery`.

    Attributes:
        counts: Numbers to print.
        faults: Of the gallery and the embedder; empty = undamaged.
        warnings: Of what can be replaced: index files, and photo files that have changed.
    """

    counts: Counts
    faults: list[str]
    warnings: list[str]


def verify_gallery(folder: Path) -> GalleryCheck:
    """Check everything: the gallery file, all checksums, the embedder and the photo files."""
    path = folder / GALLERY_FILE
    require_folder(folder)
    link = read_link(folder)
    faults = file_faults(path) if link is None else []
    if faults:
        return GalleryCheck({"faults": len(faults)}, faults, [])
    with gallery_in(folder) as gallery:
        faults = [] if link is None else gallery.faults()
        if faults:
            return GalleryCheck({"faults": len(faults)}, faults, [])
        stamps, made_by = gallery.stamps(), gallery.embedder_id
        counts: Counts = {
            "faults": 0, "photos": len(stamps), "landmark records": len(gallery.landmarks()),
            **({"bytes": path.stat().st_size} if link is None else {"gallery": gallery.name}),
            "generation": gallery.generation, "embedder": made_by,
        }  # fmt: skip
        fault = index_file_fault(folder, gallery)
    warnings = [fault] if fault else []
    try:
        own, _ = _embedder_of(folder)
        if own != made_by:
            faults.append(f"the folder's embedder is {own!r}; the gallery was made by {made_by!r}")
    except WhichLandmarkError as error:
        faults.append(f"the folder's embedder cannot be opened: {error}")
    counts["faults"] = len(faults)
    warnings += read_state(folder).warnings(len(stamps))
    for photo_id, (name, then, _) in stamps.items():
        if (now := stamp(name)) != then:
            what = "changed since" if now else "gone"
            warnings.append(f"photo {photo_id!r}: its file is {what} ({name})")
    return GalleryCheck(counts, faults, warnings)


def _embedder_of(folder: Path) -> tuple[str, int]:
    """Id and dimensions of the folder's embedder, which is opened; of a Python object as recorded.

    Raises WhichLandmarkError when it cannot be opened.
    """
    if recorded := recorded_object(folder / "embedder"):
        return recorded
    embedder = load_embedder(folder / "embedder", device="cpu")
    return embedder.id, embedder.dim


def rebuild_gallery(folder: Path) -> EditResult:
    """Replace a damaged gallery file by a new one of all undamaged photos; list the others.

    Raises:
        GalleryError: When no photo is undamaged.
        BusyError: When another process has the gallery open.
    """
    require_folder(folder)
    if read_link(folder) is not None:
        return _rebuild_index_files(folder)
    embedder_id, dim = None, None
    with suppress(WhichLandmarkError):  # the gallery's record of the embedder may be readable
        embedder_id, dim = _embedder_of(folder)
    path = folder / GALLERY_FILE
    salvaged = salvage.rebuild(path, embedder_id, dim)
    with gallery_in(folder) as gallery:
        refresh_index_files(folder, gallery, rebuild=True)
    counts: Counts = {
        "photos": salvaged.photos, "landmark records": salvaged.landmarks,
        "lost": len(salvaged.lost), "bytes": path.stat().st_size,
    }  # fmt: skip
    return EditResult(counts, salvaged.lost)


def _rebuild_index_files(folder: Path) -> EditResult:
    """Of a gallery on a server only the index files, because its backups restore the rest."""
    with gallery_in(folder) as gallery:
        if faults := gallery.faults():
            raise GalleryError(
                f"{gallery.name}: {len(faults)} faults ({faults[0]}); restore it from the server's "
                "backup, or index again"
            )
        refresh_index_files(folder, gallery, rebuild=True)
        return EditResult({"photos": gallery.count(), "lost": 0})


def compact_gallery(folder: Path) -> EditResult:
    """Free the space of removed photos.

    Raises:
        GalleryError: When the gallery is damaged.
        OptionError: When it is on a server, which frees the space itself.
    """
    path = folder / GALLERY_FILE
    with open_gallery(folder) as gallery:
        if not isinstance(gallery, SqliteGallery):
            raise OptionError(f"{gallery.name}: its server frees space by itself")
        gallery.table()  # raises when the file is damaged
        gallery.checkpoint()
        before = path.stat().st_size
        notes = () if gallery.compact() else (
            "another process reads the gallery: its old pages stay until that ends; run it again",
        )  # fmt: skip
    return EditResult({"bytes before": before, "bytes": path.stat().st_size}, notes=notes)


def copy_to(
    source: str,
    target: str,
    *,
    link: Link | None = None,
    progress: Progress | None = None,
) -> Counts:
    """Copy a gallery or a recognizer; an interrupted copy continues where it stopped.

    Args:
        source: A recognizer folder, or the address of a gallery on a server.
        target: The same. A folder gets the embedder and the settings too, so that it answers alike.
        link: Address for the gallery of the new folder; None = a file in it.
        progress: Counts copied photos.

    Raises:
        OptionError: When source and target do not fit together.
        GalleryError: When the target holds something else.
    """
    if source.rstrip("/") == target.rstrip("/"):
        raise OptionError(f"{source} given twice; expected another place to copy to")
    if is_server(target):
        if link is not None:
            raise OptionError(f"{target} and --gallery {link.address} given; expected one of both")
        with (
            _open_source(source) as mine,
            open_or_create_at(target, mine.embedder_id, mine.dim) as other,
        ):
            return _copy_rows(mine, other, progress)
    if is_server(source):
        raise OptionError(
            f"{source} has no embedder to put into {target}; give the recognizer folder that is "
            "linked to it"
        )
    return _copy_folder(Path(source), Path(target), link, progress)


def _copy_folder(
    source: Path, target: Path, link: Link | None, progress: Progress | None
) -> Counts:
    require_place(target)
    require_writable(target, folder=True)
    with _open_source(str(source)) as mine:
        if not (source / "embedder").is_dir():
            raise GalleryError(f"{source}: has no embedder/ to copy; the folder is incomplete")
        if link is not None:
            write_link(target, link)
        if not (target / "embedder").exists():
            _copy_folder_atomically(source / "embedder", target / "embedder")
        with open_or_create(target, mine.embedder_id, mine.dim) as other:
            counts = _copy_rows(mine, other, progress)
            rules, fitted, generation = read_settings(source)
            if fitted is not None:
                current = (
                    generation == mine.generation
                )  # otherwise the fit is outdated in the copy too
                write_settings(target, rules, fitted, other.generation if current else generation)
            if (source / STATE_FILE).exists():
                shutil.copyfile(source / STATE_FILE, target / STATE_FILE)
            if not searched_on_server(target):
                refresh_index_files(target, other)
    return counts


def _copy_rows(mine: Gallery, other: Gallery, progress: Progress | None) -> Counts:
    counts: Counts = asdict(copy_gallery(mine, other, progress=progress))
    other.optimize()
    return counts | {"gallery": other.name, "generation": other.generation}


def _open_source(address: str) -> Gallery:
    if is_server(address):
        return open_at(address)
    require_folder(Path(address))
    return gallery_in(Path(address))


def _copy_folder_atomically(source: Path, target: Path) -> None:
    """Copy a folder under a temporary name first, so that an interrupted copy is not used."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    for file in sorted(source.rglob("*")):
        if file.is_file():  # content only, because some disks refuse modes and times
            with atomic_file(part / file.relative_to(source)) as temporary:
                shutil.copyfile(file, temporary)
    try:
        part.rename(target)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        if not target.is_dir():  # else another process was first
            raise write_error(target, error) from None
