"""A small recognizer folder for server tests: painted fronts that SIFT can distinguish."""

from __future__ import annotations

import atexit
import io
import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from whichlandmark.data.folders import read_folder
from whichlandmark.gallery.records import Credit, LandmarkRecord
from whichlandmark.gallery.sqlite.store import SqliteGallery
from whichlandmark.recognition.indexing.index_photos import index_photos

LANDMARKS, PHOTOS, BANK = 4, 4, 4
GPS, ORIENTATION = 0x8825, 0x0112


def front(code: int, seed: int) -> Pillow.Image:
    """A photo of painted front number `code`, from a place that depends on `seed`."""
    rng = np.random.default_rng(code)
    whole = Pillow.new("RGB", (400, 300), tuple(int(v) for v in rng.integers(60, 200, 3)))
    pen = ImageDraw.Draw(whole)
    for _ in range(60):
        x, y = (int(v) for v in rng.integers(0, 380, 2))
        width, height = (int(v) for v in rng.integers(6, 50, 2))
        colour = tuple(int(v) for v in rng.integers(0, 255, 3))
        pen.rectangle([x, y, x + width, y + height], fill=colour)
    left, top = (int(v) for v in np.random.default_rng([code, seed]).integers(0, 30, 2))
    return whole.crop((left, top, left + 360, top + 270))


def jpeg(picture: Pillow.Image, **options: object) -> bytes:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=92, **options)
    return data.getvalue()


def with_gps(picture: Pillow.Image, words: str, orientation: int = 1) -> bytes:
    """A JPEG whose EXIF holds a latitude, a description and an orientation."""
    exif = picture.getexif()
    exif[0x010E], exif[ORIENTATION] = words, orientation
    exif.get_ifd(GPS)[2] = (48.0, 51.0, 30.0)
    return jpeg(picture, exif=exif)


def taken_at(picture: Pillow.Image, latitude: float, longitude: float) -> bytes:
    """A JPEG whose EXIF holds a full location, north and east."""
    exif = picture.getexif()
    gps = exif.get_ifd(GPS)
    gps[1], gps[2], gps[3], gps[4] = "N", (latitude, 0.0, 0.0), "E", (longitude, 0.0, 0.0)
    return jpeg(picture, exif=exif)


@cache
def made() -> Path:
    """The recognizer folder, created once per process; tests must not change it."""
    root = Path(tempfile.mkdtemp(prefix="served-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    for code in range(LANDMARKS):
        for seed in range(PHOTOS):
            # Of different quality, because two of a place may be of the same crop.
            path = root / "photos" / f"place {code}" / f"{seed}.jpg"
            _write(path, front(code, seed), quality=92 - seed)
    for code in range(BANK):
        _write(root / "bank" / f"{code}.jpg", front(50 + code, 0))
    index_photos(
        read_folder(root / "photos"), read_folder(root / "bank", labelled=False), root / "r.wl",
        "sift", progress=lambda name: lambda *numbers: None,
    )  # fmt: skip
    with SqliteGallery.open(root / "r.wl" / "gallery.sqlite") as gallery:
        record = LandmarkRecord("place 1", "First Place", {"fr": "Première Place"}, "Q243",
                                48.8583, 2.2945)  # fmt: skip
        gallery.describe([record])
        ids = list(gallery.stamps())
        by = Credit("A. Author", "CC BY 4.0", "https://creativecommons.org/licenses/by/4.0/")
        gallery.credit(dict.fromkeys(ids, by))
    return root / "r.wl"


def copied(folder: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(made(), folder / "r.wl"))


def _write(path: Path, picture: Pillow.Image, quality: int = 92) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=quality)
