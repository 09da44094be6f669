"""The crop shape of a batch: near its photos' aspect ratio, at a constant number of pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import OptionError

RATIOS = (3 / 4, 1.0, 4 / 3)  # width / height: portrait, square, landscape


def crop_shape(
    aspects: NDArray[np.float64], side: int, *, ratios: Sequence[float] = RATIOS, multiple: int = 32
) -> tuple[int, int]:
    """(height, width) of a batch's crops, both multiples of the network's stride.

    aspects: (B,) width / height of the batch's photos, above 0; their median decides.
    side: of the square crop whose area all shapes have, as nearly as `multiple` allows.
    Ratios are compared by their logarithms: 3:4 is as far from square as 4:3.
    Raises OptionError without photos, or for an aspect, ratio or side that is not above 0.
    """
    values = [*np.asarray(aspects, dtype=np.float64).tolist(), *ratios, side, multiple]
    if not len(aspects) or not len(ratios) or not all(0 < v < np.inf for v in values):
        raise OptionError(
            f"{len(aspects)} photos, ratios {tuple(ratios)}, crop {side} and multiple {multiple} "
            "given for a crop shape; expected at least one of each, all above 0"
        )
    median = float(np.median(np.log(aspects)))
    ratio = min(ratios, key=lambda r: abs(float(np.log(r)) - median))
    return _on_the_grid(side, ratio, multiple)


def _on_the_grid(side: int, ratio: float, multiple: int) -> tuple[int, int]:
    """The nearest multiples, by the errors of area and ratio; the smaller of equals."""
    exact = side / ratio**0.5 / multiple, side * ratio**0.5 / multiple
    heights, widths = ({max(1, int(x)), int(x) + 1} for x in exact)

    def error(shape: tuple[int, int]) -> tuple[float, int]:
        h, w = shape
        area = np.log(h * w / (exact[0] * exact[1]))
        return round(float(area**2 + np.log(w / h / ratio) ** 2), 9), h * w

    h, w = min(((h, w) for h in sorted(heights) for w in sorted(widths)), key=error)
    return h * multiple, w * multiple
