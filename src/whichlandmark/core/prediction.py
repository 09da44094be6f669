"""Prediction: the answer for one photo, with the landmarks and gallery photos it names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from .errors import OptionError
from .html import prediction_html

Decision = Literal["landmark", "uncertain", "no_landmark"]

Failed = Literal["failed"]  # in the place of the decision on a photo that could not be read


@dataclass(frozen=True)
class Match:
    """One gallery photo that is similar to the query.

    Attributes:
        photo_id: its id in the gallery.
        landmark: None for a distractor.
        similarity: cosine of the two vectors, −1 to 1.
        inliers: local features that fit one transformation; None when not compared.
    """

    photo_id: str
    landmark: str | None
    similarity: float
    inliers: int | None = None


@dataclass(frozen=True)
class Detection:
    """One landmark recognised in a photo.

    Attributes:
        landmark: its name.
        confidence: the calibrated probability that it is in the photo, 0 to 1.
        box: the part of the photo in which spatial verification matched it, as (left, top, right,
            bottom) in shares of the photo's width and height, 0 to 1; None = not verified, or
            boxes were not requested.
    """

    landmark: str
    confidence: float
    box: tuple[float, float, float, float] | None = None


class AnswerWriter(Protocol):
    """What a prediction needs of its recognizer to describe itself."""

    def titles(self) -> dict[str, str]: ...
    def to_dict(self, prediction: Prediction, /) -> dict[str, Any]: ...


@dataclass(frozen=True, repr=False)
class Prediction:
    """The answer for one photo.

    Attributes:
        landmark: The recognised landmark; None unless the decision is "landmark".
        decision: "landmark", "uncertain" or "no_landmark"; "failed" for a photo of a list that
            could not be read.
        confidence: The calibrated probability that the guess is right, 0 to 1; NaN when failed.
        score: Any real number that ranks the predictions of one recognizer, the most confident
            highest; NaN when failed.
        guess: The most likely landmark, for every decision; None when the gallery has none.
        matches: The nearest gallery photos, the best first.
        second: The second most likely landmark; an "uncertain" answer names both.
        landmarks: All recognised landmarks, the guess first; more than one when spatial
            verification matched others in other parts of the photo.
        photo: Name of the photo, as its path; "" = it has none.
        warnings: What makes this answer less reliable.
        error: Why the photo could not be read; None unless the decision is "failed".
        candidates: The landmarks that it may show, each with the calibrated probability that it is
            right, the likeliest first; empty where the rules' score is a formula.
        writer: The recognizer that answered, for `to_dict` and titles; not kept by pickle.
    """

    landmark: str | None
    decision: Decision | Failed
    confidence: float
    score: float
    guess: str | None
    matches: tuple[Match, ...]
    second: str | None = None
    landmarks: tuple[Detection, ...] = ()
    photo: str = field(default="", compare=False)
    warnings: tuple[str, ...] = field(default=(), compare=False)
    error: str | None = None
    candidates: tuple[tuple[str, float], ...] = field(default=(), compare=False)
    writer: AnswerWriter | None = field(default=None, compare=False)

    @classmethod
    def of_failed(cls, photo: str, error: str, writer: AnswerWriter | None = None) -> Prediction:
        """The place of a photo that could not be read, in the answers to a list."""
        nan = float("nan")
        return cls(None, "failed", nan, nan, None, (), photo=photo, error=error, writer=writer)

    def to_dict(self) -> dict[str, Any]:
        """The answer as the JSON object that every interface gives; docs/serving.md describes it.

        Raises:
            OptionError: When no recognizer made this prediction, or pickle has parted them.
        """
        if self.writer is None:
            raise OptionError(
                "this prediction has lost its recognizer, which knows the titles; use "
                "recognizer.to_dict(prediction)"
            )
        return self.writer.to_dict(self)

    def __repr__(self) -> str:
        of = f"{self.photo}: " if self.photo else ""
        if self.decision == "failed":
            return f"Prediction({of}failed: {self.error})"
        named = f"{self.guess!r}, " if self.guess else ""
        return f"Prediction({of}{named}{self.decision}, confidence {self.confidence:.2f})"

    def _repr_html_(self) -> str:
        return prediction_html(self)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "writer": None}
