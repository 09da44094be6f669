"""Decide which photos of a table to drop, and list the reason of each drop. No file is deleted."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from ...core.files import atomic_file
from ...core.fingerprint import MAX_HASH_DISTANCE
from ...core.json_options import Span, check_fields, count
from ...core.storage import relative_path
from ...core.types import SEPARATOR, Photos, Progress
from .duplicates import (
    JoinedTables,
    mark_conflicts_and_copies,
    mark_near_duplicates,
    mark_photos_of_other_tables,
)
from .reasons import (
    NOT_OUTDOOR,
    TOO_FEW,
    UNREADABLE,
    UNSUPPORTED,
    DropReason,
    Reasons,
    reason_order,
)
from .scan import NO_VOTE, SceneVoter, scan_photos, scans_of
from .scan_cache import ScanCache

# Photos that all have a landmark → row → (detail, path of the photo to compare with) of the drops.
FindUnsupported = Callable[[Photos, ScanCache], Mapping[int, tuple[str, str]]]


@dataclass(frozen=True, kw_only=True)
class CleaningRules:
    """Thresholds of cleaning.

    min_photos: a landmark with fewer photos is dropped.
    outdoor: a photo with fewer outdoor scenes among those that a voter names is dropped; 0 = none.
    near_bits: photos whose 64-bit perceptual hashes differ in at most this many bits (0 to 32) are
      compared closely; a larger value finds stronger crops and takes longer.
    """

    spans: ClassVar[Mapping[str, Span]] = {
        "min_photos": count(), "outdoor": count(0, 365), "near_bits": count(0, 32),
    }  # fmt: skip

    min_photos: int = 4
    outdoor: int = 3
    near_bits: int = MAX_HASH_DISTANCE

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Drop:
    """One dropped photo.

    detail: such as the decoder's message or the id of the photo that is kept instead.
    compared_path: path of the photo that it was compared with, "" = none.
    """

    id: str
    path: str
    landmark: str
    reason: str
    detail: str
    compared_path: str = ""


@dataclass(frozen=True)
class CleanResult:
    """What `clean` kept and dropped; all lists are in table order.

    leaks: kept photos that show the same picture as a photo of another landmark (`detail` names
      it). They are not dropped, because only a person can decide which label is right.
    scanned_before: photos, of the other tables too, that were in the scan cache already.
    """

    kept: Photos
    dropped: list[Drop]
    leaks: list[Drop] = field(default_factory=list)
    scanned_before: int = 0

    def unreadable(self) -> dict[str, str]:
        """Id → why, of the photos that could not be read."""
        return {drop.id: drop.detail for drop in self.dropped if drop.reason == UNREADABLE}

    def counts(self) -> dict[str, int]:
        """Reason → number of photos, in the order in which reasons are checked; leaks come last."""
        found = Counter(row.reason for row in self.dropped + self.leaks)
        order = sorted(found, key=lambda reason: (reason_order(reason), reason))
        return {reason: found[reason] for reason in order}


def clean(
    photos: Photos,
    options: CleaningRules | None = None,
    *,
    against: Mapping[str, Photos] | None = None,
    voter: SceneVoter | None = None,
    find_unsupported: FindUnsupported | None = None,
    cache: ScanCache | None = None,
    progress: Progress | None = None,
) -> CleanResult:
    """Decide which photos of a table to drop.

    Dropped, in this order:
      1. unreadable photos; 2. photos of the same picture as a photo of another table;
      3. files of the same bytes under two landmarks: all, because either label may be wrong;
      4. duplicates: the first id is kept;
      5. near duplicates within a landmark: the one with the most pixels is kept, then the one
         with the most bytes, then the first id;
      6. photos with too few outdoor scenes; 7. photos that too few others support;
      8. landmarks with too few photos left. Photos without a landmark are never too few.
    Steps 7 and 8 leave photos of several landmarks ("A|B") as they are: they are for tests.

    Takes about 1 KB of memory per photo with a cache on disk, 10 KB without.

    Args:
        photos: The table.
        options: Thresholds; None = the defaults.
        against: Name → other table, such as the test photos.
        voter: Names the scenes of photos; None = step 6 is left out.
        find_unsupported: Step 7, for the labelled photos that are left; None = left out.
        cache: Stores scans, so that an interrupted run can resume; None = in memory.
        progress: Called with (photos scanned, all photos).
    """
    options = options or CleaningRules()
    cache = cache or ScanCache()
    tables = JoinedTables.of(photos, against or {})
    scanned_before = scan_photos(tables.paths, cache, voter, progress)
    scans = scans_of(tables.paths, cache, voter)
    reasons: Reasons = {
        row: DropReason(UNREADABLE, error)
        for row, error in enumerate(scans.errors[: len(photos)])
        if error
    }
    mark_photos_of_other_tables(tables, scans, reasons)
    mark_conflicts_and_copies(tables, scans, reasons)
    leaks = mark_near_duplicates(tables, scans, cache, options.near_bits, reasons)
    for row, outdoor in enumerate(scans.outdoor[: len(photos)]):
        if NO_VOTE < outdoor < options.outdoor and row not in reasons:
            reasons[row] = DropReason(NOT_OUTDOOR, f"{outdoor} outdoors of: {scans.scenes[row]}")
    # Also before the expensive step, because a landmark that is dropped need not be verified.
    _mark_small_landmarks(photos, options.min_photos, reasons)
    if find_unsupported:
        _mark_unsupported(photos, find_unsupported, cache, reasons)
        _mark_small_landmarks(photos, options.min_photos, reasons)
    return CleanResult(
        kept=photos.take([row for row in range(len(photos)) if row not in reasons]),
        dropped=[_drop(photos, row, reasons[row]) for row in sorted(reasons)],
        leaks=[_drop(photos, row, leaks[row]) for row in sorted(leaks)],
        scanned_before=scanned_before,
    )


def _mark_unsupported(
    photos: Photos, find_unsupported: FindUnsupported, cache: ScanCache, reasons: Reasons
) -> None:
    left = [row for row, name in enumerate(photos.landmarks)
            if name and SEPARATOR not in name and row not in reasons]  # fmt: skip
    for row, (detail, compared_path) in find_unsupported(photos.take(left), cache).items():
        reasons[left[row]] = DropReason(UNSUPPORTED, detail, compared_path)


def _mark_small_landmarks(photos: Photos, min_photos: int, reasons: Reasons) -> None:
    left = Counter(photos.landmarks[row] for row in range(len(photos)) if row not in reasons)
    for row, landmark in enumerate(photos.landmarks):
        is_one = landmark and SEPARATOR not in landmark
        if row not in reasons and is_one and left[landmark] < min_photos:
            reasons[row] = DropReason(TOO_FEW, f"{left[landmark]} left, {min_photos} wanted")


def _drop(photos: Photos, row: int, why: DropReason) -> Drop:
    return Drop(
        id=photos.ids[row],
        path=photos.paths[row],
        landmark=photos.landmarks[row],
        reason=why.reason,
        detail=why.detail,
        compared_path=why.compared_path,
    )


def write_cleaning(path: str | Path, result: CleanResult) -> None:
    """Write every drop, then every leak, as csv (id, path, landmark, reason, detail), atomically.

    Paths are relative to the csv's folder, as in photos.csv.
    """
    folder = os.path.abspath(Path(path).parent)
    with (
        atomic_file(path, "list of dropped photos") as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("id", "path", "landmark", "reason", "detail"))
        for row in result.dropped + result.leaks:
            photo_path = relative_path(row.path, folder)
            writer.writerow((row.id, photo_path, row.landmark, row.reason, row.detail))
