"""Do two photos show the same thing from near enough? Arrays in, arrays out."""

from .keypoints import Keypoints, Matching, keypoints, strongest
from .matching import Verified, matches, verify, verify_many

__all__ = [
    "Keypoints",
    "Matching",
    "Verified",
    "keypoints",
    "matches",
    "strongest",
    "verify",
    "verify_many",
]
