"""Is the share of landmarks in a library estimated well from confidences alone?

    whichlandmark evaluate QUERIES -r paris.wl -o predictions.csv
    python benchmarks/library_mix.py predictions.csv [--known 222 60 20 10 3] [--draws 200]

Of the queries that show a landmark of the gallery some are drawn, by seed; all others stay. For
each number of them, means over the draws: the share of right guesses that `mix_of` estimates and
the true one, and of the labels from `--above` on, how many are wrong by the estimate and in truth.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from whichlandmark.evaluation.predictions import read_predictions
from whichlandmark.recognition.rules import Rules
from whichlandmark.recognition.sure import mix_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("predictions", type=Path)
    parser.add_argument("--known", type=int, nargs="+", default=[222, 60, 20, 10, 3])
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--above", type=float, default=0.7)
    options = parser.parse_args()
    found, rng = read_predictions(options.predictions), np.random.default_rng(0)
    right = np.array([guess in truth.split("|") and guess != ""
                      for guess, truth in zip(found.guess, found.truth, strict=True)])  # fmt: skip
    known, others = np.flatnonzero(found.known), np.flatnonzero(~found.known)
    print("known | share estimated, true | labels | wrong estimated, true")
    for count in options.known:
        rows = []
        for _ in range(options.draws):
            drawn = rng.choice(known, min(count, len(known)), replace=False)
            taken = np.concatenate([drawn, others])
            labelled = found.confidence[taken] >= options.above
            mix = mix_of(found.confidence[taken], labelled, Rules().known_share)
            wrong = (labelled & ~right[taken]).sum()
            rows.append((mix.share, right[taken].mean(), labelled.sum(), mix.wrong, wrong))
        share, true, labels, expected, wrong = np.mean(rows, axis=0)
        print(f"{count} | {share:.3f}, {true:.3f} | {labels:.1f} | {expected:.2f}, {wrong:.2f}")


if __name__ == "__main__":
    main()
