"""Synthetic landmarks, drawn by code: the data set of the demo, the tests and the benchmarks."""

from .plan import DrawnWorld, Shot, distractor_shots, query_shots, training_shots
from .world import draw_photo, draw_world, photo_bytes

__all__ = [
    "DrawnWorld",
    "Shot",
    "distractor_shots",
    "draw_photo",
    "draw_world",
    "photo_bytes",
    "query_shots",
    "training_shots",
]
