"""A recognizer folder → the gallery's arrays: from segment files where they are whole and of its
very state, else from the gallery itself.
"""

from __future__ import annotations

from pathlib import Path

from ..address import read_link
from ..protocol import Gallery
from . import GalleryIndex
from .load import SearchRows, open_segments, warn_of_segments
from .mapped import IndexFileError
from .refresh import check_segments
from .remote import remote_index

SEGMENTS = "segments"


def open_index(folder: Path, gallery: Gallery) -> tuple[GalleryIndex, SearchRows | None]:
    """What is searched. Damaged or old segment files are told of, and passed over.

    Raises GalleryError when the gallery itself is damaged.
    """
    if searched_there(folder):
        return remote_index(gallery)
    ready = None
    for last in (False, True):  # a writer may have put other files in the place of those we began
        try:
            ready = open_segments(folder / SEGMENTS, gallery.state())
            break
        except IndexFileError as error:
            if last:
                warn_of_segments(error, folder)
    if ready is not None:
        return ready.index, ready.prepared
    return GalleryIndex.of(gallery.table()), None


def searched_there(folder: Path) -> bool:
    """Is the gallery on a server that searches it?"""
    link = read_link(folder)
    return link is not None and link.search == "there"


def segment_fault(folder: Path, gallery: Gallery) -> str | None:
    """What is wrong with the segment files, every block of them read; None = nothing, or none."""
    try:
        check_segments(folder / SEGMENTS)
    except IndexFileError as error:
        return f"{error}; `whichlandmark gallery rebuild` makes the segment files again"
    if (folder / SEGMENTS).exists() and open_segments(folder / SEGMENTS, gallery.state()) is None:
        return f"{folder / SEGMENTS}: of an older state of the gallery; not used"
    return None
