"""Atomic changes of a Qdrant gallery, although Qdrant has no transactions.

1. A writer claims the gallery by compare-and-set on the header point; there is one at a time.
2. It writes a journal, which is enough to undo or to finish the change, and phase "staging".
3. It writes new photos and new blobs under row numbers and ids that readers ignore.
4. It writes the header point: next row, counts, digests and the next generation. This single write
   commits the change. Before it the change can only be undone, after it only be finished.
5. It replaces and deletes old points, as the journal says, and releases the claim.

A writer that claims the gallery after a crash finds the journal, and undoes or finishes first.
Claims expire, so the writers' clocks must agree within a minute. A writer that is suspended between
checking its claim and the next request, for longer than the claim lasts, is not detected.
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
from .client import MAX_POINTS_PER_REQUEST, PointId, RetryingClient, batches
from .points import NO_WRITER, Head
from .queries import read_head

CLAIM_SECONDS = 120  # until a claim expires that its writer does not renew

BUSY_SECONDS = 10.0  # that a writer waits for another one

JOURNAL_PART_CHARACTERS = 8_000_000  # of one journal point


def _token() -> str:
    return f"{socket.gethostname()}, process {os.getpid()}, {secrets.token_hex(6)}"


@dataclass(eq=False)
class QdrantWriter:
    """Makes one change of a gallery.

    clock: seconds since 1970; max_wait: seconds to wait for another writer; token: names this
    writer.
    """

    client: RetryingClient
    clock: Callable[[], float] = time.time
    max_wait: float = BUSY_SECONDS
    token: str = field(default_factory=_token)
    _until: int = 0

    @contextmanager
    def changing(self) -> Iterator[QdrantChange]:
        """Collect changes inside the with-block, and make them at its end.

        Raises BusyError when another writer does not finish within `max_wait`.
        """
        with self._undone_on_error():
            change = QdrantChange(self.client, self._claim().meta)
            yield change
            self._stage(change)
            self._commit(change)
        self._finish(change.journal())

    def repair(self) -> bool:
        """Finish or undo the change of a crashed writer; False when there was none."""
        head = read_head(self.client)
        if head.owner == NO_WRITER and not head.phase:
            return False
        with self._undone_on_error():
            self._claim()
            self._release()
        return True

    @contextmanager
    def _undone_on_error(self) -> Iterator[None]:
        """Undo the change and release the claim on any error, if the server can be reached."""
        try:
            yield
        except BaseException:
            with suppress(GalleryError):  # because the next writer will undo it
                self._give_up()
            raise

    def _claim(self) -> Head:
        """Claim the gallery and return its header; until `_release` only this writer changes it."""
        end = self.clock() + self.max_wait
        while True:
            head = read_head(self.client)
            now = self.clock()
            if head.owner == NO_WRITER or head.until < now:
                self._until = int(now) + CLAIM_SECONDS
                claim = {"owner": self.token, "until": self._until}
                self.client.set_where(points.HEAD, "owner", head.owner, claim)
                mine = read_head(self.client)
                if mine.owner == self.token:
                    if head.owner != NO_WRITER or mine.phase:
                        self._finish_or_undo(mine)
                    return read_head(self.client)
            if now >= end:
                raise BusyError(
                    f"{self.client.name}: {head.owner} is writing to it; wait for it, then try "
                    f"again. If it has crashed, its claim ends in {max(0, head.until - int(now))} s"
                )
            self.client.sleep(min(0.2, self.max_wait))

    def _stage(self, change: QdrantChange) -> None:
        """Write the journal and all new points, which stay invisible until `_commit`."""
        text = change.journal().to_text()
        parts = [
            text[at : at + JOURNAL_PART_CHARACTERS]
            for at in range(0, len(text), JOURNAL_PART_CHARACTERS)
        ]
        self._write(self.client.about, (
            points.point(points.journal_id(self.token, n), {"kind": "journal", "text": part})
            for n, part in enumerate(parts)
        ))  # fmt: skip
        self._update_head({
            "phase": "staging", "author": self.token, "journal": len(parts),
            "journal_sum": blob_sum(text.encode()),
        })  # fmt: skip
        self._write(self.client.about, change.blobs)
        self._write(self.client.photos, change.added)

    def _commit(self, change: QdrantChange) -> None:
        """Write the new header, which makes the change visible."""
        meta = change.meta._replace(generation=change.meta.generation + 1)
        phase = "" if change.journal().only_adds else "applying"
        self._update_head({**points.meta_payload(meta), "phase": phase})

    def _finish(self, journal: Journal) -> None:
        """Apply the journal after the commit; after an error the next writer does it."""
        try:
            if not journal.only_adds:
                self._apply(journal)
            self._tidy()
            self._release()
        except GalleryError as error:
            with suppress(GalleryError):
                self._give_up()
                return  # because this second try has finished the change
            raise type(error)(
                f"{error}. The change is committed, but old data remains until the next change"
            ) from None

    def _apply(self, journal: Journal) -> None:
        """Replace and delete the old points; it can be repeated."""
        client = self.client
        self._write(client.photos, journal.new_photos())
        for part in batches(journal.new_payloads()):
            self._renew_claim()
            client.overwrite(client.photos, part)
        self._delete(client.photos, journal.removed)
        kept = {name: text for name, text in journal.records.items() if text is not None}
        self._write(client.about, (points.landmark_point(*item) for item in kept.items()))
        gone = [points.landmark_id(name) for name in journal.records if name not in kept]
        self._delete(client.about, [*gone, *journal.dropped])

    def _finish_or_undo(self, head: Head) -> None:
        """Finish or undo the change in the journal, of this or another writer."""
        if head.phase == "applying":
            self._apply(self._journal(head))
        elif head.phase == "staging":
            journal = self._journal(head)
            self._delete(self.client.photos, range(journal.first, journal.next))
            self._delete(self.client.about, journal.staged)
        self._tidy()

    def _journal(self, head: Head) -> Journal:
        wanted = [points.journal_id(head.author, n) for n in range(head.journal)]
        parts_found = self.client.retrieve(self.client.about, wanted, batch=1)
        found = {record.id: str((record.payload or {}).get("text")) for record in parts_found}
        text = "".join(found.get(one, "") for one in wanted)
        if blob_sum(text.encode()) != head.journal_sum:
            raise damaged(self.client.name, "the journal of a change that was not finished")
        return Journal.of_text(text)

    def _give_up(self) -> None:
        head = read_head(self.client)
        if head.owner == self.token:
            self._finish_or_undo(head)
            self._release()

    def _tidy(self) -> None:
        """Delete the journal. The phase is reset first, because it refers to the journal."""
        self._update_head({"phase": "", "author": "", "journal": 0, "journal_sum": 0})
        self.client.delete_where(self.client.about, "kind", "journal")

    def _release(self) -> None:
        free = {"owner": NO_WRITER, "until": 0}
        self.client.set_where(points.HEAD, "owner", self.token, free)

    def _write(self, collection: str, new_points: Any) -> None:
        for part in batches(new_points):
            self._renew_claim()
            self.client.upsert(collection, part)

    def _delete(self, collection: str, ids: Iterable[PointId]) -> None:
        wanted = list(ids)
        for start in range(0, len(wanted), MAX_POINTS_PER_REQUEST):
            self._renew_claim()
            self.client.delete(collection, wanted[start : start + MAX_POINTS_PER_REQUEST])

    def _update_head(self, payload: dict[str, Any]) -> None:
        """Change the header point and renew the claim; raises BusyError if the claim is lost."""
        self._until = int(self.clock()) + CLAIM_SECONDS
        self.client.set_where(points.HEAD, "owner", self.token, {**payload, "until": self._until})
        if read_head(self.client).owner != self.token:
            raise BusyError(
                f"{self.client.name}: another process took it over, because this one did not renew "
                "its claim in time; try again"
            )

    def _renew_claim(self) -> None:
        """Renew the claim before a request, if half of its time is over."""
        if self.clock() > self._until - CLAIM_SECONDS / 2:
            self._update_head({})
