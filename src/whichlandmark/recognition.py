"""Photo → Prediction: an embedder, a gallery, rules and what was fitted; one folder on disk.

Folder: `gallery.sqlite`, `embedder/`, `recognizer.json`, `whitening-….safetensors`, and, where
the gallery is large, `segments/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from .deciding import Answers, Decider, Fitted, Look
from .errors import DataError, OptionError
from .far import FarRows, sampled
from .fill import fill_gallery, merged, require_photos
from .gallery.contract import AnyGallery
from .gallery.copying import copy_gallery
from .gallery.index import GalleryIndex
from .gallery.link import FILE, gallery_in, has_gallery
from .gallery.store import Gallery, GalleryTable
from .geography import Places
from .geometry import SIDE, Geometry, query_keypoints
from .images import read_image
from .loading import load_embedder
from .opening import SEGMENTS, open_index, refresh_segments, tell
from .rules import Rules, require_plain
from .seen import seen_landmarks
from .segments import Prepared, SegmentError, check_segments
from .settings import kept_fit, read_settings, write_settings
from .types import Embedder, Image, Match, Photos, Prediction, Vectors
from .whitening import Labelled

FEW = 3  # photos that are asked whether the gallery keeps local features


class Recognizer:
    """Which landmark is in this photo, or none?

    Call it with a path, a file's bytes or an (H, W, 3) uint8 RGB array; `predict` takes
    vectors that are embedded already. `fitted` None = fitted on the gallery now, with the help
    of `extra` training photos when they are given. `folder`: where segment files of the gallery
    may stand, which make opening and searching quick.
    """

    def __init__(
        self,
        embedder: Embedder,
        gallery: AnyGallery,
        rules: Rules | None = None,
        fitted: Fitted | None = None,
        *,
        extra: Labelled | None = None,
        folder: Path | None = None,
    ) -> None:
        gallery.require(embedder.id)
        self.embedder = embedder
        self.gallery = gallery
        self.rules = rules or Rules()
        self.folder = folder
        self.geometry = Geometry(gallery)
        self._records = gallery.landmarks()
        if folder is None:
            self._use(GalleryIndex.of(gallery.table()), None, fitted, extra)
            return
        try:
            self._use(*open_index(folder, gallery), fitted, extra)
        except SegmentError as error:
            self._without_segments(error, fitted)

    def _use(
        self,
        index: GalleryIndex,
        prepared: Prepared | None,
        fitted: Fitted | None,
        extra: Labelled | None = None,
    ) -> None:
        self.index = index
        if prepared is None:
            self.folder = None  # no segment files are used
        self.fitted = fitted or self._fit(extra)
        self.decider = Decider(index, self.rules, self.fitted, self.geometry, prepared)
        self.places = Places.of(index, self._records)

    def _fit(self, extra: Labelled | None) -> Fitted:
        from . import fitting

        index = self.index
        if isinstance(index.vectors, FarRows):
            require_plain(self.rules)
            index = sampled(index)
        return fitting.fit(index, self.rules, extra, geometry=self.geometry)

    def _without_segments(self, error: SegmentError, fitted: Fitted | None) -> None:
        """A segment file turned out to be damaged: go on with the gallery itself."""
        if self.folder is None:
            raise error
        tell(error, self.folder)
        self.folder = None
        self._use(GalleryIndex.of(self.gallery.table()), None, fitted)

    @property
    def table(self) -> GalleryTable:
        """What the gallery holds beside vectors, read anew."""
        table = self.gallery.table()
        return replace(table, vectors=table.vectors[:0])

    def check_segments(self) -> None:
        """Read every block of the segment files now, and do without them where one is damaged:
        for work that reads vectors beside `answer`.
        """
        if self.folder is not None:
            try:
                check_segments(self.folder / SEGMENTS)
            except SegmentError as error:
                self._without_segments(error, self.fitted)

    def with_rules(self, rules: Rules) -> Recognizer:
        """The same gallery under other rules, fitted anew."""
        return Recognizer(self.embedder, self.gallery, rules)

    def __call__(self, photo: str | Path | bytes | Image, *, evidence: bool = False) -> Prediction:
        """Answer one photo. Raises ImageError when it cannot be decoded.

        evidence: compare by geometry even where the answer is sure without: it tells where in
          the photo the landmark stands, and which others do. The score stays what it was.
        """
        image = self.decode(photo)
        place = self.places.of_photo(photo) if self.rules.location_km else None
        return self.predict(
            self.embedder([image]), images=[image], places=[place], evidence=evidence
        )[0]

    def decode(self, photo: str | Path | bytes | Image) -> Image:
        """The pixels that a photo is embedded and compared from."""
        if isinstance(photo, np.ndarray):
            return photo
        return read_image(photo, short_side=self.short_side)

    @cached_property
    def short_side(self) -> int:
        """Pixels of the short side that a photo is decoded at, or more, as the gallery's were: more
        of them where it keeps local features.
        """
        few = [str(one) for one in self.index.ids[:FEW]]
        features = any(one is not None for one in self.geometry.of(few))
        return max(self.embedder.short_side, SIDE if features else 0)

    def predict(
        self,
        vectors: Vectors,
        *,
        images: Sequence[Image] | None = None,
        places: Sequence[tuple[float, float] | None] | None = None,
        matches: int = 5,
        evidence: bool = False,
    ) -> list[Prediction]:
        """(Q, D) unit rows → one Prediction each, with that many nearest photos.

        images: of the queries; without them nothing is compared by geometry. places: latitude
          and longitude where each was taken; used only when the rules have `location_km`.
        """
        answers = self.answer(vectors, images=images, places=places, evidence=evidence)
        shapes = None if images is None else [image.shape[:2] for image in images]
        return [
            self._prediction(answers, row, matches, shapes[row] if shapes else None)
            for row in range(len(vectors))
        ]

    def answer(
        self,
        vectors: Vectors,
        *,
        images: Sequence[Image] | None = None,
        places: Sequence[tuple[float, float] | None] | None = None,
        evidence: bool = False,
    ) -> Answers:
        """`predict` as columns, before anything is put into words."""
        try:
            return self._answer(vectors, images, places, evidence)
        except SegmentError as error:
            self._without_segments(error, self.fitted)
            return self._answer(vectors, images, places, evidence)

    def _answer(
        self,
        vectors: Vectors,
        images: Sequence[Image] | None,
        places: Sequence[tuple[float, float] | None] | None,
        evidence: bool,
    ) -> Answers:
        look: Look | None = None
        if images is not None:
            look = lambda row: query_keypoints(images[row])  # noqa: E731
        prior = None
        if places is not None and self.rules.location_km:
            prior = self.places.prior(places, self.rules.location_km)
        return self.decider(vectors, look=look, prior=prior, evidence=evidence)

    def titles(self) -> dict[str, str]:
        """How landmarks are called, of those that have a title beside their label."""
        return {n: r.title for n, r in self._records.items() if r.title}

    def save(self, folder: str | Path) -> None:
        """Write everything into one folder. Raises OptionError when it holds a gallery already."""
        folder = Path(folder)
        if has_gallery(folder):
            raise OptionError(f"{folder}: holds a gallery already; choose a new folder")
        if isinstance(self.gallery, Gallery):
            self.gallery.copy_to(folder / FILE).close()
        else:
            with Gallery.create(folder / FILE, self.embedder.id, self.embedder.dim) as copy:
                copy_gallery(self.gallery, copy)
        self.embedder.save(folder / "embedder")
        self.save_settings(folder)
        with Gallery.open(folder / FILE) as gallery:
            refresh_segments(folder, gallery)

    def save_settings(self, folder: Path) -> None:
        """Write the rules and what was fitted only."""
        write_settings(folder, self.rules, self.fitted, self.gallery.generation)

    def _prediction(
        self, answers: Answers, row: int, matches: int, shape: tuple[int, ...] | None
    ) -> Prediction:
        code, second = answers.codes[row], answers.second_codes[row]
        guess = self.index.names[code] if code >= 0 else None
        confidence, score = float(answers.confidence[row]), float(answers.scores[row])
        decision = self.decider.decide(confidence, score) if code >= 0 else "no_landmark"
        return Prediction(
            landmark=guess if decision == "landmark" else None,
            decision=decision,
            confidence=confidence,
            score=score,
            guess=guess,
            matches=self._matches(answers, row, matches),
            second=self.index.names[second] if second >= 0 else None,
            landmarks=seen_landmarks(self.decider, answers, row, shape)
            if decision == "landmark" else (),
        )  # fmt: skip

    def _matches(self, answers: Answers, row: int, most: int) -> tuple[Match, ...]:
        found = answers.found.neighbours
        places = np.flatnonzero(found.rows[row] >= 0)[:most]
        inliers = answers.inliers[row]
        return tuple(
            Match(
                self.index.ids[found.rows[row, i]],
                self.index.names[answers.found.codes[row, i]],
                float(found.similarity[row, i]),
                int(inliers[i]) if inliers[i] >= 0 else None,
            )
            for i in places
        )


def build(
    embedder: Embedder,
    photos: Photos,
    *,
    distractors: Photos | None = None,
    rules: Rules | None = None,
) -> Recognizer:
    """Index photos (and a bank of distractors) in memory. `Recognizer.save` keeps it.

    Raises DataError naming the first reasons when not one photo could be read.
    """
    gallery = Gallery.create(None, embedder.id, embedder.dim)
    features = (rules or Rules()).verify > 0
    failures = fill_gallery(embedder, merged(photos, distractors), gallery, features=features)
    require_photos(gallery, failures)
    return Recognizer(embedder, gallery, rules)


def load(folder: str | Path, *, rules: Rules | None = None, device: str = "auto") -> Recognizer:
    """Open a folder written by `Recognizer.save` or `whichlandmark index`.

    rules: other rules than the stored ones; what they need is then fitted anew. Photos that were
    added or removed since count at once; what was fitted stays until `tune` or `index` runs.
    Raises GalleryError or DataError.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such recognizer folder; make one with `whichlandmark index`")
    gallery = gallery_in(folder)
    embedder = load_embedder(folder / "embedder", device=device)
    stored, fitted, _ = read_settings(folder)
    if rules and rules != stored:
        fitted = kept_fit(stored, rules, fitted)
    return Recognizer(embedder, gallery, rules or stored, fitted, folder=folder)
