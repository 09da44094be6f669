"""The plan of a library: which label each photo would get, where it would be written, and why not.

Answers of the recognizer come in, a `Plan` comes out; nothing is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from .xmp import Additions, Place

# What a plan does with a photo: "write" = its sidecar is changed; "known" = everything is there
# already; "not_sure" = a guess that is not certain enough, or that a fact contradicts;
# "no_landmark" = it shows none of the gallery; "failed" = the photo cannot be read; "blocked" = its
# sidecar cannot or must not be written.
State = Literal["write", "known", "not_sure", "no_landmark", "failed", "blocked"]


@dataclass(frozen=True)
class PlannedLabel:
    """What would be done with one photo.

    Attributes:
        photo: Its path below the library, "/" separated, as valid text.
        file: Its absolute path, as `find_photos` gives it.
        decision: Of the answer: "landmark", "uncertain", "no_landmark" or "failed".
        landmark: The label in the gallery of what is written, or of the guess that is not sure;
            None where the photo shows no landmark or could not be read.
        title: The same as people read it, in the language of the plan; "" where there is none.
        confidence: Calibrated probability that it is right, 0 to 1; NaN where `landmark` is None.
        place: The landmark's place; None where `landmark` is None.
        sidecar: Absolute path of the sidecar, existing or to be made; "" where none is concerned.
        wanted: What the sidecar has to say after writing, known items included; empty where the
            photo gets no label.
        state: What is done with it.
        why: The reason in words; "" where the state says all.
    """

    photo: str
    file: str
    decision: str
    landmark: str | None
    title: str
    confidence: float
    place: Place | None
    sidecar: str
    wanted: Additions
    state: State
    why: str = ""

    @property
    def labelled(self) -> bool:
        """Is the landmark certain enough to be written, or is it written already?"""
        return self.state in ("write", "known", "blocked") and bool(self.landmark)


@dataclass(frozen=True, eq=False)
class Plan:
    """What `label` would do with a library, one row for each photo, in path order.

    Attributes:
        library: Absolute path of the folder of photos.
        recognizer: Path of the recognizer folder that answered.
        above: Least confidence of a label.
        rows: One for each photo that exists.
        notes: What a reader of the plan has to know, in sentences.
        left_out: Path → reason, of files that were not used.
    """

    library: str
    recognizer: str
    above: float
    rows: Sequence[PlannedLabel]
    notes: tuple[str, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[PlannedLabel]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def counts(self) -> Counter[str]:
        """State → number of photos."""
        return Counter(row.state for row in self.rows)

    @property
    def landmarks(self) -> Counter[str]:
        """Title → number of photos that are labelled with it, the most frequent first."""
        found = Counter(row.title for row in self.rows if row.labelled)
        return Counter(dict(sorted(found.items(), key=lambda item: (-item[1], item[0]))))
