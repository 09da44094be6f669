"""Measure how many mislabelled photos cleaning by neighbour support finds, and good ones it drops.

    python benchmarks/graph_cleaning.py [FOLDER]

Draws a world with known errors (24 landmarks, 900 good photos, 27 mislabelled, 27 indoors), cleans
it with each rule, and prints how many photos of each kind were dropped as unlike the landmark's
other photos. The rules share one scan and one verification; four minutes on two idle cores.
"""

from __future__ import annotations

import csv
import sys
import tempfile
from collections import Counter
from pathlib import Path

from whichlandmark.data.cleaning.clean_table import CleanTableOptions, clean_table
from whichlandmark.data.cleaning.drop import CleaningRules
from whichlandmark.data.cleaning.neighbour_support import SupportOptions
from whichlandmark.data.cleaning.reasons import UNSUPPORTED
from whichlandmark.data.synthetic.plan import DrawnWorld
from whichlandmark.data.synthetic.world import draw_world

WORLD = DrawnWorld(
    landmarks=24, photos=900, queries=60, unknown_landmarks=6, unknown_queries=10,
    nonlandmark_queries=30, distractors=60,
)  # fmt: skip
RULES = {  # trusted (of the 5 nearest), supporters, inliers
    "the rule of 2019": (0, 3, 30),
    "milder, 1 supporter of 12 inliers": (0, 1, 12),
    "ours": (2, 3, 30),
    "ours, 1 supporter of 12 inliers": (2, 1, 12),
}


def main(folder: Path) -> None:
    draw_world(folder / "world", WORLD)
    with open(folder / "world" / "truth.csv", newline="", encoding="utf-8") as file:
        kind_of = {row["id"]: row["kind"] for row in csv.DictReader(file)}
    print("rule | dropped | mislabelled found | indoors found | good photos lost | precision")
    for name, (trusted, supporters, inliers) in RULES.items():
        rule = SupportOptions(trusted=trusted, supporters=supporters, inliers=inliers)
        result = clean_table(
            folder / "world" / "photos.csv", folder / "clean.csv",
            CleanTableOptions(rules=CleaningRules(min_photos=1), support=rule),
            progress=lambda name: lambda done, total: None,
        ).result  # fmt: skip
        others = {drop.id for drop in result.dropped if drop.reason != UNSUPPORTED}
        asked = Counter(kind for photo_id, kind in kind_of.items() if photo_id not in others)
        found = Counter(kind_of[d.id] for d in result.dropped if d.reason == UNSUPPORTED)
        bad = found["mislabelled"] + found["indoor"]
        shares = (f"{found[kind]} of {asked[kind]}" for kind in ("mislabelled", "indoor", "good"))
        print(
            name, found.total(), *shares, f"{bad / max(1, found.total()):.2f}",
            sep=" | ", flush=True,
        )  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
