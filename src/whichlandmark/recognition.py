"""Photo → Prediction: an embedder, a gallery, rules and a calibration; one folder on disk.

Folder: `gallery.sqlite`, `embedder/`, `recognizer.json` (rules and calibration).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from . import self_calibration
from .calibration import Calibration
from .embedding import Failure, fill_gallery, merged
from .errors import DataError, GalleryError, OptionError
from .files import read_json, write_json
from .gallery.index import GalleryIndex
from .gallery.store import Gallery
from .images import read_image
from .loading import load_embedder
from .options import from_json, to_json
from .scoring import Answers, Rules, Scorer
from .types import Decision, Embedder, Image, Match, Photos, Prediction, Vectors

FORMAT = 1


class Recognizer:
    """Which landmark is in this photo, or none?

    Call it with a path, a file's bytes or an (H, W, 3) uint8 RGB array; `predict` takes
    vectors that are embedded already. `calibration` None = fitted on the gallery now.
    """

    def __init__(
        self,
        embedder: Embedder,
        gallery: Gallery,
        rules: Rules | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        gallery.require(embedder.id)
        self.embedder = embedder
        self.gallery = gallery
        self.rules = rules or Rules()
        self.table = gallery.table()
        self.index = GalleryIndex.of(self.table)
        self.scorer = Scorer(self.index, self.rules)
        self.calibration = calibration or self_calibration.calibrate(self.index, self.rules)

    def with_rules(self, rules: Rules) -> Recognizer:
        """The same gallery under other rules, calibrated anew."""
        return Recognizer(self.embedder, self.gallery, rules)

    def __call__(self, photo: str | Path | bytes | Image) -> Prediction:
        """Answer one photo. Raises ImageError when it cannot be decoded."""
        image = photo if isinstance(photo, np.ndarray) else self._decode(photo)
        return self.predict(self.embedder([image]))[0]

    def predict(self, vectors: Vectors, *, matches: int = 5) -> list[Prediction]:
        """(Q, D) unit rows → one Prediction each, with that many nearest photos."""
        answers = self.scorer(vectors, depth=matches)
        confidences = self.confidence(answers)
        return [
            self._prediction(answers, row, float(confidences[row])) for row in range(len(vectors))
        ]

    def confidence(self, answers: Answers) -> NDArray[np.float64]:
        """Probability that each guess is right: (Q,), 0 where there is no guess."""
        return np.where(answers.codes < 0, 0.0, self.calibration.confidence(answers.scores))

    def decide(self, confidence: float) -> Decision:
        """What is said at this confidence."""
        if confidence >= self.rules.answer_above:
            return "landmark"
        return "uncertain" if confidence >= self.rules.doubt_above else "no_landmark"

    def save(self, folder: str | Path) -> None:
        """Write everything into one folder. Raises OptionError when it holds a gallery already."""
        folder = Path(folder)
        if (folder / "gallery.sqlite").exists():
            raise OptionError(f"{folder}: holds a gallery already; choose a new folder")
        self.gallery.copy_to(folder / "gallery.sqlite").close()
        self.embedder.save(folder / "embedder")
        self.save_settings(folder)

    def save_settings(self, folder: Path) -> None:
        """Write the rules and the calibration only."""
        calibration = dataclasses.asdict(self.calibration)
        write_json(
            folder / "recognizer.json",
            {
                "format": FORMAT, "rules": to_json(self.rules), "calibration": calibration,
                "generation": self.gallery.generation,
            },
        )  # fmt: skip

    def _decode(self, photo: str | Path | bytes) -> Image:
        return read_image(photo, short_side=self.embedder.short_side)

    def _prediction(self, answers: Answers, row: int, confidence: float) -> Prediction:
        found = answers.neighbours
        matches = tuple(
            Match(self.index.ids[i], self.index.names[self.index.codes[i]], float(similarity))
            for i, similarity in zip(found.rows[row], found.similarity[row], strict=True)
        )
        code = answers.codes[row]
        guess = self.index.names[code] if code >= 0 else None
        decision = self.decide(confidence)
        return Prediction(
            landmark=guess if decision == "landmark" else None,
            decision=decision,
            confidence=confidence,
            score=float(answers.scores[row]),
            guess=guess,
            matches=matches,
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
    failures = fill_gallery(embedder, merged(photos, distractors), gallery)
    require_photos(gallery, failures)
    return Recognizer(embedder, gallery, rules)


def require_photos(gallery: Gallery, failures: Sequence[Failure]) -> None:
    """Raises DataError when a gallery came out empty."""
    if gallery.count() == 0:
        reasons = "; ".join(f.reason for f in failures[:3]) or "none were given"
        raise DataError(f"no photo could be indexed: {reasons}")


def load(folder: str | Path, *, rules: Rules | None = None, device: str = "auto") -> Recognizer:
    """Open a folder written by `Recognizer.save` or `whichlandmark index`.

    rules: other rules than the stored ones; the calibration is then fitted anew, as it is
    when the gallery has changed since the stored one. Raises GalleryError or DataError.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such recognizer folder; make one with `whichlandmark index`")
    gallery = Gallery.open(folder / "gallery.sqlite")
    embedder = load_embedder(folder / "embedder", device=device)
    stored, calibration, generation = read_settings(folder)
    if (rules and rules != stored) or generation != gallery.generation:
        calibration = None
    return Recognizer(embedder, gallery, rules or stored, calibration)


def read_settings(folder: Path) -> tuple[Rules, Calibration | None, int]:
    """Stored rules, calibration and the gallery generation they belong to.

    Defaults when nothing is stored yet (an index run was interrupted).
    """
    if not (folder / "recognizer.json").exists():
        return Rules(), None, -1
    record = read_json(folder / "recognizer.json")
    try:
        if record["format"] != FORMAT:
            raise GalleryError(f"{folder}: recognizer.json of format {record['format']}, not 1")
        return (
            from_json(Rules, record["rules"]),
            from_json(Calibration, record["calibration"]),
            int(record["generation"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise GalleryError(f"{folder}: damaged recognizer.json ({error!r})") from None
