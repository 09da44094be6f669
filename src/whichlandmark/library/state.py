"""The state folder of a photo library: where it is, private, and one process has it at a time."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.disks import file_lock, write_error
from ..core.errors import BusyError, DataError, OptionError
from ..core.files import text_of_bytes

LOCK_FILE = "lock"

MAX_NAME = 40  # characters of the library's name in the name of its state folder


def state_folder(library: str | Path, given: str | Path | None = None) -> Path:
    """The folder for what is remembered of a library; it is not made yet.

    Args:
        library: The folder of photos.
        given: What the user wants; None = one below `$XDG_STATE_HOME` (`~/.local/state` where that
            is not set), named after the library's name and a digest of its real path.

    Raises:
        OptionError: When `given` lies in the library, where nothing of this program belongs.
        DataError: When there is no home folder.
    """
    real = os.path.realpath(library)
    if given is not None:
        place = Path(given).expanduser().absolute()
        if os.path.commonpath([os.path.realpath(place), real]) == real:
            raise OptionError(
                f"--state {given}: lies in the library {text_of_bytes(real)}, which holds nothing "
                "but photos; give a folder outside it"
            )
        return place
    return default_state_folder(text_of_bytes(os.path.basename(real)), os.fsencode(real))


def default_state_folder(name: str, identity: bytes) -> Path:
    """The state folder of what has this name and this identity, where the user gave none.

    Raises:
        DataError: When there is no home folder.
    """
    digest = hashlib.sha256(identity).hexdigest()[:12]
    plain = re.sub(r"[^\w.-]+", "_", name)[:MAX_NAME]
    home = os.environ.get("XDG_STATE_HOME", "")
    try:
        # The XDG specification says that a path that is not absolute is to be ignored.
        base = Path(home) if os.path.isabs(home) else Path.home() / ".local" / "state"
    except RuntimeError:
        raise DataError(
            "no home folder to remember the answers in; give one with --state FOLDER"
        ) from None
    return base / "whichlandmark" / f"{plain.lstrip('.') or 'library'}-{digest}"


@contextmanager
def held_state(folder: Path) -> Iterator[Path]:
    """Make a state folder, readable by its owner only, and hold it against all other processes.

    Raises:
        BusyError: When another process has it.
        DataError: When it cannot be made or locked.
    """
    try:
        missing = [folder, *folder.parents]
        missing = missing[: next(i for i, place in enumerate(missing) if place.exists())]
        for place in reversed(missing):  # mode: as the XDG specification says
            place.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise write_error(folder / LOCK_FILE, error, folder.parent) from None
    try:
        lock = file_lock(folder / LOCK_FILE, wait=False)
        lock.__enter__()
    except BlockingIOError:
        raise BusyError(
            f"{folder}: another process works on this library now; wait until it ends, or stop it"
        ) from None
    try:
        yield folder
    finally:
        lock.__exit__(None, None, None)
