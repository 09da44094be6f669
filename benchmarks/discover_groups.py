"""Groups of unknown landmarks in a library: purity, share found, false groups, seconds, memory.

Drawn worlds:  python benchmarks/discover_groups.py worlds OUT [SEED …]
Real photos:   python benchmarks/discover_groups.py photos OUT FOLDER
A large one:   python benchmarks/discover_groups.py large OUT PHOTOS

The weights of `library/grouping.py` were chosen on the drawn worlds of seeds 1 and 2 and on photos
of known landmarks that were treated as unknown; report other seeds and other photos.

A group is of the landmark that most of its photos show; it is false where less than half show one
landmark. An unknown landmark of 3 or more photos is found when a group that is of it has 3 or more.
FOLDER has `index` and `distractors` (the gallery) and `unknown`, `nonlandmark` and `query` (the
library), with a folder for each landmark.
"""

from __future__ import annotations

import resource
import shutil
import sys
import time
from collections import Counter
from pathlib import Path

import whichlandmark
from whichlandmark.data.folders import read_folder
from whichlandmark.data.synthetic import DrawnWorld, draw_world
from whichlandmark.data.table import read_photos
from whichlandmark.library.discover import discover
from whichlandmark.recognition.folder.discoveries import Discovery, DiscoveryStore

CLEAN = {"mislabelled": 0.0, "duplicate": 0.0, "near_duplicate": 0.0, "indoor": 0.0, "corrupt": 0.0}


def measure(folder: Path, library: Path, truth: dict[str, str], unknown: set[str]) -> None:
    """Search a library and print one line. truth: path below it → landmark, "" = none."""
    began = time.perf_counter()
    state = folder.parent / f"{folder.stem}.state"
    found = discover(library, folder, whichlandmark.load(folder), state=state,
                     progress=lambda step: lambda *done: None)  # fmt: skip
    seconds = time.perf_counter() - began
    counts = Counter(truth.values())
    large = {name for name in unknown if counts[name] >= 3}
    purities, false, grouped, names = [], 0, 0, set[str]()
    for group in found.open:
        shown = Counter(truth[photo.name.partition("/")[2]] for photo in group.photos)
        name, most = max(shown.items(), key=lambda row: (row[0] != "", row[1]))
        share = most / len(group.photos) if name else 0.0
        purities.append(share)
        false += share < 0.5
        if name in large and share >= 0.5 and most >= 3:
            names.add(name)
            grouped += most
    purity = sum(purities) / max(1, len(purities))
    photos = sum(counts[name] for name in large)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{folder.stem}: {len(truth)} photos, {found.compared} not named; {len(found.open)} "
        f"groups, purity {purity:.2f}, false {false}; unknown landmarks found {len(names)} of "
        f"{len(large)}, {grouped} of their {photos} photos; {seconds:.0f} s, {memory:.2f} GB"
    )


def name_one(folder: Path, group: Discovery, queries: list[Path]) -> None:
    """Name a group, and recognize other photos of the landmark before and after."""
    before = [whichlandmark.load(folder)(path) for path in queries]
    done = DiscoveryStore(folder).name(group.id, "the new one")
    after = [whichlandmark.load(folder)(path) for path in queries]
    right = [sum(one.landmark == "the new one" for one in answers) for answers in (before, after)]
    print(f"  named: {len(done.added)} photos added; of {len(queries)} others, {right[0]} were "
          f"recognized before, {right[1]} after")  # fmt: skip


def world(out: Path, seed: int, *, none: int = 250, size: int = 384) -> None:
    """25 known landmarks, and 15 unknown ones of 8 photos on average."""
    root, folder = out / f"world{seed}", out / f"world{seed}.wl"
    draw_world(root, DrawnWorld(
        landmarks=25, unknown_landmarks=15, photos=300, queries=150, unknown_queries=160,
        nonlandmark_queries=none, distractors=160, size=size, seed=seed, **CLEAN,
    ))  # fmt: skip
    known = read_photos(root / "photos.csv")
    if not folder.exists():
        bank = read_photos(root / "distractors.csv")
        whichlandmark.build(known, distractors=bank).save(folder)
    names, library, truth = set(known.landmarks), root / "queries", dict[str, str]()
    held: dict[str, list[Path]] = {}
    for photo in read_photos(root / "queries.csv"):
        landmark = photo.landmark or ""
        if landmark and landmark not in names and len(held.setdefault(landmark, [])) < 2:
            held[landmark].append(photo.path)
    apart = root / "held"
    apart.mkdir(exist_ok=True)
    for photo in read_photos(root / "queries.csv"):
        if photo.path in held.get(photo.landmark or "", []):  # to be recognized in the end
            if photo.path.exists():
                shutil.move(photo.path, apart / photo.path.name)
        else:
            truth[photo.path.name] = photo.landmark or ""
    measure(folder, library, truth, {*truth.values()} - names - {""})
    for group in DiscoveryStore(folder).all():
        shown = Counter(truth[photo.name.partition("/")[2]] for photo in group.photos)
        landmark = shown.most_common(1)[0][0]
        if landmark in held:
            name_one(folder, group, [apart / path.name for path in held[landmark]])
            break


def photos(out: Path, source: Path) -> None:
    """Real photos."""
    folder, library = out / "photos.wl", out / "photos"
    if not folder.exists():
        bank = read_folder(source / "distractors", labelled=False)
        whichlandmark.build(read_folder(source / "index"), distractors=bank).save(folder)
    truth: dict[str, str] = {}
    for part in ("unknown", "nonlandmark", "query"):
        shutil.copytree(source / part, library / part, dirs_exist_ok=True)
        for path in sorted((library / part).rglob("*")):
            if path.is_file():
                label = "" if part == "nonlandmark" else path.parent.name
                truth[path.relative_to(library).as_posix()] = label
    unknown = {path.name for path in (source / "unknown").iterdir()}
    measure(folder, library, truth, unknown)


if __name__ == "__main__":
    what, out = sys.argv[1], Path(sys.argv[2])
    if what == "photos":
        photos(out, Path(sys.argv[3]))
    elif what == "large":
        world(out, 21, none=int(sys.argv[3]) - 280, size=224)
    else:
        for seed in map(int, sys.argv[3:] or ["11", "12", "13"]):
            world(out, seed)
