"""Small worlds that tests share: pictures with colours to tell apart, written to disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from whichlandmark.types import Image, Photo, Photos


def picture(hue: int, seed: int, size: tuple[int, int] = (60, 80)) -> Image:
    """A noisy picture whose main colour depends on `hue`: histograms tell hues apart."""
    rng = np.random.default_rng([hue, seed])
    base = np.random.default_rng(hue).integers(30, 226, 3)
    noise = rng.integers(-25, 26, (*size, 3))
    return np.clip(base + noise, 0, 255).astype(np.uint8)


def write_photo(path: Path, image: Image) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(image).save(path, quality=92)
    return path


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small networks gain nothing from threads, and lose much where cores are shared."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def colour_world(tmp_path: Path) -> Path:
    """gallery/ of 4 landmarks × 6, bank/ of 10, queries.csv of known, unknown and none."""
    rows = []
    for code in range(4):
        for i in range(6):
            write_photo(tmp_path / "gallery" / f"place {code}" / f"{i}.jpg", picture(code, i))
        for i in range(3):
            path = write_photo(tmp_path / "asked" / f"{code}-{i}.jpg", picture(code, 50 + i))
            rows.append((f"q{code}{i}", path, f"place {code}"))
    for i in range(10):
        write_photo(tmp_path / "bank" / f"{i}.jpg", picture(100 + i, i))
    for i in range(6):
        path = write_photo(tmp_path / "asked" / f"none-{i}.jpg", picture(200 + i, i))
        rows.append((f"n{i}", path, "elsewhere" if i < 2 else ""))
    lines = [f"{name},{path.relative_to(tmp_path)},{mark}" for name, path, mark in rows]
    (tmp_path / "queries.csv").write_text("\n".join(["id,path,landmark", *lines]) + "\n")
    return tmp_path


def photos_of(folder: Path, landmarks: bool = True) -> Photos:
    """A table of a folder's pictures, for tests that need no reader."""
    paths = sorted(folder.rglob("*.jpg"))
    return Photos.of(
        Photo(str(p.relative_to(folder.parent)), p, p.parent.name if landmarks else None)
        for p in paths
    )
