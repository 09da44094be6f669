"""Recognize every photo of a folder and write one csv row per photo. Photos are not changed.

python examples/recognize_folder.py paris.wl holiday/ labels.csv
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import whichlandmark as wl


def main(recognizer: str, folder: str, out: str) -> None:
    opened = wl.load(recognizer)
    with open(out, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["photo", "landmark", "decision", "confidence"])
        for photo in wl.read_folder(folder, labelled=False):
            try:
                answer = opened(photo.path)
            except wl.WhichLandmarkError as error:
                print(error, file=sys.stderr)
                continue
            row = [photo.id, answer.landmark or "", answer.decision, f"{answer.confidence:.3f}"]
            writer.writerow(row)


if __name__ == "__main__":
    main(*map(str, map(Path, sys.argv[1:4])))
