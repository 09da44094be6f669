"""Write a small drawn data set in the layout of revisited Oxford, with its ground truth."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from .photos import picture, write_photo


def ground_truth() -> dict[str, Any]:
    """Three landmarks of six photos and ten others; the third query has no easy photo."""
    names = [f"place_{code}_{i:06d}" for code in range(3) for i in range(6)]
    names += [f"other_{i:06d}" for i in range(10)]
    records = []
    for code in range(3):
        own = list(range(6 * code, 6 * code + 6))
        easy = own[:2] if code < 2 else []
        records.append(
            {
                "bbx": [10.0, 5.0, 70.0, 55.0],
                "easy": np.array(easy, dtype=np.int64),
                "hard": np.array(own[2:4], dtype=np.int64),
                "junk": np.array(own[4:], dtype=np.int64),
            }
        )
    return {"imlist": names, "qimlist": [f"query_{code}" for code in range(3)], "gnd": records}


def plain(value: Any) -> Any:
    """The same with lists in the place of arrays, for JSON."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(inner) for inner in value]
    return value.item() if isinstance(value, np.generic) else value


def write_revisited(folder: Path, name: str = "roxford5k", *, as_json: bool = False) -> Path:
    """Fill folder/NAME with jpg/ and gnd_NAME.pkl (or .json); returns folder/NAME."""
    root, truth = folder / name, ground_truth()
    for photo in truth["imlist"]:
        kind, *numbers = photo.split("_")
        code = int(numbers[0]) if kind == "place" else 100 + int(numbers[0])
        write_photo(root / "jpg" / f"{photo}.jpg", picture(code, int(numbers[-1])))
    for code, photo in enumerate(truth["qimlist"]):
        image = np.zeros((60, 80, 3), np.uint8)  # black around the box: a crop changes the answer
        image[5:55, 10:70] = picture(code, 77)[5:55, 10:70]
        write_photo(root / "jpg" / f"{photo}.jpg", image)
    if as_json:
        (root / f"gnd_{name}.json").write_text(json.dumps(plain(truth)))
    else:
        (root / f"gnd_{name}.pkl").write_bytes(pickle.dumps(truth, protocol=2))
    return root


def rotate_by_exif(path: Path) -> None:
    """Give a photo EXIF data that say it is turned; its pixels stay as they are."""
    with Pillow.open(path) as opened:
        exif = opened.getexif()
        exif[0x0112] = 6
        opened.convert("RGB").save(path, quality=92, exif=exif)
