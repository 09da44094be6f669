"""Photos on their way to a network: read ahead, grouped by shape, bounded in memory, in order."""

from .ahead import Read, read_ahead
from .behind import Behind
from .calls import Calls, calls_of
from .gathering import Batch, Gathering, Ready
from .passes import Running
from .room import Claim, Room
from .windows import Window

__all__ = [
    "Batch",
    "Behind",
    "Calls",
    "Claim",
    "Gathering",
    "Read",
    "Ready",
    "Room",
    "Running",
    "Window",
    "calls_of",
    "read_ahead",
]
