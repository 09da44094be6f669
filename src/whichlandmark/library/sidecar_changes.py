"""What a sidecar becomes for the labels that it should have: our items change, nothing else.

Where other programs have changed the sidecar since we wrote it, their changes stay, and a label
that was taken out of it is not written again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from ..core.photo_files import LatLon
from .journal import Entry, Label, SidecarChange
from .sidecar_files import FileChange, digest_of, read_sidecar
from .xmp import Additions, Metadata, XmpError, add, read_xmp, remove
from .xmp_fields import comparable

LISTS = ("keywords", "hierarchy", "digikam", "microsoft")  # that programs read instead of another


class SidecarNow:
    """A sidecar as it is, and without what is ours in it."""

    def __init__(self, path: str, entry: Entry | None) -> None:
        """Read it.

        Args:
            path: Absolute path; there may be no such file.
            entry: What the journal says of it.

        Raises:
            DataError: When it is a link, no XMP, or cannot be read.
        """
        self.path = path
        self.content = read_sidecar(path)
        if entry and entry.forgotten and self.content is None:
            entry = None
        self.entry = entry
        try:
            self.said = Metadata() if self.content is None else read_xmp(self.content)
        except XmpError as error:
            raise XmpError(f"its sidecar is left as it is: {error}") from None
        self.is_as_left = bool(entry) and digest_of(self.content) == entry.digest  # type: ignore[union-attr]
        self.mtime_ns = 0 if self.content is None else os.stat(path).st_mtime_ns
        if entry and self.is_as_left:
            self.mtime_ns = entry.mtime_ns

    @cached_property
    def original(self) -> bytes | None:
        """Its content without our items; None = nothing would be left, so no file."""
        if self.entry is None or self.content is None:
            return self.content
        if self.is_as_left:
            return self.entry.original
        rest = remove(self.content, self.entry.added) if self.entry.added else self.content
        if rest is not None and self.entry.repeated:
            # Without these the photo's own keywords would be hidden by those that others added.
            return None if remove(rest, self.entry.repeated) is None else rest
        return rest

    @cached_property
    def others(self) -> Metadata:
        """What it says without our items."""
        return Metadata() if self.original is None else read_xmp(self.original)

    def taken_out(self, label: Label) -> bool:
        """Did we write this landmark, and was its keyword taken out since?"""
        if self.entry is None:
            return False
        if label.landmark in self.entry.refused:
            return True
        ours = [text for text in self.entry.added.keywords if comparable(text) in label.names]
        known = {comparable(text) for text in self.said.keywords}
        return bool(ours) and not any(comparable(text) in known for text in ours)

    def known(self, embedded: Metadata) -> Metadata:
        """What programs read of the photo with this sidecar, without our items: a list of the
        sidecar takes the place of the photo's own.
        """
        others = self.others
        return Metadata(
            others.keywords or embedded.keywords,
            others.hierarchy or embedded.hierarchy,
            others.places or embedded.places,
            others.position or embedded.position,
            others.digikam or embedded.digikam,
            has_position=others.has_position or embedded.has_position,
        )

    def change(
        self, photos: Sequence[str], labels: Sequence[Label], embedded: Metadata,
        position: LatLon | None = None,
    ) -> SidecarChange | None:  # fmt: skip
        """The change that makes these the labels of the sidecar; None = nothing has to change.

        Labels that were taken out are not written again.

        Args:
            photos: The photos that it describes, as paths below the library.
            labels: What it should say; none = ours are taken out.
            embedded: What the photo file itself says.
            position: To be written where neither the sidecar nor the photo has one.

        Raises:
            XmpError: When it is too odd to be changed safely.
        """
        refused = self._refused(labels)
        labels = [label for label in labels if label.landmark not in refused]
        missing = self._missing(labels, embedded, position)
        if self.entry and not self.is_as_left and missing == self.entry.wanted:
            return None  # others have written it since, and our items are what they should be
        content, added, repeated = self.original, Additions(), Additions()
        if missing:
            if hidden := self._hidden_by(missing, embedded):
                content, repeated = add(content, hidden)
            content, added = add(content, missing)
        if content == self.content:
            return None
        entry = None
        if added or refused:
            entry = Entry(
                self.path, tuple(photos), tuple(labels), refused,
                self.original, self.mtime_ns, digest_of(content), missing, added, repeated,
            )  # fmt: skip
        return self._to(content, entry)

    def _refused(self, labels: Sequence[Label]) -> tuple[str, ...]:
        """Landmarks that were taken out, now or earlier."""
        if self.entry is None:
            return ()
        now = [label.landmark for label in labels if self.taken_out(label)]
        ours = self.entry.added.keywords
        known = {comparable(text) for text in self.said.keywords}
        if ours and not any(comparable(text) in known for text in ours):
            now += [label.landmark for label in self.entry.labels]
        return tuple(dict.fromkeys((*self.entry.refused, *now)))

    def undo(self) -> SidecarChange | None:
        """The change that takes all of ours out; None = there is nothing of ours in it."""
        if self.original == self.content:
            return None
        return self._to(self.original, None)

    def _to(self, content: bytes | None, entry: Entry | None) -> SidecarChange:
        """The change to a content; the original gets its time of last change back."""
        restored = self.is_as_left and content == self.original
        time = self.mtime_ns if restored else 0
        return SidecarChange(FileChange(self.path, self.content, content, time), entry)

    def _missing(
        self, labels: Sequence[Label], embedded: Metadata, position: LatLon | None
    ) -> Additions:
        """Items of the labels that neither the sidecar, without ours, nor the photo has."""
        known = self.known(embedded)
        if not labels or known.position or known.has_position:
            position = None
        return Additions(
            tuple(one.title for one in labels if not one.is_keyword_in(known.keywords)),
            tuple(one.path for one in labels if not one.is_path_in(known)),
            tuple(one.place for one in labels if not one.is_place_in(known.places)),
            position,
        )

    def _hidden_by(self, missing: Additions, embedded: Metadata) -> Additions:
        """What the photo itself says and a new list in the sidecar would hide."""
        found: dict[str, Any] = {}
        if missing.keywords or missing.hierarchy:
            found = {name: getattr(embedded, name) for name in LISTS
                     if not getattr(self.others, name)}  # fmt: skip
        if missing.places and not self.others.places:
            found["places"] = embedded.places
        return Additions(**found)
