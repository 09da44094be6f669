"""Write files atomically, lock them between processes, read JSON and CSV."""

from __future__ import annotations

import csv
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import DataError
from .json_options import strict_json

MAX_CELL_LENGTH = 1 << 17  # characters, the csv module's own limit

CsvRows = Iterator[tuple[int, list[str]]]  # (line number, cells), as many cells as the header has


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path` atomically.

    When the block raises, `path` is left as it was and the temporary file is removed.

    Raises:
        DataError: when the disk is full, or the folder may not be written to.
    """
    target = Path(path)
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


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; null for a number that is not finite."""
    write_text(path, strict_json(value, indent=2) + "\n")


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
        value = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable as JSON ({error})") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


@contextmanager
def open_csv(
    path: Path, *, max_cell_length: int = MAX_CELL_LENGTH
) -> Iterator[tuple[list[str], CsvRows]]:
    """Open a UTF-8 CSV file; a byte-order mark is skipped.

    Args:
        path: the file.
        max_cell_length: characters that one cell may have.

    Yields:
        The column names of line 1, stripped ([] for an empty file), and an iterator over the
        rows after it. Blank lines are skipped.

    Raises:
        DataError: when the file is missing, is not CSV or UTF-8, or a row has more or fewer cells
            than the header; the message names the line.
    """
    old_limit = csv.field_size_limit(max_cell_length)
    line = 1
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]

            def rows() -> CsvRows:
                nonlocal line
                for cells in reader:
                    line = reader.line_num
                    if len(cells) == len(header):
                        yield line, cells
                    elif cells:
                        raise DataError(
                            f"{path}, line {line}: {len(cells)} cells; the header has {len(header)}"
                        )

            yield header, rows()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path}, about line {line + 1}: not readable as a UTF-8 csv file ({error})"
        ) from None
    finally:
        csv.field_size_limit(old_limit)
