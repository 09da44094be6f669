"""Disks that refuse something: network shares, FUSE and object stores, full and read-only ones.

What only makes a file safer or nicer (its mode, flushing it) is let go where the file system does
not know it. What is needed (writing, replacing, locking) gives an error that names the folder.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from .errors import BusyError, DataError

MIN_FREE_BYTES = 1_000_000  # with less, a disk counts as full

# What file systems answer to a request that they do not support.
UNSUPPORTED = {
    getattr(errno, name)
    for name in ("EINVAL", "ENOSYS", "ENOTSUP", "EOPNOTSUPP", "ENOTTY", "EPERM", "EACCES", "EBADF",
                 "ENOLCK", "ENODEV")
    if hasattr(errno, name)
}  # fmt: skip

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG}

_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}

_NO_FOLDER = {errno.ENOTDIR, errno.EEXIST}


def flush(descriptor: int) -> None:
    """Write a file's bytes to the disk, where its file system can. Raises OSError if that fails."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise


def set_mode(path: Path, mode: int) -> bool:
    """Set the permissions of a file; False where its file system has none."""
    try:
        os.chmod(path, mode)
        return sys.platform == "win32" or os.stat(path).st_mode & 0o777 == mode
    except OSError:
        return False


def publish(temporary: Path, target: Path) -> None:
    """Give a complete file its name, unless there is a file of that name: FileExistsError then."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:  # the file system has no hard links: reserve the name, then replace
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.replace(temporary, target)
    else:
        os.unlink(temporary)


def write_error(target: Path, error: OSError, folder: Path | None = None) -> DataError:
    """The error for a file that could not be written: which folder, why, and what to do.

    folder: that was written to; None = that of `target`.
    """
    folder, reason = folder or target.parent, error.strerror or str(error)
    kept = "; the old file is unchanged" if _is_there(target) and not target.is_dir() else ""
    if error.errno in _FULL:
        advice = f"the disk of {folder} is full; free some space, or choose another disk"
    elif error.errno in _NO_FOLDER and (file := _file_above(target)):
        advice = f"{file} is a file, not a folder; choose another name"
    elif error.errno in _NOT_ALLOWED:
        advice = (
            f"{folder} may not be written to, or replaces no files; choose another folder, or "
            "change its permissions"
        )
    elif error.errno in UNSUPPORTED:
        advice = (
            f"the file system of {folder} does not support it; write to a local disk, then copy"
        )
    else:
        advice = f"is the disk or network share of {folder} still there?"
    return DataError(f"{target}: cannot be written ({reason}): {advice}{kept}")


def read_error(path: str | Path, error: OSError) -> str:
    """Why a file cannot be read; never that it is damaged."""
    if isinstance(error, FileNotFoundError):
        return f"{path}: no such file"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{path}: may not be read (permission denied); {_permissions(Path(path))}"
    return f"{path}: cannot be read ({error.strerror or error})"


def _permissions(path: Path) -> str:
    """Who runs, whose the file is that is in the way, its mode, and what to do."""
    if sys.platform == "win32":
        return "change its permissions"
    for place in (*reversed(path.absolute().parents), path.absolute()):
        try:
            found = place.stat()
        except OSError:
            break  # in a folder that may not be searched: found before
        needed = os.X_OK if place != path.absolute() else os.R_OK
        if not os.access(place, needed):
            user, letters = os.geteuid(), "rX" if place.is_dir() else "r"
            return (
                f"this process runs as user {user}; {place} belongs to user {found.st_uid} with "
                f"mode {stat.S_IMODE(found.st_mode):03o}: `chown -R {user} {place}` gives it to "
                f"that user, `chmod -R o+{letters} {place}` lets everybody read it"
            )
    return "change its permissions"


def require_writable(path: str | Path, *, folder: bool = False) -> None:
    """Raise DataError where `path` cannot be written, before the work that makes its content.

    A small file is written beside it and deleted again, because permissions alone do not tell on
    network shares. Missing folders are not made.

    Args:
        path: the file, or with `folder` the folder, that will be written.
        folder: files will be written into it.
    """
    target = Path(path)
    place = target if folder else target.parent
    if folder and _is_there(place) and not place.is_dir():
        raise DataError(f"{place}: a file; expected a folder, existing or new")
    while not _is_there(place) and place != place.parent:
        place = place.parent
    try:
        if not place.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "Not a directory")
        with tempfile.TemporaryFile(prefix=".whichlandmark-", dir=place) as file:
            file.write(bytes(4096))
            file.flush()
            flush(file.fileno())
        with suppress(OSError):  # not every file system tells
            usage = shutil.disk_usage(place)
            if usage.total and usage.free < MIN_FREE_BYTES:
                raise DataError(
                    f"{target}: cannot be written: the disk of {place} is full "
                    f"({usage.free // 1000} kB are free); free some space, or choose another disk"
                )
    except OSError as error:
        raise write_error(target, error, place) from None


def require_space(folder: str | Path, size: int, what: str) -> None:
    """Raise DataError unless the disk of a folder, which may not exist yet, has room for `size`
    bytes and a little more. Not every file system tells; then nothing is refused.
    """
    place = Path(folder)
    while not _is_there(place) and place != place.parent:
        place = place.parent
    with suppress(OSError):
        usage = shutil.disk_usage(place)
        if usage.total and usage.free < size + MIN_FREE_BYTES:
            raise DataError(
                f"{folder}: {what} take about {size / 1e6:,.0f} MB, {usage.free / 1e6:,.0f} MB "
                "are free; free some space, or choose another disk"
            )


@contextmanager
def file_lock(path: str | Path, *, wait: bool = True) -> Iterator[None]:
    """Hold an exclusive lock on the file `path`, against all other processes of this machine.

    Creates the file when it is missing and never deletes it. The operating system releases the
    locks of a process that ends, even when it is killed.

    Args:
        path: The file.
        wait: Wait until the lock is free; False = raise BlockingIOError where it is not.

    Raises:
        DataError: when the folder may not be written to, or its file system has no locks.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file = open(target, "a+b")  # noqa: SIM115 (closed below; only its opening may fail so)
    except OSError as error:
        raise write_error(target, error) from None
    with file:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            while True:
                try:
                    msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
                    break
                except OSError:  # another process holds the lock
                    if not wait:
                        raise BlockingIOError(f"{target}: locked") from None
                    time.sleep(0.05)
            try:
                yield
            finally:
                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
        else:
            import fcntl

            try:  # closing the file releases the lock
                fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise
            except OSError as error:
                raise DataError(no_locks(target.parent, error.strerror or str(error))) from None
            yield


@contextmanager
def only_writer(path: str | Path) -> Iterator[None]:
    """Keep other processes of this machine from writing the result `path` inside the block.

    The lock is an empty file among the temporary files, because the result's own folder may not
    exist yet, or have no locks.

    Raises:
        BusyError: when another process is writing it.
    """
    digest = hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:24]
    lock = Path(tempfile.gettempdir(), f"whichlandmark-{digest}.lock")
    with ExitStack() as held:
        try:
            with suppress(DataError):  # of another user, or in a read-only folder
                held.enter_context(file_lock(lock, wait=False))
                if not lock.exists():  # its holder has just deleted it
                    raise BlockingIOError
                held.callback(lock.unlink, missing_ok=True)
        except BlockingIOError:
            raise BusyError(
                f"{path}: another process is writing it now; wait until it ends, or choose another "
                "name"
            ) from None
        yield


def can_lock(folder: Path) -> bool:
    """Whether files in this folder can be locked as SQLite locks them; True where unknown."""
    if sys.platform == "win32":
        return True
    import fcntl

    with suppress(OSError), tempfile.TemporaryFile(prefix=".whichlandmark-", dir=folder) as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def can_flush(folder: Path) -> bool:
    """Whether the file system of a folder can flush files; True where that is unknown."""
    with suppress(OSError), tempfile.TemporaryFile(prefix=".whichlandmark-", dir=folder) as file:
        try:
            os.fsync(file.fileno())
        except OSError as error:
            return error.errno not in UNSUPPORTED
    return True


def no_locks(folder: Path, reason: str) -> str:
    """The message for a file system without locks, which two writing processes need."""
    return (
        f"{folder}: its file system cannot lock files or share memory ({reason}), so two processes "
        "could destroy each other's changes; write to a local disk, then copy the folder here "
        "(reading needs no locks), or mount the share with locks"
    )


def special_kind(mode: int) -> str:
    """What a file is that must not be opened, by its `st_mode`; "" for files and folders."""
    kinds = ((stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"),
             (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"))  # fmt: skip
    return next((kind for is_kind, kind in kinds if is_kind(mode)), "")


def mapped(file: IO[bytes]) -> mmap.mmap | bytes:
    """The content of a file, memory-mapped; read whole where the file system maps no files."""
    try:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        return file.read()


def unreadable(path: str | Path) -> str:
    """Why an existing file must not or may not be opened; "" = it can be, or it is missing.

    Libraries open weights and galleries themselves, and call all that fails damaged.
    """
    try:
        refuse_special(path)
    except DataError as error:
        return str(error)
    try:
        if not os.path.lexists(path) or os.access(path, os.R_OK):
            return ""
        os.stat(path)
    except (OSError, ValueError) as error:
        return read_error(path, error) if isinstance(error, OSError) else ""
    return read_error(path, PermissionError(errno.EACCES, "Permission denied"))


def refuse_special(path: str | Path) -> None:
    """Raise DataError for a pipe, a socket or a device, which would be waited for forever.

    The pipe of a shell, as in `<(command)` or /dev/stdin, is allowed, because someone writes to it.
    """
    try:
        kind = special_kind(os.stat(path).st_mode)
    except (OSError, ValueError):  # whoever opens it says what is wrong
        return
    of_shell = os.path.realpath(path).startswith(("/proc/", "/dev/"))
    if kind and not (of_shell and kind == "a named pipe"):
        raise DataError(f"{path}: is {kind}, not a file; write its content into a file first")


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _file_above(target: Path) -> Path | None:
    """The nearest of `target` and the folders above it that is a file."""
    with suppress(OSError):
        return next((p for p in (target, *target.parents) if p.exists() and not p.is_dir()), None)
    return None
