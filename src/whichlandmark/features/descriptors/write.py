"""Write vectors for other people's scripts: .npy, safetensors or HDF5, with the ids of the photos.

- `vectors.npy`: (N, D) float32 or float16; `vectors.ids.txt`: N ids, one a line (or
  `vectors.ids.json`, where an id holds a line break); `vectors.about.json`: what the vectors are.
- `vectors.safetensors`: the tensor `descriptors` (N, D); ids as a JSON list in the metadata, or
  beside it as for .npy where they are longer than `MAX_IDS_IN_HEADER`.
- `vectors.hdf5`: datasets `features` (N, D) and `index` (N,), which the scripts of ILIAS read
  (ilias-vrg/ilias, knn_search/src/utils.py, load_features); what they are in the attributes.

Written in chunks, and whole or not at all. An existing file is never replaced, because a file of
numbers does not say whose it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...core.disks import require_writable
from ...core.errors import DataError, OptionError
from ...core.files import atomic_file
from ...core.json_options import strict_json
from .hdf5 import require_h5py

FORMATS = (".npy", ".safetensors", ".hdf5", ".h5")

FloatType = Literal["float32", "float16"]

TENSOR = "descriptors"  # the name of the vectors in a safetensors file

MAX_IDS_IN_HEADER = 50_000_000  # bytes

Chunks = Iterable[NDArray[Any]]


def check_new_descriptors(path: Path) -> None:
    """Refuse, before the work, a file of vectors that cannot be written.

    Raises OptionError for another ending, a file that exists, or a missing library, and DataError
    where the folder may not be written to.
    """
    if path.suffix.lower() not in FORMATS:
        raise OptionError(
            f"{path}: expected a name that ends in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        )
    if path.suffix.lower() in (".hdf5", ".h5"):
        require_h5py(path)
    for file in (path, *_beside(path)):
        if file.exists():
            raise OptionError(
                f"{file}: exists, and vectors are never written over a file; choose another name, "
                "or delete it first"
            )
    require_writable(path)


def write_descriptors(
    path: Path,
    chunks: Chunks,
    ids: Sequence[str],
    dim: int,
    *,
    facts: dict[str, str],
    dtype: FloatType = "float32",
) -> None:
    """Write (n, dim) chunks, one row for each id, as the ending of `path` says.

    facts: what the vectors are, such as "embedder" and "licence".

    Raises DataError where the chunks are not as many rows, and as `check_new_descriptors`.
    """
    check_new_descriptors(path)
    writer = {".npy": _write_npy, ".safetensors": _write_safetensors}.get(
        path.suffix.lower(), _write_hdf5
    )
    rows = _rows(chunks, (len(ids), dim), np.dtype(dtype).newbyteorder("<"))
    writer(path, rows, ids, dim, {"generator": "whichlandmark", **facts}, dtype)


def _rows(chunks: Chunks, shape: tuple[int, int], dtype: Any) -> Iterator[NDArray[Any]]:
    done = 0
    for chunk in chunks:
        if chunk.ndim != 2 or chunk.shape[1] != shape[1]:
            raise DataError(f"vectors of shape {chunk.shape}; expected rows of {shape[1]} numbers")
        done += len(chunk)
        if done > shape[0]:
            break
        yield np.ascontiguousarray(chunk, dtype=dtype)
    if done != shape[0]:
        raise DataError(f"{done} vectors for {shape[0]} ids; expected one vector for each id")


def _write_npy(
    path: Path,
    rows: Iterator[NDArray[Any]],
    ids: Sequence[str],
    dim: int,
    facts: dict[str, str],
    dtype: FloatType,
) -> None:
    head = {
        "descr": np.dtype(dtype).newbyteorder("<").str, "fortran_order": False,
        "shape": (len(ids), dim),
    }  # fmt: skip
    with atomic_file(path, new=True) as temporary, open(temporary, "wb") as file:
        np.lib.format.write_array_header_1_0(file, head)
        for part in rows:
            file.write(part.tobytes())
        _write_beside(path, ids, facts)


def _write_safetensors(
    path: Path,
    rows: Iterator[NDArray[Any]],
    ids: Sequence[str],
    dim: int,
    facts: dict[str, str],
    dtype: FloatType,
) -> None:
    size = len(ids) * dim * np.dtype(dtype).itemsize
    inside = json.dumps(list(ids))
    small = len(inside) <= MAX_IDS_IN_HEADER
    tensor = {
        "dtype": "F16" if dtype == "float16" else "F32", "shape": [len(ids), dim],
        "data_offsets": [0, size],
    }  # fmt: skip
    said = {**facts, "ids": inside} if small else facts
    header = json.dumps({"__metadata__": said, TENSOR: tensor}).encode()
    header += b" " * (-len(header) % 8)  # so that the numbers are aligned
    with atomic_file(path, new=True) as temporary, open(temporary, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for part in rows:
            file.write(part.tobytes())
        if not small:
            _write_beside(path, ids, facts)


def _write_hdf5(
    path: Path,
    rows: Iterator[NDArray[Any]],
    ids: Sequence[str],
    dim: int,
    facts: dict[str, str],
    dtype: FloatType,
) -> None:
    h5py = require_h5py(path)
    at_once = max(1, min(len(ids), 1_000_000 // (4 * dim)))
    with atomic_file(path, new=True) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("index", data=list(ids), shape=(len(ids),), dtype=h5py.string_dtype())
        stored = file.create_dataset(
            "features", (len(ids), dim), dtype, chunks=(at_once, dim) if len(ids) else None
        )
        start = 0
        for part in rows:
            stored[start : start + len(part)] = part
            start += len(part)
        file.attrs.update(facts)


def _beside(path: Path) -> tuple[Path, ...]:
    """What is written beside a .npy, and beside a safetensors file with very many ids."""
    if path.suffix.lower() in (".hdf5", ".h5"):
        return ()
    return tuple(
        path.with_name(path.stem + ending) for ending in (".ids.txt", ".ids.json", ".about.json")
    )


def _write_beside(path: Path, ids: Sequence[str], facts: dict[str, str]) -> None:
    text_file, json_file, about = _beside(path)
    plain = all(each.strip() == each and len(each.splitlines()) == 1 for each in ids)
    with (
        atomic_file(text_file if plain else json_file, new=True) as temporary,
        open(temporary, "w", encoding="utf-8", newline="\n") as file,
    ):
        if plain:
            file.writelines(f"{each}\n" for each in ids)
        else:
            file.write(strict_json(list(ids)))
    with atomic_file(about, new=True) as temporary:
        temporary.write_text(strict_json(facts, indent=2) + "\n", encoding="utf-8")
