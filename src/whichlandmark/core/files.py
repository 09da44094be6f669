"""Write files atomically, lock them between processes, read JSON and CSV, paths as valid text."""

from __future__ import annotations

import codecs
import csv
import io
import json
import logging
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import IO, Any, TextIO
from urllib.parse import quote_from_bytes, unquote_to_bytes

from .disks import (
    flush,
    publish,
    read_error,
    refuse_special,
    require_writable,
    set_mode,
    write_error,
)
from .errors import DataError, OptionError

# Kind of result → a pattern in the first 4,096 bytes of each such file. A file without it was
# written by someone else, so no command replaces it.
RESULTS = {
    "photo table": rb"\Aid,path,landmark(,usage)?(,tier)?\r?\n",
    "list of dropped photos": rb"\Aid,path,landmark,reason,",
    "table of predictions": rb"\Aid,landmark,score,confidence,decision,",
    "submission": rb"\Aid,landmarks\r?\n",
    "file of scores": rb'\A\{\s[^{}]*"gap":',
    "list of landmarks": rb"\Alandmark,name,category\r?\n",
    "list of files left out": rb"\Apath,reason\r?\n",
    "list of problems": rb"\Akind,name,detail\r?\n",
    "page": rb'<meta name="generator" content="whichlandmark">',
    "picture": rb"\A\x89PNG.*Software\0whichlandmark",
}

FOLDER = "folder"  # the kind of a result that is a folder

log = logging.getLogger("whichlandmark")

MAX_CELL_LENGTH = 1 << 17  # characters, the csv module's own limit

_FILE_URL = re.compile(r"file:(?://(?:localhost)?(?=/)|(?=/(?!/)))", re.ASCII | re.IGNORECASE)

# First bytes of files that are called .csv and are none.
_NO_CSV = {
    b"PK\x03\x04": "an Excel workbook or a zip archive", b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"\x1f\x8b": "a gzip archive", b"PAR1": "a Parquet file", b"%PDF": "a PDF",
    b"\xff\xd8\xff": "a photo", b"\x89PNG": "a picture", b"SQLite format 3": "a database",
    b"<!DOCTYPE": "a web page", b"<!doctype": "a web page", b"<html": "a web page", b"{": "JSON",
}  # fmt: skip

_UNNAMED = re.compile(r"|Unnamed: \d+(_level_\d+)?", re.ASCII)  # as pandas names such a column

# In Windows-1252: three bytes in a row, UTF-8, or a byte that is no letter of Western Europe and no
# typographic mark, as the letters of other code pages are.
_NOT_WESTERN = re.compile(
    rb"[\x80-\xff]{3}|[\xc3-\xc5][\x80-\xbf]"
    rb"|[\x81\x83\x86-\x90\x98\x9a-\x9f\xa2-\xa6\xa8\xac-\xaf\xb1-\xb3\xb5-\xb6\xb8-\xb9\xbc-\xbe\xd7\xf7]"
)

CsvRows = Iterator[tuple[int, list[str]]]  # (line number, cells), as many cells as the header has


def check_results(
    results: Iterable[tuple[Path, str]], inputs: Iterable[str | Path | None] = ()
) -> None:
    """Refuse to write over an input, over another result, or over a file of another origin.

    Call it before the work, because the answer is the same after it.

    Args:
        results: The path of each file or folder that will be written, and its kind: a key of
            `RESULTS`, or `FOLDER`.
        inputs: Files and folders that are read; None and addresses that are no files are skipped.

    Raises:
        OptionError: Naming the path, and what is there.
        DataError: When a path cannot be written: no permission, a full disk, a file as a folder.
    """
    written: list[str] = []
    given = [os.path.realpath(path) for path in inputs if path is not None]
    for path, kind in results:
        real = os.path.realpath(path)
        if real in given or any(_same_file(real, other) for other in given):
            raise OptionError(
                f"{path}: given as input and as output, and no input is ever overwritten; choose "
                f"another name for the {kind}"
            )
        if real in written:
            raise OptionError(f"{path}: given for two results; give each a name of its own")
        written.append(real)
        if kind == FOLDER:
            if os.path.exists(real) and not os.path.isdir(real):
                raise OptionError(f"{path}: a file; expected a folder, existing or new")
        else:
            require_own_result(path, kind)
        require_writable(path, folder=kind == FOLDER)


def _same_file(a: str, b: str) -> bool:
    try:  # one file may have two names: a hard link, or a disk that ignores case
        return os.path.samefile(a, b)
    except OSError:  # one of them does not exist
        return False


def require_own_result(path: str | Path, kind: str) -> None:
    """Raises OptionError unless `path` is free, empty, or an earlier result of this kind."""
    target = Path(path)
    if target.is_dir():
        raise OptionError(f"{path}: a folder; expected the name of a file for the {kind}")
    try:
        with open(target, "rb") if target.is_file() else io.BytesIO() as file:
            start = file.read(4096)
    except OSError:  # what cannot be read may still be replaced by its owner
        return
    if start and not re.search(RESULTS[kind], start, re.DOTALL):
        raise OptionError(
            f"{path}: exists, and is not a {kind} that whichlandmark wrote; choose another name, "
            "or delete it first"
        )


@contextmanager
def atomic_file(
    path: str | Path, kind: str | None = None, *, private: bool = False, new: bool = False
) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path` atomically.

    When the block raises, `path` is left as it was and the temporary file is removed.

    Args:
        path: The file to write.
        kind: The key of `RESULTS` that an existing file has to be; None = replace any file.
        new: Never replace a file, not even one that another process has just made.
        private: Readable by its owner only; a warning says where the file system cannot do that.

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
        kept = set_mode(temporary, 0o600 if private else 0o666 & ~_umask())
        (publish if new else os.replace)(temporary, target)
        if private and not kept:
            log.warning(
                "%s: could not be made private, because its file system has no permissions; "
                "everyone who reaches the folder can read it: keep it on a local disk",
                target,
            )
    except OSError as error:
        _remove(temporary)
        if error.filename not in (None, str(temporary), str(target)):  # what was to be copied
            raise DataError(read_error(error.filename, error)) from None
        raise write_error(target, error) from None
    except BaseException:
        _remove(temporary)
        raise


def _remove(temporary: Path) -> None:
    with suppress(OSError):  # the error that led here says more
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def write_text(path: str | Path, text: str, kind: str | None = None) -> None:
    """Write `text` as UTF-8, atomically. kind: as in `atomic_file`."""
    with atomic_file(path, kind) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any, kind: str | None = None) -> None:
    """Write `value` as indented JSON, atomically. kind: as in `atomic_file`."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n", kind)


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
    refuse_special(path)
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(read_error(path, error)) from None
    except ValueError as error:
        raise DataError(f"{path}: not readable as JSON ({error})") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


@contextmanager
def open_csv(
    path: Path, *, max_cell_length: int = MAX_CELL_LENGTH
) -> Iterator[tuple[list[str], CsvRows]]:
    """Open a CSV file as spreadsheets and scripts write it.

    Cells are separated by commas, or by semicolons or tabs where the header is. The text is UTF-8
    or UTF-16, with or without a byte-order mark, or Windows-1252 where that is plain. Blank rows,
    cells after the last column that are blank, and columns without a name (a pandas index) are not
    read.

    Args:
        path: the file.
        max_cell_length: characters that one cell may have.

    Yields:
        The column names of the first line, stripped ([] for an empty file), and an iterator over
        the rows after it.

    Raises:
        DataError: when the file is missing, is not CSV or no text of these encodings, or a row has
            more or fewer cells than the header; the message names the line.
    """
    old_limit = csv.field_size_limit(max_cell_length)
    line = 0
    try:
        with _csv_text(path) as file:
            first, skipped = _header_line(file)
            separator = max(",;\t", key=re.sub(r'"[^"]*"', "", first).count)
            reader = csv.reader(chain([first], file), strict=True, delimiter=separator)
            names = [name.strip() for name in next(reader, [])]
            line = reader.line_num + skipped
            named = [at for at, name in enumerate(names) if not _UNNAMED.fullmatch(name)]
            width = max(named, default=-1) + 1  # blank names after the last are no columns
            if set(range(width)) - {*named}:
                log.warning("%s: the columns without a name (a pandas index) are not read", path)

            def rows() -> CsvRows:
                nonlocal line
                for cells in reader:
                    line = reader.line_num + skipped
                    if len(cells) != width:
                        if not any(map(str.strip, cells)):
                            continue
                        _check_width(cells, width, len(names), separator, f"{path}, line {line}")
                    elif not any(cells):
                        continue
                    yield line, cells if len(named) == len(cells) else [cells[at] for at in named]

            yield [names[at] for at in named], rows()
    except OSError as error:
        raise DataError(read_error(path, error)) from None
    except (UnicodeError, csv.Error) as error:
        raise DataError(
            f"{path}, about line {line + 1}: not readable as a UTF-8 csv file ({error})"
        ) from None
    finally:
        csv.field_size_limit(old_limit)


def _check_width(cells: list[str], width: int, columns: int, separator: str, where: str) -> None:
    if len(cells) >= width and not any(map(str.strip, cells[width:])):
        return
    hint = ""
    if len(cells) > columns:
        name = {",": "comma", ";": "semicolon"}.get(separator, "tab")
        hint = f'; a cell with a {name} in it must stand in quotes: "…"'
    if len(cells) < width or len(cells) > columns:
        raise DataError(f"{where}: {len(cells)} cells; the header has {columns}{hint}")


def _header_line(file: Iterable[str]) -> tuple[str, int]:
    """The first line that is neither blank nor Excel's "sep=;", and how many were before it."""
    for number, text in enumerate(file):
        if text.strip(" \t\r\n,;") and not re.fullmatch(r"\"?sep=.\"?\s*", text, re.IGNORECASE):
            return text, number
    return "", 0


@contextmanager
def _csv_text(path: Path) -> Iterator[TextIO]:
    """Open the file as text, in the encoding that its bytes show."""
    refuse_special(path)
    with open(path, "rb") as opened:
        # A pipe can be read only once.
        file = opened if opened.seekable() else io.BytesIO(opened.read())
        head = file.read(4096)
        for start, kind in _NO_CSV.items():
            if head.startswith(start):
                raise DataError(f"{path}: {kind}, not a csv file; save it as CSV UTF-8")
        encoding = _utf16(head) or _eight_bit(file, path)
        file.seek(0)
        with io.TextIOWrapper(file, encoding=encoding, newline="") as text:
            yield text


def _utf16(head: bytes) -> str:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    pairs = max(len(head) // 2, 1)
    for offset, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        if head[offset::2].count(0) > 0.7 * pairs:
            return name
    return ""


def _eight_bit(file: IO[bytes], path: Path) -> str:
    """ "utf-8-sig", or "cp1252" where the bytes are plainly that. Raises DataError otherwise.

    Plainly: each byte that is not ASCII is a letter of Western Europe or a typographic mark, no
    three are in a row, and no other place of the file is UTF-8.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    file.seek(0)
    try:
        while part := file.read(1 << 20):
            decoder.decode(part)
        decoder.decode(b"", final=True)
        return "utf-8-sig"
    except UnicodeDecodeError:
        pass
    file.seek(0)
    plain, example, wrong = True, b"", 0
    for number, text in enumerate(file, 1):
        if text.isascii():
            continue
        try:
            text.decode()
            plain = False
        except UnicodeDecodeError:
            plain = plain and not _NOT_WESTERN.search(text)
            example, wrong = (example, wrong) if wrong else (text.strip()[:80], number)
    if plain:
        log.warning("%s: not UTF-8; read as Windows-1252, such as line %d: %s",
                    path, wrong, example.decode("cp1252", "replace"))  # fmt: skip
        return "cp1252"
    raise DataError(
        f"{path}, line {wrong}: not readable as a UTF-8 csv file (seen: {example!r}); save the "
        "table as CSV UTF-8"
    )


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
        return "file://" + quote_from_bytes(os.fsencode(os.path.abspath(path)), safe="/~")
    return path


def text_of_bytes(name: str) -> str:
    """A name as valid text: its bytes that are not UTF-8 as %XX; other names unchanged."""
    if name.isascii():
        return name
    return "".join(
        f"%{ord(letter) - 0xDC00:02X}" if "\udc80" <= letter <= "\udcff"
        else "\ufffd" if "\ud800" <= letter <= "\udfff" else letter
        for letter in name
    )  # fmt: skip
