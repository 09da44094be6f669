"""Vectors as they are stored in a file of any type: how many, whose, and read in chunks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...core.disks import read_error
from ...core.errors import DataError, OptionError, WhichLandmarkError

Role = Literal["queries", "database", "distractors"]

Reader = Callable[[int, int], NDArray[Any]]  # (start, stop) of the first axis → those rows

CHUNK_BYTES = 64_000_000  # of vectors as float64 that are read at a time

HLOC = "global_descriptor"  # of a photo's group, as hloc writes it

# Names of the vectors, where a file has several arrays.
OF_ROLE = {
    "queries": ("q", "queries", "query", "qvecs", "query_features", "query_descriptors"),
    "database": ("x", "database", "db", "vecs", "index_features", "database_descriptors"),
    "distractors": ("x", "distractors", "database", "db", "vecs"),
}

OF_ALL = ("descriptors", "features", "embeddings", "vectors", "feats", "global_descriptors")


@dataclass(frozen=True, eq=False)
class DescriptorFile:
    """Vectors in a file.

    Attributes:
        name: the file as messages call it.
        shape: (rows, columns) as stored; revisited Oxford's files have the vectors in columns.
        ids: of the photos, one for each vector; None = the file has none.
        facts: what the file says of itself: "embedder", "licence", "whitened" ….
        read: (start, stop) of the first axis → that part, numbers of any float type.
        columns: (start, stop) of the second axis → that part.
    """

    name: str
    shape: tuple[int, int]
    read: Reader
    columns: Reader
    ids: list[str] | None = None
    facts: dict[str, str] = field(default_factory=dict)

    def in_columns(self, *, photos: int | None = None, dim: int | None = None) -> bool:
        """Are the vectors columns? The number of ids says so, else that of photos, else `dim`."""
        rows, columns = self.shape
        for known in (None if self.ids is None else len(self.ids), photos):
            if known is not None and known in self.shape:
                return rows != known
        return dim is not None and columns != dim and rows == dim

    def chunks(self, *, in_columns: bool) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """(number of the first, (n, D) float64) of all vectors in their order."""
        rows, dim = self.shape[::-1] if in_columns else self.shape
        step = max(1, min(16_384, CHUNK_BYTES // (8 * dim)))
        for start in range(0, rows, step):
            stop = min(start + step, rows)
            with readable(self.name):
                part = self.columns(start, stop).T if in_columns else self.read(start, stop)
            yield start, np.asarray(part, dtype=np.float64)


@contextmanager
def readable(name: str) -> Iterator[None]:
    """What the libraries raise for damaged files, as a DataError."""
    try:
        yield
    except WhichLandmarkError:
        raise
    except OSError as error:
        if error.errno is None:  # of h5py: its messages are about the library's inside
            raise DataError(f"{name}: damaged, or not of the type that its name says") from None
        raise DataError(read_error(name, error)) from None
    except Exception as error:  # the libraries raise many kinds of error
        raise DataError(
            f"{name}: damaged, or not of the type that its name says ({str(error)[:200]})"
        ) from None


def chosen(path: Path, names: list[str], wanted: str, role: Role) -> str:
    """Which of several arrays holds the vectors of this role."""
    shown = ", ".join(sorted(names)[:8]) + (" …" if len(names) > 8 else "")
    if wanted:
        if wanted not in names:
            raise OptionError(f"{path}#{wanted}: no such array of two axes; it has {shown or '–'}")
        return wanted
    if not names:
        raise DataError(f"{path}: holds no array of two axes; expected vectors, one a row")
    if len(names) == 1:
        return names[0]
    last = [name.rpartition("/")[2].lower() for name in names]
    known = [name for name in (*OF_ROLE[role], *OF_ALL) if last.count(name) == 1]
    if not known:
        raise DataError(
            f"{path}: holds {len(names)} arrays ({shown}), and none alone is named as the vectors "
            f"of the {role} are; choose one: {path}#{sorted(names)[0]}. Local features are not "
            f"read; hloc's global ones are named {HLOC}"
        )
    return names[last.index(known[0])]


def of_array(
    name: str,
    stored: Any,
    ids: list[str] | None,
    facts: dict[str, str] | None = None,
    wide: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
    reopen: Callable[[], Any] | None = None,
) -> DescriptorFile:
    """Vectors in a stored array; axes of length 1, as torch's pooling leaves them, are dropped.

    wide: turns a part into floats, where numpy has no such type. reopen: maps the file again for
    each part, because pages of a map that were read stay in the process until it is closed.
    """
    if wide is None and stored.dtype.kind != "f":
        raise no_floats(name, str(stored.dtype))
    shape = stored.shape
    flat = math.prod(shape[1:]) if len(shape) > 1 else 0
    if len(shape) < 2 or flat != max(shape[1:]) or not shape[0] or not flat:
        raise DataError(f"{name}: an array of shape {shape}; expected (photos, dimensions)")
    make, opened = wide or np.asarray, reopen or (lambda: stored)

    def read(start: int, stop: int) -> NDArray[Any]:
        return np.array(make(opened()[start:stop])).reshape(-1, flat)

    def columns(start: int, stop: int) -> NDArray[Any]:
        if len(shape) > 2:
            raise DataError(f"{name}: an array of shape {shape}; expected (photos, dimensions)")
        return np.array(make(opened()[:, start:stop]))

    found = DescriptorFile(name, (shape[0], flat), read, columns, ids, facts or {})
    if ids is not None and len(ids) not in found.shape:
        raise DataError(
            f"{name}: {shape[0]} × {flat} numbers, but {len(ids)} ids; expected one for each vector"
        )
    return found


def no_floats(name: str, kind: str) -> DataError:
    return DataError(
        f"{name} holds {kind} numbers; expected float16, float32 or float64. Quantised vectors "
        "need their scale and offset, and binary codes another distance: save them as float32"
    )
