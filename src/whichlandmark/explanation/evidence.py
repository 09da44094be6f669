"""The evidence for one answer, as plain values: what the page and the picture show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import OptionError
from ..types import Decision, Image

Points = NDArray[np.float32]  # (n, 2), x and y
Shape = tuple[int, int]  # height and width of the pixels that places and boxes are meant in


@dataclass(frozen=True)
class Part:
    """One part of the score: what it is called, what it adds, and a sentence about it."""

    name: str
    value: float
    tells: str


@dataclass(frozen=True, eq=False)
class Reference:
    """A gallery photo that spoke for an answer.

    penalty: B, how like distractors it is, None where that is not used. inliers: matched
    keypoints that one view explains, None when geometry was not asked. query_points,
    gallery_points: (n, 2), where they lie in the query and in this photo. shape: the frame of
    `gallery_points`, None = the whole photo's.
    """

    photo_id: str
    landmark: str
    path: str
    similarity: float
    penalty: float | None = None
    inliers: int | None = None
    query_points: Points | None = None
    gallery_points: Points | None = None
    shape: Shape | None = None

    def __post_init__(self) -> None:
        both = (self.query_points, self.gallery_points)
        in_query, in_gallery = (0 if points is None else len(points) for points in both)
        if in_query != in_gallery:
            raise OptionError(
                f"{in_query} points of the query and {in_gallery} of the gallery photo given; "
                "expected as many"
            )


@dataclass(frozen=True)
class Pulled:
    """A distractor that is like the query, and pulled its score down."""

    photo_id: str
    path: str
    similarity: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Explanation:
    """Everything that is told about one answer.

    photo: path, the file's bytes, or its pixels; name: what it is called. words: the answer as a
    sentence. guess, second: the two likeliest landmarks. box: (x0, y0, x1, y1), where the landmark
    was verified. shape: the frame of `box` and of all `query_points`, None = the whole photo's.
    """

    photo: str | bytes | Image
    name: str
    decision: Decision
    words: str
    confidence: float
    guess: str | None = None
    second: str | None = None
    parts: tuple[Part, ...] = ()
    references: tuple[Reference, ...] = ()
    distractors: tuple[Pulled, ...] = ()
    box: tuple[float, float, float, float] | None = None
    shape: Shape | None = None
