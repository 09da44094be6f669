"""Vectors in HDF5: a dataset with the ids beside it, or a group for each photo as hloc writes them.

Only plain datasets of the file itself are read: links to other files are not followed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import DataError, OptionError, install_command
from .ids import MAX_IDS, checked_ids, ids_beside
from .stored import HLOC, DescriptorFile, Role, chosen, of_array

MAX_CHUNK_BYTES = 1_000_000_000  # of a compressed HDF5 chunk, which is read as a whole

ID_NAMES = ("index", "ids", "names", "image_names", "paths", "filenames", "keys")


@contextmanager
def open_hdf5(path: Path, array: str, role: Role) -> Iterator[DescriptorFile]:
    with open(path, "rb"):  # missing and forbidden files have better messages of their own
        h5py = require_h5py(path)
    with h5py.File(path, "r") as file:
        photos: list[str] = []
        arrays: dict[str, Any] = {}
        texts: dict[str, Any] = {}

        def visit(name: str, found: Any) -> None:  # links to other files are not visited
            if len(photos) + len(arrays) + len(texts) > MAX_IDS:
                raise DataError(f"{path}: more than {MAX_IDS:,} objects")
            if not isinstance(found, h5py.Dataset):
                return
            folder, _, last = name.rpartition("/")
            if last == HLOC and folder:
                photos.append(folder)
            elif found.ndim >= 2:
                arrays[name] = found
            elif found.ndim == 1 and h5py.check_string_dtype(found.dtype) is not None:
                texts[name] = found

        file.visititems(visit)
        if photos and not array:
            yield _of_groups(path, file, photos)
            return
        name = chosen(path, list(arrays), array, role)
        _check_dataset(path, arrays[name])
        ids = _ids_in_hdf5(path, texts, name, arrays[name].shape)
        facts = {key: str(text)[:1000] for key, text in file.attrs.items() if isinstance(text, str)}
        yield of_array(str(path), arrays[name], ids or ids_beside(path), facts)


def require_h5py(path: str | Path) -> Any:
    """The library for HDF5. Raises OptionError, naming the command, when it is missing."""
    try:
        import h5py
    except ImportError:
        raise OptionError(f"{path}: HDF5 needs h5py: {install_command('hdf5')}") from None
    return h5py


def _check_dataset(path: Path, dataset: Any) -> None:
    if dataset.external or dataset.is_virtual:
        raise DataError(
            f"{path}: {dataset.name} keeps its numbers in other files, which are not opened; "
            "write it as one plain dataset"
        )
    if dataset.chunks and math.prod(dataset.chunks) * dataset.dtype.itemsize > MAX_CHUNK_BYTES:
        raise DataError(
            f"{path}: {dataset.name} is compressed in chunks of {dataset.chunks}, each of which "
            f"is read as a whole; write chunks of at most {MAX_CHUNK_BYTES:,} bytes"
        )


def _of_groups(path: Path, file: Any, photos: list[str]) -> DescriptorFile:
    """hloc's layout: a group for each photo, named by its path."""

    def vector(photo: str) -> NDArray[Any]:
        found = file[photo][HLOC]
        _check_dataset(path, found)
        if found.size > dim or found.dtype.kind != "f":
            raise DataError(
                f"{path}: {photo} has a {HLOC} of shape {found.shape} and type {found.dtype}, "
                f"{photos[0]} {dim} numbers; expected floats of one length"
            )
        return np.asarray(found[()]).reshape(-1)

    dim = int(file[photos[0]][HLOC].size)

    def read(start: int, stop: int) -> NDArray[Any]:
        rows = [vector(photo) for photo in photos[start:stop]]
        if any(len(row) != dim for row in rows):
            raise DataError(f"{path}: vectors of several lengths; expected {dim} numbers each")
        return np.stack(rows)

    def columns(start: int, stop: int) -> NDArray[Any]:
        return read(0, len(photos))[:, start:stop]

    return DescriptorFile(str(path), (len(photos), dim), read, columns, checked_ids(photos, path))


def _ids_in_hdf5(
    path: Path, texts: dict[str, Any], name: str, shape: Sequence[int]
) -> list[str] | None:
    """The strings that belong to a dataset: in its group, as many as it has rows or columns."""
    folder = name.rpartition("/")[0]
    near = {
        key.rpartition("/")[2].lower(): found
        for key, found in texts.items()
        if key.rpartition("/")[0] == folder and len(found) in shape[:2]
    }
    chosen = next((near[key] for key in ID_NAMES if key in near), None)
    if chosen is None and len(near) == 1:
        chosen = next(iter(near.values()))
    if chosen is None:
        return None
    _check_dataset(path, chosen)
    return checked_ids(
        [text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
         for start in range(0, len(chosen), 100_000)
         for text in chosen[start : start + 100_000]],
        path,
    )  # fmt: skip
