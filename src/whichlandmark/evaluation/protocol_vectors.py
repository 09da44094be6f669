"""Vectors of a benchmark's photos: queries cropped to their boxes, database, distractors."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from ..core.benchmark import Benchmark, most_missing
from ..core.errors import DataError, ImageError
from ..core.images import read_image, stored_image
from ..core.progress import StartPhase
from ..core.storage import read_bytes
from ..core.types import Embedder, Floats, Image, Photos, Progress, RowArray, Vectors
from ..features.embedders.own import checked_rows
from ..features.pipeline import Failure, HasInputPipeline, PerPhoto, embed

MAX_ARRAY_BYTES = 1_000_000_000  # of vectors in memory; more are kept in a temporary file

MAX_BATCH_PIXELS = 32_000_000  # of cropped queries that are embedded together

DISTRACTORS_AT_ONCE = 4096  # vectors of distractors in one chunk


@dataclass(frozen=True, eq=False, kw_only=True)
class BenchmarkVectors:
    """The vectors of a benchmark's photos, in the order of its tables, and what they are.

    Attributes:
        queries, database: (Q, D) and (N, D); rows need not have unit length.
        query_present, database_present: False = the photo has no vector: a query that retrieves
            nothing, a photo that is never retrieved.
        name, embedder: the embedder as people call it, and its id; of given vectors, their files.
        licence: of its weights. image_size: of its input, in words.
        seconds: that embedding took; None = the vectors were given.
        unreadable: id → reason, of photos that could not be read.
    """

    queries: RowArray
    database: RowArray
    query_present: NDArray[np.bool_]
    database_present: NDArray[np.bool_]
    name: str
    embedder: str
    licence: str = "unknown"
    image_size: str = "unknown"
    seconds: float | None = None
    unreadable: dict[str, str] = field(default_factory=dict)

    def check(self, benchmark: Benchmark) -> None:
        """Raises DataError where the vectors do not fit the tables, or too many are missing."""
        if self.queries.shape[1] != self.database.shape[1]:
            raise DataError(
                f"queries have {self.queries.shape[1]} dimensions, the database "
                f"{self.database.shape[1]}; expected vectors of one embedder"
            )
        wanted = np.zeros(len(benchmark.queries), dtype=bool)
        wanted[benchmark.ranked_queries()] = True
        for what, table, rows, absent in (
            ("queries", benchmark.queries, self.queries, wanted & ~self.query_present),
            ("photos of the database", benchmark.database, self.database, ~self.database_present),
        ):
            if not len(rows) == len(absent) == len(table):
                raise DataError(
                    f"{len(rows)} vectors given; expected {len(table)}, one for each of the {what}"
                )
            if int(absent.sum()) > most_missing(len(table)):
                names = ", ".join(str(name) for name in table.ids[absent][:3])
                raise DataError(
                    f"{absent.sum()} of the {len(table)} {what} are missing or cannot be read, "
                    f"such as {names}; figures without them cannot be compared (at most "
                    f"{most_missing(len(table))} may be missing): complete the data set"
                )


def embed_benchmark(
    benchmark: Benchmark, embedder: Embedder, *, progress: StartPhase | None = None
) -> BenchmarkVectors:
    """Embed the photos of a benchmark: queries in their boxes, then the database.

    A query that counts in no setting is not embedded. A photo that is missing or cannot be read is
    listed, and has no vector.
    """
    started = time.monotonic()
    wanted = benchmark.ranked_queries()
    unreadable: dict[str, str] = {}
    queries, query_present = _table(len(benchmark.queries), embedder.dim)
    crops = _crops(benchmark, unreadable)
    move = progress("queries") if progress else None
    for rows, vectors in _in_batches(crops, embedder):
        queries[rows], query_present[rows] = vectors, True
        if move:
            move(int(np.searchsorted(wanted, rows[-1], side="right")), len(wanted))
    database, database_present = _table(len(benchmark.database), embedder.dim)
    shown = progress("database") if progress else None
    for batch in embed(embedder, benchmark.database, per_photo=_as(benchmark), progress=shown):
        database[batch.rows], database_present[batch.rows] = batch.vectors, True
        unreadable |= {failure.id: failure.reason for failure in batch.failures}
    return BenchmarkVectors(
        queries=queries,
        database=database,
        query_present=query_present,
        database_present=database_present,
        name=embedder.name,
        embedder=embedder.id,
        licence=str(getattr(embedder, "licence", "") or "unknown"),
        image_size=image_size(embedder),
        seconds=time.monotonic() - started,
        unreadable=unreadable,
    )


def embed_distractors(
    photos: Photos,
    embedder: Embedder,
    *,
    upright: bool,
    failures: list[Failure],
    progress: Progress | None = None,
) -> Iterator[Vectors]:
    """Vectors of further photos, in chunks; those that cannot be read are added to `failures`."""
    waiting: list[Vectors] = []
    each = PerPhoto(_nothing, 0, upright=upright)
    for batch in embed(embedder, photos, per_photo=each, progress=progress):
        failures += batch.failures
        waiting.append(batch.vectors)
        if sum(map(len, waiting)) >= DISTRACTORS_AT_ONCE:
            yield np.concatenate(waiting)
            waiting = []
    if waiting:
        yield np.concatenate(waiting)


def image_size(embedder: Embedder) -> str:
    """The size of an embedder's input, in words."""
    if not isinstance(embedder, HasInputPipeline):
        return f"short side at least {embedder.short_side} px"
    how = embedder.input_pipeline.preprocessing
    side = {"squash": "squashed to", "crop": "central square of"}.get(how.fit, "long side")
    padded = ", padded" if how.fit in ("pad", "pad-center") else ""
    scales = embedder.input_pipeline.views.scales
    several = f", {len(scales)} scales" if len(scales) > 1 else ""
    return f"{side} {how.size} px{padded}{several}"


def cropped(image: Image, box: Floats) -> Image:
    """The part of a photo inside a box of pixels, as Pillow's `crop` makes it.

    Sides are rounded to whole pixels, halves to even; what lies outside of the photo is black.
    Raises ImageError for a box without pixels, or one that does not touch the photo.
    """
    height, width = image.shape[:2]
    left, top, right, bottom = (round(float(side)) for side in box)
    shown = f"box {left}, {top}, {right}, {bottom} of a photo of {width} × {height} px"
    if right <= left or bottom <= top:
        raise ImageError(f"{shown} has no pixels; expected left < right and top < bottom")
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        raise ImageError(f"{shown} lies outside of it; is it of another size or turned?")
    if right - left > 2 * width or bottom - top > 2 * height:
        raise ImageError(f"{shown} is more than twice as large as it; is it of another size?")
    return np.asarray(Pillow.fromarray(image).crop((left, top, right, bottom)))


def _crops(benchmark: Benchmark, unreadable: dict[str, str]) -> Iterator[tuple[int, Image]]:
    """The queries that are ranked, decoded at full size and cropped."""
    read = read_image if benchmark.upright else stored_image
    for row in benchmark.ranked_queries().tolist():
        path = str(benchmark.queries.paths[row])
        try:
            image = read(read_bytes(path), name=path)
            if benchmark.boxes is not None and not np.isnan(benchmark.boxes[row]).any():
                try:
                    image = cropped(image, benchmark.boxes[row])
                except ImageError as error:
                    raise ImageError(f"{path}: {error}") from None
            yield row, image
        except ImageError as error:
            unreadable[str(benchmark.queries.ids[row])] = str(error)


def _in_batches(
    images: Iterator[tuple[int, Image]], embedder: Embedder
) -> Iterator[tuple[list[int], Vectors]]:
    rows: list[int] = []
    waiting: list[Image] = []
    for row, image in images:
        rows.append(row)
        waiting.append(image)
        if sum(each.size for each in waiting) >= 3 * MAX_BATCH_PIXELS:
            yield rows, checked_rows(embedder, waiting)
            rows, waiting = [], []
    if rows:
        yield rows, checked_rows(embedder, waiting)


def _as(benchmark: Benchmark) -> PerPhoto:
    return PerPhoto(_nothing, 0, upright=benchmark.upright)


def _nothing(image: Image) -> None:
    return None


def _table(rows: int, dim: int) -> tuple[Any, NDArray[np.bool_]]:
    """Zeros for vectors, in memory or in a temporary file, and a column of False."""
    shape = (rows, dim)
    if 4 * rows * dim > MAX_ARRAY_BYTES:
        file = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the array)
        return np.memmap(file, dtype=np.float32, mode="w+", shape=shape), np.zeros(rows, dtype=bool)
    return np.zeros(shape, dtype=np.float32), np.zeros(rows, dtype=bool)
