"""How long does an evaluation of full size take, and does it fit into memory?

python benchmarks/evaluation_scale.py [--queries 117577] [--gallery 1580000] [--dim 512]
    [--bank 100000] [--landmarks 81313] [--score both_penalties] [--fit] [--limit 6]

Random clustered vectors, float16 in blocks: each landmark, and each kind of thing that is no
landmark, is a direction with noise around it. Of the questions 1.7 % show a landmark (one in five
of them none of the gallery), as in GLDv2's test set. From vectors on, everything is what
`evaluate` runs. --fit: also fit what the rules need on the gallery itself, as a recognizer does.
Prints seconds, peak resident memory and scores; exit code 1 when the peak is over the limit.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

import numpy as np
from numpy.typing import NDArray

from whichlandmark import fitting
from whichlandmark.calibration import Calibration
from whichlandmark.deciding import Decider, Fitted
from whichlandmark.evaluation import ASKED_AT_ONCE, scored
from whichlandmark.gallery.index import GalleryIndex
from whichlandmark.questions import Answered, Answering, Questions
from whichlandmark.rules import Rules
from whichlandmark.types import Photos, Vectors

BLOCK = 65_536
NOISE = 2.4  # two photos of a landmark then have a cosine near 1 / (1 + NOISE²) = 0.15
THINGS = 5_000  # kinds of non-landmarks
LANDMARK_QUERIES, UNKNOWN = 0.017, 0.2  # shares of the queries, and of those


def gigabytes() -> float:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def near(centres: NDArray[np.float32], codes: NDArray[np.int64], seed: int) -> Vectors:
    """(n, D) unit rows, each a centre with noise around it."""
    noise = np.random.default_rng(seed).standard_normal((len(codes), centres.shape[1]), np.float32)
    rows = centres[codes] + NOISE / np.sqrt(centres.shape[1]) * noise
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def stored(
    centres: NDArray[np.float32], codes: NDArray[np.int64], seed: int
) -> NDArray[np.float16]:
    """The same as float16, made block by block."""
    vectors = np.empty((len(codes), centres.shape[1]), dtype=np.float16)
    for start in range(0, len(codes), BLOCK):
        part = slice(start, start + BLOCK)
        vectors[part] = near(centres, codes[part], seed + start)
    return vectors


def directions(count: int, dim: int, seed: int) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).standard_normal((count, dim), np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def column(texts: list[str]) -> NDArray[np.object_]:
    filled = np.empty(len(texts), dtype=object)
    filled[:] = texts
    return filled


def made_index(
    options: argparse.Namespace, centres: NDArray[np.float32], things: NDArray[np.float32]
) -> GalleryIndex:
    """A long tail of landmarks, two photos each at least, and a bank of distractors."""
    rng = np.random.default_rng(0)
    tail = (options.landmarks * rng.random(options.gallery) ** 2).astype(np.int64)
    twice = np.tile(np.arange(options.landmarks), 2)
    codes = np.sort(np.concatenate([twice, tail])[: options.gallery])
    ids = column([f"g{row}" for row in range(len(codes))])
    kinds = rng.integers(0, THINGS, options.bank)
    return GalleryIndex(
        names=column([f"{code:05}" for code in range(options.landmarks)]), codes=codes,
        ids=ids, paths=ids, vectors=stored(centres, codes, 1),
        bank_ids=column([f"b{row}" for row in range(options.bank)]), bank=stored(things, kinds, 2),
    )  # fmt: skip


def asked(
    options: argparse.Namespace, decider: Decider, centres: NDArray[np.float32],
    things: NDArray[np.float32],
) -> Questions:  # fmt: skip
    """All queries, asked in parts whose vectors are made on the way."""
    rng = np.random.default_rng(3)
    landmark = rng.random(options.queries) < LANDMARK_QUERIES
    landmark[0] = True  # GAP needs one
    unknown = landmark & (rng.random(options.queries) < UNKNOWN)
    codes = np.where(landmark, rng.integers(0, options.landmarks, options.queries),
                     rng.integers(0, THINGS, options.queries))  # fmt: skip
    codes[unknown] = options.landmarks + rng.integers(0, len(centres) - options.landmarks,
                                                      int(unknown.sum()))  # fmt: skip
    truth = [f"{c:05}" if shows else "" for c, shows in zip(codes, landmark, strict=True)]
    ids = [f"q{row}" for row in range(options.queries)]
    questions = Questions(answering(decider), Photos.of_columns(ids, ids, truth))
    for start in range(0, options.queries, ASKED_AT_ONCE):
        rows = np.arange(start, min(start + ASKED_AT_ONCE, options.queries))
        vectors = near(things, np.where(landmark[rows], 0, codes[rows]), 10_000_000 + start)
        shown = landmark[rows]
        vectors[shown] = near(centres, codes[rows[shown]], 20_000_000 + start)
        questions.answer(rows, vectors)
    return questions


def answering(decider: Decider) -> Answering:
    """The decider of a recognizer, without photos: nothing is compared by geometry."""
    names = np.append(decider.index.names, "").astype(object)

    def ask(rows: NDArray[np.int64], vectors: Vectors) -> Answered:
        answers = decider(vectors)
        decisions = map(decider.decide, answers.confidence, answers.scores)
        return Answered(
            names[answers.codes], answers.scores, answers.confidence,
            np.array(list(decisions), dtype=object), answers.found.neighbours,
        )  # fmt: skip

    return Answering(decider.index, ask)


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
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--limit", type=float, default=6.0, help="GB of resident memory")
    options = parser.parse_args()
    options.landmarks = min(options.landmarks, options.gallery // 2)
    print(
        f"{options.queries:,} queries, gallery {options.gallery:,} × {options.dim} of "
        f"{options.landmarks:,} landmarks, bank {options.bank:,}, score {options.score}"
    )
    began = clock = time.monotonic()
    centres = directions(options.landmarks + 1_000, options.dim, 4)
    things = directions(THINGS, options.dim, 5)
    index = made_index(options, centres, things)
    clock = told("gallery and bank made", clock)
    rules = Rules(score=options.score, whitening="learned" if options.fit else "none", verify=0)
    fitted = Fitted(None, None, None, Calibration(slope=20.0, offset=-5.0))
    if options.fit:
        fitted = fitting.fit(index, rules)
        clock = told("fitted on the gallery", clock)
    decider = Decider(index, rules, fitted)
    clock = told("made ready to answer", clock)
    questions = asked(options, decider, centres, things)
    clock = told("queries answered", clock)
    scores = scored(questions, started=began)
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
