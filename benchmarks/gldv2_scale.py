"""Measure seconds and memory of an evaluation as large as Google Landmarks v2.

    python benchmarks/gldv2_scale.py [--queries 117577] [--gallery 1580000] [--dim 512]
        [--bank 100000] [--landmarks 81313] [--score both_penalties] [--recall 0.99] [--fit]
        [--limit 8] [--sizes 10000,100000]

Random vectors of landmarks and of distractors, distributed like a trained embedder's
(random_vectors.py). 1.7 % of the queries show a landmark (one in five of those is not in the
gallery), as in the test set of Google Landmarks v2. After the vectors, all code is that of
`evaluate`. --recall 1: exact search, without an inverted file. --fit: also fit the rules on
leave-one-out queries, as a recognizer does. --sizes: smaller galleries first, each in its own
process, to show how time grows. Prints seconds, peak resident memory and scores; exit code 1 when
the peak is above the limit.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import numpy as np
from numpy.typing import NDArray

import tests_on_path  # noqa: F401
from tests.support.random_vectors import RandomVectors, long_tail
from whichlandmark.core.types import Photos
from whichlandmark.evaluation.evaluate import QUERIES_PER_SEARCH, compute_scores
from whichlandmark.evaluation.run_queries import BatchAnswers, QueryRun, Responder
from whichlandmark.gallery.index import GalleryIndex, SearchRows
from whichlandmark.gallery.index.ivf import MIN_ROWS_FOR_IVF, build_ivf
from whichlandmark.recognition.calibration import Calibration
from whichlandmark.recognition.decision import Decider, Fitted
from whichlandmark.recognition.fitting import fit
from whichlandmark.recognition.query import Queries
from whichlandmark.recognition.rules import Rules

THINGS = 5_000  # kinds of non-landmarks
LANDMARK_QUERIES, UNKNOWN = 0.017, 0.2  # share of the queries; share of those that is unknown
UNKNOWN_LANDMARKS = 1_000


def gigabytes() -> float:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def column(texts: list[str]) -> NDArray[np.object_]:
    filled = np.empty(len(texts), dtype=object)
    filled[:] = texts
    return filled


def made_index(
    options: argparse.Namespace, landmarks: RandomVectors, things: RandomVectors
) -> GalleryIndex:
    """A gallery index with a long tail of landmarks, and distractors."""
    codes = long_tail(options.gallery, options.landmarks)
    ids = column([f"g{row}" for row in range(len(codes))])
    kinds = np.random.default_rng(0).integers(0, THINGS, options.bank)
    return GalleryIndex(
        names=column([f"{code:05}" for code in range(options.landmarks)]), codes=codes,
        ids=ids, paths=ids, vectors=landmarks.around_float16(codes, 1),
        distractor_ids=column([f"b{row}" for row in range(options.bank)]),
        distractor_vectors=things.around_float16(kinds, 2),
    )  # fmt: skip


def prepared(index: GalleryIndex, recall: float) -> SearchRows | None:
    """The inverted files of the index, as index files have them."""
    if recall >= 1 or len(index.codes) < MIN_ROWS_FOR_IVF:
        return None
    gallery = build_ivf(index.vectors, index.codes, recall=recall)
    distractors = None
    if len(index.distractor_vectors) >= MIN_ROWS_FOR_IVF:
        distractors = build_ivf(index.distractor_vectors, recall=recall)
    for name, made in (("gallery", gallery), ("distractors", distractors)):
        if made:
            print(f"  {name}: {made.index.nlist:,} clusters, {made.probes} searched, "
                  f"{made.refine} compared, recall {made.recall:.4f}")  # fmt: skip
    return SearchRows("", index.vectors, index.distractor_vectors, gallery, distractors)


def answer_queries(
    options: argparse.Namespace, decider: Decider, landmarks: RandomVectors, things: RandomVectors
) -> QueryRun:
    """Answer all queries in parts, whose vectors are drawn when needed."""
    rng = np.random.default_rng(3)
    landmark = rng.random(options.queries) < LANDMARK_QUERIES
    landmark[0] = True  # because GAP is undefined without one
    unknown = landmark & (rng.random(options.queries) < UNKNOWN)
    codes = np.where(landmark, rng.integers(0, options.landmarks, options.queries),
                     rng.integers(0, THINGS, options.queries))  # fmt: skip
    codes[unknown] = options.landmarks + rng.integers(0, UNKNOWN_LANDMARKS, int(unknown.sum()))
    truth = [f"{c:05}" if shows else "" for c, shows in zip(codes, landmark, strict=True)]
    ids = [f"q{row}" for row in range(options.queries)]
    run = QueryRun(answering(decider), Photos.of_columns(ids, ids, truth))
    for start in range(0, options.queries, QUERIES_PER_SEARCH):
        rows = np.arange(start, min(start + QUERIES_PER_SEARCH, options.queries))
        vectors = things.around(np.where(landmark[rows], 0, codes[rows]), 10_000_000 + start)
        shown = landmark[rows]
        vectors[shown] = landmarks.around(codes[rows[shown]], 20_000_000 + start)
        run.answer(rows, Queries(vectors))
    return run


def answering(decider: Decider) -> Responder:
    """A recognizer's decision step without photos, so without spatial verification."""
    names = np.append(decider.index.names, "").astype(object)

    def answer(queries: Queries) -> BatchAnswers:
        answers = decider.answer(queries)
        decisions = map(decider.decide, answers.confidence, answers.scores)
        return BatchAnswers(
            names[answers.codes], answers.scores, answers.confidence,
            np.array(list(decisions), dtype=object), answers.found.neighbours,
        )  # fmt: skip

    return Responder(decider.index, answer)


def print_step(what: str, started: float) -> float:
    now = time.monotonic()
    print(f"{what:<34} {now - started:9.1f} s   peak so far {gigabytes():5.2f} GB", flush=True)
    return now


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("queries", 117_577), ("gallery", 1_580_000), ("dim", 512),
                        ("bank", 100_000), ("landmarks", 81_313)):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--score", default="both_penalties")
    parser.add_argument("--recall", type=float, default=0.99)
    parser.add_argument("--fit", action="store_true")
    parser.add_argument(
        "--limit", type=float, default=8.0, help="largest accepted peak of resident memory, GB"
    )
    parser.add_argument(
        "--sizes", default="", help="sizes of smaller galleries to measure first, comma-separated"
    )
    options = parser.parse_args()
    for size in filter(None, options.sizes.split(",")):
        mine = [word for word in sys.argv[1:] if not word.startswith("--sizes")]
        mine = [word for word in mine if word != options.sizes]
        share = int(size) / options.gallery
        smaller = ["--gallery", size, "--landmarks", str(max(2, int(options.landmarks * share)))]
        subprocess.run([sys.executable, __file__, *mine, *smaller], check=False)
    options.landmarks = min(options.landmarks, options.gallery // 2)
    measure(options)


def measure(options: argparse.Namespace) -> None:
    print(
        f"{options.queries:,} queries, gallery {options.gallery:,} × {options.dim} of "
        f"{options.landmarks:,} landmarks, bank {options.bank:,}, score {options.score}, "
        f"recall {options.recall:g}"
    )
    began = clock = time.monotonic()
    landmarks = RandomVectors(options.landmarks + UNKNOWN_LANDMARKS, options.dim, seed=4)
    things = RandomVectors(THINGS, options.dim, seed=5)
    index = made_index(options, landmarks, things)
    clock = print_step("gallery and distractors made", clock)
    rules = Rules(score=options.score, whitening="learned" if options.fit else "none", verify=0,
                  recall=options.recall)  # fmt: skip
    fitted = Fitted(None, None, None, Calibration(slope=20.0, offset=-5.0))
    if options.fit:
        fitted = fit.fit(index, rules)
        clock = print_step("fitted on the gallery", clock)
    ready = prepared(index, options.recall)
    clock = print_step("inverted files built", clock)
    decider = Decider(index, rules, fitted, prepared=ready)
    clock = print_step("ready to answer", clock)
    answered = answer_queries(options, decider, landmarks, things)
    clock = print_step("queries answered", clock)
    scores = compute_scores(answered, started=began)
    print_step("scored", clock)
    print(f"{scores.queries:,} queries: {scores.known:,} known, {scores.unknown:,} unknown, "
          f"{scores.no_landmark:,} without a landmark\n"
          f"GAP {scores.gap:.4f} ({scores.gap_interval[0]:.4f} to {scores.gap_interval[1]:.4f}), "
          f"top-1 {scores.top1:.4f}, mAP@100 {scores.map_at_100:.4f}, "
          f"AUROC against no landmark {scores.auroc_no_landmark:.4f}")  # fmt: skip
    peak, within = gigabytes(), gigabytes() <= options.limit
    print(f"{time.monotonic() - began:.1f} s in all, peak {peak:.2f} GB: "
          f"{'within' if within else 'OVER'} {options.limit:g} GB")  # fmt: skip
    sys.exit(0 if within else 1)


if __name__ == "__main__":
    main()
