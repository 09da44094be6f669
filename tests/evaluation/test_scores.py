"""Scores from predictions: each number against a slow loop over the queries."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from tests.evaluation.test_report import column, world
from whichlandmark.evaluation.predictions import Predictions
from whichlandmark.evaluation.scores import FALSE_ANSWER_RATES, Scores, aurocs, prediction_scores
from whichlandmark.metrics.bootstrap import bootstrap_interval
from whichlandmark.metrics.calibration_error import calibration_error
from whichlandmark.metrics.ranking import gap


def queries(count: int = 300) -> Predictions:
    """Queries with tiers and usages; every ninth has no guess; rounded scores, so that some tie."""
    p = world(None, count=count)
    p.tier[:] = [("day", "night", "")[i // 2 % 3] for i in range(count)]
    p.usage[:] = [("Public", "Private")[i % 2] for i in range(count)]
    p.guess[::9], p.score[::9], p.decision[::9] = "", -np.inf, "no_landmark"
    return dataclasses.replace(p, score=np.round(p.score, 1))


def ranked_gap(rows: list[tuple[float, str, str, bool]], known: int) -> float:
    """GAP of (score, id, guess, right), in the authors' order."""
    rows = sorted(rows, key=lambda row: (-row[0], row[1], row[2]))
    hits, total = 0, 0.0
    for rank, row in enumerate(rows, 1):
        if row[3]:
            hits += 1
            total += hits / rank
    return total / known


def test_every_score_equals_a_slow_loop() -> None:
    p = queries()
    found = prediction_scores(p)
    rows = list(zip(p.score.tolist(), p.ids, p.guess, p.right.tolist(), strict=True))
    known = [i for i in range(len(p)) if p.known[i]]
    none = [i for i in range(len(p)) if p.truth[i] == ""]
    unknown = [i for i in range(len(p)) if p.truth[i] and not p.known[i]]
    guessed = [row for row in rows if row[2]]
    assert (found["queries"], found["known"], found["unknown"], found["no_landmark"]) == (
        300, len(known), len(unknown), len(none)
    )  # fmt: skip
    assert found["gap_authors"] == pytest.approx(ranked_gap(guessed, len(known)))
    assert found["gap"] == pytest.approx(found["gap_authors"], abs=0.03)  # ties differ
    assert found["gap"] != found["gap_authors"]
    alone = [i for i in known if p.guess[i]]
    assert found["gap_landmark_queries"] == pytest.approx(
        gap(p.score[alone], p.right[alone], len(known))
    )
    assert found["gap_landmark_queries"] > found["gap"]
    assert found["coverage"] == len(known) / (len(known) + len(unknown))
    assert found["gap_all_landmarks"] == pytest.approx(found["gap"] * found["coverage"])
    for name, others in (("auroc_no_landmark", none), ("auroc_unknown", unknown)):
        wins = [(p.score[i] > p.score[j]) + 0.5 * (p.score[i] == p.score[j])
                for i in known for j in others]  # fmt: skip
        assert found[name] == pytest.approx(np.mean(wins))
    some = p.guess != ""
    assert found["calibration_error"] == calibration_error(p.confidence[some], p.right[some])
    order = np.argsort(-p.confidence[some], kind="stable")
    risks = np.cumsum(~p.right[some][order]) / np.arange(1, some.sum() + 1)
    assert found["risk_coverage_area"] == pytest.approx(risks.mean(), abs=0.01)
    for k in (1, 5, 10):
        assert found[f"recall_at_{k}"] == np.mean([1 <= p.rank[i] <= k for i in known])


def test_answered_at_keeps_the_false_answer_rate() -> None:
    p = queries(900)
    found = prediction_scores(p)["answered_at"]
    assert list(found) == [str(rate) for rate in FALSE_ANSWER_RATES] == ["0.01", "0.05"]
    none = p.score[p.truth == ""]
    for rate, share in found.items():
        allowed = [t for t in np.unique(p.score[p.guess != ""])
                   if (none >= t).mean() <= float(rate)]  # fmt: skip
        assert share == pytest.approx((p.score[p.known] >= min(allowed)).mean())
    assert 0 < found["0.01"] < found["0.05"] < 1


def test_nothing_is_answered_without_a_guess() -> None:
    """Also when the threshold is −∞ because no non-landmark query has a guess."""
    p = queries(90)
    none = p.truth == ""
    p.guess[none], p.score[none] = "", -np.inf
    known = p.known
    assert prediction_scores(p)["answered_at"]["0.01"] == (p.guess[known] != "").mean() < 1


def test_the_interval_is_a_bootstrap_over_queries() -> None:
    p = queries(120)

    def of(rows: np.ndarray) -> float:
        return gap(p.score[rows], p.right[rows], int(p.known[rows].sum()),
                   predicted=p.predicted[rows])  # fmt: skip

    low, high = prediction_scores(p)["gap_interval"]
    assert (low, high) == pytest.approx(bootstrap_interval(of, 120), abs=1e-9)
    assert low < prediction_scores(p)["gap"] < high


def test_each_tier_is_ranked_with_all_queries_without_a_known_landmark() -> None:
    p = queries()
    found = prediction_scores(p)["by_tier"]
    assert list(found) == ["day", "night"]
    for tier, row in found.items():
        of = [i for i in range(len(p)) if p.tier[i] == tier]
        known = [i for i in of if p.known[i]]
        ranked = [i for i in range(len(p)) if i in known or not p.known[i]]
        assert (row["queries"], row["known"]) == (len(of), len(known))
        assert row["top1"] == pytest.approx(np.mean([p.right[i] for i in known]))
        some = [i for i in ranked if p.guess[i]]
        assert row["gap"] == pytest.approx(gap(p.score[some], p.right[some], len(known)))
    p.tier[:] = np.where(p.known, "", "other")
    other = {"queries": int((~p.known).sum()), "known": 0, "top1": None, "gap": None}
    assert prediction_scores(p)["by_tier"] == {"other": other}


def test_undefined_scores_are_none() -> None:
    p = queries(60)
    p.truth[:], p.known[:] = np.where(p.truth == "", "", "Elsewhere"), False
    found = prediction_scores(p)
    assert [found[name] for name in ("gap", "top1", "recall_at_5")] == [None] * 3
    assert found["coverage"] == 0
    for name in ("gap_interval", "gap_authors", "gap_landmark_queries", "auroc_unknown"):
        assert found[name] is None
    assert aurocs(p) == (None, None)
    assert found["answered_at"] == {}
    nothing = dataclasses.replace(p, guess=column([""] * 60), score=np.full(60, -np.inf))
    found = prediction_scores(nothing)
    assert (found["calibration_error"], found["risk_coverage_area"]) == (None, None)


def test_scores_are_plain_json() -> None:
    scores = Scores(
        **prediction_scores(queries()), map_at_100=0.5, unreadable=0, leaked=0, seconds=0.0
    )
    values = json.loads(json.dumps(dataclasses.asdict(scores), allow_nan=False))
    assert values["gap_interval"] == list(scores.gap_interval or ())
    assert set(values) == {f.name for f in dataclasses.fields(Scores)}
