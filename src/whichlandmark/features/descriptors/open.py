"""Open files of vectors that anyone wrote: .npy, safetensors, HDF5, MATLAB; read them in chunks.

Which layouts are read (each is tested):

- `.npy`: (N, D), with the ids beside it: `NAME.ids.txt`, one a line, or one of `ID_FILES`.
- `.safetensors`: one tensor (N, D); ids in the metadata as a JSON list, or beside it.
- `.h5`, `.hdf5`: a dataset (N, D) and a dataset of N strings, as the ILIAS benchmark writes them
  (`features` and `index`; ilias-vrg/ilias, feature_extraction/extract.py), or a group for each
  photo with a `global_descriptor` (D,), as hloc does (cvg/Hierarchical-Localization).
- `.mat`: matrices of vectors in columns, `Q` of queries and `X` of the database, as revisited
  Oxford and Paris publishes them (filipradenovic/revisitop, python/example_evaluate.py).

Nothing in such a file is trusted: no pickle, no links to other files, bounded sizes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.disks import refuse_special
from ...core.errors import DataError, OptionError
from .hdf5 import open_hdf5
from .ids import checked_ids, facts_beside, ids_beside
from .stored import DescriptorFile, Role, chosen, no_floats, of_array, readable

SUFFIXES = (".npy", ".safetensors", ".h5", ".hdf5", ".mat")

MAX_HEADER_BYTES = 100_000_000  # of a safetensors file, as its own reader allows

MAX_MAT_BYTES = 4_000_000_000  # of a matrix in a .mat, which is read as a whole

_FLOATS = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<u2"}  # of safetensors


@contextmanager
def open_descriptors(path: str | Path, role: Role) -> Iterator[DescriptorFile]:
    """Open a file of vectors; `FILE#NAME` chooses one of its arrays.

    role: which array of a file with several is meant.

    Raises:
        DataError: When the file is none of the layouts above, damaged, or larger than the limits.
        OptionError: When h5py is needed and not installed, or the type of file is not known.
    """
    file, array = split_name(path)
    openers = {
        ".npy": _open_npy, ".safetensors": _open_safetensors, ".mat": _open_mat,
        ".h5": open_hdf5, ".hdf5": open_hdf5,
    }  # fmt: skip
    opener = openers.get(file.suffix.lower())
    if opener is None:
        raise OptionError(
            f"{path}: unknown type of vectors; expected {', '.join(openers)}. From numpy: "
            "np.save('vectors.npy', X), with one id a line in vectors.ids.txt. Pickles (.pkl, "
            ".pt) are not read, because opening one runs what it holds"
        )
    refuse_special(file)
    with ExitStack() as until_end:
        with readable(str(file)):
            opened = until_end.enter_context(opener(file, array, role))
        yield opened


def split_name(path: str | Path) -> tuple[Path, str]:
    """The file and the array of `FILE#NAME`; the array is "" where no # follows an ending."""
    text = str(path)
    start, mark, array = text.rpartition("#")
    if mark and Path(start).suffix.lower() in SUFFIXES and not Path(text).exists():
        return Path(start), array
    return Path(text), ""


@contextmanager
def _open_npy(path: Path, array: str, role: Role) -> Iterator[DescriptorFile]:
    if array:
        raise OptionError(f"{path}#{array} given, but a .npy holds one array; leave out #{array}")
    with open(path, "rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise DataError(f"{path}: not a .npy file, though its name says so")

    def mapped() -> Any:
        return np.load(path, mmap_mode="r", allow_pickle=False)

    try:
        stored = mapped()
    except ValueError as error:
        if "pickle" in str(error) or "Python objects" in str(error):
            raise DataError(
                f"{path}: holds Python objects, not numbers, and is not read; save the vectors "
                "as np.save('vectors.npy', np.asarray(X, 'float32'))"
            ) from None
        raise
    yield of_array(str(path), stored, ids_beside(path), facts_beside(path), reopen=mapped)


@contextmanager
def _open_safetensors(path: Path, array: str, role: Role) -> Iterator[DescriptorFile]:
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
            raise DataError(f"{path}: not a safetensors file: its header would be {length} bytes")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise DataError(f"{path}: not a safetensors file: its header is no object")
    said = header.pop("__metadata__", None) or {}
    tensors = {
        name: about
        for name, about in header.items()
        if isinstance(about, dict) and len(about.get("shape", [])) >= 2
    }
    name = chosen(path, list(tensors), array, role)
    kind, shape = str(tensors[name]["dtype"]), [int(side) for side in tensors[name]["shape"]]
    if kind not in _FLOATS:
        raise no_floats(f"{path}: {name}", kind)
    start, end = (int(at) for at in tensors[name]["data_offsets"])
    dtype = np.dtype(_FLOATS[kind])
    if start < 0 or end - start != math.prod(shape) * dtype.itemsize or 8 + length + end > size:
        raise DataError(f"{path}: cut short, or damaged: {name} is not inside the file")

    def mapped() -> Any:
        return np.memmap(path, dtype, "r", 8 + length + start, tuple(shape))

    ids = said.get("ids")
    found = checked_ids(json.loads(ids), path) if ids is not None else ids_beside(path)
    facts = {key: str(text) for key, text in said.items() if key != "ids"}
    wide = _of_bfloat16 if kind == "BF16" else None
    yield of_array(str(path), mapped(), found, facts, wide, mapped)


def _of_bfloat16(part: NDArray[Any]) -> NDArray[Any]:
    return (part.astype(np.uint32) << 16).view(np.float32)


@contextmanager
def _open_mat(path: Path, array: str, role: Role) -> Iterator[DescriptorFile]:
    import scipy.io

    with open(path, "rb") as file:
        start = file.read(1024)
    if b"\x89HDF\r\n\x1a\n" in start or start.startswith(b"MATLAB 7.3"):
        with open_hdf5(path, array, role) as opened:
            yield opened
        return
    found = {name: (shape, kind) for name, shape, kind in scipy.io.whosmat(path)}
    matrices = [name for name, (shape, _) in found.items() if len(shape) == 2 and min(shape) > 1]
    name = chosen(path, matrices or list(found), array, role)
    shape, kind = found[name]
    if math.prod(shape) * 8 > MAX_MAT_BYTES:
        raise DataError(
            f"{path}: {name} is {shape[0]} × {shape[1]}, and a .mat is read as a whole; save it "
            "as .npy, which is read in parts: np.save('vectors.npy', X.T)"
        )
    stored = scipy.io.loadmat(path, variable_names=[name])[name]
    if not isinstance(stored, np.ndarray) or kind == "sparse":
        raise no_floats(f"{path}: {name}", kind)
    yield of_array(str(path), stored, ids_beside(path))
