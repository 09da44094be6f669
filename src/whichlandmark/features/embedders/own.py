"""Embedders that are Python objects of one's own: check them and their rows, save what they are.

A folder records such an object's name, id and dimensions, never where its code is: nothing is
imported because a folder names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import GalleryError, ModelError, OptionError
from ...core.types import Embedder, Image, Vectors
from .record import KINDS, RECORD_FILE, read_record, write_record

KIND = "python"

UNIT_TOLERANCE = 1e-3  # rows whose length differs from 1 by more are normalised


def checked_rows(embedder: Embedder, images: Sequence[Image]) -> Vectors:
    """Embed images; (N, dim) float32 rows of unit length, whatever the embedder is.

    Rows of another length are normalised; a row of zeros stays. Raises ModelError for rows of
    another shape or with NaN.
    """
    given: Any = embedder(images)
    try:
        rows: Vectors = np.asarray(given, dtype=np.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"embedder {embedder.name!r} returned {type(given).__name__}, which is no array of "
            f"numbers ({error}); expected ({len(images)}, {embedder.dim}) float32 rows"
        ) from None
    if rows.shape != (len(images), embedder.dim):
        raise ModelError(
            f"embedder {embedder.name!r} returned rows of shape {rows.shape} for {len(images)} "
            f"images; expected ({len(images)}, {embedder.dim}), as its `dim` says"
        )
    if not np.isfinite(rows).all():
        raise ModelError(f"embedder {embedder.name!r} returned NaN or infinite numbers")
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if (abs(lengths - 1) > UNIT_TOLERANCE).any():
        return np.asarray(rows / np.where(lengths > 0, lengths, 1), dtype=np.float32)
    return rows


def require_embedder(embedder: Embedder) -> None:
    """Raises OptionError, naming what is missing or wrong, for an object that is no embedder."""
    expected = (
        "an embedder has dim, name, id, short_side, save(folder), and is called with a list of "
        "(H, W, 3) uint8 images"
    )
    missing = [
        name for name in ("dim", "name", "id", "short_side", "save") if not hasattr(embedder, name)
    ]
    if not callable(embedder):
        missing.append("__call__")
    if missing:
        raise OptionError(f"{type(embedder).__name__} object without {', '.join(missing)} given; "
                          f"{expected}")  # fmt: skip
    dim, short_side = embedder.dim, embedder.short_side
    wrong = {
        f"dim {dim!r}": not isinstance(dim, int) or dim < 1,
        f"short_side {short_side!r}": not isinstance(short_side, int) or short_side < 0,
        f"name {embedder.name!r}": not isinstance(embedder.name, str) or not embedder.name,
        f"id {embedder.id!r}": not isinstance(embedder.id, str) or not embedder.id,
    }
    for what, is_wrong in wrong.items():
        if is_wrong:
            raise OptionError(
                f"{type(embedder).__name__} object with {what} given; expected whole numbers for "
                "dim (pixels for short_side, 0 = any), and texts for name and id"
            )


def save_embedder(embedder: Embedder, folder: Path) -> None:
    """`embedder.save`; of an object that writes no embedder.json, record what it is.

    `load_embedder` cannot open that record: the object must be given again.
    """
    with suppress(NotImplementedError):
        embedder.save(folder)
    if not (folder / RECORD_FILE).is_file():
        record = {"kind": KIND, "name": embedder.name, "id": embedder.id, "dim": embedder.dim,
                  "short_side": embedder.short_side}  # fmt: skip
        write_record(folder, record)


def recorded_object(folder: Path) -> tuple[str, int] | None:
    """Id and dimensions of the Python object that made a folder; None = a folder can hold it."""
    if not (folder / RECORD_FILE).is_file():
        return None
    record = read_record(folder)
    made_by, dim = record.get("id"), record.get("dim")
    if record.get("kind") in KINDS or not isinstance(made_by, str) or not isinstance(dim, int):
        return None
    return made_by, dim


def require_same(embedder: Embedder, made_by: str, dim: int, place: object) -> None:
    """Raises GalleryError unless this object made the gallery at `place`, by id and dimensions."""
    require_embedder(embedder)
    if (embedder.id, embedder.dim) != (made_by, dim):
        raise GalleryError(
            f"{place}: made by embedder {made_by!r} ({dim} dimensions), but {embedder.id!r} "
            f"({embedder.dim} dimensions) was given; give the one that made it, or index again"
        )


def cannot_open(folder: Path, record: dict[str, Any]) -> ModelError:
    """The error for a folder whose embedder is a Python object, or of a kind unknown here."""
    what = f"embedder {record.get('name')!r} (id {record.get('id')!r})"
    if record.get("kind") != KIND:
        what += f" of kind {record.get('kind')!r}"
    return ModelError(
        f"{folder}: made by {what}, a Python object that no folder can hold; open it in Python "
        "and pass the object: whichlandmark.load(FOLDER, embedder=…)"
    )
