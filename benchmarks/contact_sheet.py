"""Draw many photos of a synthetic world in one picture, one row per landmark."""

from __future__ import annotations

import numpy as np

from whichlandmark.core.types import Image
from whichlandmark.data.synthetic.plan import DrawnWorld, training_shots
from whichlandmark.data.synthetic.world import draw_photo

MARGIN = 2


def contact_sheet(world: DrawnWorld, rows: int, columns: int) -> Image:
    """The first `columns` good photos of the first `rows` landmarks: (H, W, 3) uint8."""
    cell = world.size + 2 * MARGIN
    sheet = np.full((rows * cell, columns * cell, 3), 255, dtype=np.uint8)
    placed = [0] * world.landmarks
    for shot in training_shots(world):
        row = shot.number
        if shot.kind != "good" or row >= rows or placed[row] >= columns:
            continue
        image = draw_photo(world, shot)
        height, width = image.shape[:2]
        top = row * cell + (cell - height) // 2
        left = placed[row] * cell + (cell - width) // 2
        sheet[top : top + height, left : left + width] = image
        placed[row] += 1
    return sheet
