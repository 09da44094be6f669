"""The words for why cleaning drops a photo."""

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

# In the order in which they are looked for.
REASONS = (UNREADABLE, ALSO_IN, CONFLICTING, DUPLICATE, NEAR_DUPLICATE, NOT_OUTDOOR, UNSUPPORTED,
           TOO_FEW, LEAK)  # fmt: skip


@dataclass(frozen=True)
class DropReason:
    """Why one photo goes: the reason that is counted, its detail, and the path of the photo that
    it is compared with ("" = none).
    """

    reason: str
    detail: str
    beside: str = ""


Reasons = dict[int, DropReason]  # by the row of the table


def place(reason: str) -> int:
    """Where a counted reason stands among REASONS, whatever table it names."""
    return REASONS.index(ALSO_IN if reason.startswith(ALSO_IN) else reason)
