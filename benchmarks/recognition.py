"""Compare published scoring formulas with those of this package on real photos, in one run.

    python benchmarks/recognition.py FOLDER --checkpoint FILE [--tuned EMBEDDER] [--only WORD]

FOLDER as in real_photos.py, and train/<landmark>/. The gallery is index, with the distractors;
whitening, score and calibration are fitted on index and distractors, and on train if the row says
so. The queries are query, unknown and nonlandmark. --checkpoint: weights of timm's mobilenetv2_100
(pad_type=same, mean = std = 0.5); --tuned: an embedder that was fine-tuned on train.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import tempfile
import time
from pathlib import Path

import numpy as np

from real_photos import NETWORK, command, write_queries
from whichlandmark.core.types import Photos
from whichlandmark.data.folders import read_photos_or_folder
from whichlandmark.data.table import read_photos
from whichlandmark.evaluation.evaluate import Evaluation, evaluate_in_detail
from whichlandmark.evaluation.predictions import write_predictions
from whichlandmark.recognition.calibration import threshold_for
from whichlandmark.recognition.folder.load import load
from whichlandmark.recognition.folder.tune import tune
from whichlandmark.recognition.query import Queries
from whichlandmark.recognition.recognizer import Recognizer
from whichlandmark.recognition.rules import Score

PEERS: dict[str, tuple[Score, ...]] = {
    "224 squashed": ("query_penalty",),
    "384 px": ("cosine", "query_penalty", "both_penalties", "power_vote", "inlier_vote"),
}
NAMES = {"cosine": "cosine", "query_penalty": "seed: cosine - C",
         "both_penalties": "psinger: B + C", "power_vote": "haqishen: power vote",
         "inlier_vote": "DELG: cosine + inliers"}  # fmt: skip
EMBEDDERS = {
    "224 squashed": ("--size", "224", "--fit", "squash"),
    "384 px": ("--size", "384"),
    "384 px, 3 scales": ("--size", "384", "--scales", "0.71,1,1.42"),
}
RATES = (0.01, 0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=lambda text: Path(text).resolve())
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--tuned", type=Path)
    parser.add_argument("--only", default="", help="only rows whose embedder contains this")
    parser.add_argument(
        "--keep", type=Path, help="folder in which recognizers and predictions are kept"
    )
    options = parser.parse_args()
    print(
        f"{'':48} {'GAP':>5} {'95 % interval':>15} {'top-1':>6} {'unknown':>8} {'none':>6} "
        f"{'ECE':>6}"
    )
    with tempfile.TemporaryDirectory() as temporary:
        at = options.keep or Path(temporary)
        at.mkdir(parents=True, exist_ok=True)
        write_queries(options.photos, at / "queries.csv")
        sources: dict[str, tuple[str, ...] | Path] = dict(EMBEDDERS)
        if options.tuned:
            sources["fine-tuned, 384 px"] = options.tuned
        for name, source in sources.items():
            if options.only in name:
                measure(name, source, options, at)


def measure(
    name: str, source: tuple[str, ...] | Path, options: argparse.Namespace, at: Path
) -> None:
    queries = read_photos(at / "queries.csv")
    embedder = source if isinstance(source, Path) else at / f"{name}.embedder"
    if not isinstance(source, Path):
        command(*NETWORK, *source, "--checkpoint", options.checkpoint, "-o", embedder)
    folder = at / f"{name}.wl"
    command("index", options.photos / "index", "-o", folder, "--embedder", embedder,
            "--distractors", options.photos / "distractors")  # fmt: skip
    if name in PEERS:
        stored = load(folder)
        for score in PEERS[name]:
            rules = stored.rules.with_score(score)
            row(f"{name}: {NAMES[score]}", load(folder, rules=rules), queries, at)
        return
    tune(folder, progress=quiet)
    ours(f"ours, {name}, gallery and bank alone", folder, queries, at)
    if not isinstance(source, Path):
        train = read_photos_or_folder(options.photos / "train")
        tuned = tune(folder, train, progress=quiet)
        print(
            f"    {tuned.photos} training photos teach the whitening; {len(tuned.leaks)} left out"
        )
        ours(f"ours, {name}, and train", folder, queries, at)


def quiet(name: str) -> object:
    return lambda *numbers: None


def row(name: str, recognizer: Recognizer, queries: Photos, at: Path) -> Evaluation:
    found = evaluate_in_detail(recognizer, queries)
    write_predictions(at / f"{name.replace(' ', '_')}.csv", found.predictions)
    s = found.scores
    interval = "({:.3f}-{:.3f})".format(*s.gap_interval)
    print(f"{name:48} {s.gap:5.3f} {interval:>15} {s.top1:6.3f} {s.auroc_unknown:8.3f} "
          f"{s.auroc_no_landmark:6.3f} {s.calibration_error:6.3f}", flush=True)  # fmt: skip
    return found


def ours(name: str, folder: Path, queries: Photos, at: Path) -> None:
    recognizer = load(folder)
    found = row(name, recognizer, queries, at)
    rules = dataclasses.asdict(recognizer.rules)
    named = ("score", "whitening", "whitening_dim", "whitening_shrinkage", "expansion",
             "augmentation", "superglobal", "verify")  # fmt: skip
    print("    rules:", ", ".join(f"{key} {rules[key]}" for key in named))
    promises(recognizer, found)
    geometry_time(recognizer, queries)
    misses(found)


def promises(recognizer: Recognizer, found: Evaluation) -> None:
    """Print whether thresholds fixed on leave-one-out queries hold for the real queries."""
    p = found.predictions
    for rate in RATES:
        threshold = threshold_for(rate, np.array(recognizer.fitted.negatives))
        above, none = p.score >= threshold, p.truth == ""
        false, low_high = int((above & none).sum()), wilson_interval(int((above & none).sum()),
                                                                     int(none.sum()))  # fmt: skip
        print(f"    stated {rate:.0%}: {false} of {none.sum()} non-landmarks answered = "
              f"{false / none.sum():.1%} ({low_high[0]:.1%}-{low_high[1]:.1%}); "
              f"{(above & p.right)[p.known].mean():.1%} of known landmarks answered rightly, "
              f"{above[p.unknown].mean():.1%} of unknown ones wrongly")  # fmt: skip


def wilson_interval(hits: int, of: int) -> tuple[float, float]:
    """95 % interval (low, high) of a share: (p + z²/2n ± z·√(p(1−p)/n + z²/4n²)) / (1 + z²/n).

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.
    It stays within 0 to 1 and is suitable for shares near 0 and 1.
    """
    z = 1.959964
    share = hits / of
    middle = share + z * z / (2 * of)
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    scale = 1 + z * z / of
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def geometry_time(recognizer: Recognizer, queries: Photos) -> None:
    """Print milliseconds a query that verification adds, and whether three runs agree."""
    milliseconds, counts, compared = [], [], 0
    for path in queries.paths[::3]:
        queries = recognizer.embed([recognizer.read(path)])
        started = time.perf_counter()
        recognizer.answer(Queries(queries.vectors))
        searched = time.perf_counter()
        answers = recognizer.answer(queries)
        ended = time.perf_counter()
        milliseconds.append(max(0.0, 1000 * ((ended - searched) - (searched - started))))
        compared += bool(answers.verified[0])
        if len(counts) < 20:
            again = [recognizer.answer(queries).inliers for _ in range(2)]
            counts.append(all((other == answers.inliers).all() for other in again))
    print(f"    geometry: {compared / len(milliseconds):.0%} of queries compared; median "
          f"{np.median(milliseconds):.0f} ms, 90 % below {np.quantile(milliseconds, 0.9):.0f} ms; "
          f"inliers of three runs equal: {all(counts)}")  # fmt: skip


def misses(found: Evaluation) -> None:
    """Print the wrong answers that cost most GAP, and the known landmarks that were missed."""
    p = found.predictions
    wrong = np.flatnonzero(~p.right)[np.argsort(-p.score[~p.right])][:12]
    for i in wrong:
        print(f"      {p.confidence[i]:.2f} {p.ids[i]} → {p.guess[i]}")


if __name__ == "__main__":
    main()
