"""The evidence for one answer, as plain values: what the page and the picture show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import OptionError
from ..types import Decision

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
    keypoints that one view explains, None when geometry was not asked. here, there: (n, 2), where
    they lie in the query and in this photo. shape: the frame of `there`, None = the whole photo's.
    """

    photo_id: str
    landmark: str
    path: str
    similarity: float
    penalty: float | None = None
    inliers: int | None = None
    here: Points | None = None
    there: Points | None = None
    shape: Shape | None = None

    def __post_init__(self) -> None:
        here, there = (0 if p is None else len(p) for p in (self.here, self.there))
        if here != there:
            raise OptionError(f"{here} places here and {there} there given; expected as many")


@dataclass(frozen=True)
class Pulled:
    """A distractor that is like the query, and pulled its score down."""

    photo_id: str
    path: str
    similarity: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Explanation:
    """Everything that is told about one answer.

    photo: path, or the file's bytes; name: what it is called. words: the answer as a sentence.
    guess, second: the two likeliest landmarks. box: (x0, y0, x1, y1), where the landmark was
    verified. shape: the frame of `box` and of every `here`, None = the whole photo's.
    """

    photo: str | bytes
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
