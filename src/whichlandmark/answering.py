"""A recognizer as one who answers questions: the one place that knows how it is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from . import fitting
from .deciding import Answers, Decider
from .geometry import query_keypoints
from .questions import Answered, Answering, OtherScore
from .recognition import Recognizer
from .rules import Score
from .types import Photos, Vectors

Rows = NDArray[np.int64]
Ask = Callable[[Rows, Vectors], Answers]


def answering(recognizer: Recognizer, photos: Photos, also: Sequence[Score] = ()) -> Answering:
    """Its answers to a table of photos, and those of other scores on the same gallery.

    A photo is decoded again where geometry is asked: where the answer is not sure without.
    """
    names = np.append(recognizer.index.names, "").astype(object)  # code −1 = no guess
    first = _asking(recognizer, recognizer.decider, photos)

    def ask(rows: Rows, vectors: Vectors) -> Answered:
        answers = first(rows, vectors)
        decisions = map(recognizer.decider.decide, answers.confidence, answers.scores)
        return Answered(
            guess=names[answers.codes],
            score=answers.scores,
            confidence=answers.confidence,
            decision=np.array(list(decisions), dtype=object),
            neighbours=answers.found.neighbours,
        )

    def other(score: Score) -> OtherScore:
        second = _asking(recognizer, _decider(recognizer, score), photos)

        def scored(rows: Rows, vectors: Vectors) -> tuple[NDArray[np.object_], NDArray[np.float64]]:
            answers = second(rows, vectors)
            return names[answers.codes], answers.scores

        return scored

    return Answering(recognizer.index, ask, {score: other(score) for score in also})


def _asking(recognizer: Recognizer, decider: Decider, photos: Photos) -> Ask:
    """What a recognizer does with vectors, and with photos only when it wants to see them."""

    def ask(rows: Rows, vectors: Vectors) -> Answers:
        paths = [Path(path) for path in photos.paths[rows]]
        prior = None
        if kilometres := recognizer.rules.location_km:
            places = [recognizer.places.of_photo(path) for path in paths]
            prior = recognizer.places.prior(places, kilometres)
        return decider(
            vectors, look=lambda i: query_keypoints(recognizer.decode(paths[i])), prior=prior
        )

    return ask


def _decider(recognizer: Recognizer, score: Score) -> Decider:
    """The same gallery under another score; fitted anew only for a stacker that is not there."""
    rules, fitted = recognizer.rules.with_score(score), recognizer.fitted
    if score == "learned" and fitted.stacker is None:
        fitted = fitting.fit(recognizer.index, rules, geometry=recognizer.geometry)
    if rules.whitening == "none":
        fitted = replace(fitted, projection=None)
    return Decider(recognizer.index, rules, fitted, recognizer.geometry)
