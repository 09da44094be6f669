"""One look at each photo: readable? what content, how large, alike to what, indoors or out?

Decoded in threads, voted on in batches, kept batch by batch: a look is taken only once.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from ...core.errors import ImageError
from ...core.fingerprint import SIDE, fingerprint
from ...core.hardware import cpu_count
from ...core.images import content_hash, read_image
from ...core.storage import read_bytes, stamp
from ...core.types import Image, Progress
from .scan_cache import PhotoScan, ScanCache, SceneVote, key

BATCH = 64  # photos decoded ahead, voted on together and kept in one transaction

UNVOTED = -1


class SceneVoter(Protocol):
    """Counts, for each photo of a batch, how many of its likeliest scenes are outdoors."""

    @property
    def id(self) -> str:
        """Changes whenever the votes may change."""
        ...

    @property
    def short_side(self) -> int:
        """Pixels of the short side that a photo is decoded with, at least."""
        ...

    def prepare(self, image: Image, /) -> Image:
        """Make a photo small; called from several threads."""
        ...

    def __call__(self, prepared: Sequence[Image], /) -> list[tuple[int, str]]:
        """(scenes outdoors, the names of the scenes) of each."""
        ...


@dataclass(frozen=True, eq=False)
class PhotoScans:
    """One row per photo of a table, each column (N,): content hashes ("" = unreadable), pixels
    and bytes, errors ("" = readable), bits (N, 8) uint8 and coarse (N, 64) float32 as in
    `Fingerprint`, outdoor scenes (−1 = no vote) and their names.
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
    store: ScanCache,
    voter: SceneVoter | None = None,
    progress: Progress | None = None,
) -> int:
    """Look at every photo that the store does not know yet, or whose file has changed since, or
    that has no vote yet. Returns how many the store knew.
    """
    stamps = {path: stamp(path) for path in paths}
    todo = _unknown(stamps, store, voter)
    done = len(stamps) - len(todo)
    with ThreadPoolExecutor(cpu_count()) as pool:

        def submit(start: int) -> list[Future[tuple[PhotoScan, Image | None]]]:
            batch = todo[start : start + BATCH]
            return [pool.submit(_look, path, stamps[path], voter) for path in batch]

        ahead = submit(0)
        for start in range(0, len(todo), BATCH):
            seen = [future.result() for future in ahead]
            ahead = submit(start + BATCH)
            store.put([look for look, _ in seen], voter.id if voter else "", _votes(seen, voter))
            done += len(seen)
            if progress:
                progress(done, len(stamps))
    return len(stamps) - len(todo)


def scans_of(paths: Iterable[str], store: ScanCache, voter: SceneVoter | None = None) -> PhotoScans:
    """What the store knows of these photos, all of which `look_at` has seen."""
    rows_of: dict[bytes, list[int]] = {}
    for row, path in enumerate(paths):
        rows_of.setdefault(key(path), []).append(row)
    count = sum(map(len, rows_of.values()))
    looks = PhotoScans(
        hashes=np.full(count, "", dtype=object), pixels=np.zeros(count, dtype=np.int64),
        bytes=np.zeros(count, dtype=np.int64), errors=np.full(count, "not seen", dtype=object),
        bits=np.zeros((count, 8), dtype=np.uint8), coarse=np.zeros((count, 64), dtype=np.float32),
        outdoor=np.full(count, UNVOTED, dtype=np.int64), scenes=np.full(count, "", dtype=object),
    )  # fmt: skip
    for path_key, content, pixels, size, error, bits, coarse in store.rows():
        for row in rows_of.get(path_key, ()):
            looks.hashes[row], looks.errors[row] = content, error
            looks.pixels[row], looks.bytes[row] = pixels, size
            if bits is not None and coarse is not None:
                looks.bits[row] = np.frombuffer(bits, np.uint8)
                looks.coarse[row] = np.frombuffer(coarse, "<f4")
    if voter:
        votes = store.votes(voter.id)
        for row, content in enumerate(looks.hashes):
            looks.outdoor[row], looks.scenes[row] = votes.get(content, (UNVOTED, ""))
    return looks


def _unknown(stamps: dict[str, str], store: ScanCache, voter: SceneVoter | None) -> list[str]:
    """Paths to look at, in the order of the table."""
    known = store.stamps()
    fresh = {path for path, seen in stamps.items() if not seen or known.get(key(path)) != seen}
    if voter:
        votes = store.votes(voter.id)
        unvoted = {row[0] for row in store.rows() if row[1] and row[1] not in votes}
        fresh |= {path for path in stamps if key(path) in unvoted}
    return [path for path in stamps if path in fresh]


def _look(path: str, seen: str, voter: SceneVoter | None) -> tuple[PhotoScan, Image | None]:
    """The look, and the small photo that is voted on."""
    short_side = max(SIDE, voter.short_side) if voter else SIDE
    try:
        data = read_bytes(path)
        image = read_image(data, short_side=short_side, name=path)
    except ImageError as error:
        return PhotoScan(path, seen, error=str(error)), None
    look = PhotoScan(
        path, seen, hash=content_hash(data), pixels=_pixels(data), bytes=len(data),
        print=fingerprint(image),
    )  # fmt: skip
    return look, voter.prepare(image) if voter else None


def _votes(
    seen: Sequence[tuple[PhotoScan, Image | None]], voter: SceneVoter | None
) -> list[SceneVote]:
    small = [(look.hash, image) for look, image in seen if image is not None]
    if voter is None or not small:
        return []
    counted = voter([image for _, image in small])
    return [SceneVote(content, *vote) for (content, _), vote in zip(small, counted, strict=True)]


def _pixels(data: bytes) -> int:
    """Pixels of the whole photo, from its header: `read_image` may decode it smaller."""
    with Pillow.open(io.BytesIO(data)) as header:
        return header.width * header.height
