"""Measure spatial verification on real photos: time, stored bytes, and AUROC of the inliers.

    python benchmarks/verification_speed.py FOLDER [--neighbours 10] [--size 480]

FOLDER has index/<landmark>/ and query/<landmark>/. Each query is verified against gallery photos,
half of them of its own landmark, the rest drawn from other landmarks. Prints milliseconds a query
for detecting keypoints and for matching; bytes a photo; how numbers of inliers change when a
gallery stores fewer or packed keypoints; how well inliers separate right pairs from wrong ones
(AUROC); and whether three runs with different numbers of threads give equal inliers. Two minutes
on two idle cores.
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


def detect_keypoints(
    paths: list[Path], options: MatchOptions
) -> tuple[list[Keypoints], list[float], list[float]]:
    """Keypoints of photos; milliseconds of decoding, and of detection, of each photo."""
    found, decoding, detecting = [], [], []
    for path in paths:
        started = time.perf_counter()
        image = read_image(path, short_side=options.size)
        decoded = time.perf_counter()
        found.append(keypoints(image, options))
        decoding.append(1e3 * (decoded - started))
        detecting.append(1e3 * (time.perf_counter() - decoded))
    return found, decoding, detecting


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
    """Inliers (Q, k), and milliseconds of each query."""
    inliers, took = [], []
    for query, candidates in zip(queries, rows, strict=True):
        started = time.perf_counter()
        found = verify_many(query, [gallery[row] for row in candidates], options)
        took.append(1e3 * (time.perf_counter() - started))
        inliers.append([one.inliers for one in found])
    return np.array(inliers), took


def print_spread(name: str, values: list[float]) -> None:
    middle, late = np.percentile(values, [50, 90])
    print(f"{name:34} median {middle:6.1f} ms, 90 % below {late:6.1f} ms", flush=True)


def places(inliers: list[Keypoints]) -> bytes:
    return b"".join(one.points.tobytes() + one.descriptors.tobytes() for one in inliers)


def same_whatever_threads(
    paths: tuple[list[Path], list[Path]], rows: list[list[int]], options: MatchOptions
) -> bool:
    """Compare three runs from the pixels on, with other thread counts of OpenCV and BLAS."""
    seen = set()
    for threads in THREADS:
        cv2.setNumThreads(threads)
        with threadpool_limits(threads):
            queries, gallery = (detect_keypoints(part, options)[0] for part in paths)
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
    arguments = parser.parse_args()
    options = MatchOptions(size=arguments.size, tolerance=6 * arguments.size / 640)
    gallery, queries = (sorted((arguments.photos / p).rglob("*.jpg")) for p in ("index", "query"))
    rows = pairs(queries, gallery, arguments.neighbours)
    print(f"{len(queries)} queries, {arguments.neighbours} of {len(gallery)} gallery photos each, "
          f"long side {arguments.size} px, {cv2.getNumThreads()} threads")  # fmt: skip
    gallery_keypoints = detect_keypoints(gallery, options)[0]
    query_keypoints, decoding, detecting = detect_keypoints(queries, options)
    print_spread("decoding a query", decoding)
    print_spread("its keypoints", detecting)
    right = np.array(
        [[gallery[r].parent.name == query.parent.name for r in own]
         for query, own in zip(queries, rows, strict=True)]
    )  # fmt: skip
    full = counts(query_keypoints, gallery_keypoints, rows, options)[0]
    print("  kept  bytes a photo   AUROC  right > 7  wrong > 7  as unpacked  as all kept  "
          "ms a query  unpacking")  # fmt: skip
    for kept in KEPT:
        packed = [pack(one, kept) for one in gallery_keypoints]
        started = time.perf_counter()
        read = [unpack(data) for data in packed]
        unpacking = 1e3 * (time.perf_counter() - started) / len(read) * arguments.neighbours
        few, took = counts(query_keypoints, read, rows, options)
        unpacked = [strongest(one, kept) for one in gallery_keypoints]
        direct = counts(query_keypoints, unpacked, rows, options)[0]
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
