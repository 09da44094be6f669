"""An answer as a sentence: the command line and the page say the same."""

from __future__ import annotations

from collections.abc import Mapping

from .types import Prediction


def answer_in_words(answer: Prediction, titles: Mapping[str, str] | None = None) -> str:
    """What is answered, in one sentence. titles: label → how the landmark is called."""

    def named(landmark: str | None) -> str:
        return (titles or {}).get(landmark or "", landmark or "nothing")

    if answer.decision == "landmark":
        return named(answer.guess)
    if answer.decision == "no_landmark":
        return "no landmark that I know"
    if answer.second is None:
        return f"not sure: perhaps {named(answer.guess)}"
    return f"not sure: {named(answer.guess)} or {named(answer.second)}"
