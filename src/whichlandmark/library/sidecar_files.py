"""Read, write, replace and delete sidecars, each whole or not at all, with what a file carries."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import copystat

from ..core.disks import flush, publish, read_error, special_kind, write_error
from ..core.errors import DataError

MAX_SIDECAR_BYTES = 16_000_000  # larger ones are not read


@dataclass(frozen=True)
class FileChange:
    """A change of one sidecar. Contents are None where there is no file.

    Attributes:
        sidecar: Its absolute path.
        before: Its content now.
        after: Its content afterwards.
        mtime_ns: Time of last change to set; 0 = now.
    """

    sidecar: str
    before: bytes | None
    after: bytes | None
    mtime_ns: int = 0


def digest_of(content: bytes | None) -> str:
    """SHA-256 of a sidecar's content; "" where there is none."""
    return "" if content is None else hashlib.sha256(content).hexdigest()


def read_sidecar(path: str) -> bytes | None:
    """The content of a sidecar; None = there is none.

    Raises DataError for a link, for what is no plain file, and for what cannot be read.
    """
    try:
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode):
            raise DataError(
                f"{path}: is a link, and writing would change or part what it points to; put a "
                "copy of the file in its place"
            )
        if not stat.S_ISREG(found.st_mode):
            kind = special_kind(found.st_mode) or "a folder"
            raise DataError(f"{path}: is {kind}, not a sidecar")
        if found.st_size > MAX_SIDECAR_BYTES:
            raise DataError(
                f"{path}: {found.st_size:,} bytes; a sidecar has at most {MAX_SIDECAR_BYTES:,}"
            )
        with open(path, "rb") as file:
            return file.read(MAX_SIDECAR_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(read_error(path, error)) from None


def temporary_of(sidecar: str, token: str) -> str:
    """The name of the new file until it is whole: known beforehand, so that none is left over."""
    folder, name = os.path.split(sidecar)
    return os.path.join(folder, f".{name[:40]}.whichlandmark-{token}")


def make_change(change: FileChange, temporary: str) -> None:
    """Write, replace or delete one sidecar. Raises DataError, and the file is as it was."""
    sidecar = change.sidecar
    try:
        if change.after is None:
            _require_unchanged(change)
            os.unlink(sidecar)
            return
        number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL
                         | getattr(os, "O_BINARY", 0), 0o666)  # fmt: skip
        with open(number, "wb") as file:
            file.write(change.after)
            file.flush()
            flush(file.fileno())
        if change.before is not None:  # its mode, its times and what else the system keeps of it
            owner = os.stat(sidecar)
            copystat(sidecar, temporary)
        else:
            owner = os.stat(os.path.dirname(sidecar))
        if hasattr(os, "chown") and os.stat(temporary).st_uid != owner.st_uid:
            with suppress(OSError):  # only the root user may give files away
                os.chown(temporary, owner.st_uid, owner.st_gid)
        if change.mtime_ns:
            os.utime(temporary, ns=(change.mtime_ns, change.mtime_ns))
        else:
            os.utime(temporary)
        _require_unchanged(change)
        if change.before is None:
            publish(Path(temporary), Path(sidecar))
        else:
            os.replace(temporary, sidecar)
    except (OSError, DataError) as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, DataError):
            raise
        if isinstance(error, FileExistsError) and change.before is None:
            raise DataError(_changed(sidecar)) from None
        raise write_error(Path(sidecar), error) from None


def _require_unchanged(change: FileChange) -> None:
    if read_sidecar(change.sidecar) != change.before:
        raise DataError(_changed(change.sidecar))


def _changed(sidecar: str) -> str:
    return (
        f"{sidecar}: another program has changed it just now; nothing was written: run the same "
        "command again"
    )


def flush_folders(sidecars: Iterable[str]) -> None:
    """Make the names of new files durable, where the system can."""
    for folder in {os.path.dirname(sidecar) for sidecar in sidecars}:
        with suppress(OSError):
            opened = os.open(folder, os.O_RDONLY)
            try:
                flush(opened)
            finally:
                os.close(opened)


def why_not_written(sidecar: str) -> str:
    """Why a sidecar must not or cannot be written, as links and permissions tell; "" = it can be.

    What nobody may write to is left alone by the root user too.
    """
    folder = os.path.dirname(sidecar)
    try:
        found = os.lstat(sidecar)
        if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
            return (
                f"the sidecar has {found.st_nlink} names (hard links), which writing would part; "
                "give it a copy of its own"
            )
        if not (found.st_mode & 0o222 and os.access(sidecar, os.W_OK)):
            return "the sidecar is read-only"
    except FileNotFoundError:
        pass
    except OSError as error:
        return read_error(sidecar, error)
    try:
        mode = os.stat(folder).st_mode
    except OSError as error:
        return read_error(folder, error)
    if sys.platform != "win32" and not (mode & 0o222 and os.access(folder, os.W_OK | os.X_OK)):
        return "its folder is read-only"
    return ""
