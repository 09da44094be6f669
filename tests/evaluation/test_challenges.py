"""GAP, mAP@100, P@k and positions: figures worked out by hand, and a slow independent count."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pytest

from whichlandmark.core.challenge_files import Solution, Submission, read_solution, read_submission
from whichlandmark.core.errors import DataError
from whichlandmark.evaluation import challenges, protocols
from whichlandmark.evaluation.challenges import (
    GAP,
    GAP_AUTHORS,
    GAP_LANDMARKS,
    PRESENT,
    TOP_1,
    recognition_rows,
    retrieval_rows,
    score_submission,
    tied_predictions,
)
from whichlandmark.evaluation.protocols import ProtocolRow


def solution(
    task: str, rows: dict[str, tuple[str, str]], ignored: tuple[str, ...] = ()
) -> Solution:
    """id → (true ones with spaces between, usage)."""
    return Solution(
        task,  # type: ignore[arg-type]
        np.array(list(rows), dtype=object),
        np.array([usage for _, usage in rows.values()], dtype=object),
        [tuple(cell.split()) for cell, _ in rows.values()],
        frozenset(ignored),
    )


def values(rows: list[ProtocolRow]) -> dict[tuple[str, str], float]:
    return {(row.setting, row.measure): row.value for row in rows}


RECOGNITION = {
    "a": ("1", "Public"),
    "b": ("2 3", "Public"),
    "c": ("", "Public"),
    "d": ("4", "Public"),  # no prediction
    "e": ("5", "Private"),
    "f": ("", "Private"),
}


def test_gap_of_both_rules_of_ties_by_hand() -> None:
    """b (0.9) is right by one of two landmarks; a right, c wrong and f wrong at 0.5; e wrong."""
    predicted = {
        "b": ("3", 0.9), "a": ("1", 0.5), "c": ("1", 0.5), "f": ("9", 0.5), "e": ("6", 0.7),
    }  # fmt: skip
    found = values(recognition_rows(solution("recognition", RECOGNITION), predicted))
    # public: b first: 1/1; then a and c tie: a second (2/2) or third (2/3); M = 3 (a, b, d)
    assert found["public", GAP] == pytest.approx((1 + (2 / 2 + 2 / 3) / 2) / 3)
    assert found["public", GAP_AUTHORS] == pytest.approx((1 + 2 / 2) / 3)  # a before c
    assert found["public", GAP_LANDMARKS] == pytest.approx((1 + 1) / 3)
    assert found["public", TOP_1] == pytest.approx(2 / 3)
    assert found["private", GAP] == 0
    # all: b, e (wrong), then a, c, f tie at ranks 3 to 5; M = 4
    assert found["all", GAP] == pytest.approx((1 + (2 / 3 + 2 / 4 + 2 / 5) / 3) / 4)
    assert found["all", GAP_AUTHORS] == pytest.approx((1 + 2 / 3) / 4)
    assert tied_predictions(solution("recognition", RECOGNITION), predicted) == 1
    renamed = {"z" if key == "a" else key: value for key, value in RECOGNITION.items()}
    predicted["z"] = predicted.pop("a")
    other = values(recognition_rows(solution("recognition", renamed), predicted))
    assert other["public", GAP] == found["public", GAP]
    assert other["public", GAP_AUTHORS] == pytest.approx((1 + 2 / 3) / 3)  # now after c


def test_no_prediction_at_all_counts_zero_and_a_usage_without_landmarks_has_no_figure() -> None:
    rows = {"a": ("1", "Public"), "b": ("", "Private")}
    found = values(recognition_rows(solution("recognition", rows), {}))
    assert found["public", GAP] == found["all", GAP] == found["all", TOP_1] == 0
    assert not any(setting == "private" for setting, _ in found)
    with pytest.raises(DataError, match="no photo of the solution shows a landmark"):
        recognition_rows(solution("recognition", {"b": ("", "Private")}), {"b": ("1", 1.0)})


def test_photos_without_a_file_have_no_prediction_and_the_others_are_measured_too() -> None:
    predicted = {"a": ("1", 0.5), "b": ("2", 0.4)}
    found = values(
        recognition_rows(solution("recognition", RECOGNITION), predicted, missing=["d", "e", "f"])
    )
    assert found["public", GAP] == pytest.approx(2 / 3)
    assert found[f"public{PRESENT}", GAP] == 1
    assert found["all", TOP_1] == pytest.approx(2 / 4)
    assert (f"private{PRESENT}", GAP) not in found


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals take most of the time of a figure, and these tests look at none."""
    for module in (challenges, protocols):
        monkeypatch.setattr(module, "bootstrap_interval", lambda metric, queries: (0.0, 1.0))


def slow_gap(truth: dict[str, set[str]], ranked: list[str], predicted: dict) -> float:
    """The authors' definition over an order."""
    positives, right, total = sum(bool(shown) for shown in truth.values()), 0, 0.0
    for place, photo in enumerate(ranked, 1):
        if predicted[photo][0] in truth[photo]:
            right += 1
            total += right / place
    return total / positives


@pytest.mark.usefixtures("few_draws")
def test_gap_equals_an_independent_count_over_all_orders_on_random_cases() -> None:
    draw = random.Random(5)
    for _ in range(60):
        ids = [f"p{number}" for number in range(draw.randint(2, 6))]
        rows = {
            one: (" ".join(draw.sample("123", draw.choice([0, 1, 1, 2]))), "Public") for one in ids
        }
        if not any(cell for cell, _ in rows.values()):
            rows[ids[0]] = ("1", "Public")
        predicted = {
            one: (draw.choice("1234"), draw.choice([0.1, 0.2, 0.3]))
            for one in ids if draw.random() < 0.85
        }  # fmt: skip
        truth = {one: set(cell.split()) for one, (cell, _) in rows.items()}
        orders = [
            order for order in itertools.permutations(predicted)
            if all(predicted[a][1] >= predicted[b][1] for a, b in itertools.pairwise(order))
        ]  # fmt: skip
        found = values(recognition_rows(solution("recognition", rows), predicted))
        mean = np.mean([slow_gap(truth, list(order), predicted) for order in orders])
        by_id = sorted(predicted, key=lambda one: (-predicted[one][1], one))
        assert found["all", GAP] == pytest.approx(mean, abs=1e-12)
        assert found["all", GAP_AUTHORS] == pytest.approx(slow_gap(truth, by_id, predicted))


def test_map_precision_and_positions_by_hand() -> None:
    rows = {
        "q1": ("a b", "Public"),  # a at 1, b at 4
        "q2": ("a", "Public"),  # missing
        "q3": ("c d e", "Private"),  # repeated c keeps its rank: c 1, (c), d 3
        "q4": ("", "Private"),  # no right one
    }
    images = {"q1": ["a", "x", "y", "b"], "q3": ["c", "c", "d"], "q4": ["a"]}
    found = values(retrieval_rows(solution("retrieval", rows), images)[0])
    q1, q3 = (1 + 2 / 4) / 2, (1 + 2 / 3) / 3
    assert found["public", "mAP@100"] == pytest.approx(q1 / 2)
    assert found["private", "mAP@100"] == pytest.approx(q3 / 2)
    assert found["all", "mAP@100"] == pytest.approx((q1 + q3) / 4)
    assert found["all", "P@1"] == pytest.approx(2 / 4)
    assert found["all", "P@5"] == pytest.approx((2 / 5 + 2 / 5) / 4)
    assert found["public", "P@100"] == pytest.approx(2 / 100 / 2)
    assert found["public", "mean position"] == pytest.approx((1 + 101) / 2)
    assert found["all", "median position"] == pytest.approx((1 + 101) / 2)


def test_at_most_one_hundred_images_count() -> None:
    right = [f"r{number}" for number in range(150)]
    rows = {"q": (" ".join(right), "Public")}
    wrong = [f"w{number}" for number in range(100)]
    assert values(retrieval_rows(solution("retrieval", rows), {"q": right})[0])[
        "all", "mAP@100"
    ] == pytest.approx(1)
    found = values(retrieval_rows(solution("retrieval", rows), {"q": [*wrong, *right]})[0])
    assert found["all", "mAP@100"] == 0
    assert found["all", "mean position"] == 101


def slow_retrieval(truth: list[str], given: list[str]) -> tuple[float, list[float], int]:
    """AP, precisions at 1 to 100, and position, as the authors' loops have them."""
    seen: set[str] = set()
    total, right, position, precisions = 0.0, 0, 101, []
    for place in range(100):
        if place < len(given):
            if given[place] not in seen and given[place] in truth:
                right += 1
                total += right / (place + 1)
                position = min(position, place + 1)
            seen.add(given[place])
        precisions.append(right / (place + 1))
    return total / min(len(truth), 100), precisions, position


@pytest.mark.usefixtures("few_draws")
def test_retrieval_equals_an_independent_count_on_random_cases() -> None:
    draw = random.Random(7)
    names = [f"i{number}" for number in range(160)]
    for _ in range(25):
        truth = {
            f"q{number}": draw.sample(names, draw.choice([1, 2, 5, 130])) for number in range(4)
        }
        images = {
            one: draw.choices(names, k=draw.randint(0, 130))
            for one in truth if draw.random() < 0.8
        }  # fmt: skip
        rows = {one: (" ".join(shown), "Public") for one, shown in truth.items()}
        found, each = retrieval_rows(solution("retrieval", rows), images)
        slow = {one: slow_retrieval(shown, images.get(one, [])) for one, shown in truth.items()}
        assert each["all"] == pytest.approx({one: result[0] for one, result in slow.items()})
        number = values(found)
        for k in (1, 5, 10, 50, 100):
            mean = np.mean([precisions[k - 1] for _, precisions, _ in slow.values()])
            assert number["public", f"P@{k}"] == pytest.approx(mean)
        positions = [position for *_, position in slow.values()]
        assert number["public", "mean position"] == pytest.approx(np.mean(positions))
        assert number["public", "median position"] == pytest.approx(np.median(positions))


def test_intervals_hold_the_value_and_are_wider_for_fewer_photos() -> None:
    draw = random.Random(3)
    widths = []
    for count in (40, 4000):
        rows = {f"p{number}": ("1" if number % 2 else "", "Public") for number in range(count)}
        predicted = {one: ("1", draw.random() + bool(cell)) for one, (cell, _) in rows.items()}
        predicted |= dict.fromkeys(list(rows)[1 : count // 4 : 2], ("2", 1.9))
        for row in recognition_rows(solution("recognition", rows), predicted)[:2]:
            low, high = row.interval
            assert 0 < low < row.value < high < 1
            widths.append(high - low)
    assert widths[0] > 5 * widths[2]
    assert widths[1] > 5 * widths[3]


def test_the_result_of_a_submission_says_what_it_was_scored_by(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("id,landmarks,Usage\na,1,Public\nb,,Public\nc,2,Ignored\n")
    (tmp_path / "p.csv").write_text("id,landmarks\na,1 0.5\n")
    truth = read_solution(tmp_path / "s.csv", "recognition")
    result = score_submission(truth, read_submission(tmp_path / "p.csv", truth), "p.csv")
    assert result.protocol == "gldv2-recognition"
    assert (result.embedder, result.licence, result.dim) == ("p.csv", "unknown", 0)
    assert (result.queries, result.left_out) == (2, {"all": 1})
    assert values(result.rows)["all", GAP] == 1
    assert "not in it, which have no prediction: 1, such as b" in result.notes[0]
    assert any("M the photos of the solution" in rule for rule in result.rules)
    empty = score_submission(truth, Submission(), "nothing.csv")
    assert values(empty.rows)["all", GAP] == 0
