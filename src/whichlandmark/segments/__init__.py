"""Files beside the gallery that make it quick to open and to search: derived, checked, never asked
to be right. The gallery's SQLite file is the truth; all of this may be thrown away.
"""

from __future__ import annotations

from .blocks import SegmentError
from .opening import Prepared, Ready, open_segments, projection_key, warn_of_segments
from .refreshing import SMALL, Wanted, check_segments, refresh, throw_away

__all__ = ["SMALL", "Prepared", "Ready", "SegmentError", "Wanted", "check_segments",
           "open_segments", "projection_key", "refresh", "throw_away",
           "warn_of_segments"]  # fmt: skip
