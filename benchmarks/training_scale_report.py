"""Tables of benchmarks/training_scale.py: means, intervals, and differences from random batches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whichlandmark.core.files import read_json
from whichlandmark.metrics.ranking import gap_of_draws

DRAWS = 500
RANDOM = "triplets, random batches"
MEASURES = ("GAP", "top-1", "mAP@100", "mAP unseen")
HEAD = ("landmarks", "passes", "training", "seeds", *MEASURES, "wrong anchors", "steps", "CPU s")

Answers = dict[str, NDArray[Any]]
Measure = Callable[[NDArray[np.int64]], float]


def report(runs: Path) -> str:
    """Two Markdown tables of the runs that are finished."""
    found: dict[tuple[int, float], dict[str, dict[int, tuple[dict[str, Any], Answers]]]] = {}
    for path in sorted(runs.glob("*.json")):
        facts = read_json(path)
        answers = dict(np.load(path.with_suffix(".npz"), allow_pickle=False))
        of_size = found.setdefault((facts["landmarks"], facts["passes"]), {})
        of_size.setdefault(facts["method"], {})[facts["seed"]] = (facts, answers)
    means = [HEAD, ("---",) * len(HEAD)]
    head = ("landmarks", "passes", "training", "against", "seeds", *MEASURES)
    differences = [head, ("---",) * len(head)]
    for (landmarks, budget), methods in sorted(found.items()):
        size = (f"{landmarks:,}", f"{budget:g}")
        values = {
            method: {seed: _drawn(answers) for seed, (_, answers) in of.items()}
            for method, of in methods.items()
        }
        for method, of in methods.items():
            facts = [fact for fact, _ in of.values()]
            wrong, steps, seconds = (
                float(np.mean([fact[name] for fact in facts]))
                for name in ("wrong_anchors", "steps", "cpu_seconds")
            )
            means.append((*size, method, str(len(of)), *_cells(values[method]),
                          f"{wrong:.2f}", f"{steps:,.0f}", f"{seconds:.0f}"))  # fmt: skip
        for method, base in PAIRS:
            if both := sorted({*values.get(method, {})} & {*values.get(base, {})}):
                apart = {seed: values[method][seed] - values[base][seed] for seed in both}
                differences.append((*size, method, base, str(len(both)),
                                    *_cells(apart, sign="+")))  # fmt: skip
    return "\n\n".join(
        "\n".join("| " + " | ".join(row) + " |" for row in rows) for rows in (means, differences)
    )


PAIRS = (
    ("triplets, frozen subspaces", RANDOM),
    ("triplets, refreshed subspaces", RANDOM),
    ("triplets, refreshed subspaces", "triplets, frozen subspaces"),
    ("ArcFace", RANDOM),
    ("both, random batches", "ArcFace"),
    ("both, random batches", RANDOM),
    ("both, refreshed subspaces", "both, random batches"),
)


def _cells(values: dict[int, NDArray[np.float64]], sign: str = "") -> list[str]:
    """Mean over seeds, its 95 % interval over draws, and the lowest and highest seed.

    values: seed → (1 + DRAWS, measures), the first row of all queries.
    """
    stacked = np.stack(list(values.values()))
    mean = stacked.mean(axis=0)
    low, high = np.percentile(mean[1:], (2.5, 97.5), axis=0)
    cells = []
    for i in range(mean.shape[1]):
        text = f"{mean[0, i]:{sign}.3f} [{low[i]:{sign}.3f}, {high[i]:{sign}.3f}]"
        if len(stacked) > 1:
            text += f" ({stacked[:, 0, i].min():{sign}.3f} … {stacked[:, 0, i].max():{sign}.3f})"
        cells.append(text)
    return cells


def _drawn(answers: Answers) -> NDArray[np.float64]:
    """(1 + DRAWS, measures): of all queries, then of draws of landmarks.

    Known landmarks are drawn with all their queries, other queries one by one; the draws depend on
    the queries alone, so that two methods of a seed have the same ones.
    """
    rng = np.random.default_rng(0)
    known, unseen = answers["landmark"] >= 0, answers["unseen_landmark"]
    gap = gap_of_draws(answers["score"], answers["right"], known)
    times = np.ones(len(known), dtype=np.int64)  # that each query was drawn
    rows = [_values_of(answers, gap, times, np.ones(len(unseen), dtype=np.int64))]
    for _ in range(DRAWS):
        times[known] = _times_drawn(answers["landmark"][known], rng)
        times[~known] = _times_drawn(np.arange(np.count_nonzero(~known)), rng)
        rows.append(_values_of(answers, gap, times, _times_drawn(unseen, rng)))
    return np.array(rows)


def _times_drawn(codes: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """How often each row was drawn, when as many codes are drawn as there are."""
    count = int(codes.max()) + 1
    return np.asarray(np.bincount(rng.integers(0, count, count), minlength=count)[codes])


def _values_of(
    answers: Answers, gap: Measure, times: NDArray[np.int64], unseen: NDArray[np.int64]
) -> list[float]:
    known = np.where(answers["landmark"] >= 0, times, 0)
    precision = np.nan_to_num(answers["ap"])
    return [
        gap(np.repeat(np.arange(len(times)), times)),
        float(np.average(answers["right"], weights=known)),
        float(np.average(precision, weights=known)),
        float(np.average(answers["unseen_ap"], weights=unseen)),
    ]
