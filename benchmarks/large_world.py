"""Draw a world of thousands of landmarks with small photos, once, for benchmarks of training.

    python benchmarks/large_world.py DIR [--landmarks 2000] [--size 96]

Writes train.csv, queries.csv (known, unknown and no landmark), unseen.csv (landmarks that train.csv
lacks) and the photos. Half of the landmarks come from each of two drawing seeds, because one seed
draws at most 1,200 different ones. Drawing goes on where it was interrupted; 22,400 photos take
about two minutes of processor time.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from whichlandmark.core.files import atomic_file, write_json
from whichlandmark.core.images import read_image
from whichlandmark.core.types import Image, Photos
from whichlandmark.data.synthetic import DrawnWorld, Shot, photo_bytes
from whichlandmark.data.synthetic.families import landmark_name
from whichlandmark.data.table import read_photos, write_photos

SEEDS = (11, 12)  # of the drawings
TRAINING, QUERIES = 8, 2  # photos of each known landmark
UNSEEN_PHOTOS = 4  # of each landmark that is not trained on


@dataclass(frozen=True, kw_only=True)
class LargeWorld:
    """Options: known landmarks, unseen ones, photos without a landmark, pixels, drawing seeds."""

    landmarks: int = 2000
    unseen: int = 300
    scenes: int = 1200
    size: int = 96
    seeds: tuple[int, int] = SEEDS

    def label(self, place: int) -> str:
        """The name of landmark `place`: known ones first, then the unseen ones."""
        seed, number = self._drawn(place)
        return f"{landmark_name(seed, number)} {seed}"

    def _drawn(self, place: int) -> tuple[int, int]:
        return self.seeds[place % 2], place // 2

    def shots(self, place: int) -> list[tuple[DrawnWorld, Shot]]:
        """The photos of a landmark; for a place beyond the landmarks, one without any."""
        if place >= self.landmarks + self.unseen:
            world = DrawnWorld(size=self.size, seed=self.seeds[0])
            scene = place - self.landmarks - self.unseen
            return [(world, Shot(path=f"photos/none/{scene:05}.jpg", key=f"scene {scene}"))]
        seed, number = self._drawn(place)
        world = DrawnWorld(size=self.size, seed=seed)
        count = TRAINING + QUERIES if place < self.landmarks else UNSEEN_PHOTOS
        return [
            (world, Shot(path=f"photos/{place:04}/{i}.jpg", key=f"landmark {number}/photo {i}",
                         number=number, label=self.label(place)))
            for i in range(count)
        ]  # fmt: skip


def draw_large_world(root: Path, world: LargeWorld, *, workers: int = 2) -> float:
    """Draw what is missing; returns the seconds that it took."""
    started = time.monotonic()
    if not (root / "world.json").exists():
        root.mkdir(parents=True, exist_ok=True)
        last = world.landmarks + world.unseen + world.scenes
        parts = [range(first, min(first + 20, last)) for first in range(0, last, 20)]
        draw = partial(_draw, root, world)
        if workers == 1:
            list(map(draw, parts))
        else:
            spawn = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
                list(pool.map(draw, parts))
        _write_tables(root, world)
        write_json(root / "world.json", vars(world))
    return time.monotonic() - started


def _draw(root: Path, world: LargeWorld, places: range) -> None:
    for place in places:
        for drawn, shot in world.shots(place):
            if not (root / shot.path).exists():
                with atomic_file(root / shot.path) as temporary:
                    temporary.write_bytes(photo_bytes(drawn, shot))


def _write_tables(root: Path, world: LargeWorld) -> None:
    parts: dict[str, list[Shot]] = {"train": [], "queries": [], "unseen": []}
    for place in range(world.landmarks + world.unseen + world.scenes):
        shots = [shot for _, shot in world.shots(place)]
        if place < world.landmarks:
            parts["train"] += shots[:TRAINING]
            parts["queries"] += shots[TRAINING:]
        else:
            parts["queries"] += shots
            parts["unseen"] += [shot for shot in shots if shot.label]
    for name, part in parts.items():
        table = Photos.of_columns(
            [shot.id for shot in part], [str(root / shot.path) for shot in part],
            [shot.label for shot in part],
        )  # fmt: skip
        write_photos(root / f"{name}.csv", table)


class PixelStore:
    """All photos of a drawn world, decoded once into one file that is mapped into memory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        if not (root / "shapes.npy").exists():
            self._decode()
        self.pixels = np.load(root / "pixels.npy", mmap_mode="r")
        self.shapes: NDArray[np.int64] = np.load(root / "shapes.npy")
        self.starts = np.cumsum([0, *np.prod(self.shapes, axis=1)])
        self.row = {id_: i for i, id_ in enumerate(self._table().ids)}

    def _table(self) -> Photos:
        tables = [read_photos(self.root / f"{name}.csv") for name in ("train", "queries")]
        return Photos.of_columns(
            *([value for t in tables for value in getattr(t, name)]
              for name in ("ids", "paths", "landmarks"))
        )  # fmt: skip

    def _decode(self) -> None:
        images = [read_image(path) for path in self._table().paths]
        np.save(self.root / "pixels.npy", np.concatenate([image.ravel() for image in images]))
        np.save(self.root / "shapes.npy", np.array([image.shape for image in images]))

    def image(self, photo_id: str) -> Image:
        """(H, W, 3) uint8."""
        row = self.row[photo_id]
        flat = self.pixels[self.starts[row] : self.starts[row + 1]]
        return np.asarray(flat.reshape(self.shapes[row]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--landmarks", type=int, default=2000)
    parser.add_argument("--size", type=int, default=96)
    options = parser.parse_args()
    world = LargeWorld(landmarks=options.landmarks, size=options.size)
    seconds = draw_large_world(options.folder.resolve(), world)
    print(f"{seconds:.0f} s, {sum(1 for _ in options.folder.rglob('*.jpg')):,} photos")


if __name__ == "__main__":
    main()
