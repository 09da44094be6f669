"""Where each photo of a large data set lies: list tars and folders, find a photo by its id."""

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

from ..core.hardware import cpu_count
from ..core.storage import TAR_BLOCK, relative_path
from ..core.types import Progress

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


LARGE_TREE = 64_000_000  # bytes of tars from which other processes are worth their start

FULL_TREE = 16  # first folders, 0 to f


@dataclass(frozen=True)
class PhotoSource:
    """One tar, or one first folder `a` of a tree. base: what a/b/c/<id>.jpg hangs on."""

    path: str
    md5: str = ""
    is_tar: bool = True

    @property
    def base(self) -> str:
        return self.path if self.is_tar else os.path.dirname(self.path)

    def list(self) -> TarListing:
        """Its photos."""
        return list_tar(self.path, self.md5) if self.is_tar else list_folder(self.path)


@dataclass(frozen=True, eq=False)
class PhotoLocations:
    """P photos, sorted by id, each once: ids (P,) bytes, source (P,) into `sources`,
    offsets and sizes (P,) within a tar, −1 in a tree.
    """

    sources: Sequence[PhotoSource]
    ids: NDArray[np.bytes_]
    source: NDArray[np.int32]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]

    @classmethod
    def of(cls, sources: Sequence[PhotoSource], listings: Sequence[TarListing]) -> PhotoLocations:
        """From the listings of the sources. Of a photo that lies twice the first one counts."""
        counts = [len(listing.ids) for listing in listings]
        ids = np.concatenate([np.empty(0, "S1"), *(listing.ids for listing in listings)])
        order = np.argsort(ids, kind="stable")
        ids = ids[order]
        first = np.ones(len(ids), dtype=bool)
        first[1:] = ids[1:] != ids[:-1]
        order = order[first]
        nothing = np.empty(0, dtype=np.int64)
        return cls(
            sources, ids[first],
            np.repeat(np.arange(len(sources), dtype=np.int32), counts)[order],
            np.concatenate([nothing, *(listing.offsets for listing in listings)])[order],
            np.concatenate([nothing, *(listing.sizes for listing in listings)])[order],
        )  # fmt: skip

    def find(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Row of each id (ASCII), −1 = no such photo."""
        wanted = np.array(ids, dtype=np.bytes_)
        if not len(self.ids) or not len(wanted):
            return np.full(len(wanted), -1, dtype=np.int64)
        order = np.argsort(wanted)  # neighbours are looked up together: five times as fast
        rows = np.empty(len(wanted), dtype=np.int64)
        rows[order] = np.searchsorted(self.ids, wanted[order])
        rows[rows == len(self.ids)] = 0
        return np.where(self.ids[rows] == wanted, rows, -1)

    def paths(self, ids: Sequence[str], rows: NDArray[np.int64], folder: str) -> Iterator[str]:
        """Path or address, seen from `folder`, of each id that stands in that row."""
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
    """Tars and trees directly in these folders. An md5 file lies beside its tar, or in
    `md5_folders`, in a folder named as the tar's or not. check: take the md5 from there.
    """
    found: list[PhotoSource] = []
    for folder in folders:
        for tar in sorted(folder.glob("*.tar")):
            found.append(PhotoSource(str(tar), _md5(tar, md5_folders) if check else ""))
        found += [PhotoSource(path, is_tar=False) for path in short_folders(str(folder))]
    return found


def _md5(tar: Path, md5_folders: Sequence[Path]) -> str:
    """The md5 that the official file `md5.images_000.txt` gives, "" = there is no such file."""
    for folder in (tar.parent, *(f / tar.parent.name for f in md5_folders), *md5_folders):
        path = folder / f"md5.{tar.stem}.txt"
        if path.is_file():
            first = (path.read_text(errors="replace").split() or [""])[0].lower()
            return first if re.fullmatch("[0-9a-f]{32}", first) else f"({path.name} holds no md5)"
    return ""


def missing_tars(folders: Sequence[Path], md5_folders: Sequence[Path]) -> list[str]:
    """Tars that must exist and do not: an md5 file names them, or their number is left out.

    A folder that has the photos unpacked needs no tars.
    """
    missing = set()
    for folder in folders:
        there = {path.name for path in folder.glob("*.tar")}
        if short_folders(str(folder)) or not folder.is_dir():
            continue
        beside = (folder, *(f / folder.name for f in md5_folders))
        wanted = {f"{path.name[4:-4]}.tar" for f in beside for path in f.glob("md5.images_*.txt")}
        numbers = [int(m[1]) for name in there if (m := re.fullmatch(r"images_(\d{3}).tar", name))]
        wanted |= {f"images_{number:03d}.tar" for number in range(max(numbers, default=0))}
        missing |= {str(folder / name) for name in wanted - there}
    return sorted(missing)


def list_sources(
    sources: Sequence[PhotoSource], *, workers: int = 0, progress: Progress | None = None
) -> list[TarListing]:
    """The listing of each source, in their order, whatever the number of processes.

    workers: processes; 0 = one per usable core when there is much to read, else none.
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
    return cpu_count() if size > LARGE_TREE or folders >= FULL_TREE else 1


def _listings(sources: Sequence[PhotoSource], workers: int) -> Iterator[TarListing]:
    if workers == 1:
        yield from map(PhotoSource.list, sources)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
        yield from pool.map(PhotoSource.list, sources)
