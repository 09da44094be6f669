"""Matched points, side by side."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...core.errors import ImageError, OptionError
from ...core.images import read_image
from ...core.types import Decision, Image

SIDE = 640  # pixels of a photo's long side in a page

WIDE, HIGH, GAP = 480, 360, 12  # a photo is fitted into this; two stand this far apart

CHANCE = 7  # so many points agree on some view in photos of different things, 99 times in 100

LINES = 60  # more would hide the photos


@dataclass(frozen=True, eq=False)
class SmallPhoto:
    """A photo made small; frame: height and width that places in it are meant in."""

    image: Image
    frame: Shape

    @property
    def fitted(self) -> tuple[float, float]:
        """(width, height) inside a box of 480 × 360, undistorted."""
        height, width = self.frame
        scale = min(WIDE / width, HIGH / height)
        return width * scale, height * scale


@dataclass(frozen=True, eq=False)
class SideBySide:
    """A query beside a reference: the two boxes (x, y, width, height), and the whole's size.

    lines: (n, 4) x and y in the query, x and y in the reference.
    """

    query: tuple[float, float, float, float]
    other: tuple[float, float, float, float]
    size: tuple[float, float]
    lines: NDArray[np.float64]


def shown(source: str | bytes | Image, frame: Shape | None) -> SmallPhoto | None:
    """A photo for drawing; None when it is gone or cannot be decoded."""
    from PIL import Image as Pillow

    if isinstance(source, np.ndarray):
        image = source
    elif not source:
        return None
    else:
        try:
            image = read_image(source, short_side=SIDE if frame else 0)
        except ImageError:
            return None
    small = Pillow.fromarray(image)
    small.thumbnail((SIDE, SIDE))
    return SmallPhoto(np.asarray(small), frame or (image.shape[0], image.shape[1]))


def side_by_side(
    query: SmallPhoto | None, other: SmallPhoto | None, reference: Reference
) -> SideBySide:
    """Where both photos stand, and up to 60 lines between them, from the top of the query down.

    A photo that is gone leaves an empty place of the other's size, and no lines.
    """
    both = [photo.fitted for photo in (query, other) if photo] or [(WIDE, HIGH)]
    left, right = (photo.fitted if photo else both[0] for photo in (query, other))
    high = max(left[1], right[1])
    one = ((WIDE - left[0]) / 2, (high - left[1]) / 2, *left)
    two = (WIDE + GAP + (WIDE - right[0]) / 2, (high - right[1]) / 2, *right)
    lines = np.empty((0, 4))
    in_query, in_gallery = reference.query_points, reference.gallery_points
    if query and other and in_query is not None and in_gallery is not None:
        chosen = _spread(in_query)
        lines = np.concatenate(
            [
                _placed(in_query[chosen], query.frame, one),
                _placed(in_gallery[chosen], other.frame, two),
            ],
            axis=1,
        )
    return SideBySide(one, two, (2 * WIDE + GAP, high), lines)


def box_on(explanation: Explanation, photo: SmallPhoto) -> tuple[float, float, float, float] | None:
    """The box as (x, y, width, height) on the fitted query."""
    if explanation.box is None:
        return None
    corners = np.array(explanation.box, dtype=np.float64).reshape(2, 2)
    sx, sy = (np.array(photo.fitted) / photo.frame[::-1]).tolist()
    (x0, y0), (x1, y1) = (corners * [sx, sy]).tolist()
    return (x0, y0, x1 - x0, y1 - y0)


def colours(count: int) -> list[tuple[int, int, int]]:
    """RGB of each line, from red at the top through green to blue: neighbours are told apart."""
    hues = np.linspace(0, 0.75, max(count, 2))[:count]
    return [
        tuple(round(255 * c) for c in colorsys.hls_to_rgb(h, 0.55, 0.9))  # type: ignore[misc]
        for h in hues.tolist()
    ]


def number(value: float, digits: int = 3) -> str:
    """With a minus sign that is as wide as a plus."""
    return f"{value:.{digits}f}".replace("-", "−")


def matched(reference: Reference) -> str:
    """How geometry judged a reference, in words."""
    if reference.inliers is None:
        return "geometry not asked"
    if not reference.inliers:
        return "no matched points agree"
    told = f"{reference.inliers} matched points agree"
    return told if reference.inliers > CHANCE else f"{told}, no more than by chance"


def _spread(points: Points) -> NDArray[np.int64]:
    """Up to 60 rows, evenly from the top of the photo to its bottom."""
    order = np.lexsort((points[:, 0], points[:, 1]))
    even = np.linspace(0, len(order) - 1, min(len(order), LINES))
    return np.asarray(order[np.round(even).astype(np.int64)], dtype=np.int64)


def _placed(
    places: Points, frame: Shape, box: tuple[float, float, float, float]
) -> NDArray[np.float64]:
    """Pixels of a photo → its box. A pixel's centre lies half a pixel from its corner."""
    height, width = frame
    return np.array(box[:2]) + (places + 0.5) * [box[2] / width, box[3] / height]


Points = NDArray[np.float32]  # (n, 2), x and y

Shape = tuple[int, int]  # height and width of the pixels that places and boxes are meant in


@dataclass(frozen=True)
class ScorePart:
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
class NearDistractor:
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
    parts: tuple[ScorePart, ...] = ()
    references: tuple[Reference, ...] = ()
    distractors: tuple[NearDistractor, ...] = ()
    box: tuple[float, float, float, float] | None = None
    shape: Shape | None = None
