"""Write drawn photos in the sizes of cameras and phones, for benchmarks of decoding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps

from whichlandmark.data.synthetic.families import landmark
from whichlandmark.data.synthetic.photo import landmark_photo
from whichlandmark.data.synthetic.seeded_random import SeededRandom

QUALITY = 88
DRAWN = 1600  # pixels of the long side of a drawing; larger photos are enlarged and get noise
FILES_PER_DRAWING = 4  # slightly cropped or mirrored


def write_photos(folder: Path, count: int, long: int = 1600, short: int = 1200) -> list[Path]:
    """Write `count` JPEGs of long × short pixels, landscape and portrait; keep existing files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i:04}.jpg" for i in range(count)]
    for first in range(0, count, FILES_PER_DRAWING):
        part = paths[first : first + FILES_PER_DRAWING]
        if all(path.exists() for path in part):
            continue
        number = first // FILES_PER_DRAWING
        picture = Pillow.fromarray(
            landmark_photo(landmark(0, number % 48), SeededRandom(0, f"photo {number}"), DRAWN)
        )
        for i, path in enumerate(part):
            _sized(picture, i, (long, short)).save(path, quality=QUALITY, subsampling=2)
    return paths


def _sized(picture: Pillow.Image, variant: int, sides: tuple[int, int]) -> Pillow.Image:
    size = sides if picture.width >= picture.height else sides[::-1]
    picture = ImageOps.mirror(picture) if variant % 2 else picture
    border = 20 * (variant // 2)
    picture = picture.crop((border, border, picture.width - border, picture.height - border))
    fitted = ImageOps.fit(picture, size, Pillow.Resampling.BICUBIC)
    if max(size) <= DRAWN:
        return fitted
    grain = np.random.default_rng(variant).integers(-6, 7, (fitted.height, fitted.width, 1))
    pixels = np.asarray(fitted).astype(np.int16) + grain.astype(np.int16)
    return Pillow.fromarray(pixels.clip(0, 255).astype(np.uint8))
