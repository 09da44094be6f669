"""Do two photos show the same thing from near enough? Arrays in, arrays out."""

from .keypoints import Grey, Keypoints, Matching, grey_of, keypoints, strongest
from .matching import Verified, matches, verify, verify_many

__all__ = [
    "Grey",
    "Keypoints",
    "Matching",
    "Verified",
    "grey_of",
    "keypoints",
    "matches",
    "strongest",
    "verify",
    "verify_many",
]
