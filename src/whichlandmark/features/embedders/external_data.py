"""Find the data files that an ONNX file names, without opening it in a runtime.

An ONNX file may keep its weights in files beside it, by a path that whoever made the file chose.
Such a path must not lead to another file of this machine, and the files that it leads to belong to
the network: they are copied and hashed with it. Runtimes check the path too, but not old ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ...core.disks import mapped
from ...core.errors import ModelError

MAX_MODEL_BYTES = 2**31  # of one ONNX file; its format, protobuf, allows no more

MAX_DEPTH = 100  # of messages within messages

# message → number of a field → the message in that field; from onnx.proto, where tensors may be.
_INNER = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}

_GRAPH_FIELD = 7  # of a model


def external_files(path: Path) -> list[str]:
    """The paths, relative to the file's folder, of the data files that an ONNX file names.

    Raises ModelError when it is no ONNX file, is cut off, or names a file outside its folder.
    """
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            if not size:
                raise ModelError(f"{path}: is empty; expected an ONNX file")
            if size >= MAX_MODEL_BYTES:
                raise ModelError(
                    f"{path}: has {size / 1e9:.1f} GB, but an ONNX file has at most 2.1 GB; larger "
                    "networks keep their weights in a second file (external data)"
                )
            names = _external_files(memoryview(mapped(file)), path)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
    for name in names:
        _require_inside(path, name)
    return names


def _external_files(data: memoryview, path: Path) -> list[str]:
    names: dict[str, None] = {}
    try:
        try:
            if not any(number == _GRAPH_FIELD for number, _ in _fields(data)):
                raise ValueError("it holds no graph")
            for entry in _entries(data, "model", 0):
                pair = {number: bytes(value).decode() for number, value in _fields(entry)}
                if pair.get(1) == "location":
                    names[pair.get(2, "")] = None
        finally:
            data.release()
    except (ValueError, UnicodeDecodeError) as error:
        raise ModelError(
            f"{path}: is no ONNX network, or is cut off ({error}); expected a file written by "
            "torch.onnx.export or another exporter"
        ) from None
    return list(names)


def _entries(data: memoryview, kind: str, depth: int) -> Iterator[memoryview]:
    """The external-data entries of all tensors in a message of this kind."""
    if depth > MAX_DEPTH:
        raise ValueError(f"graphs within graphs, deeper than {MAX_DEPTH}")
    inner = _INNER[kind]
    for number, value in _fields(data):
        if (found := inner.get(number)) == "entry":
            yield value
        elif found:
            yield from _entries(value, found, depth + 1)


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """(number, content) of the fields of a protobuf message; of those without a length, nothing."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if not number:
            raise ValueError("a field without a number")
        if wire == 2:
            length, at = _varint(data, at)
            if at + length > end:
                raise ValueError(f"{length} bytes announced, {end - at} there")
            yield number, data[at : at + length]
            at += length
        elif wire == 0:
            _, at = _varint(data, at)
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
            if at > end:
                raise ValueError("it ends within a number")
        else:
            raise ValueError(f"a field of type {wire}")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise ValueError("it ends within a number")


def _require_inside(path: Path, name: str) -> None:
    """Raises ModelError when a data file's path, or a link in it, leaves the folder of `path`."""
    parts = PurePosixPath(name.replace("\\", "/"))
    folder = path.parent.resolve()
    outside = not parts.parts or parts.is_absolute() or ".." in parts.parts or "\0" in name
    outside = outside or ":" in parts.parts[0]  # a Windows drive
    if outside or not (path.parent / name).resolve().is_relative_to(folder):
        raise ModelError(
            f"{path}: takes weights from {name!r}, outside its own folder: refused, because it "
            "could be any file of this machine; put the data file beside the ONNX file"
        )
    if not (path.parent / name).is_file():
        raise ModelError(
            f"{path}: keeps weights in {name!r}, which is not beside it; get that file too"
        )
