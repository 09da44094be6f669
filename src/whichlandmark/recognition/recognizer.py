"""Photo → Prediction: an embedder, a gallery, rules and what was fitted, ready to answer.

`recognizer_folder.py` makes one and keeps it on disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.images import LatLon
from ..core.types import Embedder, Image, Match, Prediction, Vectors
from ..gallery.index import GalleryIndex
from ..gallery.protocol import Gallery
from ..gallery.records import LandmarkRecord
from .decision import Answers, Decider, FallbackDecider, Fitted
from .detections import detect_landmarks
from .query import Queries, QueryPhoto, read_query
from .rules import Rules
from .spatial_verification import SpatialVerifier

MATCHES = 5  # nearest photos in a prediction


@dataclass(frozen=True, eq=False)
class Recognizer:
    """Which landmark is in this photo, or none?

    Call it with a path, a file's bytes or an (H, W, 3) uint8 RGB array. For more than the
    prediction, in steps: `read` photos, `embed` them, `answer` once; predictions and explanations
    are then read off the `Answers`. Nothing of it changes, and threads may share it.

    records: what the gallery knows of its landmarks. features: does the gallery keep local
    features? Geometry needs them.
    """

    embedder: Embedder
    gallery: Gallery
    rules: Rules
    fitted: Fitted
    deciding: FallbackDecider
    geometry: SpatialVerifier
    records: Mapping[str, LandmarkRecord]
    short_side: int  # pixels that a photo's short side is decoded at, or more, as the gallery's was
    features: bool

    def __call__(self, photo: str | Path | bytes | Image, *, evidence: bool = False) -> Prediction:
        """Answer one photo. Raises ImageError when it cannot be decoded.

        evidence: compare by geometry even where the answer is sure without: it tells where in
          the photo the landmark stands, and which others do. The score stays what it was.
        """
        return predictions(self.answer(self.embed([self.read(photo)]), evidence=evidence))[0]

    def read(self, photo: str | Path | bytes | Image) -> QueryPhoto:
        """Decode a photo as the gallery's were, and its place where the rules use that.

        Raises ImageError.
        """
        wanted = self.rules.location_km is not None
        return read_query(photo, short_side=self.short_side, location=wanted)

    def embed(self, photos: Sequence[QueryPhoto]) -> Queries:
        """Embed photos together."""
        return Queries.of(self.embedder([photo.image for photo in photos]), photos)

    def answer(self, queries: Queries, *, evidence: bool = False) -> Answers:
        """Search, decide, and compare by geometry where that is open. evidence: as above."""
        return self.deciding.answer(queries, evidence=evidence)

    def predict(
        self,
        vectors: Vectors,
        *,
        images: Sequence[Image] | None = None,
        places: Sequence[LatLon | None] | None = None,
        matches: int = MATCHES,
        evidence: bool = False,
    ) -> list[Prediction]:
        """(Q, D) unit rows → one Prediction each, with that many nearest photos.

        images: of the queries; without them nothing is compared by geometry. places: latitude
          and longitude where each was taken; used only when the rules have `location_km`.
        """
        if images is None:
            queries = Queries(vectors, locations=places)
        else:
            known = places or [None] * len(images)
            photos = [QueryPhoto(*pair) for pair in zip(images, known, strict=True)]
            queries = Queries.of(vectors, photos)
        return predictions(self.answer(queries, evidence=evidence), matches=matches)

    @property
    def decider(self) -> Decider:
        """Who answers now: damage in a segment file puts another in its place."""
        return self.deciding.now

    @property
    def index(self) -> GalleryIndex:
        """What is searched now."""
        return self.decider.index

    def check_segments(self) -> None:
        """Read every block of the segment files now, and do without them where one is damaged:
        for work that reads vectors beside `answer`.
        """
        self.deciding.check()

    def titles(self) -> dict[str, str]:
        """How landmarks are called, of those that have a title beside their label."""
        return {name: record.title for name, record in self.records.items() if record.title}

    def with_rules(self, rules: Rules) -> Recognizer:
        """The same gallery under other rules, fitted anew."""
        from .folder.load import assemble

        return assemble(self.embedder, self.gallery, rules)

    def save(self, folder: str | Path) -> None:
        """Write everything into one folder. Raises OptionError when it holds a gallery already."""
        from .folder.load import save

        save(self, Path(folder))


def predictions(answers: Answers, *, matches: int = MATCHES) -> list[Prediction]:
    """One Prediction for each query, with that many nearest photos."""
    return [prediction(answers, row, matches=matches) for row in range(len(answers.codes))]


def prediction(answers: Answers, row: int, *, matches: int = MATCHES) -> Prediction:
    """The answer to one query in words and numbers."""
    names, code, second = answers.index.names, answers.codes[row], answers.second_codes[row]
    guess = names[code] if code >= 0 else None
    confidence, score = float(answers.confidence[row]), float(answers.scores[row])
    decision = answers.decider.decide(confidence, score) if code >= 0 else "no_landmark"
    shape = answers.shapes[row] if answers.shapes is not None else None
    return Prediction(
        landmark=guess if decision == "landmark" else None,
        decision=decision,
        confidence=confidence,
        score=score,
        guess=guess,
        matches=_matches(answers, row, matches),
        second=names[second] if second >= 0 else None,
        landmarks=detect_landmarks(answers.decider, answers, row, shape)
        if decision == "landmark" else (),
    )  # fmt: skip


def _matches(answers: Answers, row: int, most: int) -> tuple[Match, ...]:
    index, found = answers.index, answers.found.neighbours
    places = np.flatnonzero(found.rows[row] >= 0)[:most]
    inliers = answers.inliers[row]
    return tuple(
        Match(
            index.ids[found.rows[row, i]],
            index.names[answers.found.codes[row, i]],
            float(found.similarity[row, i]),
            int(inliers[i]) if inliers[i] >= 0 else None,
        )
        for i in places
    )
