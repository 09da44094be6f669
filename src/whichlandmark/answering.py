"""A recognizer as one who answers questions: the one place that knows how it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from . import fitting
from .deciding import Decider
from .query import Queries
from .questions import Answered, Answering, OtherScore
from .recognition import Recognizer
from .rules import Score


def answering(recognizer: Recognizer, also: Sequence[Score] = ()) -> Answering:
    """Its answers, and those of other scores on the same gallery."""
    names = np.append(recognizer.index.names, "").astype(object)  # code −1 = no guess

    def ask(queries: Queries) -> Answered:
        answers = recognizer.answer(queries)
        decisions = map(answers.decider.decide, answers.confidence, answers.scores)
        return Answered(
            guess=names[answers.codes],
            score=answers.scores,
            confidence=answers.confidence,
            decision=np.array(list(decisions), dtype=object),
            neighbours=answers.found.neighbours,
        )

    def other(score: Score) -> OtherScore:
        decider = _decider(recognizer, score)

        def scored(queries: Queries) -> tuple[NDArray[np.object_], NDArray[np.float64]]:
            answers = decider.answer(queries)
            return names[answers.codes], answers.scores

        return scored

    return Answering(recognizer.index, ask, {score: other(score) for score in also})


def _decider(recognizer: Recognizer, score: Score) -> Decider:
    """The same gallery under another score; fitted anew only for a stacker that is not there."""
    rules, fitted = recognizer.rules.with_score(score), recognizer.fitted
    if score == "learned" and fitted.stacker is None:
        fitted = fitting.fit(recognizer.index, rules, geometry=recognizer.geometry)
    if rules.whitening == "none":
        fitted = replace(fitted, projection=None)
    return Decider(
        recognizer.index, rules, fitted, recognizer.geometry, places=recognizer.decider.places
    )
