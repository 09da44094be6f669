"""A small photo library in a fake Immich, and a recognizer that knows four places of it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from PIL import Image as Pillow

from tests.support.fake_immich import KEY, PARTNER, FakeImmich
from tests.support.photos import photos_of, picture, write_colour_world
from whichlandmark.features.embedders.histogram import HistogramEmbedder
from whichlandmark.gallery.records import LandmarkRecord
from whichlandmark.library.immich import ImmichOptions, ImmichRun, label_immich
from whichlandmark.library.immich_api import ImmichApi
from whichlandmark.library.immich_client import Connection
from whichlandmark.library.immich_key import ApiKey
from whichlandmark.library.immich_state import ImmichState
from whichlandmark.library.immich_undo import ImmichUndo, undo_immich
from whichlandmark.recognition.folder.load import build
from whichlandmark.recognition.recognizer import Recognizer
from whichlandmark.recognition.rules import Rules

RECORDS = {
    "place 0": LandmarkRecord("place 0", title="Eiffel Tower", names={"fr": "Tour Eiffel"},
                              latitude=48.858222, longitude=2.2945),
    "place 1": LandmarkRecord("place 1", title="Gate A/B", latitude=52.5163, longitude=13.3777),
    "place 2": LandmarkRecord("place 2", title="Kölner Dom"),
}  # fmt: skip


class NoWait:
    """A clock whose waits end at once."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


def make_recognizer(folder: Path) -> Recognizer:
    """A recognizer of the colour world; places 0 to 2 have titles, 0 and 1 a position."""
    world = write_colour_world(folder)
    distractors = photos_of(world / "bank", landmarks=False)
    made = build(
        HistogramEmbedder(), photos_of(world / "gallery"), distractors=distractors,
        rules=Rules(verify=0),
    )  # fmt: skip
    return replace(made, records=RECORDS)


def jpeg(hue: int, seed: int = 70) -> bytes:
    """The preview of a photo of "place HUE"; from 200 on, one without a landmark."""
    file = io.BytesIO()
    Pillow.fromarray(picture(hue, seed)).save(file, "JPEG", quality=92)
    return file.getvalue()


def fill(fake: FakeImmich) -> FakeImmich:
    """Photos of places 0 to 3 and of none, and what must be left alone."""
    for code in range(4):
        for i in range(2):
            fake.add(
                f"{code}-{i}.jpg", jpeg(code, 70 + i), taken=f"2020-0{code + 1}-01T0{i}:00:00.000Z"
            )
    fake.add("none.jpg", jpeg(201), taken="2019-01-01T00:00:00.000Z")
    fake.add("phone.HEIC", jpeg(0, 80), taken="2021-06-01T00:00:00.000Z")
    placed = fake.add("placed.jpg", jpeg(0, 81), latitude=1.5, longitude=2.5, description="mine")
    fake.tag(placed, "holiday")
    fake.add("zero.jpg", jpeg(1, 82), latitude=0, longitude=0)
    fake.add("film.mp4", jpeg(0, 83), type="VIDEO")
    fake.add("trashed.jpg", jpeg(0, 84), trashed=True)
    fake.add("archived.jpg", jpeg(0, 85), visibility="archive")
    fake.add("partner.jpg", jpeg(0, 86), owner=PARTNER)
    return fake


@contextmanager
def opened(fake: FakeImmich, folder: Path, *, key: str = KEY) -> Iterator[ImmichApi]:
    """The API of a running fake, with a key from a file in `folder`."""
    file = folder / "key.txt"
    file.write_text(f"{key}\n")
    file.chmod(0o600)
    with Connection(fake.base, ApiKey.read(file), clock=NoWait()) as connection:
        yield ImmichApi(connection)


def label(
    fake: FakeImmich,
    folder: Path,
    recognizer: Recognizer,
    *,
    above: float | None = 0.5,
    **more: object,
) -> ImmichRun:
    """One run, with its state in `folder`."""
    options = ImmichOptions(above=above, **more)  # type: ignore[arg-type]
    with opened(fake, folder) as api, state_of(api, folder) as state:
        return label_immich(api, state, recognizer, options)


def undo(fake: FakeImmich, folder: Path, *, root: str = "landmark") -> ImmichUndo:
    """One undo, with its state in `folder`."""
    with opened(fake, folder) as api, state_of(api, folder) as state:
        return undo_immich(api, state, root=root)


@contextmanager
def state_of(api: ImmichApi, folder: Path) -> Iterator[ImmichState]:
    address, user = api.connection.address, api.server.user
    with ImmichState.open(address, user, folder / "state") as state:
        yield state
