"""Recognize every photo of a folder and count the photos of each landmark; photos are not changed.

    python examples/recognize_folder.py paris.wl holiday/

`whichlandmark recognize holiday/ -r paris.wl --csv labels.csv` writes one row for each photo.
"""

from __future__ import annotations

import sys
from collections import Counter

import whichlandmark as wl


def main(recognizer: str, folder: str) -> None:
    opened = wl.load(recognizer)
    photos = wl.read_folder(folder, labelled=False)
    titles = opened.titles()
    counts: Counter[str] = Counter()
    for answer in opened(photos):  # embedded several at a time; a damaged photo is a "failed" one
        if answer.error:
            print(answer.error, file=sys.stderr)
        counts[titles.get(answer.landmark or "", answer.landmark) or answer.decision] += 1
    for name, count in counts.most_common():
        print(f"{count:6} {name}")
    for path, reason in photos.left_out.items():
        print(f"{path}: {reason}", file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:3])
