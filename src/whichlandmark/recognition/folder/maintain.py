"""Maintain a recognizer's gallery: list, verify, rebuild, compact, copy, export."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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
    require_gallery_address,
    server_address,
    write_link,
)
from ...gallery.base import Gallery
from ...gallery.copy import LandmarkTables, copy_gallery
from ...gallery.index.open import index_file_fault
from ...gallery.records import Credit, write_credits, write_landmarks
from ...gallery.sqlite import salvage
from ...gallery.sqlite.store import SqliteGallery
from ...gallery.sqlite.store import faults as file_faults
from ..answer import landmark_object
from ..rules import require_server_rules
from .edit import DISTRACTORS, EditResult, ids_of_landmark, open_gallery
from .fill import paths_of_own_photos, write_paths
from .load import refresh_index_files, search_index_state
from .settings import (
    STATE_FILE,
    own_photo,
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
    server = server_address(folder)
    faults = file_faults(path) if server is None else []
    if faults:
        return GalleryCheck({"faults": len(faults)}, faults, [])
    with gallery_in(folder) as gallery:
        faults = [] if server is None else gallery.faults()
        if faults:
            return GalleryCheck({"faults": len(faults)}, faults, [])
        stamps, made_by = gallery.stamps(), gallery.embedder_id
        counts: Counts = {
            "faults": 0, "photos": len(stamps), "landmark records": len(gallery.landmarks()),
            **({"bytes": path.stat().st_size} if server is None else {"gallery": gallery.name}),
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
        if not own_photo(folder, photo_id) and (now := stamp(name)) != then:
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
    if server_address(folder) is not None:
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
    with open_gallery(folder, to_change=True) as gallery:
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
        link: Where the gallery of the new folder is, and its search; None = in the folder.
        progress: Counts copied photos.

    Raises:
        OptionError: When source and target do not fit together.
        GalleryError: When the target holds something else.
    """
    for address in (source, target):
        require_gallery_address(address)
    if source.rstrip("/") == target.rstrip("/"):
        raise OptionError(f"{source} given twice; expected another place to copy to")
    if is_server(target):
        if link is not None:
            raise OptionError(
                f"{target} given with --gallery or --search; expected a folder with them"
            )
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
            if link.search != "here":
                require_server_rules(read_settings(source)[0])
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
            refresh_index_files(target, other, begin=True)
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


def follow_moved_folder(folder: Path) -> None:
    """Give the photos that a server stored in the folder their paths, where it has been moved."""
    with open_gallery(folder) as gallery:
        if moved := paths_of_own_photos(folder, gallery):
            write_paths(gallery, moved)
            refresh_index_files(folder, gallery)


def list_landmarks(folder: Path) -> dict[str, Any]:
    """The landmarks of a gallery with their number of photos and their records."""
    with open_gallery(folder) as gallery:
        counts = Counter(landmark for _, _, landmark in gallery.stamps().values())
        records, generation = gallery.landmarks(), gallery.generation
        embedder, search_index = gallery.embedder_id, search_index_state(folder, gallery)
    state = read_state(folder)
    distractors = counts.pop(DISTRACTORS, 0)
    landmarks = [{**landmark_object(name, records), "photos": counts[name]}
                 for name in sorted(counts)]  # fmt: skip
    total = counts.total()
    return {"landmarks": landmarks, "photos": total, "distractors": distractors,
            "embedder": embedder, "generation": generation, "failed": state.failed,
            "search_index": search_index or None,
            "unfinished": state.unfinished_field(total + distractors),
            "warnings": state.warnings(total + distractors)}  # fmt: skip


def list_photos(folder: Path, landmark: str) -> list[dict[str, str]]:
    """The photos of one landmark ("" = the distractors): id, path and credit.

    Raises DataError for an unknown landmark; the message suggests a similar one.
    """
    with open_gallery(folder) as gallery:
        stamps = gallery.stamps()
        ids = ids_of_landmark(gallery, stamps, landmark)
        credits = gallery.credits(ids)
    return [
        {"id": one, "path": str(own_photo(folder, one) or stamps[one][0]), **credits[one]._asdict()}
        for one in ids
        if one in credits
    ]


def credits_at(folder: str | Path, paths: Mapping[str, str]) -> dict[str, Credit]:
    """Credits of photos, id → path, that a gallery still has at that path.

    None where the folder cannot be opened, because a report of its answers can do without.
    """
    with suppress(WhichLandmarkError), open_gallery(Path(folder)) as gallery:
        there = gallery.stamps(paths)
        same = [one for one, (path, _, _) in there.items() if path == paths[one]]
        return gallery.credits(same)
    return {}


def export_tables(folder: Path, tables: LandmarkTables) -> EditResult:
    """Write the landmark records and the credits of a gallery as `add_photos` reads them."""
    counts: dict[str, int | str] = {}
    with open_gallery(folder) as gallery:
        if tables.landmarks:
            records = sorted(gallery.landmarks().values(), key=lambda record: record.name)
            write_landmarks(tables.landmarks, records)
            counts["records"] = len(records)
        if tables.credits:
            credits = gallery.credits(gallery.stamps())
            credits = {one: credit for one, credit in credits.items() if any(credit)}
            write_credits(tables.credits, credits)
            counts["credits"] = len(credits)
    return EditResult(counts)
