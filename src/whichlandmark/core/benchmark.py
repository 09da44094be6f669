"""A retrieval benchmark as values: queries, database, who is right, and how its authors count.

Loaders of `data` make one of a data set as published; `evaluation.protocols` ranks and measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .errors import DataError
from .types import Floats, Photos, Rows

MISSING_SHARE = 0.01  # of the photos of a table that may be missing; one may be, of a small table


@dataclass(frozen=True, eq=False)
class Judgements:
    """Which photos of the database are right for each query, in one setting.

    A setting is "easy", "medium" or "hard"; "public" or "private"; or "all".

    Attributes:
        positives: per query, rows of the database that are right, unique and ascending.
        ignored: per query, rows that are taken out of the ranking before it is measured (junk).
        counted: (Q,) queries whose figures go into the mean; a counted query without a positive
            counts 0.
    """

    positives: Sequence[Rows]
    ignored: Sequence[Rows]
    counted: NDArray[np.bool_]

    def check(self, name: str, queries: int, database: int) -> None:
        """Raises DataError where the columns do not fit the tables."""
        lengths = {len(self.positives), len(self.ignored), len(self.counted)}
        if lengths != {queries}:
            raise DataError(
                f"setting {name}: judgements of {sorted(lengths)} queries; expected {queries}"
            )
        for query, (right, junk) in enumerate(zip(self.positives, self.ignored, strict=True)):
            for rows in (right, junk):
                if len(rows) and not 0 <= rows.min() <= rows.max() < database:
                    raise DataError(
                        f"setting {name}, query {query}: rows from {rows.min()} to {rows.max()} of "
                        f"a database of {database} photos"
                    )
                if (np.diff(rows) <= 0).any():
                    raise DataError(f"setting {name}, query {query}: rows repeated or not ordered")
            if len(np.intersect1d(right, junk, assume_unique=True)):
                raise DataError(f"setting {name}, query {query}: photos both right and ignored")


@dataclass(frozen=True, eq=False, kw_only=True)
class Benchmark:
    """A retrieval benchmark.

    Attributes:
        name: as the option --protocol names it: "roxford5k", "gldv2-retrieval" ….
        queries, database: photo tables; ids are unique within each table.
        boxes: (Q, 4) left, top, right, bottom in pixels of the photo as stored; a row of NaN, and
            None for all rows, = the whole photo.
        settings: name → judgements, in the order in which they are printed.
        average_precision: "trapezoid" = of the whole ranking, as Philbin et al., CVPR 2007, and
            revisited Oxford and Paris; "cut_off" = Σ P(i)·rel(i) / min(R, k) over the first k;
            "cut_off_tied" = the same, where equally similar photos count together, as ILIAS.
        k: of the two "cut_off".
        precision_at: mean precision is also measured at these ranks: mP@k of revisited Oxford with
            "trapezoid", P@k = right ones among the first k / k with "cut_off".
        positions: the position of the first right photo is also measured, k + 1 = none.
        upright: turn photos as their EXIF data say; False = the pixels as stored, as code does
            that reads them with Pillow's `convert` alone.
        missing: ids of photos that the ground truth names and that are not there.
        part: which part of the data set this is, in words; "" = all of it.
        rules: what the protocol does, in sentences.
        notes: what the loader met.
    """

    name: str
    queries: Photos
    database: Photos
    settings: dict[str, Judgements]
    average_precision: Literal["trapezoid", "cut_off", "cut_off_tied"]
    boxes: Floats | None = None
    k: int | None = None
    precision_at: tuple[int, ...] = ()
    upright: bool = False
    positions: bool = False
    missing: list[str] = field(default_factory=list)
    part: str = ""
    rules: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.queries.check_ids()
        self.database.check_ids()
        if not self.settings:
            raise DataError(f"{self.name}: no setting to measure")
        for name, judgements in self.settings.items():
            judgements.check(name, len(self.queries), len(self.database))
        if (self.average_precision == "trapezoid") != (self.k is None):
            raise DataError(f"{self.name}: k is {self.k}; expected a number with cut_off alone")
        if self.boxes is not None and self.boxes.shape != (len(self.queries), 4):
            raise DataError(
                f"{self.name}: boxes of shape {self.boxes.shape}; expected {len(self.queries)} × 4"
            )

    @property
    def measure(self) -> str:
        """The name of its mean average precision: mAP, or mAP@k."""
        return "mAP" if self.k is None else f"mAP@{self.k}"

    def ranked_queries(self) -> Rows:
        """The queries that are counted in a setting and have a positive there; no other is ranked.

        The others count 0 or not at all, whatever is retrieved for them.
        """
        used = np.zeros(len(self.queries), dtype=bool)
        for judgements in self.settings.values():
            has_one = np.array([len(rows) > 0 for rows in judgements.positives], dtype=bool)
            used |= judgements.counted & has_one
        return np.flatnonzero(used)


def most_missing(photos: int) -> int:
    """How many of so many photos may be missing before figures are not comparable any more."""
    return max(1, int(photos * MISSING_SHARE))
