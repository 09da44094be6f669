"""Do two photos show the same thing from near enough? Arrays in, arrays out."""

from .keypoints import Grey, Keypoints, MatchOptions, grey_of, keypoints, strongest
from .matching import VerifiedMatch, matches, verify, verify_many

__all__ = [
    "Grey",
    "Keypoints",
    "MatchOptions",
    "VerifiedMatch",
    "grey_of",
    "keypoints",
    "matches",
    "strongest",
    "verify",
    "verify_many",
]
