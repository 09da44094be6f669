"""Photos → vectors: decode and embed in batches; a bad photo is listed, never fatal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .data.likeness import fingerprint, pack
from .errors import OptionError
from .gallery.contract import AnyGallery
from .gallery.records import GalleryRow
from .geometry import SIDE, local_features
from .images import MAX_PIXELS, content_hash, read_bytes, read_image
from .location import Place, location_of
from .machine import cores
from .members import stamps as stamps_of
from .pipeline import (
    Batch,
    Behind,
    Calls,
    Claim,
    Gathering,
    Ready,
    Room,
    Running,
    Window,
    calls_of,
    read_ahead,
)
from .thumbnails import jpeg
from .types import Embedder, Image, Photos, Vectors

BATCH = 64  # rows of a table in a batch: one transaction of a gallery
AHEAD = 64  # photos read before their turn has come
STRETCH = 8  # passes' worth of rows that a photo waits at most for others of its shape
DECODING = 8 * MAX_PIXELS  # bytes, 400 MB: the largest photo takes all of it
SECTION = 512  # rows of a table that are embedded alike wherever they stand: a shard's borders
WAITING = 64_000_000  # bytes of photos that wait for others of their shape
Progress = Callable[[int, int], None]  # (photos done, photos in all)


@dataclass(frozen=True)
class Failure:
    """A photo that could not be used, and why."""

    id: str
    reason: str


@dataclass(frozen=True, eq=False)
class Embedded:
    """One batch: rows into the table (n,), vectors (n, D), content hashes, what `each` made of
    the photos; what failed; where they were taken, None = not known, or not wanted.
    """

    rows: NDArray[np.int64]
    vectors: Vectors
    hashes: list[str]
    made: list[Any]
    failures: list[Failure]
    locations: list[Place | None]


@dataclass(frozen=True)
class Each:
    """Something to make of each photo while it is in memory, in the decoding threads.

    short_side: pixels of the short side that it needs. location: read in the photo's metadata where
    it was taken, too.
    """

    make: Callable[[Image], Any]
    short_side: int
    location: bool = False


NOTHING = Each(lambda image: None, 0)


def embed(
    embedder: Embedder,
    photos: Photos,
    *,
    each: Each = NOTHING,
    progress: Progress | None = None,
    threads: int | None = None,
) -> Iterator[Embedded]:
    """Embed a table; batches of rows come in table order.

    Threads decode ahead while another runs passes of the network; photos of one shape share a
    pass though photos of other shapes lie between them (see `pipeline/`). Memory is bounded by
    bytes, whatever the photos. threads: that decode; None = one for each core. No value depends
    on their number, nor on rows before or behind its section of `SECTION` rows.
    """
    if not len(photos):  # do not open a network for nothing
        return
    calls = calls_of(embedder)
    room = Room(DECODING + WAITING)  # so there is always room for one photo more
    stretch = max(BATCH, STRETCH * calls.at_once)
    window = Window(calls.at_once, stretch, WAITING, SECTION)
    gathering = Gathering(len(photos), BATCH, embedder.dim)
    paths, read = photos.paths.tolist(), _reader(calls, each)
    with (
        Running(embedder) as running,
        read_ahead(paths, read, room, threads=threads or cores(), ahead=AHEAD) as reads,
    ):
        for batch in gathering.batches(reads, window, running):
            yield _embedded(photos, batch)
            if progress:
                progress(gathering.given, len(photos))


def _reader(calls: Calls, each: Each) -> Callable[[str, Claim], Ready]:
    """What the decoding threads do."""
    short_side = max(calls.short_side, each.short_side)

    def read(path: str, claim: Claim) -> Ready:
        data = read_bytes(path)
        image = read_image(
            data, name=path, short_side=short_side, long_side=calls.long_side,
            admit=lambda size: claim.take(min(max(size, calls.most_kept), DECODING)),
        )  # fmt: skip
        location = location_of(data) if each.location else None
        shape, made = calls.shape(image), (content_hash(data), location, each.make(image))
        image = calls.prepare(image)
        claim.shrink(image.nbytes)
        return Ready(image, shape, made)

    return read


def _embedded(photos: Photos, batch: Batch) -> Embedded:
    failures = [Failure(photos.ids[row], reason) for row, reason in batch.failed.items()]
    hashes, locations, made = ([one[place] for one in batch.made] for place in range(3))
    return Embedded(batch.rows, batch.vectors, hashes, made, failures, locations)


@dataclass(frozen=True)
class Kept:
    """What a gallery keeps of a photo beside its vector, each packed; b"" = not kept."""

    keypoints: bytes
    look: bytes
    thumbnail: bytes


def keep(image: Image) -> Kept:
    """(H, W, 3) uint8 → local features, fingerprint and thumbnail."""
    return Kept(local_features(image), pack(fingerprint(image)), jpeg(image))


KEEP = Each(keep, SIDE)


def fill_gallery(
    embedder: Embedder,
    photos: Photos,
    gallery: AnyGallery,
    *,
    features: bool = True,
    progress: Progress | None = None,
) -> list[Failure]:
    """Put every photo that is not there yet into the gallery; returns what failed.

    A photo is there when its id, path, file size and file time are unchanged: an
    interrupted run goes on where it stopped. A changed landmark is relabelled without
    embedding again. Each batch is one transaction, written while the next is embedded; `progress`
    counts what is stored. features: keep local features, fingerprints and thumbnails too, some
    50 KB a photo; without them nothing is compared by geometry.
    Raises GalleryError when the gallery was made by another embedder.
    """
    gallery.require(embedder.id)
    stamps = stamps_of(photos.paths)
    known = gallery.stamps()
    todo, renamed = [], {}
    for row, photo_id in enumerate(photos.ids):
        stored = known.get(photo_id)
        if stored is None or stored[:2] != (photos.paths[row], stamps[row]):
            todo.append(row)
        elif stored[2] != photos.landmarks[row]:
            renamed[photo_id] = photos.landmarks[row]
    if renamed:
        gallery.relabel(renamed)
    failures = []
    part = photos.take(todo)
    each = KEEP if features else NOTHING
    done = 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        if progress:
            progress(done, len(part))

    with Behind(tell) as writing:
        for batch in embed(embedder, part, each=each):
            seen = [stamps[todo[row]] for row in batch.rows]
            rows = [gallery_row(part, batch, i, when) for i, when in enumerate(seen)]
            put = partial(gallery.put, rows) if rows else _nothing  # no change, no new generation
            writing.start(put, len(rows) + len(batch.failures))
            failures += batch.failures
    return failures


def _nothing() -> None:
    """What a batch of failed photos leaves to write."""


def gallery_row(photos: Photos, batch: Embedded, i: int, seen: str) -> GalleryRow:
    """The i-th photo of a batch as a gallery keeps it. seen: its stamp before it was read."""
    row, kept = batch.rows[i], batch.made[i] or Kept(b"", b"", b"")
    return GalleryRow(
        photos.ids[row], photos.paths[row], photos.landmarks[row], batch.hashes[i], seen,
        batch.vectors[i], keypoints=kept.keypoints, look=kept.look, thumbnail=kept.thumbnail,
    )  # fmt: skip


def merged(photos: Photos, distractors: Photos | None) -> Photos:
    """Landmark photos and distractors as one table; the distractors lose their landmarks.

    Raises OptionError when a landmark photo has no landmark, DataError when one has several, or
    when ids collide.
    """
    if unnamed := int((photos.landmarks == "").sum()):
        raise OptionError(
            f"{unnamed} of the {len(photos)} photos to index have no landmark; give photos "
            "without a landmark as distractors"
        )
    photos.require_one_landmark("indexing")
    if distractors is None or not len(distractors):
        return photos
    table = Photos(
        np.concatenate([photos.ids, distractors.ids]),
        np.concatenate([photos.paths, distractors.paths]),
        np.concatenate([photos.landmarks, np.full(len(distractors), "", dtype=object)]),
        np.concatenate([photos.usages, distractors.usages]),
    )
    table.check_ids()
    return table
