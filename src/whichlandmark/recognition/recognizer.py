"""Recognizer: photo → Prediction. An embedder, a gallery, rules and what was fitted for them.

`folder/load.py` builds it, loads it from a folder and saves it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.images import LatLon
from ..core.types import Detection, Embedder, Image, Match, Prediction, Vectors
from ..features.embedders.own import checked_rows
from ..gallery.index import GalleryIndex
from ..gallery.protocol import Gallery
from ..gallery.records import LandmarkRecord
from .decision import RULE_OF_THUMB, Answers, Decider, FallbackDecider, Fitted
from .detections import detect_landmarks
from .query import Queries, QueryPhoto, read_query
from .rules import Rules
from .spatial_verification import SpatialVerifier

MATCHES = 5  # nearest photos in a prediction


@dataclass(frozen=True, eq=False)
class Recognizer:
    """Names the landmark in a photo, or says that it shows none.

    Made by `build` or `load`. Call it with a photo, or work in steps: `read` photos, `embed` them,
    `answer` once, then read predictions and explanations from the `Answers`. Immutable; threads may
    share it.

    Attributes:
        embedder: Turns photos into vectors, (N, D) unit rows.
        gallery: The photos it compares with: vectors, landmarks, local features, distractors.
        rules: How it answers.
        fitted: What was fitted for these rules, on the gallery alone: whitening, score,
            calibration.
        fallback: Answers from index files, or from the gallery where these are damaged.
        verifier: Compares local features.
        records: Label → what the gallery knows of the landmark.
        short_side: Pixels that the short side of a photo is decoded at, at least, as the
            gallery's photos were.
        features: Does the gallery store local features, which spatial verification needs?
        warnings: What its folder says of it, such as that an index run has not finished.
        unfinished: The same as numbers: photos in the gallery, and of how many; None = finished.
    """

    embedder: Embedder
    gallery: Gallery
    rules: Rules
    fitted: Fitted
    fallback: FallbackDecider
    verifier: SpatialVerifier
    records: Mapping[str, LandmarkRecord]
    short_side: int
    features: bool
    warnings: tuple[str, ...] = ()
    unfinished: Mapping[str, int] | None = None

    def __call__(self, photo: str | Path | bytes | Image, *, evidence: bool = False) -> Prediction:
        """Answer one photo.

        Args:
            photo: A path, URL or address in a tar, a file's bytes, or an upright (H, W, 3) uint8
                RGB array.
            evidence: Verify local features even where the answer is certain without. The
                prediction then says where in the photo the landmark is and which others are in it;
                its score and confidence do not change.

        Returns:
            The answer, with the calibrated confidence (0 to 1) and the nearest gallery photos.

        Raises:
            ImageError: When the photo cannot be decoded.
        """
        return predictions(self.answer(self.embed([self.read(photo)]), evidence=evidence))[0]

    def read(self, photo: str | Path | bytes | Image) -> QueryPhoto:
        """Decode a photo as the gallery's were, with its location where the rules use it.

        Args:
            photo: As in a call.

        Returns:
            The upright (H, W, 3) uint8 pixels, the short side `short_side` pixels or more where the
            photo has as many; and latitude and longitude in degrees, None where unknown or unused.

        Raises:
            ImageError: When the photo cannot be decoded.
        """
        with_location = self.rules.location_km is not None
        return read_query(photo, short_side=self.short_side, location=with_location)

    def embed(self, photos: Sequence[QueryPhoto]) -> Queries:
        """Embed photos in one batch.

        Args:
            photos: Q photos, as `read` returns them.

        Returns:
            Their vectors, (Q, D) unit rows, with the pixels for spatial verification.
        """
        rows = checked_rows(self.embedder, [photo.image for photo in photos])
        return Queries.of(rows, photos)

    def answer(self, queries: Queries, *, evidence: bool = False) -> Answers:
        """Search, make candidates and decide; verify where the decision is open.

        Args:
            queries: Q embedded photos.
            evidence: As in a call.

        Returns:
            All results for the Q queries, from which `predictions` and explanations are read.
        """
        return self.fallback.answer(queries, evidence=evidence)

    def predict(
        self,
        vectors: Vectors,
        *,
        images: Sequence[Image] | None = None,
        locations: Sequence[LatLon | None] | None = None,
        matches: int = MATCHES,
        evidence: bool = False,
    ) -> list[Prediction]:
        """Answer vectors that are embedded already.

        Args:
            vectors: (Q, D) unit rows, made by the gallery's embedder.
            images: The pixels of the Q queries, each (H, W, 3) uint8 RGB; without them no query is
                verified.
            locations: Latitude and longitude in degrees where each was taken, None = unknown; used
                only when the rules have `location_km`.
            matches: Nearest photos to list in each prediction, 0 or more.
            evidence: As in a call.

        Returns:
            One prediction for each row of `vectors`, in their order.
        """
        if images is None:
            queries = Queries(vectors, locations=locations)
        else:
            taken = locations or [None] * len(images)
            photos = [QueryPhoto(*pair) for pair in zip(images, taken, strict=True)]
            queries = Queries.of(vectors, photos)
        return predictions(self.answer(queries, evidence=evidence), matches=matches)

    @property
    def decider(self) -> Decider:
        """The decider in use; another one after an index file proved damaged."""
        return self.fallback.current

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of its answers has to know: warnings, and what the gallery lacks."""
        return (*self.warnings, *notes_of(self.decider))

    @property
    def index(self) -> GalleryIndex:
        """The index that is searched."""
        return self.decider.index

    def check_index_files(self) -> None:
        """Verify all index files now; where one is damaged, answer from the gallery instead.

        For work that reads the index's vectors itself, without `answer`.
        """
        self.fallback.check()

    def titles(self) -> dict[str, str]:
        """Label → title, of the landmarks that have a title."""
        return {name: record.title for name, record in self.records.items() if record.title}

    def with_rules(self, rules: Rules) -> Recognizer:
        """A recognizer of the same gallery under other rules, with a new fit.

        Args:
            rules: How the new one answers.

        Returns:
            A new recognizer; this one stays as it is, and both use the same gallery.

        Raises:
            OptionError: When a server searches the gallery and cannot do so by these rules.
        """
        from .folder.load import assemble

        return assemble(self.embedder, self.gallery, rules)

    def save(self, folder: str | Path) -> None:
        """Write everything into one folder, which `load` opens.

        Args:
            folder: Created if missing: the gallery as a file, the embedder, the rules with what was
                fitted for them, and index files.

        Raises:
            OptionError: When the folder holds a gallery already.
        """
        from .folder.load import save

        save(self, Path(folder))


def notes_of(decider: Decider) -> tuple[str, ...]:
    """What a reader of a confidence has to know of the gallery that it was fitted on."""
    index, fitted = decider.index, decider.fitted
    notes = [fitted.note] if fitted.note else []
    if fitted.own_queries == RULE_OF_THUMB and fitted.stacker and not any(fitted.stacker.weights):
        by = "only matching points name a landmark" if fitted.geometric_stacker else "none is named"
        notes.append(f"nothing tells how similar two photos of one landmark are, so {by}")
    if not len(index.codes):
        notes.append("the gallery has no photo of a landmark, so nothing can be named")
    elif not len(index.distractor_ids):
        notes.append(
            "the gallery has no distractors (photos without a landmark), so nothing taught it what "
            f"shows none: no confidence is above {decider.ceiling:.2f}; add some with --distractors"
        )
    if len(index.names) == 1:
        notes.append(
            f"{str(index.names[0])!r} is the only landmark of the gallery, so nothing taught it to "
            "tell landmarks apart"
        )
    return tuple(notes)


def predictions(answers: Answers, *, matches: int = MATCHES) -> list[Prediction]:
    """The prediction of each query. matches: nearest photos to list in each."""
    return [prediction(answers, row, matches=matches) for row in range(len(answers.codes))]


def prediction(answers: Answers, row: int, *, matches: int = MATCHES) -> Prediction:
    """The prediction of one query. matches: nearest photos to list."""
    names, code, second = answers.index.names, answers.codes[row], answers.second_codes[row]
    guess = names[code] if code >= 0 else None
    confidence, score = float(answers.confidence[row]), float(answers.scores[row])
    decision = answers.decider.decide(confidence, score) if code >= 0 else "no_landmark"
    landmarks: tuple[Detection, ...] = ()
    if decision == "landmark":
        shape = answers.shapes[row] if answers.shapes is not None else None
        landmarks = detect_landmarks(answers.decider, answers, row, shape)
    return Prediction(
        landmark=guess if decision == "landmark" else None,
        decision=decision,
        confidence=confidence,
        score=score,
        guess=guess,
        matches=_matches(answers, row, matches),
        second=names[second] if second >= 0 else None,
        landmarks=landmarks,
    )


def _matches(answers: Answers, row: int, most: int) -> tuple[Match, ...]:
    index, found = answers.index, answers.found.neighbours
    ranks = np.flatnonzero(found.rows[row] >= 0)[:most]
    inliers = answers.inliers[row]
    return tuple(
        Match(
            index.ids[found.rows[row, i]],
            index.names[answers.found.codes[row, i]],
            float(found.similarity[row, i]),
            int(inliers[i]) if inliers[i] >= 0 else None,
        )
        for i in ranks
    )
