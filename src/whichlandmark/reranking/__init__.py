"""Scores that find landmarks and push non-landmarks down: arrays in, arrays out.

Each function says whether it is *inductive* (a query is answered from the gallery alone) or
*transductive* (other queries help).
"""

from .centres import centre_scores, centre_votes, class_centres
from .expansion import augmented, expanded
from .penalties import bank_likeness, with_one, with_penalty_column
from .projection import (
    Projection,
    discriminant_whitening,
    learned_whitening,
    pca_whitening,
    same_landmark_pairs,
)
from .rows import unit_rows
from .superglobal import superglobal_scores
from .views import pooled_views
from .votes import Votes, best_first, inlier_vote, odds_vote, power_vote, ranked_votes, vote

__all__ = [
    "Projection",
    "Votes",
    "augmented",
    "bank_likeness",
    "best_first",
    "centre_scores",
    "centre_votes",
    "class_centres",
    "discriminant_whitening",
    "expanded",
    "inlier_vote",
    "learned_whitening",
    "odds_vote",
    "pca_whitening",
    "pooled_views",
    "power_vote",
    "ranked_votes",
    "same_landmark_pairs",
    "superglobal_scores",
    "unit_rows",
    "vote",
    "with_one",
    "with_penalty_column",
]
