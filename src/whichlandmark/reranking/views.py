"""Several vectors of one photo (scales, flips, crops) → one."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, OptionError
from .rows import Floats, unit_rows

Pooling = Literal["mean", "max", "gem"]


def pooled_views(views: Floats, how: Pooling = "mean", *, power: float = 10.0) -> Floats:
    """(V, N, D), V unit vectors of each of N photos → (N, D) unit rows. *Inductive.*

    "mean": the sum, as DELG does over scales (Cao, Araujo, Sim, ECCV 2020). "max" and "gem":
    element by element, the largest or the generalised mean of this power, as SuperGlobal does
    (Shao et al., ICCV 2023). Raises OptionError for another word or a power not above 0, and
    DataError without a view.
    """
    if how not in get_args(Pooling):
        raise OptionError(f"pooling {how!r} given; expected one of {', '.join(get_args(Pooling))}")
    if not power > 0:
        raise OptionError(f"power {power} given; expected a number above 0 (10 is usual)")
    if len(views) == 0:
        raise DataError("no view of the photos given; expected at least one")
    units = unit_rows(views).astype(np.float64)
    if how == "mean":
        return unit_rows(units.sum(axis=0))
    return unit_rows(units.max(axis=0) if how == "max" else _gem(units, power))


def _gem(units: NDArray[np.float64], power: float) -> NDArray[np.float64]:
    """Powers need numbers from 0 up: each photo is lifted by its own lowest entry and put back.

    By its own, not the batch's lowest: a photo's vector must not depend on its company.
    """
    lowest = units.min(axis=(0, 2), keepdims=True)
    lifted = units - lowest
    peak = lifted.max(axis=0)  # divided out, so that no power underflows
    shares = np.divide(lifted, peak, where=peak > 0, out=np.zeros_like(lifted))
    return np.asarray(peak * (shares**power).mean(axis=0) ** (1 / power) + lowest[0])
