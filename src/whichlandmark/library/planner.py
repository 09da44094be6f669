"""Answers → the plan of a library, which only reads: the photos, their sidecars, the journal."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from ..core.errors import DataError
from ..core.files import local_path, valid_text
from ..core.photo_files import LatLon
from ..core.types import Progress
from ..gallery.records import LandmarkRecord
from ..recognition.answer import shown_name
from ..recognition.location import distance_km
from ..recognition.sure import WRONG, mix_of
from .answers import LibraryAnswer
from .journal import Journal, Label
from .plan import LabelSettings, PlannedLabel, WantedSidecar
from .sidecar_changes import SidecarNow
from .sidecar_files import why_not_written
from .xmp import Additions, Metadata, Place
from .xmp_fields import comparable

MANY_FAR = 3  # photos whose positions contradict a landmark, and none fits: is it in a wrong place?

LEAST_OF_A_MIX = 100  # answered photos from which their share of landmarks is estimated

PHOTOS_REMEMBERED = 8  # what the files that were read last say themselves


def mix_notes(
    confidences: Sequence[float], labelled: Sequence[bool], usual: float
) -> tuple[str, ...]:
    """What to know of a library in which few photos show a landmark: more labels are wrong there.

    Args:
        confidences: Of all photos that were answered.
        labelled: Which of them are labelled.
        usual: The share of photos with a landmark that confidences are calibrated for.
    """
    labels = sum(labelled)
    if len(confidences) < LEAST_OF_A_MIX or not labels:
        return ()
    mix = mix_of(np.array(confidences), np.array(labelled), usual)
    if mix.share >= usual or mix.wrong <= WRONG * labels:
        return ()
    count = "1" if mix.wrong < 1.5 else f"{mix.wrong:.0f}"
    return (
        f"about {max(mix.share, 0.01):.0%} of these photos show a landmark of the gallery, and a "
        f"confidence is measured for {usual:.0%}: up to {count} of the {labels} labels may be "
        "wrong; look at them (--page), or give a higher --above",
    )


def label_of(
    landmark: str, record: LandmarkRecord | None, settings: LabelSettings, gallery: str = ""
) -> Label:
    """What is written for a landmark. record: what its gallery knows of it."""
    title = shown_name(landmark, {landmark: record} if record else {}, settings.language)
    names = {title, landmark, landmark.replace("_", " ")}
    if record is None:
        place = Place(title)
    else:
        names |= {record.title, *record.names.values()}
        place = Place(
            title, record.wikidata, record.city, record.country, record.country_code,
            record.latitude, record.longitude,
        )  # fmt: skip
    root = [part for part in settings.keyword_root.split("|") if part.strip()]
    parts = [part.replace("|", "-") for part in (place.country, place.city, title) if part]
    path = [part for i, part in enumerate(parts) if i == 0 or part != parts[i - 1]]
    known = {comparable(name) for name in (*names, title.replace("|", "-")) if name.strip()}
    return Label(landmark, title, "|".join((*root, *path)), place, tuple(sorted(known)), gallery)


@dataclass(frozen=True, eq=False)
class PlannedLibrary:
    """What `Planner.plan` found: rows in path order, the sidecars to change, notes."""

    rows: list[PlannedLabel]
    sidecars: list[WantedSidecar]
    notes: tuple[str, ...]


class Planner:
    """Answers → what would be done with each photo, and with each sidecar that has to change."""

    def __init__(
        self, gallery: str, landmarks: Collection[str], records: Mapping[str, LandmarkRecord],
        journal: Journal, settings: LabelSettings, *,
        sidecar_of: Callable[[str], str], embedded: Callable[[str], Metadata],
    ) -> None:  # fmt: skip
        """
        Args:
            gallery: Address of the gallery that answers.
            landmarks: All that it knows, by label. What another gallery has written stays.
            records: Label → what the gallery knows of it.
            journal: What was written before.
            settings: How photos are labelled.
            sidecar_of: Path of a photo → path of its sidecar, existing or to be made.
            embedded: Path of a photo → what the file itself says.
        """
        self.gallery, self.landmarks = gallery, frozenset(landmarks)
        self.records, self.journal, self.settings = records, journal, settings
        self.sidecar_of = sidecar_of
        self.embedded = lru_cache(maxsize=PHOTOS_REMEMBERED)(embedded)
        self.labels: dict[str, Label] = {}
        self.far: Counter[str] = Counter()  # landmark → photos whose own position contradicts it
        self.near: Counter[str] = Counter()
        self.confidences: list[float] = []  # of all photos that were answered
        self.sure: list[bool] = []  # which of them are labelled

    def plan(
        self, answers: Iterable[LibraryAnswer], progress: Progress | None = None
    ) -> PlannedLibrary:
        """The plan of a library. progress: called with (sidecars looked at, all of them)."""
        rows: list[PlannedLabel] = []
        found: list[tuple[Label, ...]] = []
        groups: dict[str, list[int]] = {}  # sidecar → its rows
        for answer in answers:
            row, labels = self._row(answer)
            if answer.error is None:
                self.confidences.append(float(answer.answer["confidence"]))
                self.sure.append(bool(labels))
            if labels:
                path = self.sidecar_of(local_path(row.file))
                row = replace(row, sidecar=valid_text(path))
                groups.setdefault(path, []).append(len(rows))
            rows.append(row)
            found.append(labels)
        self._add_withdrawn(rows, groups)
        sidecars = []
        for done, (path, numbers) in enumerate(groups.items()):
            if progress:
                progress(done, len(groups))
            try:
                wanted = self._sidecar(path, numbers, rows, found)
            except DataError as error:
                self._block(rows, numbers, found, str(error))
                continue
            if wanted:
                sidecars.append(wanted)
        if progress and groups:
            progress(len(groups), len(groups))
        return PlannedLibrary(rows, sidecars, self._notes())

    def label(self, landmark: str) -> Label:
        """What is written for a landmark."""
        if landmark not in self.labels:
            record = self.records.get(landmark)
            self.labels[landmark] = label_of(landmark, record, self.settings, self.gallery)
        return self.labels[landmark]

    def _row(self, answer: LibraryAnswer) -> tuple[PlannedLabel, tuple[Label, ...]]:
        """The row of a photo before its sidecar is looked at, and the labels that it may get."""
        if answer.error is not None:
            return PlannedLabel(
                answer.photo, answer.file, "failed", None, "", math.nan, None, "", Additions(),
                "failed", answer.error,
            ), ()  # fmt: skip
        said, above = answer.answer, self.settings.above
        guess = said["guess"]
        if guess is None or said["decision"] == "no_landmark":
            return PlannedLabel(
                answer.photo, answer.file, said["decision"], None, "", math.nan, None, "",
                Additions(), "no_landmark",
            ), ()  # fmt: skip
        first, confidence = self.label(guess), float(said["confidence"])
        row = PlannedLabel(
            answer.photo, answer.file, said["decision"], guess, first.title, confidence,
            first.place, "", Additions(), "not_sure",
        )  # fmt: skip
        if said["decision"] != "landmark":
            return replace(row, why="not sure enough to be an answer"), ()
        if confidence < above:
            return replace(row, why=f"confidence {confidence:.3f}, below {above:.3g}"), ()
        others = [found["landmark"] for found in said["landmarks"] if found["confidence"] >= above]
        names = dict.fromkeys((guess, *others))
        return row, tuple(self.label(name) for name in names)

    def _add_withdrawn(self, rows: Sequence[PlannedLabel], groups: dict[str, list[int]]) -> None:
        """Add the sidecars that we wrote for photos whose answer is not sure any more."""
        numbers = {row.photo: number for number, row in enumerate(rows) if row.state != "failed"}
        for path, photos in self.journal.sidecars().items():
            there = [numbers[photo] for photo in photos if photo in numbers]
            if there and path not in groups and os.path.lexists(path):
                groups[path] = there

    def _sidecar(
        self, path: str, numbers: Sequence[int], rows: list[PlannedLabel],
        found: Sequence[tuple[Label, ...]],
    ) -> WantedSidecar | None:  # fmt: skip
        """Complete the rows of one sidecar; None = it has to be changed in nothing."""
        photos = {rows[number].photo: local_path(rows[number].file) for number in numbers}
        now = sidecar_now(self.journal, path, [*photos])
        others = self._of_others(now)
        wanted: dict[str, Label] = {}
        for number in numbers:
            row, labels = rows[number], found[number]
            if not labels or local_path(row.sidecar) != path:  # ours is taken out
                continue
            labels = self._not_contradicted(now, row, labels)
            refused = [label for label in labels if now.taken_out(label)]
            labels = tuple(label for label in labels if label not in refused)
            if labels:
                rows[number] = replace(row, state="known", wanted=_additions(labels))
            elif refused:
                rows[number] = replace(row, why=_TAKEN_OUT)
            else:
                rows[number] = replace(row, why=self._contradiction(now, row))
            wanted |= {label.landmark: label for label in (*labels, *refused)}
        position = self._position(now, [*wanted.values()] or others)
        labels = tuple(({label.landmark: label for label in others} | wanted).values())
        change = now.change([*photos], labels, self.embedded(next(iter(photos.values()))), position)
        if change is None:
            return None
        if reason := why_not_written(path):
            raise DataError(reason)
        written = change.entry.wanted.position if change.entry else None
        for number in numbers:
            row = rows[number]
            if row.wanted:
                rows[number] = replace(
                    row, state="write", wanted=replace(row.wanted, position=written)
                )
            elif now.entry and now.entry.added:
                old = ", ".join(label.title for label in now.entry.labels if label not in others)
                why = f"{old}, written before, is taken out again"
                why += f": {row.why}" if row.why else ""
                rows[number] = replace(row, state="write", sidecar=valid_text(path), why=why)
        return WantedSidecar(path, photos, labels, position)

    def _of_others(self, now: SidecarNow) -> list[Label]:
        """What was written for another gallery, whose landmarks this one does not know."""
        return [
            label for label in (now.entry.labels if now.entry else ())
            if label.gallery != self.gallery and label.landmark not in self.landmarks
        ]  # fmt: skip

    def _not_contradicted(
        self, now: SidecarNow, row: PlannedLabel, labels: Sequence[Label]
    ) -> tuple[Label, ...]:
        """The labels that the photo's own position does not contradict."""
        kept = []
        for label in labels:
            distance = self._distance(now, row, label)
            counts = self.far if distance > self.settings.far_km else self.near
            if not math.isnan(distance):
                counts[label.landmark] += 1
            if not distance > self.settings.far_km:
                kept.append(label)
        return tuple(kept)

    def _distance(self, now: SidecarNow, row: PlannedLabel, label: Label) -> float:
        """Kilometers from where the photo was taken to the landmark; NaN = not known."""
        taken = now.known(self.embedded(local_path(row.file))).position
        place = label.place
        if taken is None or place.latitude is None or place.longitude is None:
            return math.nan
        return float(distance_km(taken, (place.latitude, place.longitude)))

    def _contradiction(self, now: SidecarNow, row: PlannedLabel) -> str:
        distance = self._distance(now, row, self.label(row.landmark or ""))
        return (
            f"the photo's own position is {distance:,.0f} km from {row.title}; a guess does not "
            "outweigh it"
        )

    def _position(self, now: SidecarNow, labels: Sequence[Label]) -> LatLon | None:
        """The position to write: with `gps` the landmark's; without, one that we wrote stays."""
        if not labels:
            return None
        place = labels[0].place
        if self.settings.gps and place.latitude is not None and place.longitude is not None:
            return place.latitude, place.longitude
        before = now.entry
        same = before and labels[0].landmark in [label.landmark for label in before.labels]
        return before.wanted.position if before and same else None

    def _block(
        self, rows: list[PlannedLabel], numbers: Sequence[int],
        found: Sequence[tuple[Label, ...]], reason: str,
    ) -> None:  # fmt: skip
        for number in numbers:
            wanted = rows[number].wanted or _additions(found[number])
            rows[number] = replace(rows[number], state="blocked", wanted=wanted, why=reason)

    def _notes(self) -> tuple[str, ...]:
        """A gallery whose coordinates of a landmark may be wrong."""
        notes = []
        for landmark, count in self.far.most_common():
            place = self.label(landmark).place
            if count >= MANY_FAR and not self.near[landmark]:
                notes.append(
                    f"{count} photos answered as {place.name} have positions more than "
                    f"{self.settings.far_km:g} km from {place.latitude:.5g}, {place.longitude:.5g}"
                    ", where the gallery has it, and none has a nearer one. If that is wrong, "
                    "correct it with `whichlandmark gallery describe`; if it can be seen from so "
                    "far, give --far KM"
                )
        return tuple(notes)


_TAKEN_OUT = (
    "was written before and taken out since, so it is not written again (`label --undo` forgets "
    "that)"
)


def sidecar_now(journal: Journal, path: str, photos: Sequence[str]) -> SidecarNow:
    """A sidecar as it is; the journal follows one that was moved or renamed with its photo."""
    entry = journal.entry(path)
    now = SidecarNow(path, entry)
    if entry is None and now.content is not None and (old := journal.moved_from(now.content)):
        journal.move(old, path, photos)
        now = SidecarNow(path, journal.entry(path))
    return now


def _additions(labels: Iterable[Label]) -> Additions:
    labels = list(labels)
    return Additions(
        tuple(label.title for label in labels), tuple(label.path for label in labels),
        tuple(label.place for label in labels),
    )  # fmt: skip
