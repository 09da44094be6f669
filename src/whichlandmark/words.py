"""An answer as a sentence: the command line and the page say the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .types import Prediction

# Confidence from which → how sure that sounds. Words of estimative probability: Kent, 1964.
SURENESS = ((0.95, "almost certainly"), (0.75, "very likely"), (0.5, "probably"), (0.0, "perhaps"))


def answer_in_words(answer: Prediction, titles: Mapping[str, str] | None = None) -> str:
    """What is answered, in one sentence. titles: label → how the landmark is called."""

    def named(landmark: str | None) -> str:
        label = landmark or "nothing"
        return (titles or {}).get(label, label.replace("_", " "))

    if answer.decision == "landmark":
        return f"{named(answer.guess)}, {_sureness(answer.confidence)}"
    if answer.decision == "no_landmark":
        return "no landmark that I know"
    if answer.second is None:
        return f"not sure: perhaps {named(answer.guess)}"
    return f"not sure: {named(answer.guess)} or {named(answer.second)}"


def _sureness(confidence: float) -> str:
    return next((words for least, words in SURENESS if confidence >= least), SURENESS[-1][1])
