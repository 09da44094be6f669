"""Read mutated tables and tars: each must give a table or one of the package's own errors, quickly.

    python benchmarks/fuzz_tables.py [--count 5000] [--tars 1000] [--seed 0] [--slow 2.0]

Valid csv files in every separator, encoding and style are cut, changed, spliced, repeated and given
cells that spreadsheets and systems write. Each goes through `read_photos`, `read_csv` (as `import
csv` does) and, if it could be read, `write_photos` and `read_photos` again, which must give the
same table. Valid WebDataset tars of every format are mutated in their headers and data, and go
through `read_webdataset` and `read_bytes` of an address that it gave. Prints what came of them and
the slowest. Exit code 1 when anything but an error of the package was raised, a table did not read
back the same, a text was not valid Unicode, or a call took over --slow seconds.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import random
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from whichlandmark.core.errors import WhichLandmarkError
from whichlandmark.core.storage import read_bytes
from whichlandmark.core.types import Photos
from whichlandmark.data.import_tools import CsvColumns, read_csv
from whichlandmark.data.table import read_photos, write_photos
from whichlandmark.data.webdataset import LabelSource, read_webdataset

JPEG = b"\xff\xd8\xff\xe0" + bytes(300)

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(300)

CELLS = [
    "", " ", "nan", "NULL", "#N/A", "#REF!", "12.0", "1e+05", "1.2E+11", "1-May", "0012", "\u200b",
    "a|b", "|", "a||b", "Café", "Cafe\u0301", "清水寺", "x" * 600, "two\nlines", "a\x07b", '"', "'",
    '"a"b', "=1+1", "C:\\p\\1.jpg", "\\\\nas\\p\\1.jpg", "p\\1.jpg", "file:///p/%E9.jpg", "file:/p",
    "file://host/1.jpg", "s3://b/1.jpg", "https://x/1.jpg", "://", "a.tar#b@512+3", "~/1.jpg", "..",
    "/", "p/1.jpg", "p/1.JPG", "p/1", "p%2F1.jpg", "\ufeff", "\u2028", "\U0001f5fc", "-0.0", "inf",
    "p/\x00.jpg", "9" * 400, "p" * 5000 + ".jpg", "../" * 2000 + "1.jpg", "Unnamed: 0", "id",
]  # fmt: skip

LABELS = [b"7", b"7", b"7", b"\xff", *(cell.encode() for cell in CELLS[:8])]

JSON = [b'{"landmark": 7}'] * 4 + [b"[" * 5000, b"{", b'{"landmark": NaN}']

BAD_NAME = os.fsdecode(b"caf\xe9")  # a name that is not UTF-8

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "shift-jis",
             "mac-roman", "utf-32", "utf-7")  # fmt: skip


def table(rng: random.Random) -> bytes:
    """A csv file as some program might write it."""
    separator = rng.choice(",,,;\t")
    header = ["id", "path", "landmark", *rng.sample(["usage", "tier"], rng.randint(0, 2))]
    if rng.random() < 0.2:
        header = [rng.choice(("", "Unnamed: 0")), *header]
    if rng.random() < 0.2:
        header = [rng.choice((str.upper, str.title, " {} ".format))(name) for name in header]
    rows = [header]
    for number in range(rng.randint(0, 12)):
        row = [f"p/{number % 4}.jpg" if "path" in name.lower() else f"{name}{number}"
               for name in header]  # fmt: skip
        for _ in range(rng.choice((0, 0, 0, 0, 1, 2))):
            row[rng.randrange(len(row))] = rng.choice(CELLS)
        if rng.random() < 0.05:
            row = rng.choice((row[:-1], [*row, ""], [*row, "x"], [""] * len(row), []))
        rows.append(row)
    quote = rng.random() < 0.5
    lines = [separator.join(_quoted(cell, separator, always=quote) for cell in row) for row in rows]
    end = rng.choice(("\n", "\n", "\r\n", "\r"))
    text = rng.choice(("", "", "", "sep=;\n", "\n\n")) + end.join(lines) + rng.choice((end, ""))
    return text.encode(rng.choice((*["utf-8"] * 10, *ENCODINGS)), "replace")


def _quoted(cell: str, separator: str, *, always: bool) -> str:
    if always or any(mark in cell for mark in (separator, '"', "\n", "\r")):
        return '"' + cell.replace('"', '""') + '"'
    return cell


def tar(rng: random.Random) -> bytes:
    """A WebDataset tar, with the members of systems and of other kinds among them."""
    data = io.BytesIO()
    form = rng.choice((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))
    with tarfile.open(fileobj=data, mode="w", format=form, errors="surrogateescape") as written:
        for number in range(rng.randint(0, 6)):
            number_text = rng.choice(("", "", "a/", "./", "x" * 95 + "/", "y" * 90, BAD_NAME))
            stem = f"{number_text}{number}"
            photo = rng.choice((JPEG, JPEG, JPEG, JPEG, HEIC, b"", b"<html>", bytes(700)))
            files = {
                stem + rng.choice((".jpg", ".JPEG", ".png", ".jfif", ".heic", "")): photo,
                stem + ".cls": rng.choice((b"7", b"Louvre", b"\xff\xfe7\0", *LABELS)),
                stem + ".json": rng.choice((b'{"landmark": 7}', b'{"landmark": "A"}', *JSON)),
            }
            if rng.random() < 0.2:
                files |= {"._" + stem: b"\0\x05\x16\x07", "__MACOSX/" + stem + ".jpg": JPEG}
            for name in rng.sample(list(files), len(files)):
                info = tarfile.TarInfo(name)
                info.size = len(files[name])
                if rng.random() < 0.03:
                    info.type = rng.choice((tarfile.SYMTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE))
                    info.size, info.linkname = 0, "1.jpg"
                written.addfile(info, io.BytesIO(files[name]) if info.size else None)
    return data.getvalue()


def mutated(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """The data as it is, cut, with changed, inserted, repeated or spliced bytes."""
    changed = bytearray(data)
    for _ in range(rng.choice((0, 0, 1, 1, 1, 3))):
        if not changed:
            break
        at, length = rng.randrange(len(changed)), rng.choice((1, 2, 8, 100, 600))
        kind = rng.randrange(7)
        if kind == 0:
            del changed[at:]
        elif kind == 1:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            changed[at : at + length] = rng.randbytes(length)
        elif kind == 3:
            changed[at:at] = rng.choice(CELLS).encode()
        elif kind == 4:
            changed[at:at] = changed[at : at + length] * rng.choice((1, 2, 20))
        elif kind == 5:
            del changed[at : at + length]
        else:
            start = rng.randrange(len(other) or 1)
            changed[at : at + rng.choice((0, length))] = other[start : start + length]
    return bytes(changed)


def read_table(path: Path, rng: random.Random) -> str:
    """What came of a csv file; raises only what must not be raised."""
    outcomes = []
    names = CsvColumns(path="path", id=rng.choice(("id", None)), landmark="landmark")
    for read in (lambda: read_photos(path), lambda: read_csv(path, names)[0]):
        try:
            photos = read()
        except WhichLandmarkError as error:
            str(error).encode("utf-8", "backslashreplace")
            outcomes.append(type(error).__name__)
            continue
        outcomes.append("table" if len(photos) else "empty table")
        _check_same(photos, path.with_name("again.csv"))
    return " / ".join(outcomes)


def _check_same(photos: Photos, path: Path) -> None:
    for column in (photos.ids, photos.paths, photos.landmarks):
        for text in column:
            text.encode()  # raises UnicodeEncodeError unless it is valid
    photos.check_ids()
    try:
        write_photos(path, photos)
    except WhichLandmarkError:
        return  # such as a path of a zero byte
    again = read_photos(path)
    for name in ("ids", "landmarks", "paths"):
        if getattr(photos, name).tolist() != getattr(again, name).tolist():
            raise AssertionError(
                f"{name} {getattr(photos, name)} read again: {getattr(again, name)}"
            )


def read_tar(path: Path, rng: random.Random) -> str:
    """What came of a tar; raises only what must not be raised."""
    label = LabelSource(*rng.choice((("cls",), ("cls",), ("json", "landmark"), ("",))))
    try:
        photos, problems = read_webdataset([str(path)], label)
    except WhichLandmarkError as error:
        return type(error).__name__
    for text in (*problems, *problems.values(), *photos.left_out, *photos.left_out.values()):
        text.encode()
    _check_same(photos, path.with_name("again.csv"))
    for address in photos.paths:
        try:
            read_bytes(address)
        except WhichLandmarkError:
            return "table, an address that cannot be read"
    return "table" if len(photos) else "no photo"


def run(
    folder: Path,
    count: int,
    rng: random.Random,
    make: Callable[[random.Random], bytes],
    read: Callable[[Path, random.Random], str],
) -> dict[str, object]:
    """Counts of outcomes, exceptions that are not the package's, and the slowest call."""
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []
    slowest = 0.0
    path = folder / ("t.tar" if make is tar else "t.csv")
    for number in range(count):
        path.write_bytes(mutated(rng, make(rng), make(rng)))
        started = time.perf_counter()
        try:
            outcomes[read(path, rng)] += 1
        except Exception as error:
            wrong.append(f"{number}: {type(error).__name__}: {str(error)[:300]}")
            (folder / f"wrong-{number}{path.suffix}").write_bytes(path.read_bytes())
        slowest = max(slowest, time.perf_counter() - started)
    return {"count": count, "outcomes": dict(outcomes.most_common()), "wrong": len(wrong),
            "first_wrong": wrong[:5], "slowest_s": round(slowest, 3)}  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=5000, help="csv files")
    parser.add_argument("--tars", type=int, help="tars; a fifth of --count by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--slow", type=float, default=2.0, help="seconds that no call may take")
    parser.add_argument("--keep", type=Path, help="folder for files that were read wrongly")
    options = parser.parse_args(arguments)
    logger = logging.getLogger("whichlandmark")
    level = logger.level
    logger.setLevel(logging.ERROR)  # because each table would be noted
    tars = options.count // 5 if options.tars is None else options.tars
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        (folder / "p").mkdir(parents=True, exist_ok=True)
        for number in range(4):
            (folder / "p" / f"{number}.jpg").write_bytes(JPEG)
        found = {
            "csv": run(folder, options.count, random.Random(options.seed), table, read_table),
            "tar": run(folder, tars, random.Random(options.seed + 1), tar, read_tar),
        }
    logger.setLevel(level)
    print(json.dumps(found, indent=2, ensure_ascii=False))
    return int(any(part["wrong"] or part["slowest_s"] > options.slow for part in found.values()))


if __name__ == "__main__":
    sys.exit(main())
