"""Photos → vectors: read, decode and embed in batches; a photo that fails is listed, never fatal.

Threads read and decode ahead (`prefetch`) while another runs the network (`batching`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..core.hardware import cpu_count
from ..core.images import MAX_PIXELS, LatLon, content_hash, location_of, read_image
from ..core.storage import read_bytes
from ..core.types import Embedder, Image, Photos, Vectors
from .batching import Batch, Decoded, ForwardThread, Reorderer, ShapeBatcher
from .prefetch import ByteBudget, Reservation, read_ahead
from .preprocessing import InputPipeline

BATCH_ROWS = 64  # rows of a table in a batch: one transaction of a gallery

PHOTOS_AHEAD = 64  # photos that are read before they are needed

MAX_WAIT_PASSES = 8  # passes' worth of rows that a photo waits at most for others of its shape

MAX_DECODING_BYTES = 8 * MAX_PIXELS  # 400 MB: the largest photo takes all of it

MAX_WAITING_BYTES = 64_000_000  # of photos that wait for others of their shape

SECTION_ROWS = 512  # rows that are embedded alike wherever they stand: shards end at its multiples

DEFAULT_PASS = 64  # photos in a forward pass of an embedder that does not say how many it takes

Progress = Callable[[int, int], None]  # (photos done, photos in all)


@dataclass(frozen=True)
class Failure:
    """A photo that could not be used, and why."""

    id: str
    reason: str


@dataclass(frozen=True, eq=False)
class EmbeddedBatch:
    """One batch: rows into the table (n,), vectors (n, D), content hashes, what `each` made of
    the photos; what failed; where they were taken, None = not known, or not asked for.
    """

    rows: NDArray[np.int64]
    vectors: Vectors
    hashes: list[str]
    made: list[Any]
    failures: list[Failure]
    locations: list[LatLon | None]


@dataclass(frozen=True)
class PerPhoto:
    """Something to make of each photo while it is in memory, in the decoding threads.

    short_side: pixels of the short side that it needs. location: read where the photo was taken
    from its metadata, too.
    """

    make: Callable[[Image], Any]
    short_side: int
    location: bool = False


NOTHING = PerPhoto(lambda image: None, 0)


@runtime_checkable
class WithInputSpec(Protocol):
    """An embedder that says how photos reach its network.

    Its photos are decoded no larger than it needs, the threads that decode resize them as well, and
    photos of one shape share a forward pass. Any other embedder gets photos as they were decoded,
    in the order of the table.
    """

    @property
    def looking(self) -> InputPipeline: ...


@dataclass(frozen=True)
class InputSpec:
    """How photos reach an embedder, with defaults for one that does not say.

    prepare: what is kept of a decoded photo, in the thread that decoded it. shape: photos of equal
    ones share a pass of at most `at_once`. short_side, long_side: pixels that a photo needs in
    each; 0 = no matter. most_kept: bytes of what `prepare` may return of a smaller photo.
    """

    prepare: Callable[[Image], Image]
    shape: Callable[[Image], Hashable]
    at_once: int
    short_side: int
    long_side: int
    most_kept: int = 0

    @classmethod
    def of(cls, embedder: Embedder) -> InputSpec:
        """What one embedder asks for."""
        if not isinstance(embedder, WithInputSpec):
            return cls(_unchanged, lambda image: None, DEFAULT_PASS, embedder.short_side, 0)
        looking = embedder.looking
        sizes = looking.views.of(looking.preprocessing)
        return cls(
            # Several sizes are made of one photo: it cannot be resized to each beforehand.
            prepare=sizes[0].resize if len(sizes) == 1 else _unchanged,
            shape=lambda image: tuple(size.target(*image.shape[:2]) for size in sizes),
            at_once=looking.batch,
            short_side=max(size.least[0] for size in sizes),
            long_side=max(size.least[1] for size in sizes),
            most_kept=3 * max(side for size in sizes for side in size.target(1, 1)) ** 2,
        )


def _unchanged(image: Image) -> Image:
    return image


def embed(
    embedder: Embedder,
    photos: Photos,
    *,
    each: PerPhoto = NOTHING,
    progress: Progress | None = None,
    threads: int | None = None,
) -> Iterator[EmbeddedBatch]:
    """Embed a table; batches of rows come in table order.

    Photos of one shape share a forward pass though photos of other shapes lie between them. Memory
    is bounded by bytes, whatever the photos. threads: that decode; None = one for each core. No
    value depends on their number, nor on rows before or behind its section of `SECTION_ROWS` rows.
    """
    if not len(photos):  # do not open a network for nothing
        return
    spec = InputSpec.of(embedder)
    budget = ByteBudget(MAX_DECODING_BYTES + MAX_WAITING_BYTES)  # so one more photo always fits
    stretch = max(BATCH_ROWS, MAX_WAIT_PASSES * spec.at_once)
    batcher = ShapeBatcher(spec.at_once, stretch, MAX_WAITING_BYTES, SECTION_ROWS)
    reorderer = Reorderer(len(photos), BATCH_ROWS, embedder.dim)
    paths, read = photos.paths.tolist(), _reader(spec, each)
    with (
        ForwardThread(embedder) as forward,
        read_ahead(
            paths, read, budget, threads=threads or cpu_count(), ahead=PHOTOS_AHEAD
        ) as reads,
    ):  # fmt: skip
        for batch in reorderer.batches(reads, batcher, forward):
            yield _embedded(photos, batch)
            if progress:
                progress(reorderer.given, len(photos))


def _reader(spec: InputSpec, each: PerPhoto) -> Callable[[str, Reservation], Decoded]:
    """What the decoding threads do."""
    short_side = max(spec.short_side, each.short_side)

    def read(path: str, reservation: Reservation) -> Decoded:
        data = read_bytes(path)
        image = read_image(
            data, name=path, short_side=short_side, long_side=spec.long_side,
            admit=lambda size: reservation.take(
                min(max(size, spec.most_kept), MAX_DECODING_BYTES)
            ),
        )  # fmt: skip
        location = location_of(data) if each.location else None
        shape, made = spec.shape(image), (content_hash(data), location, each.make(image))
        image = spec.prepare(image)
        reservation.shrink(image.nbytes)
        return Decoded(image, shape, made)

    return read


def _embedded(photos: Photos, batch: Batch) -> EmbeddedBatch:
    failures = [Failure(photos.ids[row], reason) for row, reason in batch.failed.items()]
    hashes, locations, made = ([one[place] for one in batch.made] for place in range(3))
    return EmbeddedBatch(batch.rows, batch.vectors, hashes, made, failures, locations)
