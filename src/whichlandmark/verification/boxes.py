"""Where in a photo a landmark stands, from its verified matches; and several landmarks in one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import OptionError
from .keypoints import Points

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels, x0 < x1 and y0 < y1

LEAST_POINTS = 8  # inliers of a photo: of fewer, chance places too many
TAIL = 0.02  # the share of places on each side that may be wrong
MARGIN = 0.1  # of the box's side: a building goes on beyond its outermost corners
APART = 0.3  # two boxes that share no more than this of the smaller one show different things


def box_around(points: Sequence[Points], shape: tuple[int, int]) -> Box | None:
    """Verified places in a photo → the box of what they lie on, None when they are too few.

    points: of each gallery photo of one landmark, the (n, 2) places of its inliers in the query;
    the photos see different parts, and the box holds them all; one with fewer than 8 inliers may
    be there by chance, and is left out. shape: (height, width) in pixels
    of the query. The middle 96 % of the places in x and in y, widened by a tenth on each side,
    within the photo. The places within a photo, and so the box, are of what both photos show:
    less than the landmark where none of the photos shows more.
    """
    proven = [places for places in points if len(places) >= LEAST_POINTS]
    places = np.concatenate([np.empty((0, 2)), *proven])
    if len(np.unique(np.round(places), axis=0)) < LEAST_POINTS:
        return None
    least, most = np.quantile(places, [TAIL, 1 - TAIL], axis=0)
    margin = MARGIN * (most - least)
    height, width = shape
    x0, y0 = np.clip(least - margin, 0, [width, height])
    x1, y1 = np.clip(most + margin, 0, [width, height])
    return (float(x0), float(y0), float(x1), float(y1)) if x0 < x1 and y0 < y1 else None


def shared(a: Box, b: Box) -> float:
    """The area of both boxes as a share of the smaller one, 0 to 1.

    Not of their union: a part of a building inside the whole building is the same place.
    """
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, width) * max(0.0, height) / min(_area(a), _area(b))


def several(
    boxes: Sequence[Box | None], scores: Sequence[float], apart: float = APART
) -> NDArray[np.int64]:
    """Rows of the candidates that one photo may show side by side, the best score first.

    The best candidate is kept; each next one where it shares at most `apart` of the smaller box
    with every kept one. A candidate without a box is kept alone, when it is the best.
    Equal scores: the lower row first. Raises OptionError for columns of different lengths.
    """
    if len(boxes) != len(scores):
        raise OptionError(f"{len(boxes)} boxes and {len(scores)} scores given; expected as many")
    kept: list[int] = []
    for row in np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable").tolist():
        if not kept or _beside(boxes[row], [boxes[other] for other in kept], apart):
            kept.append(row)
    return np.array(kept, dtype=np.int64)


def _beside(box: Box | None, kept: list[Box | None], apart: float) -> bool:
    if box is None:
        return False
    return all(other is not None and shared(box, other) <= apart for other in kept)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
