"""Which photos share a pass of the network: those of one shape, within a bounded stretch.

Decided by the table's order and the photos' sizes alone, never by which thread was quicker: the
numbers that a network returns may depend, in their last bits, on who shares a pass.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field


@dataclass(eq=False)
class Window:
    """Photos that wait for others of their shape.

    at_once: photos of a full pass. stretch: rows of the table that a photo waits at most for its
    pass to fill. most_bytes: those of all waiting photos stay below it. section: rows of the table
    that begin anew, so that no pass holds photos of two sections; 0 = the table is one.
    """

    at_once: int
    stretch: int
    most_bytes: int
    section: int = 0
    _waiting: dict[Hashable, list[int]] = field(default_factory=dict)  # shapes: oldest row first
    _bytes: dict[int, int] = field(default_factory=dict)  # by row
    _held: int = 0

    def add(self, row: int, shape: Hashable, size: int) -> Iterator[list[int]]:
        """Take a photo in, of `size` bytes; yields the rows of each pass that shall run now."""
        self._waiting.setdefault(shape, []).append(row)
        self._bytes[row] = size
        self._held += size
        if len(self._waiting[shape]) == self.at_once:
            yield self._leave(shape)
        while self._held >= self.most_bytes:
            yield self._leave(next(iter(self._waiting)))

    def reached(self, row: int) -> Iterator[list[int]]:
        """The table was read up to `row`, whatever stood there: passes that wait no longer."""
        if self.section and (row + 1) % self.section == 0:
            yield from self.rest()
        while self._waiting:
            oldest = next(iter(self._waiting))
            if self._waiting[oldest][0] > row - self.stretch:
                return
            yield self._leave(oldest)

    def rest(self) -> Iterator[list[int]]:
        """The passes of all that still wait."""
        while self._waiting:
            yield self._leave(next(iter(self._waiting)))

    def _leave(self, shape: Hashable) -> list[int]:
        rows = self._waiting.pop(shape)
        self._held -= sum(self._bytes.pop(row) for row in rows)
        return rows
