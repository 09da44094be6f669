"""Explanation: the evidence of one answer as values, and where to draw photos and matches."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...core.errors import ImageError, OptionError
from ...core.images import read_image
from ...core.types import Decision, Image
from ...gallery.records import Credit
from ..candidates import CHANCE_INLIERS

Points = NDArray[np.float32]  # (n, 2), x and y in pixels

Shape = tuple[int, int]  # height and width in pixels

LONG_SIDE = 640  # pixels of a photo in a page

MAX_WIDTH, MAX_HEIGHT = 480, 360  # a photo is fitted into this box

GAP = 12  # between two photos side by side

MAX_LINES = 60  # more would hide the photos

# What people read in place of the names of features; the page's strings have the same.
PART_TITLES = {
    "lead": "lead over other landmarks",
    "company": "three most similar photos",
    "centre": "average of its photos",
    "votes": "five most similar photos",
    "unwhitened": "similarity before whitening",
    "bank": "similarity to distractors",
    "photo bank": "its photo's similarity to distractors",
    "photos": "number of photos",
    "place": "like a place",
    "inliers": "inliers",
    "inlier lead": "lead in inliers",
    "inlier company": "inliers of all its photos",
    "agreement": "details in the same places",
    "agreement lead": "lead in details in place",
    "agreement company": "details in place, all its photos",
    "usual": "starting value",
}


# How far the nearest photo of any other landmark is: much less like the query than the guess, less,
# nearly as much, or more.
Contrast = Literal["far", "less", "close", "behind"]

# Why there is nothing in a photo to compare: too few pixels, one even color, no keypoint.
Nothing = Literal["small", "even", "plain"]


@dataclass(frozen=True, kw_only=True)
class Reasons:
    """What the sentences of an explanation say, as numbers.

    Attributes:
        alike: Photos of the guess, among the nearest, that the query looks like.
        similarity: Cosine to the nearest photo of the guess; None = there is no guess.
        lead: That less the cosine to the nearest photo of any other landmark.
        contrast: How far that other landmark is; None = there is none.
        other: That landmark; None also where all nearest photos show the guess.
        details: Most inliers with one photo of the guess; None = none was compared.
        other_details: Most inliers with one photo of any other landmark; None = as above.
        unlike: Is the query hardly the guess, and nearer to a distractor than to any landmark?
        nothing: Why the photo is not compared; None = it is.
    """

    alike: int = 0
    similarity: float | None = None
    lead: float | None = None
    contrast: Contrast | None = None
    other: str | None = None
    details: int | None = None
    other_details: int | None = None
    unlike: bool = False
    nothing: Nothing | None = None


@dataclass(frozen=True)
class ScorePart:
    """One part of the score: its name, what it adds, a sentence about it, and what was measured.

    measured: Cosine, log-odds or count that `value` was computed from; None = nothing plain.
    """

    name: str
    value: float
    description: str
    measured: float | None = None

    @property
    def title(self) -> str:
        """The name in words for people; names without a title are shown as they are."""
        return PART_TITLES.get(self.name, self.name)


@dataclass(frozen=True, eq=False)
class Reference:
    """A gallery photo shown as evidence.

    Attributes:
        photo_id, landmark, path: Which photo.
        similarity: Cosine to the query.
        penalty: B, its mean cosine to the nearest distractors; None where it is not used.
        inliers: Matched keypoints that one geometric transformation explains; None = not compared.
        alike: Is it one of the photos of the guess that the query looks like?
        query_points, gallery_points: (n, 2) the inliers in the query and in this photo.
        shape: Height and width that `gallery_points` refer to; None = those of the photo itself.
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
    alike: bool = False

    def __post_init__(self) -> None:
        both = (self.query_points, self.gallery_points)
        in_query, in_gallery = (0 if points is None else len(points) for points in both)
        if in_query != in_gallery:
            raise OptionError(
                f"{in_query} points of the query and {in_gallery} of the gallery photo given; "
                "expected as many"
            )

    @property
    def above_chance(self) -> bool:
        """Are there more inliers than unrelated photos have?"""
        return self.inliers is not None and self.inliers > CHANCE_INLIERS


@dataclass(frozen=True)
class NearDistractor:
    """A distractor similar to the query, which lowers its score."""

    photo_id: str
    path: str
    similarity: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Explanation:
    """The evidence of one answer.

    Attributes:
        photo: Path, a file's bytes, or pixels.
        name: Name of the photo.
        decision: "landmark", "uncertain" or "no_landmark".
        words: The answer as a sentence.
        confidence: Probability that the guess is right.
        guess, second: The two likeliest landmarks.
        title: The question that is answered, as "Why Eiffel Tower?".
        why: The answer to it in two sentences.
        reasons: What these say, as numbers.
        parts: What each feature adds to the score.
        references: Gallery photos shown as evidence.
        distractors: The nearest distractors.
        credits: Photo id → credit, of both.
        box: (x0, y0, x1, y1) in pixels, where the landmark was verified.
        shape: Height and width that `box` and all `query_points` refer to; None = those of the
            photo itself.
    """

    photo: str | bytes | Image
    name: str
    decision: Decision
    words: str
    confidence: float
    guess: str | None = None
    second: str | None = None
    reasons: Reasons = field(default_factory=Reasons)
    title: str = ""
    why: str = ""
    parts: tuple[ScorePart, ...] = ()
    references: tuple[Reference, ...] = ()
    distractors: tuple[NearDistractor, ...] = ()
    credits: Mapping[str, Credit] = field(default_factory=dict)
    box: tuple[float, float, float, float] | None = None
    shape: Shape | None = None


@dataclass(frozen=True, eq=False)
class SmallPhoto:
    """A reduced photo. frame: height and width that points in it refer to."""

    image: Image
    frame: Shape

    @property
    def fitted(self) -> tuple[float, float]:
        """(width, height) when fitted into MAX_WIDTH × MAX_HEIGHT, with its proportions kept."""
        height, width = self.frame
        scale = min(MAX_WIDTH / width, MAX_HEIGHT / height)
        return width * scale, height * scale


@dataclass(frozen=True, eq=False)
class SideBySide:
    """Layout of a query beside a reference.

    Attributes:
        query, other: Their boxes: x, y, width, height.
        size: Width and height of both together.
        lines: (n, 4) x and y in the query, x and y in the reference.
    """

    query: tuple[float, float, float, float]
    other: tuple[float, float, float, float]
    size: tuple[float, float]
    lines: NDArray[np.float64]


def load_small_photo(source: str | bytes | Image, frame: Shape | None) -> SmallPhoto | None:
    """A photo reduced for drawing; None when it is missing or cannot be decoded."""
    from PIL import Image as Pillow

    if isinstance(source, np.ndarray):
        image = source
    elif not source:
        return None
    else:
        try:
            image = read_image(source, short_side=LONG_SIDE if frame else 0)
        except ImageError:
            return None
    small = Pillow.fromarray(image)
    small.thumbnail((LONG_SIDE, LONG_SIDE))
    return SmallPhoto(np.asarray(small), frame or (image.shape[0], image.shape[1]))


def side_by_side(
    query: SmallPhoto | None, other: SmallPhoto | None, reference: Reference
) -> SideBySide:
    """Lay out both photos and up to MAX_LINES lines between matched points, from top to bottom.

    A missing photo leaves an empty box of the other's size, without lines.
    """
    both = [photo.fitted for photo in (query, other) if photo] or [(MAX_WIDTH, MAX_HEIGHT)]
    left, right = (photo.fitted if photo else both[0] for photo in (query, other))
    high = max(left[1], right[1])
    one = ((MAX_WIDTH - left[0]) / 2, (high - left[1]) / 2, *left)
    two = (MAX_WIDTH + GAP + (MAX_WIDTH - right[0]) / 2, (high - right[1]) / 2, *right)
    lines = np.empty((0, 4))
    in_query, in_gallery = reference.query_points, reference.gallery_points
    drawn = reference.above_chance
    if drawn and query and other and in_query is not None and in_gallery is not None:
        chosen = _spread_rows(in_query)
        lines = np.concatenate(
            [
                _into_box(in_query[chosen], query.frame, one),
                _into_box(in_gallery[chosen], other.frame, two),
            ],
            axis=1,
        )
    return SideBySide(one, two, (2 * MAX_WIDTH + GAP, high), lines)


def pair_picture(query: SmallPhoto, other: SmallPhoto, reference: Reference) -> Image:
    """Both photos side by side on white, with the lines of `side_by_side`, as pixels."""
    from PIL import Image as Pillow
    from PIL import ImageDraw

    side = side_by_side(query, other, reference)
    whole = Pillow.new("RGB", (round(side.size[0]), round(side.size[1])), "white")
    for photo, (x, y, width, height) in ((query, side.query), (other, side.other)):
        fitted = Pillow.fromarray(photo.image).resize((max(1, round(width)), max(1, round(height))))
        whole.paste(fitted, (round(x), round(y)))
    pen = ImageDraw.Draw(whole)
    for line, colour in zip(side.lines.tolist(), line_colours(len(side.lines)), strict=True):
        pen.line(line, fill=colour, width=2)
    return np.asarray(whole)


def query_box(
    explanation: Explanation, photo: SmallPhoto
) -> tuple[float, float, float, float] | None:
    """The landmark's box on the fitted query: x, y, width, height."""
    if explanation.box is None:
        return None
    corners = np.array(explanation.box, dtype=np.float64).reshape(2, 2)
    sx, sy = (np.array(photo.fitted) / photo.frame[::-1]).tolist()
    (x0, y0), (x1, y1) = (corners * [sx, sy]).tolist()
    return (x0, y0, x1 - x0, y1 - y0)


def line_colours(count: int) -> list[tuple[int, int, int]]:
    """RGB of each line, from red at the top through green to blue, so that neighbours differ."""
    hues = np.linspace(0, 0.75, max(count, 2))[:count]
    return [
        tuple(round(255 * c) for c in colorsys.hls_to_rgb(h, 0.55, 0.9))  # type: ignore[misc]
        for h in hues.tolist()
    ]


def format_number(value: float, digits: int = 3) -> str:
    """With a minus sign instead of a hyphen."""
    return f"{value:.{digits}f}".replace("-", "−")


def confidence_text(explanation: Explanation) -> str:
    """The confidence as a percentage, never 0 % or 100 %."""
    if explanation.confidence > 0.99:
        return "over 99%"
    return "under 1%" if explanation.confidence < 0.01 else f"{explanation.confidence:.0%}"


def score_text(explanation: Explanation) -> str:
    """The score; "" where the explanation has none."""
    found = [part.value for part in explanation.parts if part.name == "score"]
    return format_number(found[0], 2) if found and np.isfinite(found[0]) else ""


def inlier_text(reference: Reference) -> str:
    """The result of spatial verification in words."""
    if reference.inliers is None:
        return "details not compared"
    if not reference.inliers:
        return "no details agree"
    text = counted_details(reference.inliers)
    return text if reference.above_chance else f"{text}, as many as by chance"


def counted_details(inliers: int) -> str:
    """As "23 details agree"."""
    return "1 detail agrees" if inliers == 1 else f"{inliers} details agree"


def _spread_rows(points: Points) -> NDArray[np.int64]:
    """Up to MAX_LINES rows, spread evenly from the top of the photo to its bottom."""
    order = np.lexsort((points[:, 0], points[:, 1]))
    even = np.linspace(0, len(order) - 1, min(len(order), MAX_LINES))
    return np.asarray(order[np.round(even).astype(np.int64)], dtype=np.int64)


def _into_box(
    points: Points, frame: Shape, box: tuple[float, float, float, float]
) -> NDArray[np.float64]:
    """Points of a photo → its box. Half a pixel is added to reach the centre of each pixel."""
    height, width = frame
    return np.array(box[:2]) + (points + 0.5) * [box[2] / width, box[3] / height]
