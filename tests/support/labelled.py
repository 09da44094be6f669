"""A photo library whose answers a test gives, and snapshots of all that is in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from PIL import Image

from whichlandmark.core.files import local_path
from whichlandmark.gallery.records import LandmarkRecord
from whichlandmark.library.answers import LibraryAnswer, LibraryAnswers
from whichlandmark.library.journal import Journal
from whichlandmark.library.label import LabelledLibrary
from whichlandmark.library.plan import LabelSettings, Plan
from whichlandmark.recognition.rules import Rules

RECORDS = {
    "eiffel": LandmarkRecord(
        "eiffel", title="Eiffel Tower", names={"fr": "Tour Eiffel", "de": "Eiffelturm"},
        wikidata="Q243", latitude=48.8583, longitude=2.2945, city="Paris", country="France",
        country_code="FR",
    ),
    "louvre": LandmarkRecord(
        "louvre", title="Louvre", wikidata="Q19675", latitude=48.8611, longitude=2.3358,
        city="Paris", country="France", country_code="FR",
    ),
    "old_mill": LandmarkRecord("old_mill"),
}  # fmt: skip

Snapshot = dict[str, tuple[bytes | None, int, int]]


class FakeLibrary(LabelledLibrary):
    """A library with the answers that `answer` gives to the photos that are there."""

    def __init__(self, top: Path, state: Path) -> None:
        state.mkdir(parents=True, exist_ok=True)
        self.library = str(top)
        self.given: dict[str, dict[str, Any]] = {}
        self.answers = cast(LibraryAnswers, self)
        self.recognizer = self
        self.records = RECORDS
        self.gallery = SimpleNamespace(name="paris.wl")
        self.index = SimpleNamespace(names=[*RECORDS])
        self.rules = Rules()
        self.left_out: dict[str, str] = {}
        self.journal = Journal(state, self.library)

    def __exit__(self, *error: object) -> None:
        self.journal.close()

    def answer(
        self, photo: str, landmark: str | None, confidence: float = 0.99, *,
        others: dict[str, float] | None = None, decision: str = "landmark", error: str = "",
    ) -> None:  # fmt: skip
        """Give the answer to a photo."""
        if error:
            self.given[photo] = {"error": {"message": error}}
            return
        found: dict[str | None, float] = {landmark: confidence}
        found.update(others or {})
        landmarks = [{"landmark": name, "confidence": sure} for name, sure in found.items()]
        self.given[photo] = {
            "decision": decision if landmark else "no_landmark", "guess": landmark,
            "confidence": confidence, "landmarks": landmarks if decision == "landmark" else [],
        }  # fmt: skip

    def rows(self, *, language: str = "") -> Iterator[LibraryAnswer]:
        for photo, answer in sorted(self.given.items()):
            file = os.path.join(self.library, photo)
            if os.path.exists(local_path(file)):
                yield LibraryAnswer(photo, file, answer, np.empty(0, np.float16))

    def planned(self, **settings: Any) -> Plan:
        return self.plan("paris.wl", LabelSettings(**{"above": 0.9, **settings}))

    def written(self, **settings: Any) -> dict[str, str]:
        """Plan and write; returns the failures, with paths below the library."""
        written = self.write(self.planned(**settings))
        return {os.path.relpath(path, self.library): why for path, why in written.failures.items()}


def photo(path: Path, *, gps: tuple[float, float] | None = None) -> Path:
    """Write a small JPEG, with a position if given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if gps:
        degrees = [(abs(value), 0.0, 0.0) for value in gps]
        exif[0x8825] = {
            1: "NS"[gps[0] < 0], 2: degrees[0], 3: "EW"[gps[1] < 0], 4: degrees[1],
        }  # fmt: skip
    Image.new("RGB", (8, 8), (90, 90, 200)).save(path, "JPEG", exif=exif)
    return path


def snapshot(top: Path) -> Snapshot:
    """Every file and folder below a folder: content, mode and time of last change of files."""
    found: Snapshot = {}
    for path in sorted(top.rglob("*")):
        status = path.lstat()
        plain = path.is_file() and not path.is_symlink()
        content = path.read_bytes() if plain else None
        time = status.st_mtime_ns if plain else 0
        found[os.path.relpath(path, top)] = (content, status.st_mode, time)
    return found
