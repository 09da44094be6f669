"""Write a small drawn data set in the layout of ILIAS; measure as its authors' script does."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from sklearn.metrics import average_precision_score

from .photos import picture, write_photo

QUERIES, POSITIVES, DISTRACTORS = (1, 2, 1), (3, 2, 4), 12


def names() -> list[str]:
    return [f"dummy_thing_{code:03d}" for code in range(len(QUERIES))]


def write_ilias(folder: Path, *, lists: bool = True) -> Path:
    """Fill folder/ilias with ilias_core/, image_ids/ and yfcc100m/; returns folder/ilias."""
    root = folder / "ilias"
    queries, positives = [], []
    for code, name in enumerate(names()):
        for i in range(QUERIES[code]):
            queries.append(f"{name}/query/Q{code:03d}_{i:02d}.jpg")
            write_photo(root / "ilias_core" / queries[-1], picture(code, 50 + i))
            box = root / "ilias_core" / queries[-1].replace(".jpg", "_bbox.txt")
            box.write_text("10 5 30 20\n40 30 10 10\n")
        for i in range(POSITIVES[code]):
            positives.append(f"{name}/pos/P{code:03d}_{i:02d}.jpg")
            write_photo(root / "ilias_core" / positives[-1], picture(code, i))
        text = root / "ilias_core" / name / "query" / f"T{code:03d}.txt"
        text.write_text("a drawn thing")
    if lists:
        ids = root / "image_ids"
        ids.mkdir()
        (ids / "image_query_ids.txt").write_text("".join(f"{each},1\n" for each in queries))
        (ids / "positive_ids.txt").write_text("".join(f"{each},0.25,7\n" for each in positives))
        (ids / "text_query_ids.txt").write_text("".join(f"{n}/query/T.txt\n" for n in names()))
        (ids / "mini_ilias_yfcc100m_ids.txt").write_text("0a0\n0a2\n0a4\n0a6\n")
    write_shard(root / "yfcc100m" / "yfcc100m-000000.tar", range(DISTRACTORS))
    return root


def write_shard(path: Path, numbers: range) -> None:
    """A WebDataset tar of drawn distractors, with the keys 0a0, 0a1, …"""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for number in numbers:
            data = io.BytesIO()
            Pillow.fromarray(picture(number % 7, 100 + number)).save(data, "JPEG")
            member = tarfile.TarInfo(f"0a{number}.jpg")
            member.size = data.tell()
            tar.addfile(member, io.BytesIO(data.getvalue()))


def authors_ap(
    instance: str, ids: list[str], scores: NDArray[np.float64], positives: list[str], k: int
) -> float:
    """One query's AP, written after `_compute_AP` of ilias-vrg/ilias, with a stable sort."""
    right = {each for each in positives if each.split("/")[0] == instance}
    order = np.argsort(-scores, kind="stable")[:k]
    truth = np.array([ids[row] in right for row in order])
    if not truth.any():
        return 0.0
    found = float(average_precision_score(truth, scores[order]))
    return found * truth.sum() / min(k, len(right))
