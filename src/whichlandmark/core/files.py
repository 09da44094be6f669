"""Write files atomically, lock them between processes, read JSON; paths as valid text."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from .disks import flush, publish, read_error, refuse_special, set_mode, write_error
from .errors import DataError
from .json_options import strict_json
from .results import require_own_result

log = logging.getLogger("whichlandmark")

_reading_umask = threading.Lock()

_FILE_URL = re.compile(r"file:(?://(?:localhost)?(?=/)|(?=/(?!/)))", re.ASCII | re.IGNORECASE)


@contextmanager
def atomic_file(
    path: str | Path, kind: str | None = None, *, private: bool = False, new: bool = False
) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path` atomically.

    When the block raises, `path` is left as it was and the temporary file is removed.

    Args:
        path: The file to write.
        kind: The key of `RESULTS` that an existing file has to be; None = replace any file.
        private: Readable by its owner only, or as the file that it replaces, whose owner it keeps;
            a warning says where the file system cannot do that.
        new: Never replace a file, not even one that another process has just made: a
            FileExistsError is raised then.

    Raises:
        DataError: When the disk is full, or the folder may not be written to.
        OptionError: When `path` exists and is not a result of this kind.
    """
    target = Path(path)
    if kind is not None:
        require_own_result(target, kind)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # A part of the name, because a name of 255 bytes has no room for more.
        handle, name = tempfile.mkstemp(prefix=f".{target.name[:40]}.", dir=target.parent)
    except OSError as error:
        raise write_error(target, error) from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            flush(file.fileno())
        # mkstemp makes files private, where the file system can
        mode = 0o600 if private else 0o666 & ~_umask()
        if private:
            mode = _keep_owner(temporary, target) or mode
        kept = set_mode(temporary, mode)
        (publish if new else os.replace)(temporary, target)
        if private and not kept:
            log.warning(
                "%s: could not be made private, because its file system has no permissions; "
                "everyone who reaches the folder can read it: keep it on a local disk",
                target,
            )
    except OSError as error:
        _remove(temporary)
        if new and isinstance(error, FileExistsError):
            raise
        if error.filename not in (None, str(temporary), str(target)):  # what was to be copied
            raise DataError(read_error(error.filename, error)) from None
        raise write_error(target, error) from None
    except BaseException as error:
        _remove(temporary)
        if code := re.search(r"\(os error (\d+)\)", str(error)):  # as libraries in Rust say it
            number = int(code[1])
            raise write_error(target, OSError(number, os.strerror(number))) from None
        raise


def _keep_owner(temporary: Path, target: Path) -> int:
    """Give a file the owner and group of the one that it replaces, if any; returns that mode."""
    try:
        found = target.stat()
    except OSError:
        return 0
    if sys.platform != "win32":
        with suppress(OSError):  # only the root user may give files away
            os.chown(temporary, found.st_uid, found.st_gid)
    return found.st_mode & 0o777


def _remove(temporary: Path) -> None:
    with suppress(OSError):  # the error that led here says more
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    with _reading_umask:  # else two threads would leave the process without one
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


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON object. Raises DataError when the file is missing, damaged or no object."""
    refuse_special(path)
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(read_error(path, error)) from None
    except ValueError as error:
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
