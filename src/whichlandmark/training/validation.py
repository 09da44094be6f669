"""Validation of a training run: GAP and top-1 by nearest photo and by nearest class centre."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..core.types import Photos, Vectors
from ..gallery.index.exact import nearest
from ..metrics.ranking import gap
from .loader import TrainingData
from .samplers import class_centres

Embed = Callable[[Photos], tuple[Vectors, dict[str, str]]]  # vectors; id → reason of a failure


def validate(data: TrainingData, trained: Vectors, embed: Embed) -> dict[str, float]:
    """gap_… and top1_… of the validation queries against their database, 0 to 1.

    trained: vectors of the train photos, which need not be embedded again where they are the
    database. Unreadable photos take no part. M = queries whose landmark the database has; every
    guess for another one, or for a photo without a landmark, takes a rank and is wrong, as in
    `evaluation`. Raises DataError when there is no query of the first kind.
    """
    vectors, database = trained, data.database
    if database is not data.train:
        vectors, database = _readable(database, embed)
    asked, queries = _readable(data.queries, embed)
    names, codes = np.unique(database.landmarks, return_inverse=True)
    centres = class_centres(vectors, codes.astype(np.int64), len(names))
    known = np.isin(queries.landmarks, names)
    scores = {}
    for name, gallery, of in (
        ("nearest_photo", vectors, codes),
        ("class_centre", centres, np.arange(len(names))),
    ):
        found = nearest(asked, gallery, 1)
        right = names[of[found.rows[:, 0]]] == queries.landmarks
        similarity = found.similarity[:, 0].astype(np.float64)
        scores[f"gap_{name}"] = gap(similarity, right, int(known.sum()))
        scores[f"top1_{name}"] = float(right[known].mean())
    return scores


def _readable(photos: Photos, embed: Embed) -> tuple[Vectors, Photos]:
    vectors, failures = embed(photos)
    kept = ~np.isin(photos.ids, list(failures))
    return vectors[kept], photos.take(kept)
