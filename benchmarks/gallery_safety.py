"""Check that a gallery file loses nothing when processes are killed or bits of it change.

    python benchmarks/gallery_safety.py [kills] [flips] [removed] [readers] [speed] [--seconds 120]

kills: 300 SIGKILLs of a process that adds, removes, relabels and compacts. flips: 1,000 random bits
of a closed gallery flipped, one at a time. removed: every part of removed photos is searched for in
the bytes of a small file after `remove`, and of a large one after `compact`. readers: 4 processes
that read while one writes. speed: adding one photo to a gallery of 100,000 × 512. Without a name,
all run.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from gallery_flips import flips
from gallery_photos import DIM, State, photo
from gallery_traffic import readers, speed
from whichlandmark.gallery.records import GalleryRow
from whichlandmark.gallery.sqlite.store import MAX_SCRUBBED_BYTES, SqliteGallery, faults

PROCESSES = multiprocessing.get_context("fork")


def differences(path: Path, expected: State) -> list[str]:
    """The parts of a gallery that differ from the expected state, photo by photo."""
    with SqliteGallery.open(path) as gallery:
        table = gallery.table()
        ids = table.ids.tolist()
        keypoints, looks = gallery.keypoints(ids), gallery.fingerprints()
        thumbnails = gallery.thumbnails(ids)
    wrong = []
    if dict(zip(ids, table.landmarks, strict=True)) != expected:
        wrong.append("photos or their landmarks")
    for place, photo_id in enumerate(ids):
        want = photo(int(photo_id[1:]), "")
        same = (
            table.vectors[place].tobytes() == want.vector.astype("<f2").tobytes()
            and keypoints.get(photo_id, b"") == want.keypoints
            and looks.get(photo_id, b"") == want.fingerprint
            and thumbnails.get(photo_id, b"") == want.thumbnail
        )
        if not same:
            wrong.append(photo_id)
    return wrong


def batches(state: State, chance: random.Random, start: int) -> Iterator[tuple[str, State]]:
    """Yield (the next change, the expected state after it), without end."""
    number, state = start, dict(state)
    while True:
        kind = chance.choice(["add", "add", "remove", "relabel", "compact", "compact"])
        if kind == "add" and len(state) > 400:
            kind = "remove"
        after = dict(state)
        if kind == "add":
            for _ in range(chance.randint(1, 40)):
                after[f"p{number}"] = f"l{chance.randrange(20)}"
                number += 1
        elif kind != "compact":
            count = min(len(state), chance.randint(1, 40))
            for photo_id in chance.sample(sorted(state), count):
                if kind == "remove":
                    del after[photo_id]
                else:
                    after[photo_id] = f"l{chance.randrange(20)}"
        yield kind, after
        state = after


def apply(gallery: SqliteGallery, kind: str, before: State, after: State) -> None:
    if kind == "compact":
        gallery.compact()
    elif kind == "remove":
        gallery.remove([one for one in before if one not in after])
    elif kind == "relabel":
        gallery.relabel({one: mark for one, mark in after.items() if before[one] != mark})
    else:
        gallery.put([photo(int(o[1:]), mark) for o, mark in after.items() if o not in before])


def edit(path: Path, journal: Path, state: State, seed: int) -> None:
    """Change the gallery until killed; log each batch before it begins and after its commit."""
    chance = random.Random(seed)
    start = 1 + max((int(one[1:]) for one in state), default=0) + 1_000_000 * seed
    gallery = SqliteGallery.open(path)
    with open(journal, "w") as file:

        def note(event: str, kind: str, after: State) -> None:
            file.write(json.dumps([event, kind, after]) + "\n")
            file.flush()
            os.fsync(file.fileno())

        for kind, after in batches(state, chance, start):
            note("begun", kind, after)
            apply(gallery, kind, state, after)
            note("done", kind, after)
            state = after


def kills(folder: Path, count: int) -> None:
    path, journal = folder / "gallery.sqlite", folder / "journal"
    SqliteGallery.create(path, "fake-1", DIM).close()
    state: State = {}
    chance, hit, faulty = random.Random(0), Counter[str](), 0
    outcomes: Counter[str] = Counter()
    for turn in range(count):
        journal.unlink(missing_ok=True)
        child = PROCESSES.Process(target=edit, args=(path, journal, state, turn))
        child.start()
        time.sleep(chance.uniform(0.02, 0.35))
        os.kill(child.pid or 0, signal.SIGKILL)
        child.join()
        lines = journal.read_text().split("\n")[:-1] if journal.exists() else []
        noted = [json.loads(line) for line in lines]
        done = [after for event, _, after in noted if event == "done"]
        promised = done[-1] if done else state
        possible = [promised]
        if noted and noted[-1][0] == "begun":
            hit[noted[-1][1]] += 1
            possible.append(noted[-1][2])
        else:
            hit["between batches"] += 1
        results = [differences(path, candidate) for candidate in possible]
        if [] not in results:
            outcomes["LOST OR HALF A BATCH"] += 1
            print("  turn", turn, results)
            break
        outcomes[
            "the batch in flight was whole" if results[0] else "exactly what was committed"
        ] += 1
        state = possible[results.index([])]
        if found := faults(path):
            faulty += 1
            print("  turn", turn, found[:3])
    print(f"kills: {sum(outcomes.values())} SIGKILLs; in flight: {dict(sorted(hit.items()))}")
    print(f"  {dict(outcomes)}; galleries with faults afterwards: {faulty}; photos at the end: "
          f"{len(state)}")  # fmt: skip


def parts_in(data: bytes, row: GalleryRow) -> list[str]:
    """The parts of a photo that the file holds: a text, or any of some 24 bytes of a blob."""
    blobs = {"vector": row.vector.astype("<f2").tobytes(), "keypoints": row.keypoints,
             "fingerprint": row.fingerprint, "thumbnail": row.thumbnail}  # fmt: skip
    found = [name for name in ("path", "hash") if getattr(row, name).encode() in data]
    return found + [
        name for name, part in blobs.items()
        if any(part[at : at + 24] in data for at in range(0, len(part) - 23, 200))
    ]  # fmt: skip


def removed(folder: Path) -> None:
    """Search the file for every part of removed photos."""
    chance = random.Random(0)
    for name, photos, dim, rounds in (("small", 400, DIM, 12), ("large", 20_000, 4096, 1)):
        path = folder / f"{name}.sqlite"
        found, gone = Counter[str](), 0
        with SqliteGallery.create(path, "fake-1", dim) as gallery:
            for start in range(0, photos, 100):
                gallery.put([photo(n, f"l{n % 20}", dim) for n in range(start, start + 100)])
            for turn in range(rounds):
                known = sorted(gallery.stamps())
                chosen = chance.sample(known, 20)
                gallery.put([photo(10**6 + 100 * turn + n, "new", dim) for n in range(30)])
                gallery.remove(chosen)
                data, gone = path.read_bytes(), gone + len(chosen)
                for one in chosen:
                    found.update(parts_in(data, photo(int(one[1:]), "", dim)))
            size = path.stat().st_size
            print(f"removed: {name} file of {size:,} bytes (at most {MAX_SCRUBBED_BYTES:,} are "
                  f"rewritten at once): {gone} photos removed, in the file after `remove`: "
                  f"{dict(found) or 'nothing'}; stale {gallery.state().stale}")  # fmt: skip
            gallery.compact()
            data, found = path.read_bytes(), Counter()
            for one in chosen:
                found.update(parts_in(data, photo(int(one[1:]), "", dim)))
            print(f"  after `compact`: {dict(found) or 'nothing'}; stale {gallery.state().stale}")
            kept = sum(bool(parts_in(data, photo(int(one[1:]), "", dim)))
                       for one in sorted(gallery.stamps())[:20])  # fmt: skip
            print(f"  of 20 photos that stay, the same search finds {kept}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", help="some of the parts; none = all")
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--photos", type=int, default=100_000)
    options = parser.parse_args()
    runs: dict[str, Callable[[Path], None]] = {
        "kills": lambda at: kills(at, options.kills),
        "flips": lambda at: flips(at, options.flips),
        "removed": removed,
        "readers": lambda at: readers(at, options.seconds),
        "speed": lambda at: speed(at, options.photos),
    }
    if wrong := set(options.parts) - set(runs):
        sys.exit(f"unknown part {sorted(wrong)}; expected some of {', '.join(runs)}")
    for part in options.parts or runs:
        folder = Path(tempfile.mkdtemp(prefix="gallery-safety-"))
        start = time.perf_counter()
        try:
            runs[part](folder)
        finally:
            shutil.rmtree(folder)
        print(f"  ({part}: {time.perf_counter() - start:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
