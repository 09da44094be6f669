"""Where each photo of a large data set lies: in tars or in trees a/b/c/<id>.jpg, found by its id.

Nothing is asked of the disk photo by photo: tars and folders are listed, in several processes.
"""

from __future__ import annotations

import multiprocessing
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.hardware import cpu_count
from ..core.storage import relative_path
from ..core.types import Progress
from .tar_listing import TarListing, list_folder, list_tar, short_folders

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
