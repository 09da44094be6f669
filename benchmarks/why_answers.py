"""Whether what an explanation says holds: details that agree by chance, sentences, time.

    python benchmarks/why_answers.py paris.wl photos/ [--part train --every 2]

photos/ has PART/<landmark>/ with landmarks of the gallery, or PART/ without any. Prints how many
inliers photos of different landmarks have and those of the same one, which sentences come how often
in which tone, and the time of an explanation beside that of an answer.
"""

from __future__ import annotations

import argparse
import re
import time
from collections import Counter
from pathlib import Path

import numpy as np

import whichlandmark
from whichlandmark.recognition.candidates import CHANCE_INLIERS
from whichlandmark.recognition.explanation.explain import explain_answer
from whichlandmark.recognition.explanation.sentences import SURE

PHOTOS = {".jpg", ".jpeg", ".png", ".webp"}


def tone(decision: str, confidence: float) -> str:
    if decision == "landmark":
        return "sure" if confidence >= SURE else "likely"
    return "maybe" if decision == "uncertain" else "none"


def shares(name: str, inliers: list[int]) -> None:
    """Print which share of pairs has more inliers than each number."""
    counts = np.array(inliers)
    if not len(counts):
        return
    above = ", ".join(f"{n}: {np.mean(counts > n):.4f}" for n in range(4, 11))
    print(f"{name}: {len(counts)} pairs, most {counts.max()}, share above {above}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("recognizer", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--part", default="query")
    parser.add_argument("--every", type=int, default=1, help="use every N-th photo")
    given = parser.parse_args()
    recognizer = whichlandmark.load(given.recognizer)
    labels = set(map(str, recognizer.index.names))
    files = sorted(p for p in (given.photos / given.part).rglob("*") if p.suffix.lower() in PHOTOS)
    other: list[int] = []
    same: list[int] = []
    told: Counter[tuple[str, str]] = Counter()
    times: dict[str, list[float]] = {"answer": [], "explanation": []}
    for path in files[:: given.every]:
        photo = recognizer.read(path)
        queries = recognizer.embed([photo])
        began = time.process_time()
        recognizer.answer(queries)
        between = time.process_time()
        answers = recognizer.answer(queries, evidence=True)
        why = explain_answer(recognizer, answers, 0, photo)
        times["answer"].append(between - began)
        times["explanation"].append(time.process_time() - between)
        truth = path.parent.name if path.parent.name in labels else ""
        for one in why.references:
            if one.inliers is not None:
                (same if one.landmark == truth else other).append(one.inliers)
        words = re.sub(r"\d+", "n", why.why)
        for name in sorted(labels, key=len, reverse=True):
            words = words.replace(name.replace("_", " "), "X")
        told[tone(why.decision, why.confidence), words] += 1
    print(f"{given.part}: {len(files[:: given.every])} photos; chance is up to {CHANCE_INLIERS}")
    shares("different landmarks", other)
    shares("the same landmark", same)
    for (kind, words), count in sorted(told.items(), key=lambda item: (item[0][0], -item[1])):
        print(f"{count:5} {kind:6} {words}")
    for name, seconds in times.items():
        print(f"{name}: median {1000 * np.median(seconds):.1f} ms of processor time, decoded")


if __name__ == "__main__":
    main()
