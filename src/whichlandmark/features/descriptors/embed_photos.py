"""Embed photos into a file of vectors, in parts that an interrupted run does not make again."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import DataError, OptionError
from ...core.files import atomic_file, read_json, write_json
from ...core.storage import stamps
from ...core.types import Embedder, Photos, Progress, Vectors
from ..pipeline import SECTION_ROWS, embed
from .write import FloatType, check_new_descriptors, write_descriptors

PART_ROWS = 8 * SECTION_ROWS  # so that a vector does not depend on where a part ends


@dataclass(frozen=True)
class Transform:
    """A projection of an embedder's vectors: a recognizer's whitening.

    call: (n, D) → (n, dim) unit rows. key: changes whenever it does. name: in words.
    """

    call: Callable[[Vectors], Vectors]
    dim: int
    key: str
    name: str


@dataclass(frozen=True)
class EmbeddedFile:
    """What was written: vectors, their length, and the photos that could not be read, with why."""

    vectors: int
    dim: int
    failures: dict[str, str]
    resumed: int


def embed_photos(
    path: Path,
    embedder: Embedder,
    photos: Photos,
    *,
    transform: Transform | None = None,
    dtype: FloatType = "float32",
    progress: Progress | None = None,
) -> EmbeddedFile:
    """Embed a photo table into a file of vectors; see `write` for the formats.

    A photo that cannot be read has no row. Parts of `PART_ROWS` photos are kept in the folder
    `NAME.parts` until the file is complete, so that the same command goes on where it ended.

    Raises:
        OptionError: When the file exists, or the parts are of other photos or another embedder.
        DataError: When no photo could be read.
    """
    check_new_descriptors(path)
    dim = transform.dim if transform else embedder.dim
    parts = path.with_name(path.name + ".parts")
    _start(parts, {"plan": _plan(embedder, photos, transform), "part_rows": PART_ROWS})
    resumed = 0
    for start in range(0, len(photos), PART_ROWS):
        stop = min(start + PART_ROWS, len(photos))
        if _part(parts, start, ".json").is_file():
            resumed += stop - start
        else:
            _make_part(parts, start, embedder, photos[start:stop], transform, progress_of(
                progress, start, len(photos)))  # fmt: skip
        if progress:
            progress(stop, len(photos))
    ids: list[str] = []
    failures: dict[str, str] = {}
    for start in range(0, len(photos), PART_ROWS):
        record = read_json(_part(parts, start, ".json"))
        ids += [str(photos.ids[start + row]) for row in record["rows"]]
        failures |= record["failures"]
    if not ids:
        shutil.rmtree(parts)
        first = next(iter(failures.items()), ("none given", ""))
        raise DataError(f"none of the {len(photos)} photos could be read: {first[0]} ({first[1]})")
    facts = {
        "embedder": embedder.id,
        "name": embedder.name,
        "licence": str(getattr(embedder, "licence", "") or "unknown"),
        "vectors": transform.name if transform else "of the embedder, unit length",
    }
    chunks = (_vectors(parts, start) for start in range(0, len(photos), PART_ROWS))
    write_descriptors(path, chunks, ids, dim, facts=facts, dtype=dtype)
    shutil.rmtree(parts)
    return EmbeddedFile(len(ids), dim, failures, resumed)


def progress_of(progress: Progress | None, start: int, total: int) -> Progress | None:
    """The progress of a part as that of the whole."""
    if progress is None:
        return None
    whole = progress
    return lambda done, _: whole(start + done, total)


def _plan(embedder: Embedder, photos: Photos, transform: Transform | None) -> str:
    """A digest of everything that the vectors depend on."""
    digest = hashlib.sha256()
    for text in (embedder.id, transform.key if transform else ""):
        digest.update(text.encode() + b"\0")
    for column in (photos.ids.tolist(), photos.paths.tolist(), stamps(photos.paths.tolist())):
        for text in column:
            digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


def _start(parts: Path, plan: dict[str, Any]) -> None:
    file = parts / "plan.json"
    if parts.exists():
        if not file.is_file() or read_json(file) != plan:
            raise OptionError(
                f"{parts}: parts of another run: of other or changed photos, or another embedder; "
                "delete the folder, or choose another name for the vectors"
            )
        return
    write_json(file, plan)


def _part(parts: Path, start: int, ending: str) -> Path:
    return parts / f"{start:012d}{ending}"


def _make_part(
    parts: Path,
    start: int,
    embedder: Embedder,
    photos: Photos,
    transform: Transform | None,
    progress: Progress | None,
) -> None:
    rows: list[int] = []
    found: list[Vectors] = []
    failures: dict[str, str] = {}
    for batch in embed(embedder, photos, progress=progress):
        rows += batch.rows.tolist()
        found.append(transform.call(batch.vectors) if transform else batch.vectors)
        failures |= {failure.id: failure.reason for failure in batch.failures}
    with atomic_file(_part(parts, start, ".npy")) as temporary, open(temporary, "wb") as file:
        np.save(file, np.concatenate(found), allow_pickle=False)
    write_json(_part(parts, start, ".json"), {"rows": rows, "failures": failures})


def _vectors(parts: Path, start: int) -> Vectors:
    found: Vectors = np.load(_part(parts, start, ".npy"), allow_pickle=False)
    return found


def chunks_of(vectors: Any, rows: np.ndarray[Any, Any]) -> Iterator[Vectors]:
    """The chosen rows of vectors that may lie on disk, in chunks."""
    for start in range(0, len(rows), PART_ROWS):
        yield np.asarray(vectors[rows[start : start + PART_ROWS]], dtype=np.float32)
