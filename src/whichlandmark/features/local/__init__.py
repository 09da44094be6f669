"""Local features: keypoints of a photo, and geometric matching of two photos."""

from .keypoints import GreyImage, Keypoints, MatchOptions, keypoints, strongest, to_grey
from .matching import VerifiedMatch, matches, verify, verify_many

__all__ = [
    "GreyImage",
    "Keypoints",
    "MatchOptions",
    "VerifiedMatch",
    "keypoints",
    "matches",
    "strongest",
    "to_grey",
    "verify",
    "verify_many",
]
