"""Transfer vectors to and from PostgreSQL as NumPy structured arrays, by its binary COPY.

Each field of a row is its length and its bytes, numbers big-endian (PostgreSQL's manual, "COPY",
binary format); a halfvec is its dimensions, two unused bytes and its float16 numbers (pgvector's
`halfvec_send`). All rows have the same size, so a block of them is a structured array.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checksums import blob_sum, damaged
from .connection import Sql

HEADER, TRAILER = 19, 2  # bytes before and after the rows of a binary COPY

SIGNATURE = b"PGCOPY\n\xff\r\n\0".ljust(HEADER, b"\0")

END = b"\xff\xff"

BLOCK_ROWS = 4096  # vectors written or parsed at once


def write_vectors(
    sql: Sql, numbers: list[int], bank: list[bool], vectors: Sequence[bytes], dim: int
) -> None:
    """Insert vectors.

    numbers: new row numbers; bank: True = distractor; vectors: little-endian float16, 2·dim bytes
    each.
    """
    record = np.dtype([("fields", ">i2"), ("size", ">i4"), ("number", ">i8"), ("one", ">i4"),
                       ("bank", "u1"), ("length", ">i4"), ("dim", ">i2"), ("unused", ">i2"),
                       ("data", ">f2", (dim,))])  # fmt: skip
    rows = np.zeros(len(numbers), dtype=record)
    rows["fields"], rows["size"], rows["number"], rows["one"] = 3, 8, numbers, 1
    rows["bank"], rows["length"], rows["dim"] = bank, 4 + 2 * dim, dim
    rows["data"] = np.frombuffer(b"".join(vectors), dtype="<f2").reshape(-1, dim)
    with sql.cursor().copy("COPY vectors (number, bank, data) FROM STDIN (FORMAT BINARY)") as copy:
        copy.write(SIGNATURE)
        for start in range(0, len(rows), BLOCK_ROWS):
            copy.write(rows[start : start + BLOCK_ROWS].tobytes())
        copy.write(END)


def checked_vectors(
    sql: Sql,
    query: str,
    value: object,
    dim: int,
    photos: list[tuple[int, str, int]],
    name: str,
) -> NDArray[np.float16]:
    """(N, D) vectors of photos, each compared with its checksum.

    Args:
        sql: the connection.
        query: selects number and data, in row order.
        value: the query's parameter.
        dim: dimensions of a vector.
        photos: (row number, id, checksum of the vector) of N photos, in row order.
        name: the gallery's address.

    Raises:
        GalleryError: when a vector is missing, added or changed.
    """
    vectors = np.empty((len(photos), dim), dtype="<f2")
    at = 0
    with closing(vector_blocks(sql, query, value, dim, name)) as blocks:
        for numbers, block in blocks:
            part = photos[at : at + len(block)]
            _check(numbers, block, part, name)
            vectors[at : at + len(block)] = block
            at += len(block)
    if at < len(photos):
        raise damaged(name, f"vector of photo {photos[at][1]!r}, row {photos[at][0]}")
    return vectors.astype(np.float16, copy=False)


def _check(
    numbers: list[int],
    block: NDArray[np.float16],
    photos: list[tuple[int, str, int]],
    name: str,
) -> None:
    """Raise GalleryError unless these are the vectors of these photos."""
    if len(block) > len(photos):
        raise damaged(name, "a vector without its photo")
    flat, width = block.tobytes(), 2 * block.shape[1]
    for i, (number, photo_id, expected) in enumerate(photos):
        if numbers[i] != number or blob_sum(flat[i * width : (i + 1) * width]) != expected:
            raise damaged(name, f"vector of photo {photo_id!r}, row {number}")


def vector_blocks(
    sql: Sql, query: str, value: object, dim: int, name: str
) -> Generator[tuple[list[int], NDArray[np.float16]]]:
    """Yield blocks of a query for number and data: row numbers, (n, D) little-endian vectors."""
    record = np.dtype([("fields", ">i2"), ("size", ">i4"), ("number", ">i8"), ("length", ">i4"),
                       ("dim", ">i2"), ("unused", ">i2"), ("data", ">f2", (dim,))])  # fmt: skip
    sql.execute("SET LOCAL statement_timeout = 0")  # because reading all vectors may take long
    with sql.cursor().copy(f"COPY ({query}) TO STDOUT (FORMAT BINARY)", (value,)) as copy:
        pending = bytearray()
        start = HEADER
        for chunk in copy:
            pending += chunk
            if len(pending) - start >= BLOCK_ROWS * record.itemsize:
                count = (len(pending) - start) // record.itemsize
                yield _parsed(pending, start, count, record, name)
                del pending[: start + count * record.itemsize]
                start = 0
        if count := (len(pending) - start - TRAILER) // record.itemsize:
            yield _parsed(pending, start, count, record, name)


def _parsed(
    data: bytearray, start: int, count: int, record: np.dtype[Any], name: str
) -> tuple[list[int], NDArray[np.float16]]:
    found = np.frombuffer(bytes(data[start : start + count * record.itemsize]), dtype=record)
    dim = record["data"].shape[0]
    if not ((found["fields"] == 2) & (found["size"] == 8) & (found["dim"] == dim)).all():
        raise damaged(name, "vectors of another length")
    return found["number"].tolist(), found["data"].astype("<f2")
