"""The photos of a synthetic world: how many, of which landmarks, and with which planted errors.

Nothing is drawn in this module.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from ...core.errors import OptionError
from .families import FAMILIES, landmark_name
from .seeded_random import SeededRandom

Kind = Literal["good", "mislabelled", "duplicate", "near_duplicate", "indoor", "corrupt"]

Damage = Literal["truncated", "text", "empty"]

DAMAGES: tuple[Damage, ...] = ("truncated", "text", "empty")

MAX_LANDMARKS = 1200  # in all; the smallest family has enough combinations of options for these


@dataclass(frozen=True, kw_only=True)
class DrawnWorld:
    """Options of a synthetic world. Equal options give byte-identical files on every machine.

    Attributes:
        landmarks: known landmarks, those of photos.csv.
        unknown_landmarks: landmarks that only queries show.
        photos: good training photos, distributed over the landmarks with a long tail.
        queries: query photos of known landmarks.
        unknown_queries: query photos of unknown landmarks.
        nonlandmark_queries: query photos without a landmark.
        distractors: photos without a landmark for the gallery.
        size: pixels of the long side, 64 to 1024.
        seed: another seed draws other landmarks and photos.
        mislabelled: training photos of another landmark, added as a share of `photos`, 0 to 1.
        duplicate: byte-identical copies of training photos, as a share of `photos`.
        near_duplicate: slightly cropped and stronger compressed copies, as a share of `photos`.
        indoor: photos of rooms, labelled with a landmark, as a share of `photos`.
        corrupt: files that cannot be decoded, as a share of `photos`.
    """

    landmarks: int = 48
    unknown_landmarks: int = 12
    photos: int = 1800
    queries: int = 360
    unknown_queries: int = 90
    nonlandmark_queries: int = 180
    distractors: int = 300
    size: int = 192
    seed: int = 0
    mislabelled: float = 0.03
    duplicate: float = 0.02
    near_duplicate: float = 0.02
    indoor: float = 0.03
    corrupt: float = 0.005

    def __post_init__(self) -> None:
        if not 2 <= self.landmarks + self.unknown_landmarks <= MAX_LANDMARKS or self.landmarks < 2:
            raise OptionError(
                f"{self.landmarks} known and {self.unknown_landmarks} unknown landmarks given; "
                f"expected at least 2 known ones and at most {MAX_LANDMARKS} in all"
            )
        if self.photos < 2 * self.landmarks:
            raise OptionError(
                f"{self.photos} photos of {self.landmarks} landmarks; expected at least 2 of each"
            )
        if not 64 <= self.size <= 1024:
            raise OptionError(f"size {self.size} given; expected 64 to 1024 pixels")
        self._check_counts()

    def _check_counts(self) -> None:
        counts = ("unknown_landmarks", "queries", "unknown_queries", "nonlandmark_queries")
        for field in (*counts, "distractors"):
            if getattr(self, field) < 0:
                raise OptionError(f"{field} {getattr(self, field)} given; expected 0 or more")
        if self.unknown_queries and not self.unknown_landmarks:
            raise OptionError("unknown_queries need unknown_landmarks of 1 or more")
        for field in ("mislabelled", "duplicate", "near_duplicate", "indoor", "corrupt"):
            if not 0.0 <= getattr(self, field) <= 1.0:
                raise OptionError(f"{field} {getattr(self, field)} given; expected a share, 0 to 1")


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One photo to draw.

    Attributes:
        path: relative to the world's folder.
        key: of the photo's random numbers; shots with equal key and number are the same picture.
        number: the landmark shown, or −1.
        label: the landmark in the table; "" = none.
        kind: "good", or the planted error.
        indoor: draw a room instead of an outdoor scene.
        damage: how the file is corrupted; None = not.
        original: for duplicates, the id of the copied photo.
    """

    path: str
    key: str
    number: int = -1
    label: str = ""
    kind: Kind = "good"
    indoor: bool = False
    damage: Damage | None = None
    original: str = ""

    @property
    def id(self) -> str:
        """The path without its suffix."""
        return self.path.removesuffix(".jpg")


def training_shots(world: DrawnWorld) -> list[Shot]:
    """The training photos: for each landmark its good photos, then those with planted errors."""
    counts = photos_per_landmark(world)
    good = [
        [_training_shot(world, number, index) for index in range(count)]
        for number, count in enumerate(counts)
    ]
    number_of = {_slug(_name(world, n)): n for n in range(world.landmarks)}
    for shot in _planted_errors(world, good):
        number = number_of[shot.path]
        good[number].append(replace(shot, path=_path(world, number, len(good[number]))))
    return [shot for shots in good for shot in shots]


def photos_per_landmark(world: DrawnWorld) -> list[int]:
    """Good photos of each landmark: 2, and the rest in proportion to 1 / (rank + 6)."""
    ranks = SeededRandom(world.seed, "popularity").shuffled(range(world.landmarks))
    weights = [1.0 / (rank + 6) for rank in ranks]
    spare = world.photos - 2 * world.landmarks
    counts, before, running = [], 0, 0.0
    for weight in weights:
        running += weight
        until = round(spare * running / sum(weights))
        counts.append(2 + until - before)
        before = until
    return counts


def _planted_errors(world: DrawnWorld, good: list[list[Shot]]) -> list[Shot]:
    """The photos with planted errors; `path` is only their folder's name so far."""
    rng = SeededRandom(world.seed, "mess")
    flat = [shot for shots in good for shot in shots]
    shots = []
    for i in range(round(world.mislabelled * world.photos)):
        shots.append(_mislabelled(world, rng, i))
    for i in range(round(world.indoor * world.photos)):
        number = rng.choice([s.number for s in flat])
        shots.append(
            _filed_under(
                world, number, Shot(path="", key=f"indoor {i}", kind="indoor", indoor=True)
            )
        )
    for kind, share in (("duplicate", world.duplicate), ("near_duplicate", world.near_duplicate)):
        for source in rng.shuffled(flat)[: round(share * world.photos)]:
            copy = replace(source, kind=kind, original=source.id)  # type: ignore[arg-type]
            shots.append(_filed_under(world, source.number, copy))
    for i in range(round(world.corrupt * world.photos)):
        number = rng.choice([s.number for s in flat])
        key = f"landmark {number}/corrupt {i}"
        bad = Shot(
            path="", key=key, number=number, kind="corrupt", damage=DAMAGES[i % len(DAMAGES)]
        )
        shots.append(_filed_under(world, number, bad))
    return shots


def _mislabelled(world: DrawnWorld, rng: SeededRandom, i: int) -> Shot:
    """A photo of another landmark; every second one shows a landmark of the same family."""
    number = rng.integer(0, world.landmarks - 1)
    others = [n for n in range(world.landmarks) if n != number]
    alike = [n for n in others if (n - number) % len(FAMILIES) == 0]
    true = rng.choice(alike if alike and i % 2 else others)
    shot = Shot(path="", key=f"landmark {true}/mislabelled {i}", number=true, kind="mislabelled")
    return _filed_under(world, number, shot)


def _filed_under(world: DrawnWorld, number: int, shot: Shot) -> Shot:
    """The shot with the folder and label of landmark `number`."""
    name = _name(world, number)
    return replace(shot, path=_slug(name), label=name)


def distractor_shots(world: DrawnWorld) -> list[Shot]:
    """The photos without a landmark for the gallery."""
    return [
        Shot(path=f"distractors/{i + 1:05d}.jpg", key=f"distractor {i}")
        for i in range(world.distractors)
    ]


def query_shots(world: DrawnWorld) -> list[Shot]:
    """The query photos in random order, so that file names do not reveal the landmarks."""
    shots = []
    unknown = range(world.landmarks, world.landmarks + world.unknown_landmarks)
    for count, numbers in (
        (world.queries, range(world.landmarks)),
        (world.unknown_queries, unknown),
    ):
        for i in range(count):
            number = SeededRandom(world.seed, f"query {numbers.start} {i}").choice(numbers)
            label = _name(world, number)
            shots.append(
                Shot(path="", key=f"landmark {number}/query {i}", number=number, label=label)
            )
    for i in range(world.nonlandmark_queries):
        shots.append(Shot(path="", key=f"nonlandmark query {i}"))
    order = SeededRandom(world.seed, "query order").shuffled(shots)
    return [replace(shot, path=f"queries/{i + 1:05d}.jpg") for i, shot in enumerate(order)]


def _training_shot(world: DrawnWorld, number: int, index: int) -> Shot:
    return Shot(
        path=_path(world, number, index),
        key=f"landmark {number}/photo {index}",
        number=number,
        label=_name(world, number),
    )


def _path(world: DrawnWorld, number: int, index: int) -> str:
    return f"photos/{_slug(_name(world, number))}/{index + 1:04d}.jpg"


def _name(world: DrawnWorld, number: int) -> str:
    return landmark_name(world.seed, number)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower())
