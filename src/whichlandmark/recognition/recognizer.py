"""Recognizer: photo → Prediction. An embedder, a gallery, rules and what was fitted for them.

`folder/load.py` builds it, loads it from a folder and saves it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, cast, overload

from ..core.errors import ImageError
from ..core.photo_files import LatLon
from ..core.prediction import Prediction
from ..core.types import Embedder, Image, Photo, Photos, Progress, Vectors
from ..features.embedders.own import checked_rows
from ..features.local.keypoints import GreyImage
from ..features.pipeline import PerPhoto, embed
from ..gallery.base import Gallery
from ..gallery.index import GalleryIndex
from ..gallery.records import LandmarkRecord
from .decision import RULE_OF_THUMB, Answers, Decider, FallbackDecider, Fitted
from .predictions import MATCHES, predictions
from .query import (
    PhotoSource,
    Queries,
    QueryPhoto,
    Shape,
    checked_path,
    is_many,
    name_of,
    read_query,
    size_warnings,
)
from .rules import Rules
from .spatial_verification import SpatialVerifier, query_grey

PHOTOS_AT_ONCE = 16  # of a list, that are decoded and embedded together


@dataclass(frozen=True, eq=False)
class AnsweredPhoto:
    """A photo of a table with its answer, and what a later answer needs of it.

    vector: (D,), None of a photo that could not be read. shape: height and width of the pixels as
    decoded. hash: of the file. location: where it was taken, where the rules use it.
    """

    photo: Photo
    prediction: Prediction
    vector: Vectors | None = None
    shape: Shape = (0, 0)
    hash: str = ""
    location: LatLon | None = None


@dataclass(frozen=True, eq=False, repr=False)
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

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, photo: PhotoSource, *, evidence: bool = False
    ) -> Prediction: ...
    @overload
    def __call__(
        self, photo: Photos | Iterable[PhotoSource], *, evidence: bool = False
    ) -> list[Prediction]: ...

    def __call__(
        self, photo: PhotoSource | Photos | Iterable[PhotoSource], *, evidence: bool = False
    ) -> Prediction | list[Prediction]:
        """Answer one photo, or each of many.

        Args:
            photo: A path (`~` is expanded), URL or address in a tar; the bytes of a file; a binary
                file object; a Pillow image of any mode; an array of pixels, (H, W), (H, W, 1),
                (H, W, 3) or (H, W, 4), uint8 0 to 255 or float 0 to 1. Or a list, tuple or
                generator of these, or a photo table: it gives a list, embedded several at a time.
            evidence: Verify local features even where the answer is certain without. The
                prediction then says where in the photo the landmark is and which others are in it;
                its score and confidence do not change.

        Returns:
            The answer. In a list, one that cannot be read has the decision "failed", and `error`.

        Raises:
            ImageError: When the photo, given alone, cannot be decoded.
            OptionError: When an object is no photo, in a list too; the message says what to give.
        """
        if isinstance(photo, Photos):
            return [answer for _, answer in self.answer_table(photo, evidence=evidence)]
        if is_many(photo):
            return self._answer_many(cast(Iterable[PhotoSource], photo), evidence)
        read = self.read(one := cast(PhotoSource, photo))
        (answer,) = predictions(self.answer(self.embed([read]), evidence=evidence))
        return described(self, answer, name_of(one), read.image.shape)

    def _answer_many(self, photos: Iterable[PhotoSource], evidence: bool) -> list[Prediction]:
        """The answer to each photo; paths are read ahead, others embedded a few at a time."""
        given = photos if isinstance(photos, Iterator) else list(photos)
        if isinstance(given, list) and all(isinstance(one, str | os.PathLike) for one in given):
            paths = [checked_path(name_of(one)) for one in given]
            table = Photos.of_columns([*map(str, range(len(paths)))], paths, [""] * len(paths))
            return [answer for _, answer in self.answer_table(table, evidence=evidence)]
        answers: list[Prediction] = []
        given = iter(given)
        while chunk := list(islice(given, PHOTOS_AT_ONCE)):
            read: dict[int, QueryPhoto] = {}
            done = [Prediction.of_failed(name_of(one), "", self) for one in chunk]
            for row, one in enumerate(chunk):
                try:
                    read[row] = self.read(one)
                except ImageError as error:
                    done[row] = replace(done[row], error=str(error))
            if read:
                found = predictions(self.answer(self.embed([*read.values()]), evidence=evidence))
                for row, answer in zip(read, found, strict=True):
                    done[row] = described(self, answer, done[row].photo, read[row].image.shape)
            answers += done
        return answers

    def answer_table(
        self, photos: Photos, *, evidence: bool = False, progress: Progress | None = None
    ) -> Iterator[tuple[Photo, Prediction]]:
        """Answer every photo of a table, read ahead and embedded in batches, in bounded memory.

        Args:
            photos: Their landmarks are not looked at.
            evidence: As in a call.
            progress: Called with (photos done, all photos).

        Yields:
            Each photo with its answer, in table order; as in a call with a list.
        """

        def keep(image: Image) -> tuple[GreyImage, Shape]:
            return query_grey(image), (image.shape[0], image.shape[1])

        for one in self.answer_rows(photos, evidence=evidence, progress=progress):
            yield one.photo, one.prediction

    def answer_rows(
        self, photos: Photos, *, evidence: bool = False, progress: Progress | None = None
    ) -> Iterator[AnsweredPhoto]:
        """As `answer_table`, with what has to be kept to answer the photos again without them.

        Args:
            photos: Their landmarks are not looked at.
            evidence: As in a call.
            progress: Called with (photos done, all photos).

        Yields:
            What `answer_table` yields, and more, in table order.
        """

        def keep(image: Image) -> tuple[GreyImage, Shape]:
            return query_grey(image), (image.shape[0], image.shape[1])

        # Decoded at the recognizer's own scale, because the scale changes vectors slightly.
        each = PerPhoto(keep, self.short_side, location=self.rules.location_km is not None)
        first = 0
        for batch in embed(self.embedder, photos, per_photo=each, progress=progress):
            greys, shapes = ([kept[i] for kept in batch.computed] for i in range(2))
            reasons = {failure.id: failure.reason for failure in batch.failures}
            queries = Queries.of_greys(
                batch.vectors, greys, batch.locations, shapes=shapes, verify=self.features
            )
            found = predictions(self.answer(queries, evidence=evidence)) if len(batch.rows) else []
            places = {row: place for place, row in enumerate(batch.rows.tolist())}
            for row in range(first, first + len(batch.rows) + len(reasons)):
                photo, name = photos[row], str(photos.paths[row])
                if (at := places.get(row)) is None:
                    yield AnsweredPhoto(photo, Prediction.of_failed(name, reasons[photo.id], self))
                else:
                    yield AnsweredPhoto(
                        photo, described(self, found[at], name, shapes[at]), batch.vectors[at],
                        shapes[at], batch.hashes[at], batch.locations[at],
                    )  # fmt: skip
            first += len(batch.rows) + len(reasons)

    def to_dict(self, prediction: Prediction) -> dict[str, Any]:
        """A prediction as the JSON object that every interface gives: the answer, with the
        landmarks' records and the gallery photos' credits, or the error.

        Args:
            prediction: One that this recognizer has given.
        """
        from .answer import GalleryFacts, answer_object
        from .faults import failed_object

        if prediction.decision == "failed":
            return {**failed_object(prediction.photo, prediction.error or "")}
        return {**answer_object(prediction.photo, prediction, GalleryFacts.of(self))}

    def __repr__(self) -> str:
        index = self.index
        return (
            f"Recognizer({len(index.ids)} photos of {len(index.names)} landmarks, "
            f"{len(index.distractor_vectors)} distractors; embedder {self.embedder.name}, "
            f"score {self.rules.score})"
        )

    def read(self, photo: PhotoSource) -> QueryPhoto:
        """Decode a photo as the gallery's were, with its location where the rules use it.

        Args:
            photo: One photo, as in a call.

        Returns:
            The upright (H, W, 3) uint8 pixels, the short side `short_side` pixels or more where the
            photo has as many; and latitude and longitude in degrees, None where unknown or unused.

        Raises:
            ImageError: When the photo cannot be decoded.
            OptionError: When the object is no photo.
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

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write everything into one folder, which `load` opens.

        Args:
            folder: Created if missing: the gallery as a file, the embedder, the rules with what was
                fitted for them, and index files.
            overwrite: Replace the recognizer that the folder holds.

        Raises:
            OptionError: When the folder holds a recognizer already, or anything else.
        """
        from .folder.load import save

        save(self, Path(folder).expanduser(), overwrite=overwrite)


def described(
    recognizer: Recognizer, answer: Prediction, name: str, shape: tuple[int, ...]
) -> Prediction:
    """The answer with its photo's name, warnings by its photo's shape, and its writer."""
    warnings = answer.warnings or size_warnings(*shape[:2])
    return replace(answer, photo=name, warnings=warnings, writer=recognizer)


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
