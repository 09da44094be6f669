"""The reasons for which cleaning drops a photo, as written into the csv of drops."""

from __future__ import annotations

from dataclasses import dataclass

UNREADABLE = "unreadable"

ALSO_IN = "also in "  # … the name of another table

CONFLICTING = "same file under two landmarks"

DUPLICATE = "duplicate"

NEAR_DUPLICATE = "near duplicate"

NOT_OUTDOOR = "not outdoors"

UNSUPPORTED = "unlike other photos of the landmark"

TOO_FEW = "too few photos of the landmark"

LEAK = "kept: same picture under two landmarks"

# In the order in which they are checked.
REASONS = (
    UNREADABLE,
    ALSO_IN,
    CONFLICTING,
    DUPLICATE,
    NEAR_DUPLICATE,
    NOT_OUTDOOR,
    UNSUPPORTED,
    TOO_FEW,
    LEAK,
)


@dataclass(frozen=True)
class DropReason:
    """Why one photo is dropped.

    reason: one of REASONS; ALSO_IN is followed by a table's name. detail: for a person to read.
    compared_path: path of the photo that it was compared with, "" = none.
    """

    reason: str
    detail: str
    compared_path: str = ""


Reasons = dict[int, DropReason]  # row of the table → reason


def reason_order(reason: str) -> int:
    """Index of a reason in REASONS, for sorting; ALSO_IN may be followed by a table's name."""
    return REASONS.index(ALSO_IN if reason.startswith(ALSO_IN) else reason)
