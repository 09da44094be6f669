"""Two runs on the same queries: aligned by id, paired tests, changed answers listed."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.test_report import column, world
from whichlandmark.cli import app, output
from whichlandmark.core.errors import DataError
from whichlandmark.evaluation.compare import compare
from whichlandmark.evaluation.predictions import Predictions, read_predictions, write_predictions
from whichlandmark.metrics.calibration_error import calibration_error
from whichlandmark.metrics.open_set import auroc
from whichlandmark.metrics.ranking import gap


def other_run(p: Predictions, seed: int, better: float) -> Predictions:
    """The same queries with some guesses corrected, a few spoilt, and noise added to the scores."""
    rng = np.random.default_rng(seed)
    guess = p.guess.copy()
    mend, spoil = rng.random(len(p)) < better, rng.random(len(p)) < 0.05
    guess[p.known & mend] = p.truth[p.known & mend]
    guess[spoil] = "old_town_hall"
    score = p.score + rng.normal(0, 0.1, len(p)) + mend * p.known
    return dataclasses.replace(p, guess=guess, score=score, confidence=1 / (1 + np.exp(-score)))


def reordered(p: Predictions, rows: np.ndarray) -> Predictions:
    return Predictions(**{f.name: getattr(p, f.name)[rows] for f in dataclasses.fields(p)})


def test_measures_equal_those_of_each_run_alone() -> None:
    a = world(None, count=240)
    b = other_run(a, 1, 0.5)
    found = compare(a, b, samples=60)
    assert (found.queries, found.only_in_a, found.only_in_b, found.known_in_one) == (240, 0, 0, 0)
    for side, p in (("a", a), ("b", b)):
        expected = {
            "gap": gap(p.score, p.right, int(p.known.sum())),
            "top1": p.right[p.known].mean(),
            "accuracy": np.mean([(d == "landmark") == k and (r or not k)
                                 for d, k, r in zip(p.decision, p.known, p.right, strict=True)]),
            "auroc_no_landmark": auroc(p.score[p.known], p.score[p.truth == ""]),
            "auroc_unknown": auroc(p.score[p.known], p.score[p.truth == "Elsewhere"]),
            "calibration_error": calibration_error(p.confidence, p.right),
        }  # fmt: skip
        assert list(found.measures) == list(expected)
        for name, value in expected.items():
            assert getattr(found.measures[name], side) == pytest.approx(value), name
    for m in found.measures.values():
        assert m.difference == pytest.approx(m.b - m.a)
        assert m.interval[0] <= m.difference <= m.interval[1]
    assert found.measures["gap"].b_better == 1.0


def test_row_order_does_not_matter_and_swapping_the_runs_flips_the_sign() -> None:
    a = world(None, count=120)
    b = other_run(a, 2, 0.1)
    found = compare(a, b, samples=80)
    shuffled = reordered(b, np.random.default_rng(0).permutation(120))
    assert compare(a, shuffled, samples=80) == found
    back = compare(b, a, samples=80)
    for name, m in found.measures.items():
        n = back.measures[name]
        assert (n.a, n.b) == (m.b, m.a)
        assert n.interval == pytest.approx((-m.interval[1], -m.interval[0]))
        assert m.b_better + n.b_better <= 1
    assert (back.guesses.fixed, back.guesses.broken) == (found.guesses.broken, found.guesses.fixed)


def test_a_lower_calibration_error_is_better() -> None:
    a = world(None, count=300)
    b = dataclasses.replace(a, confidence=np.where(a.right, 0.97, 0.03))
    error = compare(a, b, samples=40).measures["calibration_error"]
    assert error.difference < 0
    assert error.interval[1] < 0
    assert error.b_better == 1.0


def test_changed_answers_are_counted_and_the_first_ten_listed() -> None:
    a = world(None, count=200)
    b = other_run(a, 3, 0.9)
    found = compare(a, b, samples=10)
    fixed = [i for i, x, y in zip(a.ids, a.right, b.right, strict=True) if y and not x]
    broken = [i for i, x, y in zip(a.ids, a.right, b.right, strict=True) if x and not y]
    assert (found.guesses.fixed, found.guesses.broken) == (len(fixed), len(broken))
    assert len(fixed) > 10 > len(broken) > 0
    assert [row["id"] for row in found.guesses.first_fixed] == fixed[:10]
    assert [row["id"] for row in found.guesses.first_broken] == broken
    row = list(a.ids).index(fixed[0])
    assert found.guesses.first_fixed[0] == {
        "id": fixed[0], "path": a.path[row], "truth": a.truth[row],
        "a": f"{a.guess[row]} ({a.decision[row]})", "b": f"{b.guess[row]} ({b.decision[row]})",
    }  # fmt: skip
    net = (found.answers.fixed - found.answers.broken) / 200
    assert net == pytest.approx(found.measures["accuracy"].difference)


def test_queries_of_one_file_only_are_an_error_or_left_out() -> None:
    a, b = world(None, count=60), other_run(world(None, count=60), 4, 0.5)
    less_a, less_b = reordered(a, np.arange(55)), reordered(b, np.arange(2, 60))
    with pytest.raises(DataError) as raised:
        compare(less_a, less_b, names=("one.csv", "two.csv"))
    for words in ("2 queries are only in one.csv: 'q000', 'q001'", "5 queries are only in two.csv",
                  "'q059'", "--common"):  # fmt: skip
        assert words in str(raised.value)
    found = compare(less_a, less_b, common=True, samples=20)
    assert (found.queries, found.only_in_a, found.only_in_b) == (53, 2, 5)
    both = np.arange(2, 55)
    assert found.measures == compare(
        reordered(a, both), reordered(b, both), samples=20
    ).measures  # fmt: skip
    with pytest.raises(DataError, match="no query in common"):
        compare(reordered(a, np.arange(9)), reordered(b, np.arange(9, 20)), common=True)


def test_runs_with_different_true_landmarks_are_refused() -> None:
    a = world(None, count=30)
    truth = a.truth.copy()
    truth[7] = "Elsewhere"
    with pytest.raises(DataError, match=r"1 queries have different truths, such as 'q007'.*in a, "):
        compare(a, dataclasses.replace(a, truth=truth))


def test_different_known_landmarks_are_reported() -> None:
    a = world(None, count=60)
    known = a.known & (a.truth != "old_town_hall")
    found = compare(a, dataclasses.replace(a, known=known), samples=10)
    assert found.known_in_one == int((a.truth == "old_town_hall").sum())
    assert (
        found.guesses.broken == 0
    )  # guesses are compared only for landmarks that both galleries have


def test_undefined_measures_are_left_out() -> None:
    a = world(None, count=60)
    only_known = reordered(a, np.flatnonzero(a.known))
    assert "auroc_unknown" not in compare(only_known, only_known, samples=5).measures
    none = reordered(a, np.flatnonzero(a.truth == ""))
    assert list(compare(none, none, samples=5).measures) == ["accuracy", "calibration_error"]
    silent = dataclasses.replace(a, guess=column([""] * 60), score=np.full(60, -np.inf))
    found = compare(a, silent, samples=5)
    assert "calibration_error" not in found.measures
    assert found.measures["gap"].b == 0
    assert found.measures["auroc_no_landmark"].b == 0.5


def test_comparing_a_run_with_itself_shows_no_change() -> None:
    a = world(None, count=60)
    found = compare(a, a, samples=20)
    assert all(m.interval == (0, 0) and m.b_better == 0 for m in found.measures.values())
    assert (found.guesses.fixed, found.answers.broken) == (0, 0)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    a = world(None, count=90)
    write_predictions(tmp_path / "a.csv", a)
    write_predictions(tmp_path / "b.csv", other_run(a, 5, 0.6))
    return tmp_path / "a.csv", tmp_path / "b.csv"


def run(capfd: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `compare`."""
    old, sys.argv = sys.argv, ["whichlandmark", "compare", *map(str, words)]
    try:
        with pytest.raises(SystemExit) as ended:
            output.exit_with(app)
    finally:
        sys.argv = old
    return int(ended.value.code or 0), *capfd.readouterr()


def test_the_command_prints_a_table_or_json(
    files: tuple[Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    found = compare(*map(read_predictions, files))
    code, out, err = run(capfd, *files)
    assert (code, err) == (0, "")
    lines = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
    for name, m in found.measures.items():
        assert lines[name][1:4] == [f"{m.a:.4f}", f"{m.b:.4f}", f"{m.difference:+.4f}"]
    assert f"{found.guesses.fixed} wrong → right, {found.guesses.broken} right → wrong" in out
    code, out, _ = run(capfd, *files, "--json")
    assert code == 0
    assert json.loads(out) == json.loads(json.dumps(dataclasses.asdict(found)))


def test_bad_input_is_one_clear_line(
    files: tuple[Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    a, b = files
    b.write_text("".join(b.read_text().splitlines(keepends=True)[:-3]))
    code, out, err = run(capfd, a, b)
    assert (code, out, err.count("\n")) == (4, "", 1)
    assert "3 queries are only in" in err
    assert run(capfd, a, b, "--common")[0] == 0
    assert run(capfd, a, a.parent / "absent.csv")[0] == 4
    assert run(capfd, a)[0] == 2
