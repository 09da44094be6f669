"""Write files atomically, lock them between processes, read JSON; paths as valid text."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from .errors import DataError
from .json_options import strict_json
from .results import require_own_result

_FILE_URL = re.compile(r"file:(?://(?:localhost)?(?=/)|(?=/(?!/)))", re.ASCII | re.IGNORECASE)


@contextmanager
def atomic_file(path: str | Path, kind: str | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path` atomically.

    When the block raises, `path` is left as it was and the temporary file is removed.

    Args:
        path: The file to write.
        kind: The key of `RESULTS` that an existing file has to be; None = replace any file.

    Raises:
        DataError: When the disk is full, or the folder may not be written to.
        OptionError: When `path` exists and is not a result of this kind.
    """
    target = Path(path)
    if kind is not None:
        require_own_result(target, kind)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise _write_error(target, error) from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes files private
        os.replace(temporary, target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _write_error(target, error) from None
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _write_error(target: Path, error: OSError) -> DataError:
    reason = error.strerror or str(error)
    return DataError(f"{target}: cannot be written ({reason}); the old file is unchanged")


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def write_text(path: str | Path, text: str, kind: str | None = None) -> None:
    """Write `text` as UTF-8, atomically. kind: as in `atomic_file`."""
    with atomic_file(path, kind) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any, kind: str | None = None) -> None:
    """Write `value` as indented JSON, atomically; null for a number that is not finite.

    kind: as in `atomic_file`.
    """
    write_text(path, strict_json(value, indent=2) + "\n", kind)


@contextmanager
def file_lock(path: str | Path) -> Iterator[None]:
    """Hold an exclusive lock on the file `path`, against all other processes of this machine.

    Waits until the lock is free. Creates the file when it is missing and never deletes it. The
    operating system releases the locks of a process that ends, even when it is killed.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "a+b") as file:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            while True:
                try:
                    msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
                    break
                except OSError:  # another process holds the lock
                    time.sleep(0.05)
            try:
                yield
            finally:
                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)  # closing the file releases the lock
            yield


def special_kind(mode: int) -> str:
    """What a file is that must not be opened, by its `st_mode`; "" for files and folders."""
    kinds = ((stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"),
             (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"))  # fmt: skip
    return next((kind for is_kind, kind in kinds if is_kind(mode)), "")


def read_at(descriptor: int, length: int, offset: int) -> bytes:
    """Read up to `length` bytes of an open file from `offset` on.

    On Windows, which has no `pread`, this moves the descriptor's position; then only one thread
    may read at a time.
    """
    if hasattr(os, "pread"):
        return os.pread(descriptor, length, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, length)


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON object. Raises DataError when the file is missing, damaged or no object."""
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable as JSON ({error})") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def local_path(text: str) -> str:
    """The path in a `file:` URL of this machine (RFC 8089); any other text is returned unchanged.

    The URL is the form in which a table holds a path whose name is not UTF-8.
    """
    found = _FILE_URL.match(text)
    if not found:
        return text
    path = os.fsdecode(unquote_to_bytes(text[found.end() :]))
    return path[1:] if re.match(r"/[A-Za-z]:", path) and os.name == "nt" else path


def valid_text(path: str) -> str:
    """The path as text that UTF-8 can hold: a `file:` URL when it is not; the inverse of
    `local_path`.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        return file_url(path)
    return path


def file_url(path: str) -> str:
    """The percent-encoded `file:` URL of a path."""
    return "file://" + quote_from_bytes(os.fsencode(os.path.abspath(path)), safe="/~")


def text_of_bytes(name: str) -> str:
    """A name as valid text: its bytes that are not UTF-8 as %XX; other names unchanged."""
    if name.isascii():
        return name
    return "".join(
        f"%{ord(letter) - 0xDC00:02X}" if "\udc80" <= letter <= "\udcff"
        else "\ufffd" if "\ud800" <= letter <= "\udfff" else letter
        for letter in name
    )  # fmt: skip
