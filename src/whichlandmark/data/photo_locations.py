"""Find photos of a large data set by id: list its tars and its trees a/b/c/<id>.jpg.

Tars and folders are listed as a whole, in several processes: no file is opened or checked photo by
photo, because a data set has millions of them.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..core.disks import unreadable
from ..core.hardware import children_without_interrupts, cpu_count
from ..core.storage import TAR_BLOCK, relative_path
from ..core.types import Progress

PHOTO_SUFFIX = ".jpg"

# With less to list than this, starting other processes takes longer than it saves.
MIN_TAR_BYTES_FOR_PROCESSES = 64_000_000
MIN_FOLDERS_FOR_PROCESSES = 16  # first-level folders: all of 0 to f

_MAGIC = {b"ustar\x0000", b"ustar  \x00"}  # of a header: POSIX, GNU

_Member = tuple[str, int, int]  # name, offset of the data, size; in bytes


@dataclass(frozen=True, eq=False)
class TarListing:
    """The P photos of one tar or folder.

    ids: (P,) bytes "S…". offsets, sizes: (P,) int64, in bytes; −1 in a folder.
    problem: what is wrong with the tar or folder, "" = nothing.
    """

    ids: NDArray[np.bytes_]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    problem: str = ""

    @classmethod
    def of(cls, names: list[str], spans: list[tuple[int, int]], problem: str = "") -> TarListing:
        """From paths that end in `<id>.jpg` and their (offset, size); other names are left out."""
        rows = [
            row for row, name in enumerate(names) if name.endswith(PHOTO_SUFFIX) and name.isascii()
        ]
        ids = [os.path.basename(names[row])[: -len(PHOTO_SUFFIX)].encode() for row in rows]
        table = np.array([spans[row] for row in rows], dtype=np.int64).reshape(-1, 2)
        return cls(np.array(ids, dtype=np.bytes_), table[:, 0], table[:, 1], problem)


def list_tar(path: str, md5: str) -> TarListing:
    """List the photos of a tar. md5: expected of the whole file, hexadecimal; "" = not checked.

    When the MD5 differs, no photo is listed, because any of them may be damaged. When the tar is
    cut short or damaged in the middle, the photos before that position are listed. Never raises:
    errors are in `problem`.
    """
    if fault := unreadable(path):
        return TarListing.of([], [], fault)
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest() if md5 else ""
            if found != md5:
                wrong = f"md5 {found}, expected {md5}: damaged; none of its photos is used"
                return TarListing.of([], [], f"{wrong}; download it again")
            return _list_open_tar(file)
    except OSError as error:
        return TarListing.of([], [], f"cannot be read ({error.strerror})")


def _list_open_tar(file: BinaryIO) -> TarListing:
    size = os.fstat(file.fileno()).st_size
    names: list[str] = []
    spans: list[tuple[int, int]] = []
    problem = ""
    members = tar_members(file)
    while True:
        try:
            name, start, length = next(members)
        except StopIteration:
            break
        except (tarfile.TarError, OSError, ValueError) as error:
            problem = f"damaged after {len(names)} files ({error}); download it again"
            break
        if start + length > size:
            problem = f"cut short after {len(names)} files: {size} bytes; download it again"
            break
        names.append(name)
        spans.append((start, length))
    return TarListing.of(names, spans, problem)


def tar_members(file: BinaryIO) -> Iterator[_Member]:
    """List the regular files of a tar, in its order. Raises tarfile.TarError where it is damaged.

    Headers of the usual form are parsed by our own code, three times as fast as by `tarfile`
    (GLDv2 has five million). From the first other header (long name, sparse file) on, `tarfile`
    reads the rest.
    """
    position = 0
    while True:
        file.seek(position)
        block = file.read(TAR_BLOCK)
        if len(block) < TAR_BLOCK:
            raise tarfile.ReadError("cut short: no end mark")
        if not block.strip(b"\0"):
            return
        member = parse_header(block, position + TAR_BLOCK)
        if member is None:
            yield from _members_by_tarfile(file, position)
            return
        yield member
        position = member[1] + -(-member[2] // TAR_BLOCK) * TAR_BLOCK


def parse_header(block: bytes, data: int) -> _Member | None:
    """Parse the header of a regular file or folder with a short name; None for anything else.

    data: offset of the bytes after the header.
    """
    kind = block[156:157]
    if kind not in (b"0", b"5") or block[257:265] not in _MAGIC or block[345]:
        return None
    name = block[:100].rstrip(b"\0")
    size, checksum = block[124:136].strip(b" \0"), block[148:156].strip(b" \0")
    if not (checksum.isdigit() and size.isdigit() and name.isascii()) or b"\0" in name:
        return None
    try:
        # The checksum is the sum of the header's bytes, with its own eight counted as spaces. Zero
        # bytes are removed first, because most are zero and summing them is slow.
        if int(checksum, 8) != sum(block.replace(b"\0", b"")) - sum(block[148:156]) + 8 * 32:
            return None
        return name.decode() + "/" * (kind == b"5"), data, int(size, 8)
    except ValueError:  # 8 or 9 in an octal number
        return None


def _members_by_tarfile(file: BinaryIO, position: int) -> Iterator[_Member]:
    file.seek(position)
    with tarfile.open(fileobj=file, mode="r:") as tar:
        while (entry := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # else it keeps every member in memory
            if entry.size < 0:
                raise tarfile.ReadError("a negative size")
            if entry.isreg() and not entry.issparse():
                yield entry.name, entry.offset_data, entry.size
        file.seek(tar.offset)
        block = file.read(TAR_BLOCK)
        # Checked, because `tarfile` ends silently at a header that it cannot read.
        if len(block) < TAR_BLOCK or block.strip(b"\0"):
            raise tarfile.ReadError("a header that cannot be read")


def photo_path(folder: Path, photo_id: str) -> Path:
    """FOLDER/a/b/c/<id>.jpg"""
    return folder.joinpath(*photo_id[:3], f"{photo_id}.jpg")


def list_folder(path: str) -> TarListing:
    """List the photos `b/c/<id>.jpg` below one first-level folder, without a stat of each."""
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
            # A photo in the wrong folder is left out: its path could not be built from its id.
            start = "".join(folder.split(os.sep)[-3:])
            names += [name for name in found if name.startswith(start)]
    return TarListing.of(names, [(-1, -1)] * len(names), "; ".join(problems[:3]))


def short_folders(path: str) -> list[str]:
    """Subfolders with a name of one character, sorted: the levels of a tree a/b/c/<id>.jpg."""
    try:
        with os.scandir(path) as entries:
            return sorted(e.path for e in entries if len(e.name) == 1 and e.is_dir())
    except OSError:
        return []


@dataclass(frozen=True)
class PhotoSource:
    """One tar, or one first-level folder `a` of a tree a/b/c/<id>.jpg. md5: "" = not checked."""

    path: str
    md5: str = ""
    is_tar: bool = True

    @property
    def base(self) -> str:
        """The tar, or the folder that contains the tree: a/b/c/<id>.jpg is relative to it."""
        return self.path if self.is_tar else os.path.dirname(self.path)

    def list(self) -> TarListing:
        """List its photos."""
        return list_tar(self.path, self.md5) if self.is_tar else list_folder(self.path)


@dataclass(frozen=True, eq=False)
class PhotoLocations:
    """P photos, sorted by id, each once.

    ids: (P,) bytes. source: (P,) index into `sources`. offsets, sizes: (P,) bytes within a tar,
    −1 in a tree.
    """

    sources: Sequence[PhotoSource]
    ids: NDArray[np.bytes_]
    source: NDArray[np.int32]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]

    @classmethod
    def of(cls, sources: Sequence[PhotoSource], listings: Sequence[TarListing]) -> PhotoLocations:
        """Merge the listings of the sources. For a photo in several sources, the first counts."""
        counts = [len(listing.ids) for listing in listings]
        ids = np.concatenate([np.empty(0, "S1"), *(listing.ids for listing in listings)])
        order = np.argsort(ids, kind="stable")
        ids = ids[order]
        first = np.ones(len(ids), dtype=bool)
        first[1:] = ids[1:] != ids[:-1]
        order = order[first]
        no_rows = np.empty(0, dtype=np.int64)
        return cls(
            sources,
            ids[first],
            np.repeat(np.arange(len(sources), dtype=np.int32), counts)[order],
            np.concatenate([no_rows, *(listing.offsets for listing in listings)])[order],
            np.concatenate([no_rows, *(listing.sizes for listing in listings)])[order],
        )

    def find(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """(N,) row of each id (ASCII), −1 = no such photo."""
        wanted = np.array(ids, dtype=np.bytes_)
        if not len(self.ids) or not len(wanted):
            return np.full(len(wanted), -1, dtype=np.int64)
        order = np.argsort(wanted)  # sorted queries make searchsorted five times as fast
        rows = np.empty(len(wanted), dtype=np.int64)
        rows[order] = np.searchsorted(self.ids, wanted[order])
        rows[rows == len(self.ids)] = 0
        return np.where(self.ids[rows] == wanted, rows, -1)

    def paths(self, ids: Sequence[str], rows: NDArray[np.int64], folder: str) -> Iterator[str]:
        """Path or tar address, relative to `folder`, of each id. rows: their rows, from `find`."""
        bases = [
            relative_path(source.base, folder) + ("#" if source.is_tar else "/")
            for source in self.sources
        ]
        bases = ["" if base == "./" else base for base in bases]
        columns = (self.source[rows], self.offsets[rows], self.sizes[rows])
        for name, source, offset, size in zip(ids, *(c.tolist() for c in columns), strict=True):
            path = f"{bases[source]}{name[0]}/{name[1]}/{name[2]}/{name}.jpg"
            yield path if size < 0 else f"{path}@{offset}+{size}"


def find_sources(
    folders: Sequence[Path], md5_folders: Sequence[Path], *, check: bool = True
) -> list[PhotoSource]:
    """Find tars and trees directly in these folders.

    md5_folders: searched for md5 files of tars, directly and in a subfolder named as the tar's
    folder; the tar's own folder is searched first. check: False = read no md5 files.
    """
    found: list[PhotoSource] = []
    for folder in folders:
        for tar in sorted(folder.glob("*.tar")):
            found.append(PhotoSource(str(tar), _md5(tar, md5_folders) if check else ""))
        found += [PhotoSource(path, is_tar=False) for path in short_folders(str(folder))]
    return found


def _md5(tar: Path, md5_folders: Sequence[Path]) -> str:
    """Read the MD5 from the official file `md5.images_000.txt`, "" = there is no such file."""
    for folder in (tar.parent, *(f / tar.parent.name for f in md5_folders), *md5_folders):
        path = folder / f"md5.{tar.stem}.txt"
        if path.is_file():
            first = (path.read_text(errors="replace").split() or [""])[0].lower()
            return first if re.fullmatch("[0-9a-f]{32}", first) else f"({path.name} holds no md5)"
    return ""


def missing_tars(folders: Sequence[Path], md5_folders: Sequence[Path]) -> list[str]:
    """List tars that should exist: an md5 file names them, or a higher number exists.

    A folder with unpacked photos needs no tars.
    """
    missing = set()
    for folder in folders:
        present = {path.name for path in folder.glob("*.tar")}
        if short_folders(str(folder)) or not folder.is_dir():
            continue
        listed_in = (folder, *(f / folder.name for f in md5_folders))
        wanted = {
            f"{path.name[4:-4]}.tar" for f in listed_in for path in f.glob("md5.images_*.txt")
        }
        numbers = [
            int(m[1]) for name in present if (m := re.fullmatch(r"images_(\d{3}).tar", name))
        ]
        wanted |= {f"images_{number:03d}.tar" for number in range(max(numbers, default=0))}
        missing |= {str(folder / name) for name in wanted - present}
    return sorted(missing)


def list_sources(
    sources: Sequence[PhotoSource], *, workers: int = 0, progress: Progress | None = None
) -> list[TarListing]:
    """List every source; the result is in the order of `sources`, for any number of processes.

    workers: processes; 0 = one per usable core when there is much to list, else this process alone.
    progress: called with (sources listed, all sources).
    """
    listings = []
    for listing in _listings(sources, workers or _workers(sources)):
        listings.append(listing)
        if progress:
            progress(len(listings), len(sources))
    return listings


def _workers(sources: Sequence[PhotoSource]) -> int:
    tars = [source.path for source in sources if source.is_tar]
    size = sum(os.path.getsize(path) for path in tars if os.path.exists(path))
    folders = sum(not source.is_tar for source in sources)
    enough = size > MIN_TAR_BYTES_FOR_PROCESSES or folders >= MIN_FOLDERS_FOR_PROCESSES
    return cpu_count() if enough else 1


def _listings(sources: Sequence[PhotoSource], workers: int) -> Iterator[TarListing]:
    if workers == 1:
        yield from map(PhotoSource.list, sources)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
        with children_without_interrupts():
            listings = pool.map(PhotoSource.list, sources)
        try:
            yield from listings
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
