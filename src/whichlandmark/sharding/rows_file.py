"""The photos of one shard as a Parquet file: the columns of `GalleryRow` that a table does not say.

Vectors stand as little-endian float16, as galleries keep them. The landmark is left to the table:
a photo that is named otherwise need not be embedded again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, OptionError
from ..gallery.records import GalleryRow, check

ROWS = 1024  # of a row group, which is what memory holds: some 50 MB with features
TEXTS = ("id", "path", "hash", "stamp")
BLOBS = ("keypoints", "look", "thumbnail")


def write_rows(path: Path, rows: Iterable[GalleryRow], dim: int) -> int:
    """Write a file; memory holds one group of rows. Returns their number.

    Raises DataError for words that no gallery could keep.
    """
    pa, parquet = arrow()
    schema = _schema(pa, dim)
    count = 0
    # Blobs are compressed already, and no text occurs often.
    with parquet.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
        for group in _groups(rows):
            writer.write_table(pa.table(_columns(group), schema=schema))
            count += len(group)
    return count


def read_rows(path: Path, dim: int) -> Iterator[list[GalleryRow]]:
    """Groups of at most `ROWS` rows, landmarks "". Raises DataError for another kind of file."""
    pa, parquet = arrow()
    try:
        with parquet.ParquetFile(path) as file:
            if file.schema_arrow != _schema(pa, dim):
                raise DataError(f"{path}: other columns than those of a shard of {dim} dimensions")
            for group in file.iter_batches(batch_size=ROWS):
                columns = group.to_pydict()
                yield [_row(columns, i) for i in range(len(columns["id"]))]
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not readable as a shard ({error})") from None


def arrow() -> tuple[Any, Any]:
    """pyarrow and its Parquet. Raises OptionError when it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise OptionError(
            "shards are Parquet files, and pyarrow is not installed; "
            "install it with: pip install 'whichlandmark[cluster]'"
        ) from None
    return pyarrow, pyarrow.parquet


def _schema(pa: Any, dim: int) -> Any:
    fields = [pa.field(name, pa.string(), nullable=False) for name in TEXTS]
    fields += [pa.field("vector", pa.binary(2 * dim), nullable=False)]
    fields += [pa.field(name, pa.binary(), nullable=False) for name in BLOBS]
    return pa.schema(fields)


def _columns(rows: Sequence[GalleryRow]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {
        name: [getattr(row, name) for row in rows] for name in (*TEXTS, *BLOBS)
    }
    columns["vector"] = [row.vector.astype("<f2").tobytes() for row in rows]
    return columns


def _row(columns: dict[str, list[Any]], i: int) -> GalleryRow:
    photo_id, path, digest, stamp = (columns[name][i] for name in TEXTS)
    keypoints, look, thumbnail = (columns[name][i] for name in BLOBS)
    vector = np.frombuffer(columns["vector"][i], dtype="<f2").astype(np.float32)
    return GalleryRow(photo_id, path, "", digest, stamp, vector, keypoints, look, thumbnail)


def _groups(rows: Iterable[GalleryRow]) -> Iterator[list[GalleryRow]]:
    group: list[GalleryRow] = []
    for row in rows:
        check(row)
        group.append(row)
        if len(group) == ROWS:
            yield group
            group = []
    if group:
        yield group
