"""Which photos a drawn world has, before a single one is drawn."""

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


@dataclass(frozen=True, kw_only=True)
class DrawnWorld:
    """What to draw. Equal options give byte-identical files on every machine.

    landmarks: known landmarks, those of photos.csv; unknown_landmarks: of queries only.
    photos: training photos before the mess, a long tail over the landmarks.
    queries, unknown_queries, nonlandmark_queries: photos of known landmarks, of unknown ones,
      and of none. distractors: photos of none, for the bank.
    size: pixels of the long side.
    mislabelled … corrupt: photos of each kind of mess added, as shares of `photos`.
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
        if not 2 <= self.landmarks + self.unknown_landmarks <= MOST or self.landmarks < 2:
            raise OptionError(
                f"{self.landmarks} known and {self.unknown_landmarks} unknown landmarks given; "
                f"expected at least 2 known ones and at most {MOST} in all"
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


MOST = 1200  # landmarks; the smallest family has combinations for so many


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One photo to draw.

    path: relative to the world's folder. key: names the photo's random choices; photos with
    the same key and number are the same picture. number: the landmark shown, or −1.
    label: the landmark as the table has it, "" = none. original: the id a duplicate copies.
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
    """The training part: landmark by landmark its good photos, then its share of the mess."""
    counts = photos_per_landmark(world)
    good = [
        [_training_shot(world, number, place) for place in range(count)]
        for number, count in enumerate(counts)
    ]
    number_of = {_slug(_name(world, n)): n for n in range(world.landmarks)}
    for shot in _mess(world, good):
        number = number_of[shot.path]
        good[number].append(replace(shot, path=_path(world, number, len(good[number]))))
    return [shot for shots in good for shot in shots]


def photos_per_landmark(world: DrawnWorld) -> list[int]:
    """How many good photos each landmark has: rank r (from 0) in proportion to 1 / (r + 6)."""
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


def _mess(world: DrawnWorld, good: list[list[Shot]]) -> list[Shot]:
    """The messy photos; `path` holds only the folder, the number comes later."""
    chance = SeededRandom(world.seed, "mess")
    flat = [shot for shots in good for shot in shots]
    shots = []
    for i in range(round(world.mislabelled * world.photos)):
        shots.append(_mislabelled(world, chance, i))
    for i in range(round(world.indoor * world.photos)):
        number = chance.pick([s.number for s in flat])
        shots.append(
            _astray(world, number, Shot(path="", key=f"indoor {i}", kind="indoor", indoor=True))
        )
    for kind, share in (("duplicate", world.duplicate), ("near_duplicate", world.near_duplicate)):
        for source in chance.shuffled(flat)[: round(share * world.photos)]:
            copy = replace(source, kind=kind, original=source.id)  # type: ignore[arg-type]
            shots.append(_astray(world, source.number, copy))
    for i in range(round(world.corrupt * world.photos)):
        number = chance.pick([s.number for s in flat])
        key = f"landmark {number}/corrupt {i}"
        bad = Shot(
            path="", key=key, number=number, kind="corrupt", damage=DAMAGES[i % len(DAMAGES)]
        )
        shots.append(_astray(world, number, bad))
    return shots


def _mislabelled(world: DrawnWorld, chance: SeededRandom, i: int) -> Shot:
    """A photo of another landmark; every other one of a look-alike where there is one."""
    number = chance.whole(0, world.landmarks - 1)
    others = [n for n in range(world.landmarks) if n != number]
    alike = [n for n in others if (n - number) % len(FAMILIES) == 0]
    true = chance.pick(alike if alike and i % 2 else others)
    shot = Shot(path="", key=f"landmark {true}/mislabelled {i}", number=true, kind="mislabelled")
    return _astray(world, number, shot)


def _astray(world: DrawnWorld, number: int, shot: Shot) -> Shot:
    """The shot filed under landmark `number`."""
    name = _name(world, number)
    return replace(shot, path=_slug(name), label=name)


def distractor_shots(world: DrawnWorld) -> list[Shot]:
    """The distractor bank."""
    return [
        Shot(path=f"distractors/{i + 1:05d}.jpg", key=f"distractor {i}")
        for i in range(world.distractors)
    ]


def query_shots(world: DrawnWorld) -> list[Shot]:
    """The queries, shuffled, so that file names tell nothing."""
    shots = []
    unknown = range(world.landmarks, world.landmarks + world.unknown_landmarks)
    for count, numbers in (
        (world.queries, range(world.landmarks)),
        (world.unknown_queries, unknown),
    ):
        for i in range(count):
            number = SeededRandom(world.seed, f"query {numbers.start} {i}").pick(numbers)
            label = _name(world, number)
            shots.append(
                Shot(path="", key=f"landmark {number}/query {i}", number=number, label=label)
            )
    for i in range(world.nonlandmark_queries):
        shots.append(Shot(path="", key=f"nonlandmark query {i}"))
    order = SeededRandom(world.seed, "query order").shuffled(shots)
    return [replace(shot, path=f"queries/{i + 1:05d}.jpg") for i, shot in enumerate(order)]


def _training_shot(world: DrawnWorld, number: int, place: int) -> Shot:
    return Shot(
        path=_path(world, number, place), key=f"landmark {number}/photo {place}", number=number,
        label=_name(world, number),
    )  # fmt: skip


def _path(world: DrawnWorld, number: int, place: int) -> str:
    return f"photos/{_slug(_name(world, number))}/{place + 1:04d}.jpg"


def _name(world: DrawnWorld, number: int) -> str:
    return landmark_name(world.seed, number)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower())
