"""How `lite0` answers where a gallery can hardly question itself: no distractors, few photos.

    python benchmarks/small_galleries.py FOLDER --work CACHE [--embedder lite0]

FOLDER is laid out as for real_photos.py. Four cases: the whole gallery with distractors; without
any; one photo of each landmark, with distractors (the first by name, and four random draws); each
landmark alone, without distractors. Default rules, verified by geometry. Everything is embedded
once, into CACHE, where a second run finds it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from whichlandmark.core.types import Embedder, Photos
from whichlandmark.data.folders import read_folder
from whichlandmark.features.embedders.load import load_embedder
from whichlandmark.features.local.keypoints import unpack
from whichlandmark.gallery.address import open_or_create
from whichlandmark.gallery.base import Gallery
from whichlandmark.gallery.records import GalleryRow
from whichlandmark.gallery.sqlite.store import SqliteGallery
from whichlandmark.metrics.open_set import auroc
from whichlandmark.metrics.ranking import gap
from whichlandmark.recognition.folder.fill import fill_gallery
from whichlandmark.recognition.folder.load import assemble
from whichlandmark.recognition.query import Queries

PARTS = ("index", "distractors", "query", "unknown", "nonlandmark")


def embed_all(folder: Path, at: Path, embedder: Embedder) -> dict[str, list[GalleryRow]]:
    """The rows of every part, with vectors and keypoints."""
    gallery: Gallery = open_or_create(at, embedder.id, embedder.dim)
    parts: dict[str, list[GalleryRow]] = {part: [] for part in PARTS}
    for part in PARTS:
        table = read_folder(folder / part, labelled=part in ("index", "query", "unknown"))
        ids = [f"{part}/{name}" for name in table.ids]
        photos = Photos.of_columns(ids, table.paths.tolist(), table.landmarks.tolist())
        for failure in fill_gallery(embedder, photos, gallery):
            print("failed:", failure)
    for _, row in gallery.rows_after(0, 1_000_000):
        parts[row.id.split("/")[0]].append(row)
    return parts


def answer(
    embedder: Embedder, rows: Sequence[GalleryRow], parts: dict[str, list[GalleryRow]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Guess, confidence and decision "landmark" of all queries."""
    gallery = SqliteGallery.create(None, embedder.id, embedder.dim)
    gallery.put(rows)
    recognizer = assemble(embedder, gallery)
    queries = [row for part in PARTS[2:] for row in parts[part]]
    vectors = np.stack([row.vector for row in queries]).astype(np.float32)
    given = Queries(vectors, keypoints_of=lambda i: unpack(queries[i].keypoints))
    answers = recognizer.answer(given)
    names = np.append(answers.index.names, "")
    decided = [
        answers.decider.decide(float(c), float(s)) == "landmark"
        for c, s in zip(answers.confidence, answers.scores, strict=True)
    ]
    return names[answers.codes], answers.confidence, np.array(decided) & (answers.codes >= 0)


def measure(
    name: str, embedder: Embedder, rows: Sequence[GalleryRow], parts: dict[str, list[GalleryRow]]
) -> None:
    """Print one line of numbers for a gallery of these rows."""
    guess, confidence, named = answer(embedder, rows, parts)
    part = np.array([p for p in PARTS[2:] for _ in parts[p]])
    truth = np.array([row.landmark for p in PARTS[2:] for row in parts[p]], dtype=object)
    known = (part == "query") & np.isin(truth, [row.landmark for row in rows if row.landmark])
    right = known & (guess == truth)
    wrong = int((named & ~right).sum())
    total = gap(confidence.astype(float), right, int(known.sum()), predicted=guess != "")
    unknown, none = (auroc(confidence[known], confidence[part == p]) for p in PARTS[3:])
    sure = confidence >= 0.97
    order = np.argsort(-confidence, kind="stable")
    good = np.cumsum(right[order])
    reach = good[(np.arange(1, len(good) + 1) - good) <= 0.05 * np.arange(1, len(good) + 1)]
    print(
        f"{name:34} GAP {total:.3f}  top-1 {right[known].mean():.3f}  AUROC unknown {unknown:.3f} "
        f"none {none:.3f}  named rightly {int((named & right).sum())} of {int(known.sum())}, "
        f"wrongly {wrong} ({wrong / max(1, int(named.sum())):.1%}): "
        f"{int((named & known & ~right).sum())} known, {int((named & (part == 'unknown')).sum())} "
        f"unknown, {int((named & (part == 'nonlandmark')).sum())} none; at 0.97: "
        f"{int((sure & right).sum())} of {int(sure.sum())}; rightly at 5 % wrong by the best "
        f"threshold: {int(reach.max(initial=0))}",
        flush=True,
    )


def one_landmark_alone(embedder: Embedder, parts: dict[str, list[GalleryRow]]) -> None:
    """Sums over galleries of one landmark each, by what the query shows."""
    kinds = np.array(
        [f"{p}: {row.id.split('/')[-1].split('_')[0]}" if p == "nonlandmark" else p
         for p in PARTS[2:] for row in parts[p]]
    )  # fmt: skip
    truth = np.array([row.landmark for p in PARTS[2:] for row in parts[p]], dtype=object)
    named_of, total_of = {}, {}
    landmarks = sorted({row.landmark for row in parts["index"]})
    for landmark in landmarks:
        rows = [row for row in parts["index"] if row.landmark == landmark]
        _, _, named = answer(embedder, rows, parts)
        for kind in np.unique(kinds):
            asked = kinds == kind
            if kind == "query":
                for own, title in ((True, "its own photos"), (False, "photos of other landmarks")):
                    rows_of = asked & ((truth == landmark) == own)
                    named_of[title] = named_of.get(title, 0) + int(named[rows_of].sum())
                    total_of[title] = total_of.get(title, 0) + int(rows_of.sum())
                continue
            named_of[kind] = named_of.get(kind, 0) + int(named[asked].sum())
            total_of[kind] = total_of.get(kind, 0) + int(asked.sum())
    print(f"each of {len(landmarks)} landmarks alone, no distractors; named of asked:")
    for kind, total in total_of.items():
        print(f"  {kind:30} {named_of[kind]:6} of {total:6}  {named_of[kind] / total:.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=lambda text: Path(text).resolve())
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--embedder", default="lite0")
    options = parser.parse_args()
    embedder = load_embedder(options.embedder)
    parts = embed_all(options.photos, options.work, embedder)
    index, bank = parts["index"], parts["distractors"]
    measure("whole gallery, distractors", embedder, [*index, *bank], parts)
    measure("whole gallery, no distractors", embedder, index, parts)
    first = list({row.landmark: row for row in reversed(index)}.values())
    measure("first photo, distractors", embedder, [*first, *bank], parts)
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(len(index))
        drawn = list({index[i].landmark: index[i] for i in order}.values())
        measure(f"one photo, draw {seed}, distractors", embedder, [*drawn, *bank], parts)
    measure("one photo, draw 3, no distractors", embedder, drawn, parts)
    one_landmark_alone(embedder, parts)


if __name__ == "__main__":
    main()
