"""From which confidence on at most one label in a hundred is wrong, measured on the gallery.

A label is written into files, so it has to be surer than an answer. Leave-one-out queries of the
gallery, held out of the fit, say which of them would be labelled wrongly; no other photo takes
part.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.types import Floats
from .calibration import Sure
from .decision import RULE_OF_THUMB
from .fitting.leave_one_out import KNOWN, NON_LANDMARK, UNKNOWN, HeldOutScores
from .recognizer import Recognizer

log = logging.getLogger("whichlandmark")

WRONG = 0.01  # share of the labels that may be wrong

MIX_STEPS = 2000  # of expectation maximization, which mostly takes tens

KINDS = (KNOWN, UNKNOWN, NON_LANDMARK)


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


def sure_of(held_out: HeldOutScores, wrong: float = WRONG) -> Sure:
    """The least scores from which at most this share of the labels is wrong.

    A label is an answer whose score is at least t; its loss is 1 − `wrong` where it is wrong,
    −`wrong` where it is right, and 0 without a label. At most the share `wrong` of the labels is
    wrong, in expectation, where the expected loss is at most 0. Each kind of queries is a stratum
    with the share that the rules state. As in conformal risk control (Angelopoulos, Bates, Fisch,
    Lei, Schuster, "Conformal risk control", ICLR 2024), the mean loss of n queries is replaced by
    (n · mean + largest loss) / (n + 1), the mean as if one more query were labelled wrongly.

    What it bounds: wrong labels divided by labels, in expectation over the photos of the gallery
    and of the library, where the library's photos are drawn as the queries were: known landmarks as
    the gallery's photos, unknown landmarks as its landmarks (photos of one landmark are wrong
    together, so each landmark counts as one draw), other photos as its distractors, in the shares
    of the rules. A library with a smaller share of landmarks has more wrong labels. The loss is not
    monotone in t, as the theorem wants it, so the search goes down from the highest score and stops
    where the bound first fails again; with unequal weights n is Kish's effective number.

    Returns:
        `measured`, the least score by that bound; `counted`, by the plain mean; `supported`, by
        the mean with one more wrong label. None = there is none.
    """
    finite = np.isfinite(held_out.scores)
    if not finite.any():
        return Sure(queries=len(finite))
    order = np.argsort(-np.where(finite, held_out.scores, -np.inf), kind="stable")[: finite.sum()]
    scores = held_out.scores[order]
    total, loss = held_out.weight.sum(), np.where(held_out.right, -wrong, 1 - wrong)
    bound, weights = np.zeros(len(order)), np.zeros(len(held_out.scores))
    for kind in KINDS:
        own = held_out.kind == kind
        if not own.any():
            continue
        weight = _stratum_weight(held_out, own, by_landmark=kind == UNKNOWN)
        share = held_out.weight[own].sum() / total
        weights += share * weight
        losses = np.cumsum((loss * weight)[order])
        count = _effective(held_out, own, weight, by_landmark=kind == UNKNOWN)
        bound += share * (count * losses + (1 - wrong)) / (count + 1)
    mean, weights = np.cumsum((loss * weights)[order]), weights[order]
    one_more = np.cumsum(weights**2) / np.maximum(np.cumsum(weights), 1e-300)  # a mean weight
    last = np.append(scores[1:] != scores[:-1], True)  # queries of one score are labelled together
    complete = all((held_out.kind == kind).any() for kind in KINDS)
    return Sure(
        measured=_least(scores, last, bound <= 0) if complete else None,
        counted=_least(scores, last, mean <= 0),
        supported=_least(scores, last, mean + one_more <= 0),
        queries=len(held_out.scores),
    )


def _stratum_weight(
    held_out: HeldOutScores, own: NDArray[np.bool_], *, by_landmark: bool
) -> Floats:
    """(Q,) weights that sum to 1 over the queries of a kind, 0 elsewhere.

    by_landmark: each landmark weighs the same.
    """
    weight = np.where(own, held_out.weight, 0.0)
    if by_landmark:
        _, group = np.unique(held_out.group, return_inverse=True)
        sums = np.bincount(group, weights=weight)
        weight = weight / np.maximum(sums, 1e-12)[group]
    return np.asarray(weight / max(weight.sum(), 1e-12))


def _effective(
    held_out: HeldOutScores, own: NDArray[np.bool_], weight: Floats, *, by_landmark: bool
) -> float:
    """How many equal draws these weights are worth: landmarks, or photos by Kish's formula."""
    if by_landmark:
        return float(len(np.unique(held_out.group[own])))
    return float(1 / (weight[own] ** 2).sum())


def _least(scores: Floats, last: NDArray[np.bool_], good: NDArray[np.bool_]) -> float | None:
    """The least score of the first run of good ones, from the highest score downwards."""
    rows = np.flatnonzero(last)
    held = good[rows]
    if not held.any():
        return None
    first = int(held.argmax())
    ends = np.flatnonzero(~held[first:])
    at = first + int(ends[0]) - 1 if len(ends) else len(rows) - 1
    return float(scores[rows[at]])


@dataclass(frozen=True)
class Mix:
    """What a collection of photos holds, as far as its answers tell.

    share: of its photos whose guess is right, 0 to 1. wrong: labels that are wrong, expected.
    """

    share: float
    wrong: float


def mix_of(confidences: Floats, labelled: NDArray[np.bool_], usual: float) -> Mix:
    """Estimate how many labels of a collection are wrong, from its own share of landmarks.

    A confidence is calibrated for the mix of the rules. In a collection with fewer landmarks fewer
    guesses are right at the same confidence: by Bayes' rule the odds change by the odds of the
    shares. The share is estimated by expectation maximization from all confidences (Saerens,
    Latinne, Decaestecker, "Adjusting the outputs of a classifier to new a priori probabilities",
    Neural Computation 14, 2002), which needs no labels.

    Args:
        confidences: (N,) of every photo, 0 to 1.
        labelled: (N,) which of them get a label.
        usual: The share of right guesses that the confidences are calibrated for, inside (0, 1).
    """
    share = usual
    right = np.asarray(confidences, dtype=np.float64)
    for _ in range(MIX_STEPS):
        up = right * share / usual
        down = (1 - right) * (1 - share) / (1 - usual)
        posterior = up / np.maximum(up + down, 1e-300)
        before, share = share, float(np.clip(posterior.mean(), 1e-6, 1 - 1e-6))
        if abs(share - before) < 1e-6:
            break
    return Mix(share, float((1 - posterior[labelled]).sum()))


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
