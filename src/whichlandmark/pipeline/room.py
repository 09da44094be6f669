"""Bytes that photos may take between their file and their vector, all of them together.

A thread asks when it knows a photo's size and has not yet decoded it. Photos are let in in the
order of the table, so the photo that everybody waits for is never kept out by later ones; one
that is larger than all the room waits until it is alone.
"""

from __future__ import annotations

from threading import Condition


class Closed(Exception):  # noqa: N818 (nobody's error: the run has ended meanwhile)
    """Nobody wants the photo any more."""


class Room:
    """limit: bytes. `Claim`s of one room are numbered from 0 without a gap."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = self.most = 0  # bytes now, and at any time so far
        self._changed = Condition()
        self._next = 0  # whose turn it is to come in
        self._passed: set[int] = set()  # later ones that have come in, or never will
        self._closed = False

    def enter(self, turn: int, size: int) -> None:
        """Wait for one's turn, and for room. Raises Closed when the run has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._fits(turn, size))
            if self._closed:
                raise Closed
            self._take(size)
            self._pass(turn)

    def leave(self, turn: int, size: int) -> None:
        """Give bytes back; a turn that was never used is passed on."""
        with self._changed:
            self.used -= size
            self._pass(turn)

    def close(self) -> None:
        """Send away whoever waits, now and later."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _fits(self, turn: int, size: int) -> bool:
        return turn == self._next and (self.used == 0 or self.used + size <= self.limit)

    def _take(self, size: int) -> None:
        self.used += size
        self.most = max(self.most, self.used)

    def _pass(self, turn: int) -> None:
        if turn >= self._next:
            self._passed.add(turn)
        while self._next in self._passed:
            self._passed.remove(self._next)
            self._next += 1
        self._changed.notify_all()


class Claim:
    """What one photo takes of a room."""

    def __init__(self, room: Room, turn: int) -> None:
        self.room, self.turn, self.size = room, turn, 0

    def take(self, size: int) -> None:
        """Before the first byte is decoded. Raises Closed when the run has ended."""
        self.room.enter(self.turn, size)
        self.size = size

    def shrink(self, size: int) -> None:
        """Keep only so many bytes from now on."""
        kept = min(size, self.size)
        self.room.leave(self.turn, self.size - kept)
        self.size = kept

    def give_back(self) -> None:
        """All of it; also when nothing was taken."""
        self.shrink(0)
