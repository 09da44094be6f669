"""A recognizer's gallery, looked after: is it whole? What is whole is kept, space given back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .errors import DataError, GalleryError, OptionError, WhichLandmarkError
from .gallery import salvage, verifying
from .gallery.link import FILE, gallery_in, read_link
from .gallery.store import Gallery
from .gallery_editing import Edited, open_gallery
from .loading import load_embedder
from .opening import refresh_segments, segment_fault
from .storage import stamp


@dataclass(frozen=True)
class Verified:
    """faults: of the gallery, empty = whole. warnings: of what can be done without, or made again:
    segment files, and photo files that the gallery names.
    """

    counts: dict[str, int | str]
    faults: list[str]
    warnings: list[str]


def verify_gallery(folder: Path) -> Verified:
    """Everything that can be checked: the file, every checksum, the embedder, the photo files."""
    path = folder / FILE
    if not folder.is_dir():
        raise DataError(f"{folder}: no such recognizer folder; make one with `whichlandmark index`")
    there = read_link(folder)
    faults = verifying.faults(path) if there is None else []
    if faults:
        return Verified({"faults": len(faults)}, faults, [])
    with gallery_in(folder) as gallery:
        faults = [] if there is None else gallery.faults()
        if faults:
            return Verified({"faults": len(faults)}, faults, [])
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
    return Verified(counts, faults, warnings)


def rebuild_gallery(folder: Path) -> Edited:
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
    return Edited(counts, salvaged.lost)


def _rebuild_segments(folder: Path) -> Edited:
    """Of a gallery on a server: what is damaged there, its own backups heal."""
    with gallery_in(folder) as gallery:
        if faults := gallery.faults():
            raise GalleryError(
                f"{gallery.name}: {len(faults)} faults ({faults[0]}); restore it from the server's "
                "backup, or index again"
            )
        refresh_segments(folder, gallery, anew=True)
        return Edited({"photos": gallery.count(), "lost": 0})


def compact_gallery(folder: Path) -> Edited:
    """Give the space of removed photos back. Raises GalleryError when the gallery is damaged,
    OptionError when it is on a server, which does that itself.
    """
    path = folder / FILE
    with open_gallery(folder) as gallery:
        if not isinstance(gallery, Gallery):
            raise OptionError(f"{gallery.name}: its server gives space back by itself")
        gallery.table()  # a damaged file is for `rebuild`
        gallery.checkpoint()
        before = path.stat().st_size
        gallery.compact()
    return Edited({"bytes before": before, "bytes": path.stat().st_size})
