"""How long does an evaluation of full size take, and does it fit into memory?

python benchmarks/gldv2_scale.py [--queries 117577] [--gallery 1580000] [--dim 512]
    [--bank 100000] [--landmarks 81313] [--score both_penalties] [--recall 0.99] [--fit]
    [--limit 8] [--sizes 10000,100000]

Vectors of landmarks and of things that are none, alike as a trained embedder's are
(random_vectors.py). Of the questions 1.7 % show a landmark (one in five of them none of the
gallery), as in the test set of Google Landmarks v2. From vectors on, everything is what
`evaluate` runs. --recall 1: all is compared, no cells. --fit: also fit what the rules need on the
gallery itself, as a recognizer does. --sizes: smaller galleries before, each in a process of its
own, to see how time grows. Prints seconds, peak resident memory and scores; exit code 1 when the
peak is over the limit.
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
LANDMARK_QUERIES, UNKNOWN = 0.017, 0.2  # shares of the queries, and of those
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
    """A long tail of landmarks, and a bank of distractors."""
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
    """Cells, as segment files have them."""
    if recall >= 1 or len(index.codes) < MIN_ROWS_FOR_IVF:
        return None
    cells = build_ivf(index.vectors, index.codes, recall=recall)
    bank = build_ivf(index.distractor_vectors, recall=recall) if len(index.distractor_vectors) >= MIN_ROWS_FOR_IVF else None
    for name, made in (("gallery", cells), ("bank", bank)):
        if made:
            print(f"  {name}: {made.index.nlist:,} cells, {made.probes} looked into, "
                  f"{made.refine} compared, recall {made.recall:.4f}")  # fmt: skip
    return SearchRows("", index.vectors, index.distractor_vectors, cells, bank)


def asked(
    options: argparse.Namespace, decider: Decider, landmarks: RandomVectors, things: RandomVectors
) -> QueryRun:
    """All queries, asked in parts whose vectors are made on the way."""
    rng = np.random.default_rng(3)
    landmark = rng.random(options.queries) < LANDMARK_QUERIES
    landmark[0] = True  # GAP needs one
    unknown = landmark & (rng.random(options.queries) < UNKNOWN)
    codes = np.where(landmark, rng.integers(0, options.landmarks, options.queries),
                     rng.integers(0, THINGS, options.queries))  # fmt: skip
    codes[unknown] = options.landmarks + rng.integers(0, UNKNOWN_LANDMARKS, int(unknown.sum()))
    truth = [f"{c:05}" if shows else "" for c, shows in zip(codes, landmark, strict=True)]
    ids = [f"q{row}" for row in range(options.queries)]
    questions = QueryRun(answering(decider), Photos.of_columns(ids, ids, truth))
    for start in range(0, options.queries, QUERIES_PER_SEARCH):
        rows = np.arange(start, min(start + QUERIES_PER_SEARCH, options.queries))
        vectors = things.around(np.where(landmark[rows], 0, codes[rows]), 10_000_000 + start)
        shown = landmark[rows]
        vectors[shown] = landmarks.around(codes[rows[shown]], 20_000_000 + start)
        questions.answer(rows, Queries(vectors))
    return questions


def answering(decider: Decider) -> Responder:
    """The decider of a recognizer, without photos: nothing is compared by geometry."""
    names = np.append(decider.index.names, "").astype(object)

    def answer(queries: Queries) -> BatchAnswers:
        answers = decider.answer(queries)
        decisions = map(decider.decide, answers.confidence, answers.scores)
        return BatchAnswers(
            names[answers.codes], answers.scores, answers.confidence,
            np.array(list(decisions), dtype=object), answers.found.neighbours,
        )  # fmt: skip

    return Responder(decider.index, answer)


def told(what: str, started: float) -> float:
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
    parser.add_argument("--limit", type=float, default=8.0, help="GB of resident memory")
    parser.add_argument("--sizes", default="", help="smaller galleries, to see how time grows")
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
    clock = told("gallery and bank made", clock)
    rules = Rules(score=options.score, whitening="learned" if options.fit else "none", verify=0,
                  recall=options.recall)  # fmt: skip
    fitted = Fitted(None, None, None, Calibration(slope=20.0, offset=-5.0))
    if options.fit:
        fitted = fit.fit(index, rules)
        clock = told("fitted on the gallery", clock)
    ready = prepared(index, options.recall)
    clock = told("cells built", clock)
    decider = Decider(index, rules, fitted, prepared=ready)
    clock = told("made ready to answer", clock)
    questions = asked(options, decider, landmarks, things)
    clock = told("queries answered", clock)
    scores = compute_scores(questions, started=began)
    told("scored", clock)
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
