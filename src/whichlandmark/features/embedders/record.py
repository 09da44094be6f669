"""embedder.json and the files beside it: written together, damage found when they are opened.

An id hashes torch weights, which cannot be checked without torch. Therefore embedder.json
records the SHA-256 of every other file (`files`) and of its own content (`sum`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...core.disks import unreadable
from ...core.errors import DataError, ModelError
from ...core.files import atomic_file, read_json, write_json

RECORD_FILE = "embedder.json"
FLOAT_FILE = "model.onnx"
INT8_FILE = "model.int8.onnx"
WEIGHTS_FILE = "model.safetensors"

# Kinds of embedders with a network: written by torch, made elsewhere, brought by pip.
NETWORK_KINDS = ("timm", "onnx", "lite0")

KINDS = (*NETWORK_KINDS, "sift")  # that a folder holds; others are Python objects

UNKNOWN = "unknown"

UNSTATED = "unknown (the file does not say)"  # licence of weights from a local file

NO_WEIGHTS = "none needed (no trained weights)"

OWN_WEIGHTS = "own (trained from random weights)"

# Parts of the names of licences that forbid commercial use. Apple's sample-code licence
# (apple-ascl) allows it; its model licence (apple-amlr) is for research only.
_NON_COMMERCIAL = ("noncommercial", "cc-by-nc", "apple-amlr", "research-only")

log = logging.getLogger("whichlandmark")


def write_record(folder: Path, record: dict[str, Any], files: Iterable[str] = ()) -> None:
    """Write embedder.json, with the hashes of `files`, which must be in the folder already."""
    sealed = {**record, "files": {name: sha256(folder / name) for name in files}}
    write_json(folder / RECORD_FILE, sealed | {"sum": _record_checksum(sealed)})


def read_record(folder: Path) -> dict[str, Any]:
    """The content of embedder.json. Raises DataError when it is missing or not JSON."""
    return read_json(folder / RECORD_FILE)


def onnx_file(record: dict[str, Any]) -> str | None:
    """The name of the ONNX file of an embedder; None = it has none (an older folder)."""
    name = INT8_FILE if record.get("precision") == "int8" else FLOAT_FILE
    files = record.get("files")
    return name if isinstance(files, dict) and name in files else None


def verified_path(folder: Path, record: dict[str, Any], name: str) -> Path:
    """The path of a recorded file. Raises ModelError when it or embedder.json has changed."""
    if record.get("sum") != _record_checksum(record):
        raise ModelError(
            f"{folder / RECORD_FILE}: was changed since it was written: preprocessing or weights "
            "may not be those of its id; make the folder again"
        )
    path = folder / name
    if name not in record["files"]:
        raise ModelError(f"{path}: belongs to the network, but {RECORD_FILE} does not name it; "
                         "make the folder again")  # fmt: skip
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ModelError(f"{folder / RECORD_FILE}: names a file outside the folder, {name!r}")
    if not path.is_file():
        raise ModelError(f"{path}: no such file, but {RECORD_FILE} names it; make the folder again")
    if (digest := sha256(path)) != record["files"][name]:
        raise ModelError(
            f"{path}: damaged, or of another embedder: its hash is {digest[:12]}…, but "
            f"{RECORD_FILE} says {record['files'][name][:12]}…; make the folder again"
        )
    return path


def copy_folder(source: Path, target: Path, record: dict[str, Any]) -> None:
    """Copy the recorded files, then embedder.json. Raises ModelError when a file is damaged."""
    if source.resolve() == target.resolve():
        return
    for name in record["files"]:
        verified_path(source, record, name)
    for name in record["files"]:
        with atomic_file(target / name) as temporary:
            shutil.copyfile(source / name, temporary)
    write_json(target / RECORD_FILE, record)


def recorded_licence(record: dict[str, Any]) -> str:
    """The licence of an embedder's weights, "unknown" where nobody said it."""
    if record.get("kind") == "sift":
        return NO_WEIGHTS
    return str(record.get("licence") or UNKNOWN)


def licence_of(folder: Path) -> str:
    """`recorded_licence` of an embedder folder; "unknown" where it has no record."""
    try:
        return recorded_licence(read_record(folder))
    except DataError:
        return UNKNOWN


def is_non_commercial(licence: str) -> bool:
    """Whether a licence, such as cc-by-nc-4.0 or fair-noncommercial, forbids commercial use."""
    name = licence.lower().replace("_", "-").replace(" ", "-")
    return any(part in name for part in _NON_COMMERCIAL) or "noncommercial" in name.replace("-", "")


def warn_of_licence(folder: Path) -> None:
    """Log a warning when the weights of an embedder folder may not be used commercially."""
    licence = licence_of(folder)
    if is_non_commercial(licence):
        log.warning("%s: the licence of its weights, %s, forbids commercial use", folder, licence)


def sha256(path: Path) -> str:
    """Hex digest of a file, read in blocks. Raises ModelError when it cannot be read."""
    if fault := unreadable(path):
        raise ModelError(fault)
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None


def _record_checksum(record: dict[str, Any]) -> str:
    content = {key: value for key, value in record.items() if key != "sum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
