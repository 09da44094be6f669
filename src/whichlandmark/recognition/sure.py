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
    there; the note says so.

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
    if sure.measured is not None:
        measured = float(decider.confidence(np.array([sure.measured]))[0])
        if measured <= least:
            return SureConfidence(measured, True)
    if sure.counted is not None:
        least = max(least, float(decider.confidence(np.array([sure.counted]))[0]))
    elif sure.queries:  # from no confidence on
        least = 1.0
    return SureConfidence(least, False, _note(used, least))


def _note(recognizer: Recognizer, confidence: float) -> str:
    """Why the gallery bounds nothing, and what can be done."""
    index, ceiling = recognizer.index, recognizer.decider.ceiling
    if ceiling < confidence:
        why = (
            "too few photos to question itself: add 2 or more photos of each of 2 or more "
            "landmarks, and distractors"
            if recognizer.fitted.own_queries == RULE_OF_THUMB
            else "no distractors, so nothing taught it what shows no landmark: add some with "
            "--distractors"
        )
        return (
            f"no photo gets a label: a label needs the confidence {confidence:.3g}, and none is "
            f"above {ceiling:.2f} here, because the gallery has {why}. --above takes less"
        )
    return (
        f"labels begin at confidence {confidence:.3g}: the gallery ({len(index.names)} landmarks, "
        f"{len(index.codes)} photos, {len(index.distractor_ids)} distractors) is too small to "
        "measure from where at most one label in a hundred is wrong, or has landmarks that look "
        "alike; more landmarks and distractors, then `tune`, make it measurable"
    )
