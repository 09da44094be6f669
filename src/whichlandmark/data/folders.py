"""Read a folder of photos as a table: <root>/<landmark>/*.jpg, or photos without landmarks."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from ..core.errors import DataError
from ..core.images import SUFFIXES
from ..core.types import SEPARATOR, Photo, Photos
from .table import read_photos

log = logging.getLogger("whichlandmark")


def read_folder(root: str | Path, *, labelled: bool = True) -> Photos:
    """Read every photo below a folder as a table, in sorted order.

    No photo is opened. A photo's id is `<root's name>/<path below root>`, so that photos of two
    folders have different ids. Hidden files and folders are skipped; symbolic links to folders are
    not followed.

    Args:
        root: The folder.
        labelled: True = a photo's landmark is the name of the first folder below `root`, and photos
            directly in `root` are left out with a warning. False = no photo has a landmark
            (distractors).

    Returns:
        The table of photos, at least one.

    Raises:
        DataError: When the folder is missing, when it has no photo in the expected layout, or when
            a landmark folder's name contains "|", which separates several landmarks of one photo.
    """
    root = Path(os.path.abspath(root))
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    found = list(_photo_files(root))
    loose = [path for path in found if path.parent == root]
    if labelled and loose and len(loose) < len(found):
        log.warning("%d photos outside the landmark folders of %s are left out", len(loose), root)
    used = [path for path in found if not (labelled and path.parent == root)]
    if not used:
        raise DataError(_no_photos(root, labelled, len(loose)))
    if labelled:
        _check_names(used, root)
    return Photos.of(_photo(path, root, labelled) for path in used)


def _photo_files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root, onerror=_warn_unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:
                yield Path(folder, name)


def _warn_unreadable(error: OSError) -> None:
    log.warning("%s is left out: %s", error.filename, error.strerror)


def _no_photos(root: Path, labelled: bool, loose: int) -> str:
    layout = "<landmark>/*.jpg" if labelled else "*.jpg"
    expected = f"expected {root}/{layout} (also .png, .webp, .gif, .avif)"
    if loose:
        return (
            f"{root}: {loose} photos without a landmark folder; {expected}, "
            "or read it as photos without landmarks (labelled=False)"
        )
    return f"{root}: no photos found; {expected}"


def _check_names(paths: list[Path], root: Path) -> None:
    for name in sorted({path.relative_to(root).parts[0] for path in paths}):
        if SEPARATOR in name:
            raise DataError(
                f"{root / name}: {SEPARATOR!r} separates several landmarks of one photo, so no "
                "landmark name may contain it; rename the folder"
            )


def _photo(path: Path, root: Path, labelled: bool) -> Photo:
    below = path.relative_to(root)
    return Photo(
        id=f"{root.name}/{below.as_posix()}",
        path=path,
        landmark=below.parts[0].strip() if labelled else None,
    )


def read_photos_or_folder(source: str | Path, *, labelled: bool = True) -> Photos:
    """Read a photos.csv or a folder of photos. Raises DataError when `source` is neither.

    labelled: as in `read_folder`; a photos.csv always keeps its landmarks.
    """
    if Path(source).is_dir():
        return read_folder(source, labelled=labelled)
    if not Path(source).exists():
        raise DataError(f"{source}: no such file or folder")
    return read_photos(source)
