"""Scores that find landmarks and push non-landmarks down: arrays in, arrays out.

Each function says whether it is *inductive* (a query is answered from the gallery alone) or
*transductive* (other queries help).
"""

from ...gallery.index.projection import Projection, unit_rows
from ..fitting.whitening import learned_whitening, pca_whitening, same_landmark_pairs
from .class_centres import bank_likeness, centre_votes, class_centres
from .expansion import augmented, expanded, superglobal_scores
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
