"""Leave-one-out queries → the scores from which at most one answer in a hundred is wrong."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...core.types import Floats
from ..calibration import Sure
from .leave_one_out import KNOWN, NON_LANDMARK, UNKNOWN, HeldOutScores

WRONG = 0.01  # share of the labels that may be wrong

KINDS = (KNOWN, UNKNOWN, NON_LANDMARK)


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
