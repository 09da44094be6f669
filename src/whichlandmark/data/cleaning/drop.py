"""What is dropped from a photo collection, and the counted reason of each drop.

Nothing is deleted: a table goes in, a smaller table and a list of reasons come out.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...core.errors import OptionError
from ...core.files import whole_file
from ...core.fingerprint import NEAR_BITS
from ...core.storage import relative_path
from ...core.types import Photos, Progress
from .duplicates import JoinedTables, conflicts_and_copies, near_duplicates, same_elsewhere
from .reasons import NOT_OUTDOOR, TOO_FEW, UNREADABLE, UNSUPPORTED, DropReason, Reasons, place
from .scan import UNVOTED, SceneVoter, scan_photos, scans_of
from .scan_cache import ScanCache

# The photos of landmarks → row → (detail, path of a photo to compare with) of those to drop.
Unsupported = Callable[[Photos, ScanCache], Mapping[int, tuple[str, str]]]


@dataclass(frozen=True, kw_only=True)
class Cleaning:
    """min_photos: fewest photos of a landmark that is kept.
    outdoor: fewest of the scenes that a voter names which have to be outdoors; 0 = all stay.
    near_bits: photos whose 64-bit hashes differ in at most so many bits are compared closely;
      more finds stronger crops and takes longer.
    """

    min_photos: int = 4
    outdoor: int = 3
    near_bits: int = NEAR_BITS

    def __post_init__(self) -> None:
        if self.min_photos < 1:
            raise OptionError(f"min_photos {self.min_photos} given; expected 1 or more")
        if self.outdoor < 0:
            raise OptionError(f"outdoor {self.outdoor} given; expected 0 or more scenes")
        if not 0 <= self.near_bits <= 32:
            raise OptionError(f"near_bits {self.near_bits} given; expected 0 to 32 of 64")


@dataclass(frozen=True)
class Drop:
    """One photo left out. detail: the decoder's words, or the photo that stays instead;
    beside: that photo's path, "" = there is none.
    """

    id: str
    path: str
    landmark: str
    reason: str
    detail: str
    beside: str = ""


@dataclass(frozen=True)
class CleanResult:
    """kept: the photos that stay, in table order; dropped: the others, in table order;
    leaks: photos that show the same picture as one of another landmark (detail names it).
    Such a leak is no drop: nobody but a person can tell which landmark is right.
    seen_before: photos, of other tables too, that an earlier run had looked at.
    """

    kept: Photos
    dropped: list[Drop]
    leaks: list[Drop] = field(default_factory=list)
    seen_before: int = 0

    def counts(self) -> dict[str, int]:
        """Reason → photos, in the order in which reasons are looked for; leaks come last."""
        found = Counter(row.reason for row in self.dropped + self.leaks)
        order = sorted(found, key=lambda reason: (place(reason), reason))
        return {reason: found[reason] for reason in order}


def clean(
    photos: Photos,
    options: Cleaning | None = None,
    *,
    against: Mapping[str, Photos] | None = None,
    voter: SceneVoter | None = None,
    unsupported: Unsupported | None = None,
    store: ScanCache | None = None,
    progress: Progress | None = None,
) -> CleanResult:
    """Drop, in this order: unreadable; the same picture as one of another table; the same bytes
    under two landmarks (all of them: nobody can tell which is right); duplicates (the first id
    stays); near duplicates within a landmark (the one of most pixels stays, then of most bytes,
    then the first id); photos whose scenes are not outdoors; photos that no others of their
    landmark support; landmarks with too few photos left.

    against: name → table that no photo of this one may be in, such as the test photos.
    voter: names the scenes of photos; None = no vote. unsupported: finds, among the photos of
      landmarks that are left, those that do not belong; None = none.
    store: where looks are kept; an interrupted run goes on with it. None = in memory.
    progress: called with (photos seen, photos in all).
    Photos without a landmark are never too few. About 1 KB of memory a photo with a store on
    disk, 10 KB without.
    """
    options = options or Cleaning()
    store = store or ScanCache()
    tables = JoinedTables.of(photos, against or {})
    seen_before = scan_photos(tables.paths, store, voter, progress)
    looks = scans_of(tables.paths, store, voter)
    reasons: Reasons = {
        row: DropReason(UNREADABLE, error)
        for row, error in enumerate(looks.errors[: len(photos)])
        if error
    }
    same_elsewhere(tables, looks, reasons)
    conflicts_and_copies(tables, looks, reasons)
    leaks = near_duplicates(tables, looks, store, options.near_bits, reasons)
    for row, outdoor in enumerate(looks.outdoor[: len(photos)]):
        if UNVOTED < outdoor < options.outdoor and row not in reasons:
            reasons[row] = DropReason(NOT_OUTDOOR, f"{outdoor} outdoors of: {looks.scenes[row]}")
    _too_few(photos, options.min_photos, reasons)  # no landmark that goes anyway is verified
    if unsupported:
        _unsupported(photos, unsupported, store, reasons)
        _too_few(photos, options.min_photos, reasons)
    return CleanResult(
        kept=photos.take([row for row in range(len(photos)) if row not in reasons]),
        dropped=[_drop(photos, row, reasons[row]) for row in sorted(reasons)],
        leaks=[_drop(photos, row, leaks[row]) for row in sorted(leaks)],
        seen_before=seen_before,
    )


def _unsupported(
    photos: Photos, unsupported: Unsupported, store: ScanCache, reasons: Reasons
) -> None:
    left = [row for row, mark in enumerate(photos.landmarks) if mark and row not in reasons]
    for row, (detail, beside) in unsupported(photos.take(left), store).items():
        reasons[left[row]] = DropReason(UNSUPPORTED, detail, beside)


def _too_few(photos: Photos, least: int, reasons: Reasons) -> None:
    left = Counter(photos.landmarks[row] for row in range(len(photos)) if row not in reasons)
    for row, landmark in enumerate(photos.landmarks):
        if row not in reasons and landmark and left[landmark] < least:
            reasons[row] = DropReason(TOO_FEW, f"{left[landmark]} left, {least} wanted")


def _drop(photos: Photos, row: int, why: DropReason) -> Drop:
    return Drop(
        photos.ids[row], photos.paths[row], photos.landmarks[row], why.reason, why.detail,
        why.beside,
    )  # fmt: skip


def write_cleaning(path: str | Path, result: CleanResult) -> None:
    """Every drop, then every leak, as csv: id, path, landmark, reason, detail. Atomic.

    Paths are relative to the csv's folder, as in photos.csv.
    """
    folder = os.path.abspath(Path(path).parent)
    with whole_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("id", "path", "landmark", "reason", "detail"))
        for row in result.dropped + result.leaks:
            where = relative_path(row.path, folder)
            writer.writerow((row.id, where, row.landmark, row.reason, row.detail))
