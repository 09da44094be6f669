"""Flip random bits of a closed gallery file and of index files, one at a time.

Each must be detected or harmless.
"""

from __future__ import annotations

import json
import multiprocessing
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gallery_photos import DIM, photo
from whichlandmark.core.errors import WhichLandmarkError
from whichlandmark.gallery.index import parts
from whichlandmark.gallery.index.mapped import IndexFileError
from whichlandmark.gallery.index.open import (
    IndexNeeds,
    check_index_files,
    open_index_files,
    refresh,
)
from whichlandmark.gallery.index.projection import Projection
from whichlandmark.gallery.records import LandmarkRecord
from whichlandmark.gallery.sqlite.salvage import rebuild
from whichlandmark.gallery.sqlite.schema import PAGE_BYTES
from whichlandmark.gallery.sqlite.store import SqliteGallery, faults

PROCESSES = multiprocessing.get_context("fork")
HEAD = 12  # first pages, with a fifth of the flipped bits: roots of the tables, ids, texts


def content(path: Path) -> tuple[Any, ...]:
    """All content of a gallery, read through its public methods."""
    with SqliteGallery.open(path) as gallery:
        table = gallery.table()
        ids = table.ids.tolist()
        return (
            ids, table.paths.tolist(), table.landmarks.tolist(), table.hashes.tolist(),
            table.vectors.tobytes(), table.rows.tolist(), table.generation, gallery.stamps(),
            gallery.keypoints(ids), gallery.fingerprints(), gallery.thumbnails(ids),
            gallery.credits(ids), gallery.landmarks(), gallery.embedder_id, gallery.dim,
        )  # fmt: skip


def table_of(path: Path) -> tuple[Any, ...]:
    with SqliteGallery.open(path) as gallery:
        table = gallery.table()
    return (
        table.ids.tolist(), table.paths.tolist(), table.landmarks.tolist(), table.hashes.tolist(),
        table.vectors.tobytes(), table.rows.tolist(), table.generation,
    )  # fmt: skip


def answered(call: Callable[[Path], Any], path: Path, right: Any) -> str:
    try:
        return "right" if call(path) == right else "WRONG"
    except WhichLandmarkError:
        return "refused"
    except Exception as error:
        return f"UNEXPECTED {type(error).__name__}: {error}"


def flip_some(path: Path, bits: list[int], report: Path) -> None:
    """Flip each bit alone; record what verify, table() and the other reads report."""
    data, right, table = path.read_bytes(), content(path), table_of(path)
    copy = report.with_suffix(".sqlite")
    with open(report, "w") as file:
        for bit in bits:
            changed = bytearray(data)
            changed[bit // 8] ^= 1 << bit % 8
            copy.unlink(missing_ok=True)
            copy.write_bytes(changed)
            try:
                found = "found" if faults(copy) else "clean"
            except WhichLandmarkError:
                found = "found"
            row = [found, answered(table_of, copy, table), answered(content, copy, right)]
            kept = ""
            if found == "found":
                try:
                    lost = rebuild(copy, "fake-1", DIM).lost
                    kept = f"{len(lost)} lost" if not faults(copy) else "STILL FAULTY"
                except WhichLandmarkError as error:
                    kept = f"NOT REBUILT {error}"
            file.write(json.dumps([bit, *row, kept]) + "\n")
    copy.unlink(missing_ok=True)


def flips(folder: Path, count: int) -> None:
    path = folder / "flipped.sqlite"
    with SqliteGallery.create(path, "fake-1", DIM) as gallery:
        for start in range(0, 400, 50):
            gallery.put([photo(n, f"l{n % 20}" if n % 4 else "") for n in range(start, start + 50)])
        gallery.describe([LandmarkRecord(f"l{i}", f"Landmark {i}") for i in range(20) if i % 4])
        gallery.remove([f"p{n}" for n in range(0, 400, 11)])
    size = path.stat().st_size
    chance = random.Random(0)
    bits = [chance.randrange(8 * size) for _ in range(count)]
    first = count // 5
    bits[:first] = [chance.randrange(8 * PAGE_BYTES * HEAD) for _ in range(first)]
    outcomes, rebuilt, aborted = Counter[tuple[str, ...]](), Counter[str](), 0
    for at in range(0, count, 100):
        report = folder / "report"
        report.unlink(missing_ok=True)
        child = PROCESSES.Process(target=flip_some, args=(path, bits[at : at + 100], report))
        child.start()
        child.join()
        aborted += child.exitcode != 0
        for line in report.read_text().splitlines():
            bit, *row, kept = json.loads(line)
            outcomes[tuple(row)] += 1
            rebuilt[kept] += bool(kept)
            if row[0] == "clean" and row[1:] != ["right", "right"]:
                print(f"  bit {bit % 8} of byte {bit // 8}: {row}")
    print(f"flips: {sum(outcomes.values())} in a file of {size} bytes, a fifth in the first {HEAD} "
          f"pages; processes that aborted: {aborted}")  # fmt: skip
    for row, times in sorted(outcomes.items()):
        print("  {:5} × verify: {}; table(): {}; everything: {}".format(times, *row))
    print(f"  rebuilt after each that was found: {dict(sorted(rebuilt.items()))}")


def read_index(folder: Path, gallery: SqliteGallery) -> tuple[Any, ...] | None:
    """All that index files hold, and what their inverted files find; None = not used."""
    opened = open_index_files(folder, gallery.state())
    if opened is None:
        return None
    index, rows = opened
    texts = (index.names, index.ids[:], index.paths[:], index.distractor_ids[:])
    numbers = (
        index.codes, index.vectors[:], index.distractor_vectors[:], rows.vectors[:],
        rows.distractor_vectors[:],
    )  # fmt: skip
    assert rows.candidate_source
    queries = np.asarray(rows.vectors[:20], dtype=np.float32)
    found = rows.candidate_source.candidates(queries, 10)
    return (*(one.tolist() for one in texts), *(one.tobytes() for one in numbers), found.tolist())


def index_flips(folder: Path, count: int) -> None:
    """Flip bits of the index files of 1,200 photos, half of them in the first 200 bytes of a file.

    Those are the headers of `.npy` files, and the manifest's beginning.
    """
    parts.MIN_ROWS_FOR_IVF = 100
    turning = Projection(np.zeros(DIM, np.float32), np.eye(DIM, dtype=np.float32)[::-1].copy())
    wanted, index = IndexNeeds(turning, min_photos=10), folder / "segments"
    outcomes = Counter[str]()
    with SqliteGallery.create(folder / "indexed.sqlite", "fake-1", DIM) as gallery:
        for start, stop in ((0, 1_000), (1_000, 1_200)):
            gallery.put([photo(n, f"l{n % 20}" if n % 4 else "") for n in range(start, stop)])
            refresh(index, gallery, wanted)
        right = read_index(index, gallery)
        assert right is not None
        files = sorted(index.iterdir())
        sizes = np.array([path.stat().st_size for path in files])
        rng = np.random.default_rng(0)
        for turn in range(count):
            at = rng.choice(len(files), p=None if turn % 2 else sizes / sizes.sum())
            byte, bit = (
                rng.integers(min(sizes[at], 200) if turn % 2 else sizes[at]),
                rng.integers(8),
            )
            whole = files[at].read_bytes()
            changed = bytearray(whole)
            changed[byte] ^= 1 << bit
            files[at].write_bytes(changed)
            try:
                check_index_files(index)
                verified = "clean"
            except IndexFileError:
                verified = "found"
            try:
                read = read_index(index, gallery)
                answer = "right" if read == right else "not used" if read is None else "WRONG"
            except IndexFileError:
                answer = "refused"
            outcomes[f"verify: {verified}; everything read: {answer}"] += 1
            files[at].write_bytes(whole)
        assert read_index(index, gallery) == right
    print(f"flips in {len(files)} index files of {sizes.sum()} bytes: {count}")
    for row, times in sorted(outcomes.items()):
        print(f"  {times:5} × {row}")
