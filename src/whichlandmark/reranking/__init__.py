"""Scores that find landmarks and push non-landmarks down: arrays in, arrays out.

Each function says whether it is *inductive* (a query is answered from the gallery alone) or
*transductive* (other queries help).
"""

from .centres import centre_votes, class_centres
from .expansion import augmented, expanded
from .penalties import bank_likeness
from .projection import (
    Projection,
    learned_whitening,
    pca_whitening,
    same_landmark_pairs,
)
from .rows import unit_rows
from .superglobal import superglobal_scores
from .votes import Votes, best_first, inlier_vote, power_vote, ranked_votes, vote

__all__ = [
    "Projection",
    "Votes",
    "augmented",
    "bank_likeness",
    "best_first",
    "centre_votes",
    "class_centres",
    "expanded",
    "inlier_vote",
    "learned_whitening",
    "pca_whitening",
    "power_vote",
    "ranked_votes",
    "same_landmark_pairs",
    "superglobal_scores",
    "unit_rows",
    "vote",
]
