"""Transfer vectors to and from PostgreSQL as NumPy structured arrays, by its binary COPY.

Each field of a row is its length and its bytes, numbers big-endian (PostgreSQL's manual, "COPY",
binary format); a halfvec is its dimensions, two unused bytes and its float16 numbers (pgvector's
`halfvec_send`). All rows have the same size, so a block of them is a structured array.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np

from ..checksums import damaged
from .connection import LIFT_TIMEOUT, Sql

HEADER, TRAILER = 19, 2  # bytes before and after the rows of a binary COPY

SIGNATURE = b"PGCOPY\n\xff\r\n\0".ljust(HEADER, b"\0")

END = b"\xff\xff"

BLOCK_ROWS = 4096  # vectors written or parsed at once

NUMBER = [("fields", ">i2"), ("size", ">i4"), ("number", ">i8")]  # the start of a row

VECTOR = [("length", ">i4"), ("dim", ">i2"), ("unused", ">i2")]  # then come its numbers

DIM_AT = HEADER + 18  # the dimensions of the first row's vector: two bytes


def write_vectors(sql: Sql, numbers: list[int], bank: list[bool], vectors: Sequence[bytes]) -> None:
    """Insert vectors.

    numbers: new row numbers; bank: True = distractor; vectors: little-endian float16, of one
    length.
    """
    dim = len(vectors[0]) // 2
    rows = np.zeros(len(numbers), dtype=[
        *NUMBER, ("one", ">i4"), ("bank", "u1"), *VECTOR, ("data", ">f2", (dim,)),
    ])  # fmt: skip
    rows["fields"], rows["size"], rows["number"], rows["one"] = 3, 8, numbers, 1
    rows["bank"], rows["length"], rows["dim"] = bank, 4 + 2 * dim, dim
    rows["data"] = np.frombuffer(b"".join(vectors), dtype="<f2").reshape(-1, dim)
    with sql.cursor().copy("COPY vectors (number, bank, data) FROM STDIN (FORMAT BINARY)") as copy:
        copy.write(SIGNATURE)
        for start in range(0, len(rows), BLOCK_ROWS):
            copy.write(rows[start : start + BLOCK_ROWS].tobytes())
        copy.write(END)


def read_vectors(sql: Sql, query: str, value: object, name: str) -> Generator[tuple[int, bytes]]:
    """Row number and vector, little-endian float16, of every row of a query for both.

    Raises:
        GalleryError: for vectors of different lengths; name: the gallery's address.
    """
    sql.execute(LIFT_TIMEOUT)
    with sql.cursor().copy(f"COPY ({query}) TO STDOUT (FORMAT BINARY)", (value,)) as copy:
        pending, start, full = bytearray(), HEADER, DIM_AT + 2
        row: np.dtype[Any] | None = None
        for chunk in copy:
            pending += chunk
            if len(pending) >= full:
                if row is None:
                    dim = int.from_bytes(pending[DIM_AT:full], "big")
                    row = np.dtype([*NUMBER, *VECTOR, ("data", ">f2", (dim,))])
                else:
                    count = (len(pending) - start) // row.itemsize
                    yield from _parsed(pending, start, count, row, name)
                    del pending[: start + count * row.itemsize]
                    start = 0
                full = start + BLOCK_ROWS * row.itemsize
        if row and (count := (len(pending) - start - TRAILER) // row.itemsize):
            yield from _parsed(pending, start, count, row, name)


def _parsed(
    data: bytearray, start: int, count: int, row: np.dtype[Any], name: str
) -> Iterator[tuple[int, bytes]]:
    found = np.frombuffer(bytes(data[start : start + count * row.itemsize]), dtype=row)
    dim = row["data"].shape[0]
    if not ((found["fields"] == 2) & (found["size"] == 8) & (found["dim"] == dim)).all():
        raise damaged(name, "vectors of another length")
    vectors = found["data"].astype("<f2").tobytes()
    parts = (vectors[at : at + 2 * dim] for at in range(0, len(vectors), 2 * dim))
    return zip(found["number"].tolist(), parts, strict=True)
