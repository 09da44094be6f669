"""Fit the default calibration of `lite0`: log-odds for galleries that cannot question themselves.

    python benchmarks/default_calibration.py FOLDER --work CACHE [--write]

FOLDER has index/<landmark>/ and distractors/. Only these photos and a drawn world are used; the
queries that recognizers are measured on (query, unknown, nonlandmark) are not read. Many small
galleries are drawn from them: 1 to 30 landmarks of 1 to 5 photos, with and without distractors;
other photos are their queries, known landmarks, unknown ones and none. A stacker is fitted for each
of six cases: whitening learned from pairs, whitening by PCA (one photo of each landmark), each with
and without distractors; vectors as embedded (very small galleries); one landmark. --write replaces
lite0_fit.json; without it the numbers are only printed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import whichlandmark.features.embedders.lite0 as lite0
from whichlandmark.core.types import Photos
from whichlandmark.data.folders import read_folder
from whichlandmark.data.synthetic.plan import DrawnWorld
from whichlandmark.data.synthetic.world import draw_world
from whichlandmark.data.table import read_photos
from whichlandmark.features.embedders.load import load_embedder
from whichlandmark.gallery.address import open_or_create
from whichlandmark.gallery.index import GalleryIndex
from whichlandmark.recognition.candidates import (
    FEATURES,
    GEOMETRY_FEATURES,
    add_geometry,
    make_candidates,
    ranks_to_compare,
)
from whichlandmark.recognition.fitting.fit import DefaultStackers
from whichlandmark.recognition.fitting.whitening import fit_whitening
from whichlandmark.recognition.folder.fill import fill_gallery
from whichlandmark.recognition.retrieval import Retriever
from whichlandmark.recognition.rules import Rules
from whichlandmark.recognition.spatial_verification import SpatialVerifier, inliers_by_rank
from whichlandmark.recognition.stacker import Stacker, fit_stacker

TARGET = Path(lite0.__file__).with_name("lite0_fit.json")

CASES = ("learned", "learned_alone", "pca", "pca_alone", "as_embedded", "one_landmark")

# Features that mean the same in every gallery; the others get weight 0 in the default.
USED = ("similarity", "lead", "company", "votes", "unwhitened", "photos", "place")

SHARES = (0.5, 0.125, 0.375)  # of queries: known landmark, unknown landmark, none, as in `Rules`

LANDMARKS = (1, 1, 2, 4, 8, 16, 20, 24, 30)  # of a drawn gallery
PHOTOS = (1, 1, 1, 1, 2, 3, 5)  # of each of its landmarks
DISTRACTORS = (0, 0, 40, 100)
QUERIES = 30  # of each kind

WORLD = DrawnWorld(
    landmarks=40, unknown_landmarks=1, photos=480, queries=40, unknown_queries=1,
    nonlandmark_queries=1, distractors=150, size=256, seed=7,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Examples:
    """Candidates of the queries of one gallery: features (N, F), with geometry (N, F + 6)."""

    case: str
    plain: np.ndarray
    verified: np.ndarray
    right: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True, eq=False)
class Source:
    """Photos that galleries are drawn from, embedded, with their keypoints."""

    index: GalleryIndex
    verifier: SpatialVerifier


def open_source(photos: Photos, at: Path) -> Source:
    embedder = load_embedder("lite0")
    gallery = open_or_create(at, embedder.id, embedder.dim)
    failed = fill_gallery(embedder, photos, gallery)
    print(f"{at}: {gallery.count()} photos, {len(failed)} failed", flush=True)
    empty = {"learned": None}  # any default fit, so that whitening is as it will be
    index = dataclasses.replace(
        GalleryIndex.of(gallery.table()).made_by(embedder), default_fit=empty
    )
    return Source(index, SpatialVerifier(gallery))


def draw_examples(source: Source, rng: np.random.Generator) -> Examples:
    """One gallery and its queries."""
    index = source.index
    names = rng.permutation(len(index.names))[: int(rng.choice(LANDMARKS))]
    per_landmark = int(rng.choice(PHOTOS))
    kept, known = [], []
    for code in names:
        rows = rng.permutation(np.flatnonzero(index.codes == code))
        kept += rows[:per_landmark].tolist()
        known += rows[per_landmark : per_landmark + 20].tolist()
    known = rng.permutation(np.array(known, dtype=np.int64))[:QUERIES]
    unknown = rng.permutation(np.flatnonzero(~np.isin(index.codes, names)))[:QUERIES]
    order = rng.permutation(len(index.distractor_ids))
    bank, none = order[: int(rng.choice(DISTRACTORS))], order[-QUERIES:]
    rest = np.setdiff1d(np.arange(len(index.codes)), kept)
    gallery = dataclasses.replace(
        index.without(rest),
        distractor_ids=index.distractor_ids[bank], distractor_paths=index.distractor_paths[bank],
        distractor_vectors=index.distractor_vectors[bank],
    )  # fmt: skip
    vectors = np.concatenate(
        [index.vectors[known], index.vectors[unknown], index.distractor_vectors[none]]
    ).astype(np.float32)
    ids = [*index.ids[known], *index.ids[unknown], *index.distractor_ids[none]]
    truth = [*index.names[index.codes[known]], *[""] * (len(unknown) + len(none))]
    whitening = fit_whitening(gallery, Rules())
    retriever = Retriever(gallery, Rules(), whitening)
    found = retriever.search(vectors)
    candidates = make_candidates(retriever, found)
    inliers = np.full(found.codes.shape, -1, dtype=np.int64)
    agreement = np.zeros(found.codes.shape)
    for row, keypoints in enumerate(source.verifier.keypoints(ids)):
        if keypoints is not None:
            ranks = ranks_to_compare(found, candidates, row, Rules().verify)
            near = [str(gallery.ids[found.neighbours.rows[row, rank]]) for rank in ranks]
            matches = source.verifier.verify(keypoints, near)
            inliers[row] = inliers_by_rank(matches, ranks, found.codes.shape[1])
            agreement[row, ranks] = [match.agreement if match else 0 for match in matches]
    answers = np.append(gallery.names, "?")[candidates.codes]
    present = candidates.codes >= 0
    right = (answers == np.array(truth, dtype=object)[:, None]) & present
    sizes = (len(known), len(unknown), len(none))
    weights = np.concatenate(
        [np.full(n, 100 * share / max(n, 1)) for n, share in zip(sizes, SHARES, strict=True)]
    )
    case = DefaultStackers.case(gallery, whitening)
    return Examples(
        case, candidates.features[present],
        add_geometry(candidates, found, inliers, agreement)[present], right[present],
        np.repeat(weights[:, None], present.shape[1], axis=1)[present],
    )  # fmt: skip


def fit_case(examples: list[Examples], *, verified: bool) -> Stacker:
    names = (*USED, *GEOMETRY_FEATURES) if verified else USED
    order = [(*FEATURES, *GEOMETRY_FEATURES).index(name) for name in names]
    rows = np.concatenate([(e.verified if verified else e.plain)[:, order] for e in examples])
    right = np.concatenate([e.right for e in examples])
    return fit_stacker(names, rows, right, np.concatenate([e.weights for e in examples]))


def sources(folder: Path, work: Path) -> Iterator[tuple[Source, int]]:
    """Each source with the number of galleries that are drawn from it."""
    photos = [read_folder(folder / "index")]
    bank = read_folder(folder / "distractors", labelled=False)
    tables = [(p.ids, p.paths, p.landmarks) for p in (*photos, bank)]
    parts = ["index/", "distractors/"]
    ids = [part + name for part, table in zip(parts, tables, strict=True) for name in table[0]]
    paths, landmarks = ([x for table in tables for x in table[i]] for i in (1, 2))
    yield open_source(Photos.of_columns(ids, paths, landmarks), work / "real"), 240
    if not (work / "world" / "photos.csv").exists():
        draw_world(work / "world", WORLD)
    drawn = [read_photos(work / "world" / f"{name}.csv") for name in ("photos", "distractors")]
    columns = [
        [x for p in drawn for x in getattr(p, name)] for name in ("ids", "paths", "landmarks")
    ]
    yield open_source(Photos.of_columns(*columns), work / "drawn"), 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=lambda text: Path(text).resolve())
    parser.add_argument("--work", type=Path, required=True, help="folder of what was embedded")
    parser.add_argument("--write", action="store_true", help="replace lite0_fit.json")
    options = parser.parse_args()
    examples: list[Examples] = []
    for number, (source, galleries) in enumerate(sources(options.photos, options.work)):
        rng = np.random.default_rng(number)
        for done in range(galleries):
            examples.append(draw_examples(source, rng))
            if done % 40 == 39:
                print(f"{done + 1} of {galleries} galleries", flush=True)
    fitted = {}
    for case in CASES:
        own = [e for e in examples if e.case == case]
        fitted[case] = {}
        for kind in ("plain", "verified"):
            stacker = fit_case(own, verified=kind == "verified")
            fitted[case][kind] = dataclasses.asdict(stacker)
            weights = {n: round(w, 2) for n, w in zip(stacker.names, stacker.weights, strict=True)}
            print(f"{case}, {kind}: {len(own)} galleries, offset {stacker.offset:.2f}, {weights}")
    if options.write:
        rounded = json.loads(json.dumps(fitted), parse_float=lambda x: round(float(x), 5))
        TARGET.write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
