"""Answer photos again from their stored vectors, as after a change of the gallery.

The same answer path with fewer inputs: a photo is decoded only where its answer needs the pixels,
to compare local features or to see whether there is anything in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.errors import ImageError
from ..core.photo_files import LatLon
from ..core.prediction import Prediction
from ..core.types import Floats
from ..features.local.keypoints import GreyImage, Keypoints
from .predictions import predictions
from .query import Queries, Shape
from .recognizer import Recognizer, described
from .spatial_verification import nothing_to_compare, query_grey, query_keypoints

NOTHING = "no landmark, because"  # how `nothing_to_compare` begins


@dataclass(frozen=True, eq=False)
class StoredQuery:
    """What is kept of a photo that was answered.

    path: of its file, unchanged since then. vector: (D,). shape: height and width of the pixels as
    decoded. location: where it was taken, where the rules use it. nothing: why it cannot show a
    landmark; "" = it can; None = that was not looked at.
    """

    path: str
    vector: Floats
    shape: Shape
    location: LatLon | None = None
    nothing: str | None = None


def nothing_known(prediction: Prediction) -> str | None:
    """`StoredQuery.nothing`, as far as an earlier answer to the photo tells it."""
    found = next((text for text in prediction.warnings if text.startswith(NOTHING)), None)
    return "" if found is None and prediction.decision != "no_landmark" else found


def answer_again(recognizer: Recognizer, stored: Sequence[StoredQuery]) -> list[Prediction | None]:
    """The answers to photos by their vectors; None for one that cannot be decoded any more.

    The vectors have to be of the recognizer's embedder, of photos decoded at its `short_side`.
    """
    greys: dict[int, GreyImage | None] = {}

    def grey(row: int) -> GreyImage | None:
        if row not in greys:
            try:
                greys[row] = query_grey(recognizer.read(stored[row].path).image)
            except ImageError:
                greys[row] = None
        return greys[row]

    def keypoints_of(row: int) -> Keypoints | None:
        found = grey(row)
        return query_keypoints(found) if found is not None else None

    def nothing_in(row: int) -> str:
        if (known := stored[row].nothing) is not None:
            return known
        found = grey(row)
        return nothing_to_compare(found) if found is not None else ""

    if not stored:
        return []
    queries = Queries(
        np.stack([one.vector for one in stored]).astype(np.float32),
        keypoints_of=keypoints_of if recognizer.features else None,
        shapes=[one.shape for one in stored],
        locations=[one.location for one in stored],
        nothing_in=nothing_in,
    )
    found = predictions(recognizer.answer(queries))
    return [
        None
        if greys.get(row, True) is None
        else described(recognizer, one, query.path, query.shape)
        for row, (one, query) in enumerate(zip(found, stored, strict=True))
    ]
