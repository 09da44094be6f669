"""Small photos written to disk, whose colours the histogram embedder distinguishes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from whichlandmark.core.types import Image, Photo, Photos


def picture(hue: int, seed: int, size: tuple[int, int] = (60, 80)) -> Image:
    """(H, W, 3) uint8 noise around a colour that depends on `hue`."""
    rng = np.random.default_rng([hue, seed])
    base = np.random.default_rng(hue).integers(30, 226, 3)
    noise = rng.integers(-25, 26, (*size, 3))
    return np.clip(base + noise, 0, 255).astype(np.uint8)


def write_photo(path: Path, image: Image) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(image).save(path, quality=92)
    return path


def photos_of(folder: Path, landmarks: bool = True) -> Photos:
    """A table of a folder's photos, for tests that do not test `read_folder`."""
    paths = sorted(folder.rglob("*.jpg"))
    return Photos.of(
        Photo(str(p.relative_to(folder.parent)), p, p.parent.name if landmarks else None)
        for p in paths
    )
