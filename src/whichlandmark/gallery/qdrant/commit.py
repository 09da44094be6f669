"""How a change gets onto a server that knows no transactions: whole, or not at all.

1. One writer at a time: it claims the gallery by compare-and-set on the gallery's own point.
2. It writes down what is needed to undo or to finish the change (the journal), and says so.
3. New photos and new blobs are written under row numbers and ids that nobody looks at yet.
4. One write of one point makes the change: the new numbers, count and digest, and the next
   generation. Before it the change can only be undone, after it only be finished.
5. What was there before is replaced and deleted, as the journal says; then the claim is given up.

Whoever claims the gallery after a writer that died finds its journal, and undoes or finishes first.
A claim ends by the clock: the writers' clocks must agree to a minute, and a writer that sleeps
longer than its claim lasts, between a look at the claim and the request after it, is not held back.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from ...core.errors import BusyError, GalleryError
from ..checksums import blob_sum, damaged
from . import points
from .changes import Journal, QdrantChange
from .client import MOST_POINTS, PointId, RetryingClient, pieces
from .points import NO_WRITER, Head
from .queries import read_head

LEASE = 120  # seconds that a claim lasts, and is made to last again while its writer works

BUSY_SECONDS = 10.0  # how long a second writer waits for the first

JOURNAL_PIECE = 8_000_000  # characters


def _token() -> str:
    return f"{socket.gethostname()}, process {os.getpid()}, {secrets.token_hex(6)}"


@dataclass(eq=False)
class QdrantWriter:
    """One change by one writer; another change takes another."""

    calls: RetryingClient
    clock: Callable[[], float] = time.time
    patience: float = BUSY_SECONDS
    token: str = field(default_factory=_token)
    _until: int = 0

    @contextmanager
    def changing(self) -> Iterator[QdrantChange]:
        """Work a change out inside; at the end it is made. Raises BusyError beside another."""
        with self._or_given_up():
            change = QdrantChange(self.calls, self._claim().meta)
            yield change
            self._stage(change)
            self._commit(change)
        self._finish(change.journal())

    def repair(self) -> bool:
        """Finish or undo what a writer left that died. Was there anything?"""
        head = read_head(self.calls)
        if head.owner == NO_WRITER and not head.phase:
            return False
        with self._or_given_up():
            self._claim()
            self._release()
        return True

    @contextmanager
    def _or_given_up(self) -> Iterator[None]:
        """An error leaves no claim, as far as the server can still be reached."""
        try:
            yield
        except BaseException:
            with suppress(GalleryError):  # what it leaves behind the next writer puts right
                self._give_up()
            raise

    def _claim(self) -> Head:
        """The gallery's own numbers; until `_release` they change only through this writer."""
        end = self.clock() + self.patience
        while True:
            head = read_head(self.calls)
            now = self.clock()
            if head.owner == NO_WRITER or head.until < now:
                self._until = int(now) + LEASE
                claim = {"owner": self.token, "until": self._until}
                self.calls.set_where(points.HEAD, "owner", head.owner, claim)
                mine = read_head(self.calls)
                if mine.owner == self.token:
                    if head.owner != NO_WRITER or mine.phase:
                        self._put_right(mine)
                    return read_head(self.calls)
            if now >= end:
                raise BusyError(
                    f"{self.calls.name}: {head.owner} is writing to it; wait for it, then try "
                    f"again. If it is dead, its claim ends in {max(0, head.until - int(now))} s"
                )
            self.calls.sleep(min(0.2, self.patience))

    def _stage(self, change: QdrantChange) -> None:
        """Everything new, where nobody looks yet."""
        text = change.journal().to_text()
        parts = [text[at : at + JOURNAL_PIECE] for at in range(0, len(text), JOURNAL_PIECE)]
        self._write(self.calls.about, (
            points.point(points.journal_id(self.token, n), {"kind": "journal", "text": part})
            for n, part in enumerate(parts)
        ))  # fmt: skip
        self._set({
            "phase": "staging", "author": self.token, "journal": len(parts),
            "journal_sum": blob_sum(text.encode()),
        })  # fmt: skip
        self._write(self.calls.about, change.blobs)
        self._write(self.calls.photos, change.added)

    def _commit(self, change: QdrantChange) -> None:
        """The one write that makes the change."""
        meta = change.meta._replace(generation=change.meta.generation + 1)
        phase = "" if change.journal().only_adds else "applying"
        self._set({**points.numbers(meta), "phase": phase})

    def _finish(self, journal: Journal) -> None:
        """After the commit. An error here leaves the change made; the next writer finishes it."""
        try:
            if not journal.only_adds:
                self._apply(journal)
            self._tidy()
            self._release()
        except GalleryError as error:
            with suppress(GalleryError):
                self._give_up()
                return  # the second try carried it through
            raise type(error)(
                f"{error}. The change is made, but not everywhere yet: the next change finishes it"
            ) from None

    def _apply(self, journal: Journal) -> None:
        """What was there before gives way. Doing it twice does no harm."""
        calls = self.calls
        self._write(calls.photos, journal.new_photos())
        for part in pieces(journal.new_payloads()):
            self._still_mine()
            calls.overwrite(calls.photos, part)
        self._delete(calls.photos, journal.removed)
        kept = {name: text for name, text in journal.records.items() if text is not None}
        self._write(calls.about, (points.landmark_point(*item) for item in kept.items()))
        gone = [points.landmark_id(name) for name in journal.records if name not in kept]
        self._delete(calls.about, [*gone, *journal.dropped])

    def _undo(self, journal: Journal) -> None:
        """What was staged goes."""
        self._delete(self.calls.photos, range(journal.first, journal.next))
        self._delete(self.calls.about, journal.staged)

    def _put_right(self, head: Head) -> None:
        """Finish or undo what the journal says, whoever wrote it."""
        if head.phase == "applying":
            self._apply(self._journal(head))
        elif head.phase == "staging":
            self._undo(self._journal(head))
        self._tidy()

    def _journal(self, head: Head) -> Journal:
        wanted = [points.journal_id(head.author, n) for n in range(head.journal)]
        pieces_found = self.calls.retrieve(self.calls.about, wanted, at_once=1)
        found = {record.id: str((record.payload or {}).get("text")) for record in pieces_found}
        text = "".join(found.get(one, "") for one in wanted)
        if blob_sum(text.encode()) != head.journal_sum:
            raise damaged(self.calls.name, "the journal of a change that was not finished")
        return Journal.of_text(text)

    def _give_up(self) -> None:
        head = read_head(self.calls)
        if head.owner == self.token:
            self._put_right(head)
            self._release()

    def _tidy(self) -> None:
        """The mark first: without it no journal is needed."""
        self._set({"phase": "", "author": "", "journal": 0, "journal_sum": 0})
        self.calls.delete_where(self.calls.about, "kind", "journal")

    def _release(self) -> None:
        free = {"owner": NO_WRITER, "until": 0}
        self.calls.set_where(points.HEAD, "owner", self.token, free)

    def _write(self, collection: str, made: Any) -> None:
        for part in pieces(made):
            self._still_mine()
            self.calls.upsert(collection, part)

    def _delete(self, collection: str, ids: Iterable[PointId]) -> None:
        wanted = list(ids)
        for start in range(0, len(wanted), MOST_POINTS):
            self._still_mine()
            self.calls.delete(collection, wanted[start : start + MOST_POINTS])

    def _set(self, payload: dict[str, Any]) -> None:
        """Change the gallery's own point, if the claim still holds; raises BusyError if not."""
        self._until = int(self.clock()) + LEASE
        self.calls.set_where(points.HEAD, "owner", self.token, {**payload, "until": self._until})
        if read_head(self.calls).owner != self.token:
            raise BusyError(
                f"{self.calls.name}: another process took it over, since this one was silent for "
                "too long; try again"
            )

    def _still_mine(self) -> None:
        """Before each request: a claim that is half over is made to last again."""
        if self.clock() > self._until - LEASE / 2:
            self._set({})
