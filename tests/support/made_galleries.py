"""Small galleries in memory from random vectors: no photo, no embedder, no file."""

from __future__ import annotations

import numpy as np

from whichlandmark.core.types import Vectors
from whichlandmark.gallery.index import GalleryIndex
from whichlandmark.gallery.records import GalleryTable


def unit(rows: np.ndarray) -> Vectors:
    """(N, D) → unit rows, float32."""
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def column(values: list[str]) -> np.ndarray:
    made = np.empty(len(values), dtype=object)
    made[:] = values
    return made


def index_of(landmarks: list[str], vectors: np.ndarray) -> GalleryIndex:
    """Photos p0, p1, … of these landmarks, "" = a distractor."""
    ids = column([f"p{i}" for i in range(len(landmarks))])
    return GalleryIndex.of(
        GalleryTable(ids, ids, column(landmarks), ids, np.asarray(vectors, dtype=np.float16))
    )


def scattered(
    sizes: list[int], bank: int, *, dim: int = 12, spread: float = 0.8, seed: int = 0
) -> GalleryIndex:
    """Photos about the centre of their landmark l0, l1, …, and distractors about nothing."""
    rng = np.random.default_rng(seed)
    centres = np.repeat(rng.normal(size=(len(sizes), dim)), sizes, axis=0)
    photos = centres + spread * rng.normal(size=centres.shape)
    names = [f"l{code}" for code, size in enumerate(sizes) for _ in range(size)]
    return index_of([*names, *[""] * bank],
                    unit(np.concatenate([photos, rng.normal(size=(bank, dim))])))  # fmt: skip


def questions(index: GalleryIndex, count: int, *, noise: float = 0.3, seed: int = 1) -> Vectors:
    """New photos, each near one that the gallery holds."""
    rng = np.random.default_rng(seed)
    near = index.vectors[rng.integers(0, len(index.vectors), count)].astype(np.float64)
    return unit(near + noise * rng.normal(size=near.shape))
