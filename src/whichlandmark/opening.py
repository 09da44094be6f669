"""A recognizer folder → the gallery's arrays: from segment files where they are whole and of its
very state, else from the gallery itself.
"""

from __future__ import annotations

from pathlib import Path

from .errors import GalleryError
from .far import far_index
from .gallery.contract import AnyGallery
from .gallery.index import GalleryIndex
from .gallery.link import read_link
from .segments import (
    Prepared,
    SegmentError,
    Wanted,
    check_segments,
    open_segments,
    refresh,
    throw_away,
    warn_of_segments,
)
from .settings import read_settings

SEGMENTS = "segments"


def open_index(folder: Path, gallery: AnyGallery) -> tuple[GalleryIndex, Prepared | None]:
    """What is searched. Damaged or old segment files are told of, and passed over.

    Raises GalleryError when the gallery itself is damaged.
    """
    if searched_there(folder):
        return far_index(gallery)
    ready = None
    for last in (False, True):  # a writer may have put other files in the place of those we began
        try:
            ready = open_segments(folder / SEGMENTS, gallery.state())
            break
        except SegmentError as error:
            if last:
                warn_of_segments(error, folder)
    if ready is not None:
        return ready.index, ready.prepared
    return GalleryIndex.of(gallery.table()), None


def searched_there(folder: Path) -> bool:
    """Is the gallery on a server that searches it?"""
    link = read_link(folder)
    return link is not None and link.search == "there"


def segment_fault(folder: Path, gallery: AnyGallery) -> str | None:
    """What is wrong with the segment files, every block of them read; None = nothing, or none."""
    try:
        check_segments(folder / SEGMENTS)
    except SegmentError as error:
        return f"{error}; `whichlandmark gallery rebuild` makes the segment files again"
    if (folder / SEGMENTS).exists() and open_segments(folder / SEGMENTS, gallery.state()) is None:
        return f"{folder / SEGMENTS}: of an older state of the gallery; not used"
    return None


def refresh_segments(folder: Path, gallery: AnyGallery, *, anew: bool = False) -> None:
    """Bring the segment files up to date with the gallery and what was fitted.

    anew: trust none of those that are there.
    """
    if anew:
        throw_away(folder / SEGMENTS)
    if searched_there(folder):
        return
    try:
        rules, fitted, _ = read_settings(folder)
        wanted = Wanted(fitted.projection if fitted else None, rules.recall)
    except GalleryError:  # damaged settings: whoever opens the recognizer is told
        wanted = Wanted()
    refresh(folder / SEGMENTS, gallery, wanted)
