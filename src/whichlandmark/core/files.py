"""Write files whole or not at all, lock them between processes, read JSON and csv."""

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

LONGEST_CELL = 1 << 17  # characters, the csv module's own limit

CsvRows = Iterator[tuple[int, list[str]]]  # (line, its cells), as many as the header has


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path` atomically.

    When the block raises, `path` is left as it was and the temporary file is removed.
    Raises DataError when the disk is full, or the folder may not be written to.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise _unwritten(target, error) from None
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
        raise _unwritten(target, error) from None
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _unwritten(target: Path, error: OSError) -> DataError:
    reason = error.strerror or str(error)
    return DataError(f"{target}: cannot be written ({reason}); what stood there is untouched")


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def file_lock(path: str | Path) -> Iterator[None]:
    """Hold the lock that `path` stands for, alone among all processes of this machine.

    Waits until it is free. The file is made where it is missing, and stays. A process that ends,
    however it ends, gives its locks up.
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
                except OSError:  # another holds it
                    time.sleep(0.05)
            try:
                yield
            finally:
                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)  # closing the file gives it up
            yield


def read_at(descriptor: int, length: int, offset: int) -> bytes:
    """Up to `length` bytes of an open file from `offset` on.

    Windows has no `pread`: there the descriptor's position moves, so one thread reads at a time.
    """
    if hasattr(os, "pread"):
        return os.pread(descriptor, length, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, length)


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON object. Raises DataError when it is missing, damaged or not an object."""
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable as JSON ({error})") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


@contextmanager
def open_csv(
    path: Path, *, longest_cell: int = LONGEST_CELL
) -> Iterator[tuple[list[str], CsvRows]]:
    """Open a UTF-8 csv file (a byte-order mark is passed over).

    Args:
        path: the file.
        longest_cell: characters that one cell may have.

    Yields:
        The column names of line 1, stripped, [] for an empty file; and the rows after it. Blank
        lines are skipped.

    Raises:
        DataError: naming the line, when the file is missing, is no csv or UTF-8 text, or a row has
            more or fewer cells than the header.
    """
    before = csv.field_size_limit(longest_cell)
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
        csv.field_size_limit(before)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
