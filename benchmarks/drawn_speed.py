"""Measure how many synthetic photos are drawn and written a second, with 1 and 2 processes.

    python benchmarks/drawn_speed.py [photos]

Prints medians of three runs.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from whichlandmark.data.synthetic.plan import DrawnWorld
from whichlandmark.data.synthetic.world import draw_world


def photos_per_second(photos: int, workers: int) -> float:
    """Draw a world of about `photos` files (landmarks, queries, distractors) and time it."""
    world = DrawnWorld(
        photos=photos, queries=photos // 5, unknown_queries=photos // 20,
        nonlandmark_queries=photos // 10, distractors=photos // 6,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        draw_world(Path(folder), world, workers=workers)
        seconds = time.perf_counter() - started
        return sum(1 for _ in Path(folder).rglob("*.jpg")) / seconds


def main() -> None:
    photos = int(sys.argv[1]) if len(sys.argv) > 1 else 600
    for workers in (1, 2):
        speeds = sorted(photos_per_second(photos, workers) for _ in range(3))
        spread = f"{speeds[0]:.0f}–{speeds[-1]:.0f}"
        print(
            f"{workers} process(es): {statistics.median(speeds):6.1f} photos/s ({spread}), 192 px"
        )


if __name__ == "__main__":
    main()
