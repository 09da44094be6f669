"""From which confidence on at most one label in a hundred is wrong, measured on the gallery.

A label is written into files, so it has to be surer than an answer. Leave-one-out queries of the
gallery, held out of the fit, say which of them would be labelled wrongly; no other photo takes
part.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from .calibration import Sure
from .decision import RULE_OF_THUMB
from .fitting.sure_scores import WRONG
from .recognizer import Recognizer

log = logging.getLogger("whichlandmark")


@dataclass(frozen=True)
class SureConfidence:
    """The least confidence of a label.

    confidence: 0 to 1. measured: do the gallery's own queries bound the wrong labels from there on?
    note: what a reader of the labels has to know of it; "" = nothing.
    """

    confidence: float
    measured: bool
    note: str = ""


def sure_confidence(recognizer: Recognizer) -> SureConfidence:
    """The least confidence of a label, for at most one wrong label in a hundred.

    Where the gallery is large enough to bound the wrong labels, it is the least confidence with
    that bound. Elsewhere it is 0.99, because a calibrated confidence promises as much of each
    single label, or higher where the gallery's queries count more than one wrong in a hundred
    there. Where the calibration was fitted on this gallery alone, without a default that comes with
    the embedder, that takes at least 99 queries that are labelled rightly there; without them it is
    1, and nothing is labelled. The note says so.

    A recognizer that an older version fitted is fitted again for it, which takes some seconds.
    """
    used = recognizer
    if used.fitted.sure is None:
        log.warning(
            "fitted by an older version of this program, so it is fitted again to measure how sure "
            "a label has to be, which takes some seconds in each run; `whichlandmark tune` keeps it"
        )
        used = recognizer.with_rules(recognizer.rules)
    sure, decider = used.fitted.sure or Sure(), used.decider
    least = 1 - WRONG

    def confidence(score: float) -> float:
        return float(decider.confidence(np.array([score]))[0])

    if sure.measured is not None and confidence(sure.measured) <= least:
        return SureConfidence(confidence(sure.measured), True)
    own_alone = used.fitted.own_queries in (None, RULE_OF_THUMB)
    score = sure.supported if own_alone else sure.counted
    if score is not None:
        least = max(least, confidence(score))
    elif own_alone or sure.queries:  # from no confidence on
        least = 1.0
    return SureConfidence(least, False, _note(used, least))


def _note(recognizer: Recognizer, confidence: float) -> str:
    """Why the gallery bounds nothing, and what can be done."""
    index, ceiling = recognizer.index, recognizer.decider.ceiling
    size = (
        f"{len(index.names)} landmarks, {len(index.codes)} photos, {len(index.distractor_ids)} "
        "distractors"
    )
    if ceiling < confidence or confidence == 1:
        if not len(index.distractor_ids):
            why = (
                "the gallery has no distractors, so nothing taught it what shows no landmark: add "
                "some with --distractors"
            )
        else:
            why = (
                f"the gallery ({size}) is too small to tell, or its answers are too often wrong: "
                "add landmarks, photos and distractors, then `tune`"
            )
        return (
            f"no photo gets a label, because none is sure enough for at most one wrong label in a "
            f"hundred: {why}. --above CONFIDENCE labels all the same"
        )
    return (
        f"labels begin at confidence {confidence:.3g}: the gallery ({size}) is too small to "
        "measure from where at most one label in a hundred is wrong, or has landmarks that look "
        "alike; more landmarks and distractors, then `tune`, make it measurable"
    )
