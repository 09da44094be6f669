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


def write_colour_world(folder: Path) -> Path:
    """Fill a folder with gallery/ (4 landmarks × 6 photos), bank/ (10 distractors) and queries.csv
    (12 photos of these landmarks, 2 of an unknown one, 4 without a landmark).
    """
    rows = []
    for code in range(4):
        for i in range(6):
            write_photo(folder / "gallery" / f"place {code}" / f"{i}.jpg", picture(code, i))
        for i in range(3):
            path = write_photo(folder / "queries" / f"{code}-{i}.jpg", picture(code, 50 + i))
            rows.append((f"q{code}{i}", path, f"place {code}"))
    for i in range(10):
        write_photo(folder / "bank" / f"{i}.jpg", picture(100 + i, i))
    for i in range(6):
        path = write_photo(folder / "queries" / f"none-{i}.jpg", picture(200 + i, i))
        rows.append((f"n{i}", path, "elsewhere" if i < 2 else ""))
    lines = [f"{name},{path.relative_to(folder)},{landmark}" for name, path, landmark in rows]
    (folder / "queries.csv").write_text("\n".join(["id,path,landmark", *lines]) + "\n")
    return folder
