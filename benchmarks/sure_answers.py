"""Are answers at a confidence of 0.97 or more right, for every embedder and shape of gallery?

    python benchmarks/sure_answers.py FOLDER --work CACHE [--embedder lite0 sift NAME=EMBEDDER …]
        [--galleries 4] [--queries] [--shape WORD]

FOLDER as in real_photos.py, with train/<landmark>/. Galleries of several shapes are drawn from
index and distractors by seed, fitted alone, and asked about other photos: landmarks that were drawn
(known), landmarks that were not (unknown), and distractors that were not (none). Without --queries
the questions are photos of index, train and distractors; use this to choose between calibrations.
With it they are query, unknown and nonlandmark, the gallery may have all of index and distractors,
and nothing may be chosen by what is printed. Without FOLDER a world is drawn.

Columns: answers at SURE or more and right ones, 95 % (Wilson), their share in the mix of the rules
(half known, an eighth unknown), the confidence that they state there, wrong ones by kind of photo
(known, unknown, none), known photos answered so, calibration error in the mix, and galleries with
more than 2 % wrong. Answers of one gallery, and photos of one landmark, are wrong together, so the
interval is too narrow.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from label_threshold import drawn_tables, embedded, opened
from recognition import wilson_interval
from whichlandmark.core.types import Photos
from whichlandmark.data.folders import read_folder
from whichlandmark.features.embedders.load import load_embedder
from whichlandmark.features.local.keypoints import unpack
from whichlandmark.gallery.records import GalleryRow
from whichlandmark.gallery.sqlite.store import SqliteGallery
from whichlandmark.recognition.folder.load import assemble
from whichlandmark.recognition.query import Queries
from whichlandmark.recognition.rules import Rules

SURE = 0.97

MIX = (0.5, 0.125, 0.375)  # known, unknown, none, as in `Rules`

PHOTOS_ASKED = 12  # of train, of each landmark

BINS = (0.8, 0.9, 0.95, 0.97, 0.99, 1.0)  # of the upper end


@dataclass(frozen=True)
class Shape:
    """A drawn gallery: share of the landmarks, or their number; photos of each; distractors."""

    landmarks: float
    photos: int = 0  # 0 = two thirds of a landmark's
    distractors: int = 80


SHAPES = {
    "two thirds of landmarks": Shape(0.67),
    "a third of landmarks": Shape(0.33),
    "3 photos each": Shape(0.67, 3),
    "1 photo each": Shape(0.67, 1),
    "no distractors": Shape(0.67, 0, 0),
    "5 landmarks": Shape(5),
    "one landmark": Shape(1),
}
WHOLE = "whole gallery"  # with --queries


@dataclass(frozen=True, eq=False)
class Asked:
    """Answers of one gallery: confidence, is it right, and kind (0 known, 1 unknown, 2 none)."""

    confidence: NDArray[np.float64]
    right: NDArray[np.bool_]
    kind: NDArray[np.int64]

    @property
    def weight(self) -> NDArray[np.float64]:
        """Of each query, so that the kinds have the shares of MIX; they sum to 1."""
        counts = np.maximum(np.bincount(self.kind, minlength=3), 1)
        weight = (np.array(MIX) / counts)[self.kind]
        return np.asarray(weight / weight.sum())


Parts = dict[str, list[GalleryRow]]


def folder_tables(folder: Path, queries: bool) -> dict[str, Photos]:
    tables = {
        "index": read_folder(folder / "index"),
        "distractors": read_folder(folder / "distractors", labelled=False),
    }
    if not queries:
        return {**tables, "train": read_folder(folder / "train")}
    asked = read_folder(folder / "query") + read_folder(folder / "unknown")
    none = read_folder(folder / "nonlandmark", labelled=False)
    return {**tables, "queries": asked + none}


def draw(parts: Parts, shape: Shape, seed: int) -> tuple[list[GalleryRow], list[GalleryRow]]:
    """A gallery and its queries, without the rows of a photo in both."""
    rng = np.random.default_rng([seed, shape.photos, shape.distractors, int(shape.landmarks * 100)])
    names = sorted({row.landmark for row in parts["index"]})
    count = int(shape.landmarks if shape.landmarks >= 1 else round(shape.landmarks * len(names)))
    chosen = set(rng.choice(names, min(count, len(names)), replace=False))
    gallery: list[GalleryRow] = []
    asked = list(parts.get("queries", []))
    for name in names:
        own = [row for row in parts["index"] if row.landmark == name]
        own = [own[i] for i in rng.permutation(len(own))]
        kept = (shape.photos or (2 * len(own) + 2) // 3) if name in chosen else 0
        gallery += own[:kept]
        if "queries" not in parts:
            more = [row for row in parts.get("train", []) if row.landmark == name]
            more = [more[i] for i in rng.permutation(len(more))[:PHOTOS_ASKED]]
            asked += own[kept:][:PHOTOS_ASKED] + more
    bank = [parts["distractors"][i] for i in rng.permutation(len(parts["distractors"]))]
    if "queries" not in parts:
        bank, none = bank[: len(bank) // 2], bank[len(bank) // 2 :]
        asked += none
    return gallery + bank[: shape.distractors], asked


def ask(embedder: object, rows: list[GalleryRow], queries: list[GalleryRow]) -> Asked:
    """Fit a gallery of these rows, and ask it."""
    gallery = SqliteGallery.create(None, embedder.id, embedder.dim)  # type: ignore[attr-defined]
    gallery.put(rows)
    recognizer = assemble(embedder, gallery, Rules())  # type: ignore[arg-type]
    vectors = np.stack([row.vector for row in queries]).astype(np.float32)
    found = recognizer.answer(
        Queries(vectors, keypoints_of=lambda row: unpack(queries[row].keypoints))
    )
    names = np.append(found.index.names, "")
    truth = np.array([row.landmark for row in queries], dtype=object)
    known = np.isin(truth, found.index.names)
    return Asked(
        np.where(found.codes < 0, 0.0, found.confidence),
        known & (names[found.codes] == truth),
        np.where(known, 0, np.where(truth == "", 2, 1)),
    )


def calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_],
                      weight: NDArray[np.float64]) -> float:  # fmt: skip
    """Σ over ten bins of equal width of |Σ weight · (confidence − right)|, of weights of sum 1."""
    places = np.minimum((confidence * 10).astype(int), 9)
    gaps = np.bincount(places, weights=weight * (confidence - right), minlength=10)
    return float(np.abs(gaps).sum() / weight.sum())


def line(name: str, found: list[Asked]) -> str:
    """One row of the table, of all galleries of a shape."""
    confidence, right, kind, weight = (
        np.concatenate([getattr(one, part) for one in found])
        for part in ("confidence", "right", "kind", "weight")
    )
    sure = confidence >= SURE
    hits, of = int((sure & right).sum()), int(sure.sum())
    low, high = wilson_interval(hits, of) if of else (0.0, 1.0)
    share = weight[sure].sum() or 1.0
    in_mix, stated = (weight * right)[sure].sum() / share, (weight * confidence)[sure].sum() / share
    wrong = [int((sure & ~right & (kind == k)).sum()) for k in range(3)]
    above = sum(
        int((~one.right & (one.confidence >= SURE)).sum() > 0.02 * (one.confidence >= SURE).sum())
        for one in found
    )
    known = float((sure & right)[kind == 0].mean()) if (kind == 0).any() else 0.0
    return (
        f"{name:40} {hits:5} of {of:5} {hits / max(of, 1):6.3f} ({low:.3f}-{high:.3f}) "
        f"{in_mix:6.3f} {stated:6.3f} "
        f"{wrong!s:>14} {known:6.2f} {calibration_error(confidence, right, weight):6.3f} "
        f"{above:3} of {len(found)}"
    )


def upper_end(name: str, found: list[Asked]) -> Iterator[str]:
    """What share is right in each bin of the upper end, in the mix."""
    confidence, right, weight = (
        np.concatenate([getattr(one, part) for one in found])
        for part in ("confidence", "right", "weight")
    )
    for low, high in pairwise(BINS):
        own = (confidence >= low) & ((confidence < high) | (high == 1))
        if own.any():
            share = (weight * right)[own].sum() / weight[own].sum()
            yield f"    {low:.2f} to {high:.2f}: {own.sum():5} answers, {share:.3f} right"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="?", type=lambda text: Path(text).resolve())
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--embedder", nargs="+", default=["lite0", "sift", "histogram"])
    parser.add_argument("--galleries", type=int, default=4, help="of each shape")
    parser.add_argument("--queries", action="store_true", help="ask the queries; report only")
    parser.add_argument("--shape", default="", help="only shapes whose name contains this")
    parser.add_argument("--world", type=int, default=0, help="seed of the drawn world")
    options = parser.parse_args()
    tables = (
        folder_tables(options.photos, options.queries) if options.photos
        else drawn_tables(options.work, options.world)
    )  # fmt: skip
    print(f"{'':40} {'right of sure':>14} {'share':>6} {'95 %':>13} {'mix':>6} {'stated':>6} "
          f"{'wrong':>14} {'known':>6} {'ECE':>6} above 2 %")  # fmt: skip
    for source in options.embedder:
        name, _, at = source.rpartition("=")
        label = name or at
        cache = options.work / f"{'queries' if options.queries else 'choose'}-{label}"
        embedder = load_embedder(Path(at)) if name else (
            opened(at, options.work / f"{label}-embedder", tables)
        )  # fmt: skip
        parts = embedded(tables, cache, embedder)
        shapes = dict(SHAPES)
        if options.queries or not options.photos:
            whole = Shape(len({row.landmark for row in parts["index"]}), 100_000, 100_000)
            shapes = {WHOLE: whole, **shapes}
        everything: list[Asked] = []
        for shape_name, shape in shapes.items():
            if options.shape not in shape_name:
                continue
            times = 1 if shape_name == WHOLE else options.galleries
            found = [ask(embedder, *draw(parts, shape, seed)) for seed in range(times)]
            print(line(f"{label}, {shape_name}", found), flush=True)
            everything += found
        print(line(f"{label}, all", everything))
        print("\n".join(upper_end(label, everything)), flush=True)


if __name__ == "__main__":
    main()
