"""How often each candidate landmark of an answer is right, beside the confidence it was given.

    python benchmarks/candidate_confidence.py paris.wl photos/

photos/ has query/<landmark>/, unknown/ and nonlandmark/; of the latter two no candidate is right.
Also prints how many photos of each part get a named answer, and one from a confidence of 0.8.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np

import whichlandmark
from whichlandmark.core.prediction import Prediction

PHOTOS = {".jpg", ".jpeg", ".png", ".webp"}
BINS = (0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.01)
SURE = 0.8


def table(name: str, pairs: list[tuple[float, bool]]) -> None:
    """Print, for each range of confidence, the mean and the share of right ones."""
    given, right = np.array(pairs, dtype=float).T
    print(f"{name}: {len(pairs)}, sum of confidences {given.sum():.1f}, right {right.sum():.0f}")
    for low, high in pairwise(BINS):
        inside = (given >= low) & (given < high)
        if inside.any():
            print(f"    {low:.2f}–{min(high, 1):.2f} {inside.sum():5} candidates, mean "
                  f"{given[inside].mean():.3f}, right {right[inside].mean():.3f}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("recognizer", type=Path)
    parser.add_argument("photos", type=Path, help="folder with query, unknown and nonlandmark")
    options = parser.parse_args()
    recognizer = whichlandmark.load(options.recognizer)
    first: list[tuple[float, bool]] = []
    others: list[tuple[float, bool]] = []
    for part in ("query", "unknown", "nonlandmark"):
        paths = sorted(
            path for path in (options.photos / part).rglob("*") if path.suffix.lower() in PHOTOS
        )
        answers: list[Prediction] = list(recognizer(paths))
        for path, answer in zip(paths, answers, strict=True):
            truth = path.parent.name if part == "query" else None
            found = [(confidence, name == truth) for name, confidence in answer.candidates]
            first += found[:1]
            others += found[1:]
        named = [answer for answer in answers if answer.decision == "landmark"]
        sure = sum(answer.confidence >= SURE for answer in named)
        unsure = sum(answer.decision == "uncertain" for answer in answers)
        print(f"{part}: {len(answers)} photos, {len(named)} named ({sure} from {SURE}), "
              f"{unsure} uncertain")  # fmt: skip
    table("first candidates", first)
    table("other candidates", others)


if __name__ == "__main__":
    main()
