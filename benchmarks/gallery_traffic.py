"""Read a gallery in several processes while one writes; measure adding one photo to a large one."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gallery_photos import DIM, photo
from whichlandmark.core.errors import WhichLandmarkError
from whichlandmark.core.types import Photo, Photos
from whichlandmark.gallery.records import GalleryRow, GalleryTable
from whichlandmark.gallery.sqlite.store import SqliteGallery, faults
from whichlandmark.recognition.folder.update import GalleryUpdate

PROCESSES = multiprocessing.get_context("fork")
FEWEST, CYCLE = 200, 7


def of_one_generation(table: GalleryTable) -> bool:
    """Does the table belong to one generation? All photos of step s must have the landmark g<s>.

    There must be FEWEST + s % CYCLE of them. At the end of a cycle, all above FEWEST are removed in
    one batch.
    """
    labels = set(table.landmarks)
    if len(labels) != 1:
        return False
    step = int(labels.pop()[1:])
    counts = {FEWEST + step % CYCLE} | ({FEWEST} if step % CYCLE == CYCLE - 1 else set())
    vector = photo(int(table.ids[-1][1:]), "").vector.astype(np.float16)
    return len(table.ids) in counts and bool((table.vectors[-1] == vector).all())


def read(path: Path, seconds: float, results: Any) -> None:
    """Open the gallery, read it a few times, close it; repeat."""
    answers, mixed, errors, seen = 0, 0, Counter[str](), set()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with SqliteGallery.open(path) as gallery:
                for _ in range(5):
                    table, looks = gallery.table(), gallery.fingerprints()
                    mixed += not of_one_generation(table)
                    mixed += looks["p7"] != photo(7, "").fingerprint or len(looks) < FEWEST
                    seen.add(table.generation)
                    answers += 1
        except WhichLandmarkError as error:
            errors[f"{type(error).__name__}: {error}"] += 1
    results.put((answers, dict(errors), mixed, len(seen)))


def write(path: Path, seconds: float) -> tuple[int, int]:
    """Replace every photo and add one; at the end of a cycle remove some.

    Returns:
        Numbers of batches and of removals.
    """
    step = removals = 0
    end = time.monotonic() + seconds
    with SqliteGallery.open(path) as gallery:
        while time.monotonic() < end:
            if step % CYCLE == CYCLE - 1:
                gallery.remove([f"p{n}" for n in range(FEWEST, FEWEST + CYCLE - 1)])
                removals += 1
            step += 1
            gallery.put([photo(n, f"g{step}") for n in range(FEWEST + step % CYCLE)])
    return step + removals, removals


def readers(folder: Path, seconds: float, count: int = 4) -> None:
    path = folder / "shared.sqlite"
    with SqliteGallery.create(path, "fake-1", DIM) as gallery:
        gallery.put([photo(n, "g0") for n in range(FEWEST)])
    results = PROCESSES.Queue()
    children = [PROCESSES.Process(target=read, args=(path, seconds, results)) for _ in range(count)]
    for child in children:
        child.start()
    batches, removals = write(path, seconds + 0.5)
    for child in children:
        child.join()
    rows = [results.get() for _ in children]
    errors = sum((Counter(row[1]) for row in rows), Counter[str]())
    print(f"readers: {count} for {seconds:.0f} s beside {batches} batches, {removals} of them "
          f"removals; {sum(row[0] for row in rows)} answers; generations seen: "
          f"{[row[3] for row in rows]}")  # fmt: skip
    print(f"  answers that mix generations: {sum(row[2] for row in rows)}; errors: {dict(errors)}")
    print(f"  faults afterwards: {faults(path)}; files: "
          f"{sorted(p.name for p in folder.glob('shared*'))}")  # fmt: skip


def plain(number: int, vector: np.ndarray) -> GalleryRow:
    return GalleryRow(
        f"photos/{number:07}.jpg", f"/data/photos/{number:07}.jpg", f"l{number % 5000}",
        f"{number:064x}", f"{number}:1700000000", vector,
    )  # fmt: skip


def median_ms(call: Callable[[int], object], times: int) -> str:
    taken = []
    for i in range(times):
        start = time.perf_counter()
        call(i)
        taken.append(1000 * (time.perf_counter() - start))
    return f"{np.median(taken):.1f} ms (worst {max(taken):.1f})"


def speed(folder: Path, count: int = 100_000, dim: int = 512) -> None:
    path = folder / "large.sqlite"
    rng = np.random.default_rng(0)
    with SqliteGallery.create(path, "fake-1", dim) as gallery:
        start = time.perf_counter()
        for first in range(0, count, 1000):
            vectors = rng.normal(size=(1000, dim)).astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            gallery.put([plain(first + i, vector) for i, vector in enumerate(vectors)])
        seconds = time.perf_counter() - start
        print(f"speed: {count:,} × {dim} put in batches of 1,000 in {seconds:.1f} s")
    print(f"  {path.stat().st_size / count:.0f} bytes a photo, of which the vector is {2 * dim}")
    with SqliteGallery.open(path) as gallery:
        more = [plain(count + i, vectors[i]) for i in range(100)]
        print("  one more photo:", median_ms(lambda i: gallery.put([more[i]]), 50))

        def add_by_content(i: int) -> None:
            """As `gallery add` does it: is the photo there, by its path, id or bytes?"""
            file = folder / f"{i}.jpg"
            file.write_bytes(b"bytes of a photo that the gallery lacks")
            update = GalleryUpdate(Photos.of([Photo(f"new/{i}.jpg", file, "x")]), gallery)
            new = [replace(more[i], id=one.id, path=str(one.path), hash=f"other {i}")
                   for one in update.prepare()]  # fmt: skip
            update.store(new)

        print("  one added as `gallery add` does:", median_ms(add_by_content, 3))
        print("  one relabelled:", median_ms(lambda i: gallery.relabel({more[i].id: "new"}), 20))
        print(
            "  one removed and overwritten:", median_ms(lambda i: gallery.remove([more[i].id]), 20)
        )
        print("  table(), every sum compared:", median_ms(lambda i: gallery.table(), 3))
        ids = [f"photos/{i:07}.jpg" for i in range(0, count, count // 50)]
        print("  credits of 50 photos:", median_ms(lambda i: gallery.credits(ids), 10))
        print("  compact:", median_ms(lambda i: gallery.compact(), 1))
    print("  verify:", median_ms(lambda i: faults(path), 1))
