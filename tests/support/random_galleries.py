"""Small in-memory gallery indexes of random vectors, without photos, embedder or files."""

from __future__ import annotations

import numpy as np

from whichlandmark.core.types import Vectors
from whichlandmark.gallery.index import GalleryIndex
from whichlandmark.gallery.records import GalleryTable


def unit(rows: np.ndarray) -> Vectors:
    """(N, D) → rows of unit length, float32."""
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def column(values: list[str]) -> np.ndarray:
    """(N,) object array, as gallery tables have for texts."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def index_of(landmarks: list[str], vectors: np.ndarray) -> GalleryIndex:
    """An index of the photos p0, p1, … with these landmarks; "" = a distractor."""
    ids = column([f"p{i}" for i in range(len(landmarks))])
    return GalleryIndex.of(
        GalleryTable(ids, ids, column(landmarks), ids, np.asarray(vectors, dtype=np.float16))
    )


def random_index(
    sizes: list[int], distractors: int, *, dim: int = 12, spread: float = 0.8, seed: int = 0
) -> GalleryIndex:
    """An index of landmarks l0, l1, … with `sizes` photos around random centres, and distractors.

    spread: standard deviation of the photos around their landmark's centre.
    """
    rng = np.random.default_rng(seed)
    centres = np.repeat(rng.normal(size=(len(sizes), dim)), sizes, axis=0)
    photos = centres + spread * rng.normal(size=centres.shape)
    names = [f"l{code}" for code, size in enumerate(sizes) for _ in range(size)]
    others = rng.normal(size=(distractors, dim))
    return index_of([*names, *[""] * distractors], unit(np.concatenate([photos, others])))


def queries_near(index: GalleryIndex, count: int, *, noise: float = 0.3, seed: int = 1) -> Vectors:
    """(count, D) query vectors, each near a random landmark photo of the index."""
    rng = np.random.default_rng(seed)
    near = index.vectors[rng.integers(0, len(index.vectors), count)].astype(np.float64)
    return unit(near + noise * rng.normal(size=near.shape))
