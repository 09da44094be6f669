"""Does the default confidence of labels keep its promise, at most one wrong label in a hundred?

    python benchmarks/label_threshold.py --work CACHE [--photos FOLDER] [--embedder sift]
        [--landmarks 15 30 60] [--galleries 3] [--sure-above 0.97]

Galleries of some landmarks each are drawn from a larger set, by seed, and fitted alone; the queries
of the landmarks that were not drawn show unknown ones. For each gallery: the confidence that
`sure_confidence` finds on it, labels and wrong labels among the queries from there on and from
0.95, 0.97 and 0.99, and the share of wrong labels in the mix of the default rules (half known, an
eighth unknown). FOLDER is laid out as for real_photos.py; without it a world is drawn into CACHE.
No query takes part in the choice of a confidence.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from whichlandmark.core.images import read_image
from whichlandmark.core.types import Embedder, Photos
from whichlandmark.data.folders import read_folder
from whichlandmark.data.synthetic.plan import DrawnWorld
from whichlandmark.data.synthetic.world import draw_world
from whichlandmark.data.table import read_photos
from whichlandmark.features.embedders.histogram import HistogramEmbedder
from whichlandmark.features.embedders.load import load_embedder
from whichlandmark.features.embedders.sift import SiftEmbedder
from whichlandmark.features.local.keypoints import unpack
from whichlandmark.gallery.address import open_or_create
from whichlandmark.gallery.records import GalleryRow
from whichlandmark.gallery.sqlite.store import SqliteGallery
from whichlandmark.recognition.folder.fill import fill_gallery
from whichlandmark.recognition.folder.load import assemble
from whichlandmark.recognition.query import Queries
from whichlandmark.recognition.rules import Rules
from whichlandmark.recognition.sure import sure_confidence

FIXED = (0.95, 0.97, 0.99)


def drawn_tables(work: Path, seed: int) -> dict[str, Photos]:
    """The tables of a drawn world without planted errors."""
    world = DrawnWorld(
        landmarks=100, unknown_landmarks=40, photos=1000, queries=400, unknown_queries=160,
        nonlandmark_queries=300, distractors=300, size=256, seed=seed, mislabelled=0, duplicate=0,
        near_duplicate=0, indoor=0, corrupt=0,
    )  # fmt: skip
    folder = work / f"world-{seed}"
    draw_world(folder, world)
    return {
        "index": read_photos(folder / "photos.csv"),
        "distractors": read_photos(folder / "distractors.csv"),
        "queries": read_photos(folder / "queries.csv"),
    }


def folder_tables(folder: Path) -> dict[str, Photos]:
    """The tables of a folder of photos."""
    queries = read_folder(folder / "query") + read_folder(folder / "unknown")
    return {
        "index": read_folder(folder / "index"),
        "distractors": read_folder(folder / "distractors", labelled=False),
        "queries": queries + read_folder(folder / "nonlandmark", labelled=False),
    }


def opened(name: str, folder: Path, tables: dict[str, Photos]) -> Embedder:
    """The embedder; sift is fitted on the photos of the gallery, once."""
    if name == "histogram":
        return HistogramEmbedder()
    if name != "sift":
        return load_embedder(name)
    if not (folder / "embedder.json").exists():
        paths = tables["index"].paths[::4].tolist()
        SiftEmbedder.fit(read_image(path, short_side=480) for path in paths).save(folder)
    return load_embedder(folder)


def embedded(
    tables: dict[str, Photos], at: Path, embedder: Embedder
) -> dict[str, list[GalleryRow]]:
    """The rows of every table, with vectors and keypoints, kept in a file for a second run."""
    gallery = open_or_create(at, embedder.id, embedder.dim)
    for name, table in tables.items():
        ids = [f"{name}/{photo_id}" for photo_id in table.ids]
        named = Photos.of_columns(ids, table.paths.tolist(), table.landmarks.tolist())
        for failure in fill_gallery(embedder, named, gallery):
            print("failed:", failure)
    parts: dict[str, list[GalleryRow]] = {name: [] for name in tables}
    for _, row in gallery.rows_after(0, 1_000_000):
        parts[row.id.partition("/")[0]].append(row)
    return parts


def drawn_rows(parts: dict[str, list[GalleryRow]], count: int, seed: int) -> list[GalleryRow]:
    """A gallery: the photos of some landmarks, and all distractors."""
    names = sorted({row.landmark for row in parts["index"]})
    rng = np.random.default_rng([count, seed])
    chosen = set(rng.choice(names, min(count, len(names)), replace=False))
    return [row for row in parts["index"] if row.landmark in chosen] + parts["distractors"]


@dataclass(frozen=True)
class Outcome:
    """What labels from one confidence on are: their number, the wrong ones, and shares by mix."""

    labels: int
    wrong: int
    right_share: float
    wrong_in_mix: float
    labels_in_mix: float


def outcome(
    labelled: NDArray[np.bool_], right: NDArray[np.bool_], kinds: NDArray[np.int64], rules: Rules
) -> Outcome:
    """kinds: 0 = shows a landmark of the gallery, 1 = another one, 2 = none."""
    shares = (rules.known_share, rules.unknown_share, 1 - rules.known_share - rules.unknown_share)
    wrong = labelled & ~right
    asked = [(kinds == kind, share) for kind, share in enumerate(shares) if (kinds == kind).any()]
    return Outcome(
        int(labelled.sum()), int(wrong.sum()), float((labelled & right)[kinds == 0].mean()),
        sum(share * float(wrong[own].mean()) for own, share in asked),
        sum(share * float(labelled[own].mean()) for own, share in asked),
    )  # fmt: skip


def measure(
    embedder: Embedder, rows: list[GalleryRow], queries: list[GalleryRow], rules: Rules
) -> Iterator[tuple[str, float, Outcome]]:
    """(how the confidence was chosen, the confidence, its outcome) of a gallery."""
    gallery = SqliteGallery.create(None, embedder.id, embedder.dim)
    gallery.put(rows)
    recognizer = assemble(embedder, gallery, rules)
    vectors = np.stack([row.vector for row in queries]).astype(np.float32)
    found = recognizer.answer(
        Queries(vectors, keypoints_of=lambda row: unpack(queries[row].keypoints))
    )
    names = np.append(found.index.names, "")
    truth = np.array([row.landmark for row in queries], dtype=object)
    known = np.isin(truth, found.index.names)
    kinds = np.where(known, 0, np.where(truth == "", 2, 1))
    right = known & (names[found.codes] == truth)
    confidence = np.where(found.codes < 0, 0.0, found.confidence)
    sure = sure_confidence(recognizer)
    chosen = [("default", sure.confidence), *((f"{at:g}", at) for at in FIXED)]
    for name, at in chosen:
        mark = f"{name}{', measured' if name == 'default' and sure.measured else ''}"
        yield mark, at, outcome(confidence >= at, right, kinds, rules)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--photos", type=lambda text: Path(text).resolve())
    parser.add_argument("--embedder", default="sift")
    parser.add_argument("--landmarks", type=int, nargs="+", default=[15, 30, 60, 100])
    parser.add_argument("--galleries", type=int, default=3)
    parser.add_argument("--world", type=int, default=0, help="seed of the drawn world")
    parser.add_argument("--sure-above", type=float, default=Rules().sure_above)
    options = parser.parse_args()
    rules = Rules(sure_above=options.sure_above)
    tables = folder_tables(options.photos) if options.photos else (
        drawn_tables(options.work, options.world)
    )  # fmt: skip
    source = options.photos.name if options.photos else f"world-{options.world}"
    embedder = opened(
        options.embedder, options.work / f"{source}-{options.embedder}-embedder", tables
    )
    parts = embedded(tables, options.work / f"{source}-{options.embedder}", embedder)
    sums: dict[str, list[Outcome]] = {}
    for count in options.landmarks:
        for seed in range(options.galleries):
            rows = drawn_rows(parts, count, seed)
            for name, at, one in measure(embedder, rows, parts["queries"], rules):
                sums.setdefault(name.partition(",")[0], []).append(one)
                print(f"{count:4} landmarks, gallery {seed}  {name:18} {at:.4f}: {one.labels:4} "
                      f"labels ({one.right_share:.0%} of known), {one.wrong:3} wrong; in the mix "
                      f"{one.wrong_in_mix / max(one.labels_in_mix, 1e-9):.2%}",
                      flush=True)  # fmt: skip
    for name, found in sums.items():
        wrong, labels = sum(o.wrong_in_mix for o in found), sum(o.labels_in_mix for o in found)
        above = sum(one.wrong_in_mix > 0.01 * one.labels_in_mix for one in found)
        print(f"all: {name:10} wrong in the mix {wrong / max(labels, 1e-9):.2%}; "
              f"{above} of {len(found)} galleries above 1 %; of the known "
              f"{np.mean([one.right_share for one in found]):.0%} labelled")  # fmt: skip


if __name__ == "__main__":
    main()
