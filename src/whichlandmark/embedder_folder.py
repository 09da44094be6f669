"""embedder.json and the files beside it: written together, damage found when they are opened.

Weights without torch cannot be checked by the embedder's id, which hashes torch's weights. So
embedder.json records the SHA-256 of every other file (`files`) and of its own content (`sum`).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .errors import ModelError
from .files import read_json, whole_file, write_json

RECORD = "embedder.json"
FLOAT = "model.onnx"
INT8 = "model.int8.onnx"
WEIGHTS = "model.safetensors"


def write_record(folder: Path, record: dict[str, Any], files: Iterable[str] = ()) -> None:
    """Write embedder.json with the hashes of these files, which stand in the folder already."""
    sealed = {**record, "files": {name: sha256(folder / name) for name in files}}
    write_json(folder / RECORD, sealed | {"sum": _sum(sealed)})


def read_record(folder: Path) -> dict[str, Any]:
    """embedder.json. Raises DataError when it is missing or no JSON."""
    return read_json(folder / RECORD)


def exported(record: dict[str, Any]) -> str | None:
    """The name of the ONNX file of this embedder; None = it has none, as those made earlier."""
    name = INT8 if record.get("precision") == "int8" else FLOAT
    files = record.get("files")
    return name if isinstance(files, dict) and name in files else None


def checked(folder: Path, record: dict[str, Any], name: str) -> Path:
    """The path of a recorded file. Raises ModelError when it, or embedder.json, has changed."""
    if record.get("sum") != _sum(record):
        raise ModelError(
            f"{folder / RECORD}: was changed since it was written: preprocessing or weights may "
            "not be those of embedder.json's id; make the folder again"
        )
    path = folder / name
    if not path.is_file():
        raise ModelError(f"{path}: no such file, but {RECORD} names it; make the folder again")
    if (found := sha256(path)) != record["files"][name]:
        raise ModelError(
            f"{path}: damaged, or of another embedder: its hash is {found[:12]}…, but {RECORD} "
            f"says {record['files'][name][:12]}…; make the folder again"
        )
    return path


def copy_folder(source: Path, target: Path, record: dict[str, Any]) -> None:
    """Copy the recorded files and then embedder.json.

    Raises ModelError when a recorded file is damaged.
    """
    if source.resolve() == target.resolve():
        return
    for name in record["files"]:
        checked(source, record, name)
    for name in record["files"]:
        with whole_file(target / name) as temporary:
            shutil.copyfile(source / name, temporary)
    write_json(target / RECORD, record)


def sha256(path: Path) -> str:
    """Hex digest of a file, read in blocks. Raises ModelError when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None


def _sum(record: dict[str, Any]) -> str:
    own = {key: value for key, value in record.items() if key != "sum"}
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()
