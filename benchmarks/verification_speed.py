"""Geometric verification on real photos: what it costs, what it keeps, what it tells apart.

    python benchmarks/verification_speed.py FOLDER [--neighbours 10] [--size 480]

FOLDER holds index/<landmark>/ and query/<landmark>/. Each query is verified against photos of the
gallery: of its own landmark, and as many of other landmarks, drawn from a seed. Prints
milliseconds a query for looking for keypoints and for matching; bytes a photo; how counts of
inliers change when a gallery keeps fewer keypoints, and packed against not; whether right pairs
are told from wrong ones (AUROC of the inliers); and whether three runs and any number of threads
give the same inliers. Two minutes on two idle cores.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from whichlandmark.core.images import read_image
from whichlandmark.features.local.keypoints import (
    Keypoints,
    MatchOptions,
    keypoints,
    pack,
    strongest,
    unpack,
)
from whichlandmark.features.local.matching import verify_many

KEPT = (300, 500, 1000)
THREADS = (1, 2, 8)


def look(
    paths: list[Path], options: MatchOptions
) -> tuple[list[Keypoints], list[float], list[float]]:
    """Keypoints of photos; milliseconds of decoding and of looking, for each."""
    found, decoding, looking = [], [], []
    for path in paths:
        started = time.perf_counter()
        image = read_image(path, short_side=options.size)
        decoded = time.perf_counter()
        found.append(keypoints(image, options))
        decoding.append(1e3 * (decoded - started))
        looking.append(1e3 * (time.perf_counter() - decoded))
    return found, decoding, looking


def pairs(queries: list[Path], gallery: list[Path], count: int) -> list[list[int]]:
    """For each query, gallery rows: up to count / 2 of its landmark, the rest of others."""
    rng = np.random.default_rng(0)
    names = np.array([path.parent.name for path in gallery])
    rows = []
    for query in queries:
        right = names == query.parent.name
        own = rng.permutation(np.flatnonzero(right))[: count // 2]
        other = rng.permutation(np.flatnonzero(~right))[: count - len(own)]
        rows.append([*own.tolist(), *other.tolist()])
    return rows


def counts(
    queries: list[Keypoints], gallery: list[Keypoints], rows: list[list[int]], options: MatchOptions
) -> tuple[np.ndarray, list[float]]:
    """(Q, k) inliers, and milliseconds of each query."""
    inliers, took = [], []
    for query, candidates in zip(queries, rows, strict=True):
        started = time.perf_counter()
        found = verify_many(query, [gallery[row] for row in candidates], options)
        took.append(1e3 * (time.perf_counter() - started))
        inliers.append([one.inliers for one in found])
    return np.array(inliers), took


def told(name: str, values: list[float]) -> None:
    middle, late = np.percentile(values, [50, 90])
    print(f"{name:34} median {middle:6.1f} ms, 90 % below {late:6.1f} ms", flush=True)


def places(inliers: list[Keypoints]) -> bytes:
    return b"".join(one.points.tobytes() + one.descriptors.tobytes() for one in inliers)


def same_whatever_threads(
    paths: tuple[list[Path], list[Path]], rows: list[list[int]], options: MatchOptions
) -> bool:
    """Three runs, each with other threads of OpenCV and of linear algebra, from the pixels on."""
    seen = set()
    for threads in THREADS:
        cv2.setNumThreads(threads)
        with threadpool_limits(threads):
            queries, gallery = (look(part, options)[0] for part in paths)
            drawn = tuple(
                one.query_points.tobytes() + one.gallery_points.tobytes()
                for query, candidates in zip(queries, rows, strict=True)
                for one in verify_many(query, [gallery[row] for row in candidates], options)
            )
        seen.add((places(queries), places(gallery), drawn))
    return len(seen) == 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--neighbours", type=int, default=10)
    parser.add_argument("--size", type=int, default=480)
    asked = parser.parse_args()
    options = MatchOptions(size=asked.size, tolerance=6 * asked.size / 640)
    gallery, queries = (sorted((asked.photos / p).rglob("*.jpg")) for p in ("index", "query"))
    rows = pairs(queries, gallery, asked.neighbours)
    print(f"{len(queries)} queries, {asked.neighbours} of {len(gallery)} gallery photos each, "
          f"long side {asked.size} px, {cv2.getNumThreads()} threads")  # fmt: skip
    there = look(gallery, options)[0]
    here, decoding, looking = look(queries, options)
    told("decoding a query", decoding)
    told("its keypoints", looking)
    right = np.array(
        [[gallery[r].parent.name == query.parent.name for r in own]
         for query, own in zip(queries, rows, strict=True)]
    )  # fmt: skip
    full = counts(here, there, rows, options)[0]
    print("  kept  bytes a photo   AUROC  right > 7  wrong > 7  as unpacked  as all kept  "
          "ms a query  unpacking")  # fmt: skip
    for kept in KEPT:
        packed = [pack(one, kept) for one in there]
        started = time.perf_counter()
        read = [unpack(data) for data in packed]
        unpacking = 1e3 * (time.perf_counter() - started) / len(read) * asked.neighbours
        few, took = counts(here, read, rows, options)
        direct = counts(here, [strongest(one, kept) for one in there], rows, options)[0]
        print(
            f"{kept:6} {np.mean([len(data) for data in packed]):14,.0f} "
            f"{roc_auc_score(right.ravel(), few.ravel()):7.3f} {(few[right] > 7).mean():10.3f} "
            f"{(few[~right] > 7).mean():10.4f} {(few == direct).mean():12.3f} "
            f"{(few == full).mean():12.3f} {np.median(took):11.1f} {unpacking:10.1f}", flush=True,
        )  # fmt: skip
    part = slice(None, None, 8)
    used = rows[part]
    again = same_whatever_threads((queries[part], gallery), used, options)
    print(f"three runs, {' / '.join(map(str, THREADS))} threads, {len(used)} queries: "
          f"{'identical' if again else 'DIFFERENT'}")  # fmt: skip


if __name__ == "__main__":
    main()
