"""List the photos of a tar or folder, with offsets; check that a tar is whole."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..core.storage import TAR_BLOCK

SUFFIX = ".jpg"

_USTAR = {b"ustar\x0000", b"ustar  \x00"}  # POSIX, GNU

_Entry = tuple[str, int, int]  # name, first byte of the data, bytes


@dataclass(frozen=True, eq=False)
class TarListing:
    """The P photos of one tar or folder: ids (P,) bytes "S…", offsets and sizes (P,) int64.

    In a folder both are −1. problem: what is wrong with it, "" = nothing.
    """

    ids: NDArray[np.bytes_]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    problem: str = ""

    @classmethod
    def of(cls, names: list[str], places: list[tuple[int, int]], problem: str = "") -> TarListing:
        """From file names `<id>.jpg`, wherever they lie; other names are left out."""
        rows = [row for row, name in enumerate(names) if name.endswith(SUFFIX) and name.isascii()]
        ids = [os.path.basename(names[row])[: -len(SUFFIX)].encode() for row in rows]
        table = np.array([places[row] for row in rows], dtype=np.int64).reshape(-1, 2)
        return cls(np.array(ids, dtype=np.bytes_), table[:, 0], table[:, 1], problem)


def list_tar(path: str, md5: str) -> TarListing:
    """The photos of a tar. md5: of the whole file, hexadecimal; "" = not checked.

    A tar of another md5 gives no photo, because any of them may be damaged. One that is cut short
    or damaged in the middle gives the whole photos before that place. Never raises for what is
    in the file.
    """
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest() if md5 else ""
            if found != md5:
                wrong = f"md5 {found}, expected {md5}: damaged; none of its photos is used"
                return TarListing.of([], [], f"{wrong}; download it again")
            return _listed(file)
    except OSError as error:
        return TarListing.of([], [], f"cannot be read ({error.strerror})")


def _listed(file: BinaryIO) -> TarListing:
    size = os.fstat(file.fileno()).st_size
    names: list[str] = []
    places: list[tuple[int, int]] = []
    problem = ""
    found = entries(file)
    while True:
        try:
            name, start, length = next(found)
        except StopIteration:
            break
        except (tarfile.TarError, OSError, ValueError) as error:
            problem = f"damaged after {len(names)} files ({error}); download it again"
            break
        if start + length > size:
            problem = f"cut short after {len(names)} files: {size} bytes; download it again"
            break
        names.append(name)
        places.append((start, length))
    return TarListing.of(names, places, problem)


def entries(file: BinaryIO) -> Iterator[_Entry]:
    """Every plain file of a tar, in its order. Raises tarfile.TarError where it is damaged.

    Headers of the usual form are read here, three times as fast as `tarfile` does (GLDv2 has
    five million); where another kind stands (long names, sparse files), `tarfile` goes on.
    """
    place = 0
    while True:
        file.seek(place)
        block = file.read(TAR_BLOCK)
        if len(block) < TAR_BLOCK:
            raise tarfile.ReadError("cut short: no end mark")
        if not block.strip(b"\0"):
            return
        entry = _plain(block, place + TAR_BLOCK)
        if entry is None:
            yield from _entries_by_tarfile(file, place)
            return
        yield entry
        place = entry[1] + -(-entry[2] // TAR_BLOCK) * TAR_BLOCK


def _plain(block: bytes, data: int) -> _Entry | None:
    """A header of a plain file or folder with an ordinary name; None for anything else."""
    kind = block[156:157]
    if kind not in (b"0", b"5") or block[257:265] not in _USTAR or block[345]:
        return None
    name = block[:100].rstrip(b"\0")
    size, checksum = block[124:136].strip(b" \0"), block[148:156].strip(b" \0")
    if not (checksum.isdigit() and size.isdigit() and name.isascii()) or b"\0" in name:
        return None
    try:
        # The sum of the header's bytes, its own eight counted as blanks. Most are zero.
        if int(checksum, 8) != sum(block.replace(b"\0", b"")) - sum(block[148:156]) + 8 * 32:
            return None
        return name.decode() + "/" * (kind == b"5"), data, int(size, 8)
    except ValueError:  # 8 or 9 in an octal number
        return None


def _entries_by_tarfile(file: BinaryIO, place: int) -> Iterator[_Entry]:
    file.seek(place)
    with tarfile.open(fileobj=file, mode="r:") as tar:
        while (entry := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # it would keep them all
            if entry.size < 0:
                raise tarfile.ReadError("a negative size")
            if entry.isreg() and not entry.issparse():
                yield entry.name, entry.offset_data, entry.size
        file.seek(tar.offset)
        block = file.read(TAR_BLOCK)
        # `tarfile` ends silently at a header that it cannot read.
        if len(block) < TAR_BLOCK or block.strip(b"\0"):
            raise tarfile.ReadError("a header that cannot be read")


def list_folder(path: str) -> TarListing:
    """The photos `b/c/<id>.jpg` below one folder of the first level, without a stat of each."""
    names: list[str] = []
    problems = []
    for level in short_folders(path):
        for folder in short_folders(level):
            try:
                with os.scandir(folder) as entries:
                    found = [entry.name for entry in entries if entry.is_file()]
            except OSError as error:
                problems.append(f"{folder} cannot be read ({error.strerror})")
                continue
            # A photo that lies in another folder would not be found under its id.
            start = "".join(folder.split(os.sep)[-3:])
            names += [name for name in found if name.startswith(start)]
    return TarListing.of(names, [(-1, -1)] * len(names), "; ".join(problems[:3]))


def short_folders(path: str) -> list[str]:
    """Folders whose name has one character, sorted: the levels of a tree a/b/c/<id>.jpg."""
    try:
        with os.scandir(path) as entries:
            return sorted(e.path for e in entries if len(e.name) == 1 and e.is_dir())
    except OSError:
        return []
