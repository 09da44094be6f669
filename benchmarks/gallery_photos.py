"""Synthetic gallery rows whose parts follow from their number, so that mixed-up parts show."""

from __future__ import annotations

import hashlib

import numpy as np

from whichlandmark.gallery.records import GalleryRow

DIM = 64
State = dict[str, str]  # id → landmark: the expected content of a gallery


def photo(number: int, landmark: str, dim: int = DIM) -> GalleryRow:
    """The row of photo p<number>, with a vector of unit length."""
    rng = np.random.default_rng(number)
    vector = rng.normal(size=dim)
    return GalleryRow(
        f"p{number}", f"/photos/p{number}.jpg", landmark,
        hashlib.sha256(b"%d" % number).hexdigest(), f"{number}:1",
        (vector / np.linalg.norm(vector)).astype(np.float32), keypoints=rng.bytes(3000),
        fingerprint=rng.bytes(32), thumbnail=rng.bytes(5000) if number % 5 == 0 else b"",
    )  # fmt: skip
