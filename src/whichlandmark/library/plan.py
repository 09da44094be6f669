"""The plan of a library: which label each photo would get, where it would be written, and why not.

`planner.py` makes it of a recognizer's answers; it is a value, and nothing is written by it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ..core.errors import OptionError
from ..core.photo_files import LatLon
from .journal import Label
from .xmp import Additions, Place

# What a plan does with a photo: "write" = its sidecar is changed; "known" = everything is there
# already; "not_sure" = a guess that is not certain enough, or that a fact contradicts;
# "no_landmark" = it shows none of the gallery; "failed" = the photo cannot be read; "blocked" = its
# sidecar cannot or must not be written.
State = Literal["write", "known", "not_sure", "no_landmark", "failed", "blocked"]

FAR_KM = 20.0  # from a landmark, a photo shows it only where it is very large


@dataclass(frozen=True)
class LabelSettings:
    """How photos are labelled.

    Attributes:
        above: Least confidence of a label, 0 to 1.
        gps: Write the landmark's position as the photo's, where it has none?
        language: BCP 47 tag of titles; "" = each record's title.
        keyword_root: Where hierarchical keywords begin; "" = with the country.
        far_km: A photo whose own position is farther than this from the landmark gets no label.

    Raises:
        OptionError: For values out of range.
    """

    above: float
    gps: bool = False
    language: str = ""
    keyword_root: str = "Places"
    far_km: float = FAR_KM

    def __post_init__(self) -> None:
        if not 0 <= self.above <= 1:
            raise OptionError(f"above {self.above} given; expected a confidence, 0 to 1")
        if not 0 < self.far_km < math.inf:
            raise OptionError(f"far {self.far_km} km given; expected a distance above 0")


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
        sidecar: Absolute path of the sidecar, existing or to be made, as valid text; "" where none
            is concerned.
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
        return bool(self.wanted)


@dataclass(frozen=True, eq=False)
class WantedSidecar:
    """The labels that one sidecar should have; none = ours are taken out.

    Attributes:
        path: Absolute path of the sidecar.
        photos: The photos that it describes: paths below the library → absolute paths.
        labels: In the order of confidence.
        position: To be written where there is none.
    """

    path: str
    photos: Mapping[str, str]
    labels: tuple[Label, ...]
    position: LatLon | None


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
        sidecars: What is wanted of each sidecar that has to be changed.
        failures: After writing: path of a sidecar → why it was not written.
    """

    library: str
    recognizer: str
    above: float
    rows: Sequence[PlannedLabel]
    notes: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    sidecars: Sequence[WantedSidecar] = ()
    failures: Mapping[str, str] = field(default_factory=dict)

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
