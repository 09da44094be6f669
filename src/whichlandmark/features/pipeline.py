"""Photos → vectors: read, decode and embed in batches; failed photos are listed, never fatal.

Threads read and decode ahead (`prefetch`) while another thread runs the network (`batching`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

from ..core.hardware import cpu_count, max_megapixels
from ..core.images import BYTES_PER_PIXEL, content_hash, read_image, stored_image
from ..core.photo_files import LatLon, location_of
from ..core.storage import read_bytes
from ..core.types import Embedder, Image, Photos, Progress, Rows, Vectors
from .batching import Decoded, ForwardThread, Reorderer, ShapeBatcher
from .embedders.by_count import embedder_for
from .embedders.own import checked_rows
from .prefetch import ByteBudget, Reservation, read_ahead
from .preprocessing import InputPipeline

BATCH_ROWS = 64  # table rows of a batch; a gallery writes one batch in one transaction

PHOTOS_AHEAD = 64  # photos that are read before they are needed

MAX_WAIT_PASSES = 8  # a photo waits for others of its shape for at most this many passes of rows

MAX_WAITING_BYTES = 64_000_000  # of photos that wait for others of their shape

SECTION_ROWS = 512  # no pass crosses a multiple of this; shards are cut at these multiples

DEFAULT_BATCH_SIZE = 64  # photos in a forward pass of an embedder without `InputPipeline`


@dataclass(frozen=True)
class Failure:
    """A photo that could not be used, and why."""

    id: str
    reason: str


@dataclass(frozen=True, eq=False)
class EmbeddedBatch:
    """Results of at most `BATCH_ROWS` consecutive rows of a table.

    rows: (n,) rows that were embedded. vectors: (n, D). hashes: content hashes. computed: results
    of `PerPhoto.compute`. failures: the other photos. locations: where the photos were taken; None
    = not in the file, or not requested.
    """

    rows: Rows
    vectors: Vectors
    hashes: list[str]
    computed: list[Any]
    failures: list[Failure]
    locations: list[LatLon | None]


@dataclass(frozen=True)
class PerPhoto:
    """A function that the decoding threads apply to each photo, beside embedding it.

    short_side: minimum short side in pixels that `compute` needs. location: also read where the
    photo was taken from its metadata. upright: turn the photo as its EXIF data say.
    """

    compute: Callable[[Image], Any]
    short_side: int
    location: bool = False
    upright: bool = True


COMPUTE_NOTHING = PerPhoto(lambda image: None, 0)


@runtime_checkable
class HasInputPipeline(Protocol):
    """An embedder with a declared input pipeline.

    Its photos are decoded no larger than necessary and resized in the decoding threads, and photos
    of one shape share a forward pass. Other embedders get photos as decoded, in table order.
    """

    @property
    def input_pipeline(self) -> InputPipeline: ...


@dataclass(frozen=True)
class InputSpec:
    """How photos are prepared and batched for an embedder.

    prepare: applied to a decoded photo in the decoding thread. shape: photos of equal shape share
    a pass of at most `batch_size`. short_side, long_side: minimum size in pixels; 0 = any.
    max_prepared_bytes: upper bound of the result of `prepare`, which may enlarge a small photo.
    """

    prepare: Callable[[Image], Image]
    shape: Callable[[Image], Hashable]
    batch_size: int
    short_side: int
    long_side: int
    max_prepared_bytes: int = 0

    @classmethod
    def of(cls, embedder: Embedder) -> InputSpec:
        """The spec of an embedder, with defaults for one without an input pipeline."""
        if not isinstance(embedder, HasInputPipeline):
            return cls(_identity, lambda image: None, DEFAULT_BATCH_SIZE, embedder.short_side, 0)
        pipeline = embedder.input_pipeline
        views = pipeline.views.expand(pipeline.preprocessing)
        return cls(
            # With several views the photo is needed at several sizes, so it is not resized here.
            prepare=views[0].resize if len(views) == 1 else _identity,
            shape=lambda image: tuple(view.target_shape(*image.shape[:2]) for view in views),
            batch_size=pipeline.batch_size,
            short_side=max(view.decode_sides[0] for view in views),
            long_side=max(view.decode_sides[1] for view in views),
            max_prepared_bytes=3
            * max(side for view in views for side in view.target_shape(1, 1)) ** 2,
        )


def _identity(image: Image) -> Image:
    return image


def embed(
    embedder: Embedder,
    photos: Photos,
    *,
    per_photo: PerPhoto = COMPUTE_NOTHING,
    progress: Progress | None = None,
    threads: int | None = None,
) -> Iterator[EmbeddedBatch]:
    """Embed a table of photos.

    Photos of one shape share a forward pass even if photos of other shapes lie between them.
    Memory is bounded in bytes for photos of any size. The vectors do not depend on the number of
    threads, nor on rows of other sections (of `SECTION_ROWS` rows).

    Args:
        per_photo: Computed for each photo while it is in memory.
        progress: Called with (rows done, rows in all) after each batch.
        threads: Number of decoding threads; None = one per core.

    Yields:
        Batches of rows in table order.
    """
    if not len(photos):  # an empty table must not open a network
        return
    chosen = embedder_for(embedder, len(photos))
    spec = InputSpec.of(chosen)
    # The sum of both limits, so that one more photo fits while others wait for their shape.
    budget = ByteBudget(max_decoding_bytes() + MAX_WAITING_BYTES)
    max_wait_rows = max(BATCH_ROWS, MAX_WAIT_PASSES * spec.batch_size)
    batcher = ShapeBatcher(spec.batch_size, max_wait_rows, MAX_WAITING_BYTES, SECTION_ROWS)
    reorderer = Reorderer(len(photos), BATCH_ROWS, embedder.dim)
    reading = read_ahead(
        photos.paths.tolist(),
        _photo_reader(spec, per_photo),
        budget,
        threads=threads or cpu_count(),
        max_ahead=PHOTOS_AHEAD,
    )
    forward_thread = ForwardThread(partial(checked_rows, chosen))
    with forward_thread as forward, reading as reads:
        for batch in reorderer.batches(reads, batcher, forward):
            failures = [Failure(photos.ids[row], reason) for row, reason in batch.failed.items()]
            hashes, locations, computed = ([item[i] for item in batch.computed] for i in range(3))
            yield EmbeddedBatch(batch.rows, batch.vectors, hashes, computed, failures, locations)
            if progress:
                progress(reorderer.rows_done, len(photos))


def max_decoding_bytes() -> int:
    """Bytes that photos may take while they are decoded: the largest allowed one takes all."""
    return int(BYTES_PER_PIXEL * max_megapixels() * 1e6)


def _photo_reader(spec: InputSpec, per_photo: PerPhoto) -> Callable[[str, Reservation], Decoded]:
    """The function that the decoding threads run on each path."""
    short_side = max(spec.short_side, per_photo.short_side)
    decode = read_image if per_photo.upright else stored_image

    def read(path: str, reservation: Reservation) -> Decoded:
        data = read_bytes(path)

        def reserve(size: int) -> None:
            reservation.take(min(max(size, spec.max_prepared_bytes), max_decoding_bytes()))

        image = decode(
            data, name=path, short_side=short_side, long_side=spec.long_side, reserve=reserve
        )
        location = location_of(data) if per_photo.location else None
        shape, computed = spec.shape(image), per_photo.compute(image)
        image = spec.prepare(image)
        reservation.shrink(image.nbytes)
        return Decoded(image, shape, (content_hash(data), location, computed))

    return read
