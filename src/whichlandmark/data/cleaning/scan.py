"""Scan each photo once: readable, SHA-256, size, perceptual hash, indoor/outdoor vote.

Photos are decoded in threads; each batch is stored in the scan cache in one transaction, so that an
interrupted scan resumes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...core.errors import ImageError
from ...core.fingerprint import SMALL_COPY_SIDE, fingerprint
from ...core.hardware import cpu_count
from ...core.images import content_hash, header_size, read_image
from ...core.storage import read_bytes, stamp
from ...core.types import Image, Progress
from .scan_cache import PhotoScan, ScanCache, SceneVote, path_key

PHOTOS_PER_BATCH = 64  # decoded ahead, voted on together and stored in one transaction

NO_VOTE = -1  # in place of a number of outdoor scenes


class SceneVoter(Protocol):
    """Counts how many of a photo's likeliest scene categories are outdoors."""

    @property
    def id(self) -> str:
        """Identifies the votes: it changes whenever they may change."""
        ...

    @property
    def short_side(self) -> int:
        """Minimum short side of a decoded photo, in pixels."""
        ...

    def prepare(self, image: Image, /) -> Image:
        """Resize a photo for voting; called from several threads."""
        ...

    def __call__(self, prepared: Sequence[Image], /) -> list[tuple[int, str]]:
        """(number of outdoor scenes, names of the scenes) of each photo."""
        ...


@dataclass(frozen=True, eq=False)
class PhotoScans:
    """The scans of N photos.

    hashes: (N,) SHA-256, "" = unreadable. pixels, bytes: (N,). errors: (N,) "" = readable.
    bits, coarse: (N, 8) and (N, 64), as in `Fingerprint`. outdoor: (N,) number of outdoor scenes,
    NO_VOTE without a vote. scenes: (N,) names of the scenes that were counted.
    """

    hashes: NDArray[np.object_]
    pixels: NDArray[np.int64]
    bytes: NDArray[np.int64]
    errors: NDArray[np.object_]
    bits: NDArray[np.uint8]
    coarse: NDArray[np.float32]
    outdoor: NDArray[np.int64]
    scenes: NDArray[np.object_]


def scan_photos(
    paths: Iterable[str],
    cache: ScanCache,
    voter: SceneVoter | None = None,
    progress: Progress | None = None,
) -> int:
    """Scan every photo that is not in the cache, whose file has changed, or that has no vote yet.

    voter: None = no votes. progress: called with (photos done, all photos). Returns how many
    photos did not need a scan.
    """
    stamps = {path: stamp(path) for path in paths}
    todo = _paths_to_scan(stamps, cache, voter)
    done = len(stamps) - len(todo)
    with ThreadPoolExecutor(cpu_count()) as pool:

        def submit(start: int) -> list[Future[tuple[PhotoScan, Image | None]]]:
            batch = todo[start : start + PHOTOS_PER_BATCH]
            return [pool.submit(_scan_photo, path, stamps[path], voter) for path in batch]

        ahead = submit(0)
        for start in range(0, len(todo), PHOTOS_PER_BATCH):
            scanned = [future.result() for future in ahead]
            ahead = submit(start + PHOTOS_PER_BATCH)
            scans = [scan for scan, _ in scanned]
            cache.put(scans, voter.id if voter else "", _votes(scanned, voter))
            done += len(scanned)
            if progress:
                progress(done, len(stamps))
    return len(stamps) - len(todo)


def scans_of(paths: Iterable[str], cache: ScanCache, voter: SceneVoter | None = None) -> PhotoScans:
    """Read the scans of photos from the cache, after `scan_photos`."""
    rows_of: dict[bytes, list[int]] = {}
    for row, path in enumerate(paths):
        rows_of.setdefault(path_key(path), []).append(row)
    count = sum(map(len, rows_of.values()))
    scans = PhotoScans(
        hashes=np.full(count, "", dtype=object),
        pixels=np.zeros(count, dtype=np.int64),
        bytes=np.zeros(count, dtype=np.int64),
        errors=np.full(count, "not scanned", dtype=object),
        bits=np.zeros((count, 8), dtype=np.uint8),
        coarse=np.zeros((count, 64), dtype=np.float32),
        outdoor=np.full(count, NO_VOTE, dtype=np.int64),
        scenes=np.full(count, "", dtype=object),
    )
    for key, content, pixels, size, error, bits, coarse in cache.rows():
        for row in rows_of.get(key, ()):
            scans.hashes[row], scans.errors[row] = content, error
            scans.pixels[row], scans.bytes[row] = pixels, size
            if bits is not None and coarse is not None:
                scans.bits[row] = np.frombuffer(bits, np.uint8)
                scans.coarse[row] = np.frombuffer(coarse, "<f4")
    if voter:
        votes = cache.votes(voter.id)
        for row, content in enumerate(scans.hashes):
            scans.outdoor[row], scans.scenes[row] = votes.get(content, (NO_VOTE, ""))
    return scans


def _paths_to_scan(stamps: dict[str, str], cache: ScanCache, voter: SceneVoter | None) -> list[str]:
    """Paths that need a scan, in table order. stamps: path → size and time, "" = missing."""
    stored = cache.stamps()
    fresh = {path for path, now in stamps.items() if not now or stored.get(path_key(path)) != now}
    if voter:
        votes = cache.votes(voter.id)
        unvoted = {row[0] for row in cache.rows() if row[1] and row[1] not in votes}
        fresh |= {path for path in stamps if path_key(path) in unvoted}
    return [path for path in stamps if path in fresh]


def _scan_photo(
    path: str, file_stamp: str, voter: SceneVoter | None
) -> tuple[PhotoScan, Image | None]:
    """The scan, and the resized photo for the voter (None = unreadable, or no voter)."""
    short_side = max(SMALL_COPY_SIDE, voter.short_side) if voter else SMALL_COPY_SIDE
    try:
        data = read_bytes(path)
        image = read_image(data, short_side=short_side, name=path)
    except ImageError as error:
        return PhotoScan(path, file_stamp, error=str(error)), None
    # Its own, because `read_image` may decode it smaller.
    height, width = header_size(data, full=True, name=path)
    scan = PhotoScan(
        path,
        file_stamp,
        hash=content_hash(data),
        pixels=height * width,
        bytes=len(data),
        fingerprint=fingerprint(image),
    )
    return scan, voter.prepare(image) if voter else None


def _votes(
    scanned: Sequence[tuple[PhotoScan, Image | None]], voter: SceneVoter | None
) -> list[SceneVote]:
    small = [(scan.hash, image) for scan, image in scanned if image is not None]
    if voter is None or not small:
        return []
    counted = voter([image for _, image in small])
    return [SceneVote(content, *vote) for (content, _), vote in zip(small, counted, strict=True)]
