"""Compare sizes and numbers of keypoints: time, and how well they tell true pairs from false ones.

    python benchmarks/keypoint_sizes.py FOLDER [--pairs 900] [--only 640]

FOLDER has index/<landmark>/ and train/<landmark>/; pairs are those of keypoint_speed.py --part
train, to choose by. Prints for each choice CPU milliseconds of a photo's keypoints and of a pair,
and for inliers and agreement the AUROC and the share of true pairs above all but one in 200 of the
false ones. Tolerances grow with the size. One thread; three minutes on an idle core.
"""

from __future__ import annotations

import argparse
import importlib
import time
from pathlib import Path

import cv2
import numpy as np
from sklearn.metrics import roc_auc_score

from keypoint_speed import drawn_pairs
from whichlandmark.core.images import read_image
from whichlandmark.features.local.matching import verify_many
from whichlandmark.recognition.spatial_verification import MATCHING

# Modules, because `features.local` exports functions of the same names.
keypoints = importlib.import_module("whichlandmark.features.local.keypoints")
agreement = importlib.import_module("whichlandmark.features.local.agreement")

CHOICES = ((480, 500), (560, 650), (640, 500), (640, 650), (640, 800), (800, 1000))

TOLERANCES = {name: getattr(agreement, name) / MATCHING.size for name in ("TOLERANCE", "MIN_APART")}


def measure(pairs: list[tuple[Path, Path]], true: int, size: int, count: int) -> str:
    """The row of one choice; the first `true` pairs are true ones."""
    options = keypoints.MatchOptions(size=size, features=count, tolerance=size * 6 / 640)
    for name, share in TOLERANCES.items():
        setattr(agreement, name, share * size)
    found: dict[Path, object] = {}
    photo_ms, pair_ms, scores = [], [], []
    for path in dict.fromkeys(path for pair in pairs for path in pair):
        grey = keypoints.to_grey(read_image(path, short_side=size), options)
        began = time.process_time()
        found[path] = keypoints.keypoints(grey, options)
        photo_ms.append(1e3 * (time.process_time() - began))
    for first, second in pairs:
        began = time.process_time()
        (match,) = verify_many(found[first], [found[second]], options)
        pair_ms.append(1e3 * (time.process_time() - began))
        scores.append((match.inliers, match.agreement))
    row = f"{size} px, {count:5}: {np.median(photo_ms):5.1f} ms, pair {np.median(pair_ms):.2f} ms"
    for name, values in zip(("inliers", "agreement"), np.array(scores).T, strict=True):
        told = np.mean(values[:true] > np.quantile(values[true:], 0.995))
        area = roc_auc_score(np.arange(len(values)) < true, values)
        row += f"   {name}: AUROC {area:.3f}, told {told:.3f}"
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=lambda text: Path(text).resolve())
    parser.add_argument("--pairs", type=int, default=900, help="of each kind")
    parser.add_argument("--only", type=int, help="only choices of this size")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    true, false = drawn_pairs(given.photos, "train", given.pairs)
    for size, count in CHOICES:
        if given.only in (None, size):
            print(measure(true + false, len(true), size, count), flush=True)


if __name__ == "__main__":
    main()
