"""Sentences that explain an answer to a person; the server's page says them in other languages."""

from __future__ import annotations

from collections.abc import Mapping

from ...core.prediction import Prediction
from ..candidates import CHANCE_INLIERS
from ..spatial_verification import MIN_SIDE
from .drawing import Contrast, Nothing, Reasons, counted_details

PHOTOS_OF_GUESS = 4  # shown; of every other candidate one is

SURE = 0.8  # confidence from which a named landmark is told without a doubt

MORE_LIKELY = 0.5  # confidence from which it is told as probable

NOTHING_SENTENCES: dict[Nothing, str] = {
    "small": f"Your photo is too small to compare: each side needs {MIN_SIDE} pixels or more.",
    "even": "Your photo shows one even color, so there is nothing in it to compare.",
    "plain": "Your photo shows plain areas or stripes, without a single detail to compare.",
}


def why_title(answer: Prediction, titles: Mapping[str, str]) -> str:
    """The question that an explanation answers."""
    if answer.decision == "no_landmark" or answer.guess is None:
        return "Why no landmark?"
    maybe = "" if answer.decision == "landmark" else "maybe "
    return f"Why {maybe}{_named(answer.guess, titles)}?"


def why_sentences(answer: Prediction, reasons: Reasons, titles: Mapping[str, str]) -> str:
    """Why this answer, in two sentences that sound no surer than it is.

    `serving/static/explanation.js` says the same in the reader's language.
    """
    if reasons.nothing:
        return NOTHING_SENTENCES[reasons.nothing]
    if answer.guess is None:
        return "The gallery has no photo that yours could be compared with."
    guess = _named(answer.guess, titles)
    other = _named(reasons.other, titles) if reasons.other else "another landmark"
    if answer.decision == "no_landmark":
        return f"Nothing in the gallery looks enough like your photo. {_closest(reasons, guess)}"
    if answer.decision == "uncertain":
        both = reasons.contrast in ("close", "behind")
        names, either = (f"{guess} and {other}", "either") if both else (guess, "it")
        looks = f"Your photo looks a little like {names}, not enough to be sure of {either}."
    else:
        looks = _looks_like(answer, reasons, guess, other)
    return f"{looks} {_details(answer, reasons, guess)}"


def _looks_like(answer: Prediction, reasons: Reasons, guess: str, other: str) -> str:
    """What a photo with a named landmark looks like. other: the next landmark."""
    sure = answer.confidence >= SURE
    count = min(reasons.alike, PHOTOS_OF_GUESS)
    photos = "this photo" if count == 1 else f"these {count} photos"
    contrasts: dict[Contrast | None, str] = {
        None: "",
        "far": ", and far less like any other landmark",
        "less": ", and less like any other landmark",
        "close": f", but nearly as much like {other}",
        "behind": f", but as much like {other}",
    }
    told = contrasts["less" if reasons.contrast == "far" and not sure else reasons.contrast]
    if sure:
        looks, it = "Your photo looks", guess
    else:
        probably = "probably" if answer.confidence >= MORE_LIKELY else "perhaps"
        looks, it = f"Your photo {probably} shows {guess}: it looks rather", "it"
    if not count:
        return f"{looks} like {it}, but as much like {other}."
    return f"{looks} like {photos} of {it}{told}."


def _details(answer: Prediction, reasons: Reasons, guess: str) -> str:
    """How many details agree, of an answer that names a landmark or thinks of one."""
    whole = ", so mostly the look of the whole counts." if answer.decision == "landmark" else "."
    if reasons.details is None:
        return "Details were not compared."
    if reasons.details == 0:
        return f"No details agree{whole}"
    if reasons.details <= CHANCE_INLIERS:
        return f"Only {counted_details(reasons.details)}, as many as by chance{whole}"
    agree = counted_details(reasons.details)
    if (reasons.other_details or 0) > CHANCE_INLIERS:
        return f"{agree} with {guess}, and {reasons.other_details} with another landmark."
    return f"{agree}."


def _closest(reasons: Reasons, guess: str) -> str:
    """The nearest landmark of a photo that is not answered, where one is worth a word."""
    if reasons.unlike:
        return "It is more like photos without a landmark than like any landmark."
    if reasons.details is None:
        return f"The closest is {guess}."
    if reasons.details == 0:
        return f"The closest is {guess}, but no details agree."
    agree = counted_details(reasons.details)
    if reasons.details > CHANCE_INLIERS:
        return f"The closest is {guess}: {agree}, too few to be sure."
    return f"The closest is {guess}, but only {agree}, as many as by chance."


def _named(landmark: str, titles: Mapping[str, str]) -> str:
    return titles.get(landmark, landmark.replace("_", " "))
