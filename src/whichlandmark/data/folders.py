"""Photos in folders: <root>/<landmark>/*.jpg, or any folder of photos without landmarks."""

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

    No photo is opened. A photo's id is "<root's name>/<path below root>", so that photos of two
    folders keep apart. Hidden files and folders are skipped; symbolic links to folders are not
    followed.

    Args:
        root: The folder.
        labelled: True = a photo's landmark is the name of the first folder below `root`, and photos
            that lie beside those folders are left out with a warning. False = no photo has a
            landmark (distractors).

    Returns:
        The table of photos, at least one.

    Raises:
        DataError: When the folder, or every photo in the expected layout, is missing, or when a
            landmark's folder is named with a "|", which stands between several landmarks.
    """
    root = Path(os.path.abspath(root))
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    found = list(_photos(root))
    loose = [path for path in found if path.parent == root]
    if labelled and loose and len(loose) < len(found):
        log.warning("%d photos beside the landmark folders of %s are left out", len(loose), root)
    used = [path for path in found if not (labelled and path.parent == root)]
    if not used:
        raise DataError(_no_photos(root, labelled, len(loose)))
    if labelled:
        _check_names(used, root)
    return Photos.of(_photo(path, root, labelled) for path in used)


def _photos(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root, onerror=_closed):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:
                yield Path(folder, name)


def _closed(error: OSError) -> None:
    log.warning("%s is left out: %s", error.filename, error.strerror)


def _no_photos(root: Path, labelled: bool, loose: int) -> str:
    layout = "<landmark>/*.jpg" if labelled else "*.jpg"
    expected = f"expected {root}/{layout} (also .png, .webp, .gif, .avif)"
    if loose:
        return (
            f"{root}: {loose} photos lie there without a landmark's folder; {expected}, "
            "or read it as photos without landmarks (labelled=False)"
        )
    return f"{root}: no photos there; {expected}"


def _check_names(paths: list[Path], root: Path) -> None:
    for name in sorted({path.relative_to(root).parts[0] for path in paths}):
        if SEPARATOR in name:
            raise DataError(
                f"{root / name}: {SEPARATOR!r} stands between the names of several landmarks, and "
                "no name can hold it; rename the folder"
            )


def _photo(path: Path, root: Path, labelled: bool) -> Photo:
    below = path.relative_to(root)
    return Photo(
        id=f"{root.name}/{below.as_posix()}",
        path=path,
        landmark=below.parts[0].strip() if labelled else None,
    )


def read_photos_or_folder(source: str | Path, *, labelled: bool = True) -> Photos:
    """A photos.csv, or a folder of photos. Raises DataError when it is neither."""
    if Path(source).is_dir():
        return read_folder(source, labelled=labelled)
    if not Path(source).exists():
        raise DataError(f"{source}: no such file or folder")
    return read_photos(source)
