"""Time the search of landmarks by name, with typos, missing blanks and other word orders.

    python benchmarks/landmark_search.py [--landmarks 30000] [--languages 6] [--seed 0]

Invented landmarks of one to four words, with names in some languages beside the title. Queries are
titles as people type them: as they are, two letters swapped, one left out, one doubled, the blanks
left out, the words in another order, the first half of the last word. Times are of the processor,
because other work on the machine would lengthen them; "found" is the share of the queries whose
landmark is among the first ten.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from statistics import median, quantiles

from whichlandmark.gallery.records import LandmarkRecord
from whichlandmark.serving.landmark_search import LandmarkSearch

SYLLABLES = [
    *(first + last for first in "bklmnrstv" for last in "aeiou"),
    *("von", "der", "burg", "stein", "kirch", "ville", "mont", "saint"),
]

KINDS = ["Tower", "Bridge", "Church", "Castle", "Cathedral", "Museum", "Palace", "Temple"]

QUERIES = 60  # of each kind


def swapped(title: str, dice: random.Random) -> str:
    at = dice.randrange(len(title) - 1)
    return title[:at] + title[at + 1] + title[at] + title[at + 2 :]


def shortened(title: str, dice: random.Random) -> str:
    at = dice.randrange(len(title))
    return title[:at] + title[at + 1 :]


def doubled(title: str, dice: random.Random) -> str:
    at = dice.randrange(len(title))
    return title[:at] + title[at] + title[at:]


def shuffled(title: str, dice: random.Random) -> str:
    words = title.split()
    dice.shuffle(words)
    return " ".join(words)


TYPED: dict[str, Callable[[str, random.Random], str]] = {
    "as it is": lambda title, dice: title.lower(),
    "two letters swapped": swapped,
    "a letter left out": shortened,
    "a letter doubled": doubled,
    "no blanks": lambda title, dice: title.replace(" ", ""),
    "another order": shuffled,
    "half of the last word": lambda title, dice: title[: -(len(title.split()[-1]) // 2)],
}


def landmarks(count: int, languages: int, dice: random.Random) -> dict[str, LandmarkRecord]:
    """Label → record of invented landmarks."""
    stock = ["".join(dice.choices(SYLLABLES, k=dice.randint(2, 4))).title() for _ in range(20_000)]
    found: dict[str, LandmarkRecord] = {}
    while len(found) < count:
        title = " ".join([*dice.sample(stock, dice.randint(1, 3)), dice.choice(KINDS)])
        names = {f"x{chr(97 + i)}": f"{dice.choice(stock)} {title} {dice.choice(stock)}"
                 for i in range(languages)}  # fmt: skip
        label = title.lower().replace(" ", "_")
        found[label] = LandmarkRecord(label, title, names, f"Q{len(found) + 1}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--landmarks", type=int, default=30_000)
    parser.add_argument("--languages", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    dice = random.Random(given.seed)
    records = landmarks(given.landmarks, given.languages, dice)
    labels = sorted(records)
    began = time.process_time()
    search = LandmarkSearch(labels, records)
    print(f"{len(labels)} landmarks of {given.languages + 2} names each")
    print(f"all names prepared in {time.process_time() - began:.2f} s")
    changed = {**records, labels[7]: LandmarkRecord(labels[7], "Obelisk")}
    began = time.process_time()
    LandmarkSearch(labels, changed, search)
    print(f"after a change of one landmark in {time.process_time() - began:.2f} s")
    order, every = range(len(labels)), list[float]()
    for kind, typed in TYPED.items():
        seconds, hits = [], 0
        for label in dice.sample(labels, QUERIES):
            query = typed(records[label].title, dice)
            began = time.process_time()
            rows = search.find(query, order)
            seconds.append(time.process_time() - began)
            hits += label in {labels[row] for row in rows[:10]}
        every += seconds
        print(f"  {kind:<22} found {hits / QUERIES:4.0%}  median {1000 * median(seconds):5.1f} ms")
    late = quantiles(every, n=20)[-1]
    print(f"all queries: median {1000 * median(every):.1f} ms, 95 % below {1000 * late:.1f} ms")


if __name__ == "__main__":
    main()
