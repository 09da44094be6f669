"""Numbers and words that would mislead: what was not measured, and answers of no landmark."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from tests.cli.test_commands import run
from tests.evaluation.test_report import world
from whichlandmark.core.errors import install_command
from whichlandmark.core.files import read_json, write_json
from whichlandmark.core.json_options import strict_json
from whichlandmark.core.types import Prediction
from whichlandmark.evaluation.predictions import Predictions, write_predictions, wrong_names
from whichlandmark.evaluation.scores import (
    Scores,
    answers_in_words,
    prediction_scores,
    scores_file,
    stored_titles,
    what_is_not_measured,
)
from whichlandmark.recognition.answer import answer_and_confidence

NAMES = ["Sacré-Cœur", "東京タワー", "Tower <b>& Bridge</b>", "old_town_hall"]


def queries(*rows: tuple[str, str, str]) -> Predictions:
    """Queries given as (truth, guess, decision); a guess of "?" = the photo cannot be read."""
    p = world(None, count=len(rows))
    for row, (truth, guess, decision) in enumerate(rows):
        p.truth[row], p.guess[row], p.decision[row] = truth, guess, decision
        p.known[row] = truth in NAMES
        if guess == "?":
            p.guess[row], p.nearest[row], p.score[row] = "", "", -math.inf
    return p


HALL, TOWER = "old_town_hall", "東京タワー"

RIGHT = (HALL, HALL, "landmark")

REFUSED = (HALL, HALL, "uncertain")


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([RIGHT] * 22 + [REFUSED] * 8 + [("", HALL, "no_landmark")] * 39 + [("", HALL, "landmark")],
         "22 of 30 named rightly, 8 refused, 0 named wrongly; of 40 others 1 was named"),
        ([RIGHT, (TOWER, HALL, "landmark"), ("Elsewhere", HALL, "landmark"), ("", "", "landmark")],
         "1 of 2 named rightly, 0 refused, 1 named wrongly; of 2 others 2 were named"),
        ([RIGHT, (HALL, "?", "no_landmark"), ("", "?", "no_landmark")],
         "1 of 2 named rightly, 0 refused, 0 named wrongly, 1 not readable; of 1 others none were "
         "named, 1 not readable"),
        ([RIGHT], "1 of 1 named rightly, 0 refused, 0 named wrongly; there were no others"),
        ([("Elsewhere", HALL, "uncertain")] * 4,
         "none of 4 shows a landmark of the gallery; of these none were named"),
    ],
)  # fmt: skip
def test_answers_are_told_as_a_sentence(rows: list[tuple[str, str, str]], sentence: str) -> None:
    p = queries(*rows)
    assert answers_in_words(p) == prediction_scores(p)["summary"] == sentence


def test_what_was_not_measured_is_null() -> None:
    found = prediction_scores(queries(*[("Elsewhere", HALL, "uncertain")] * 6))
    for name in ("gap", "gap_interval", "gap_all_landmarks", "top1", "recall_at_1", "recall_at_5",
                 "calibration_error", "risk_coverage_area", "auroc_no_landmark"):  # fmt: skip
        assert found[name] is None, name
    assert (found["accuracy"], found["coverage"]) == (1.0, 0.0)
    empty = prediction_scores(world(None, count=0))
    assert [empty[name] for name in ("gap", "top1", "accuracy", "coverage")] == [None] * 4


@pytest.mark.parametrize(
    ("truth", "words"),
    [
        ("Old Town Hall", "'Old Town Hall' (6): the gallery has 'old_town_hall'"),
        ("old-town-hal", "'old-town-hal' (6): the gallery has 'old_town_hall'"),
        ("Sacre Coeur", "'Sacre Coeur' (6): the gallery has 'Sacré-Cœur'"),
        ("SACRÉ-CŒUR", "the gallery has 'Sacré-Cœur'"),
        ("Louvre", "the queries name 'Louvre'; the gallery has 'Sacré-Cœur', '東京タワー'"),
    ],
)
def test_a_typo_between_queries_and_gallery_is_named(truth: str, words: str) -> None:
    p = queries(*[(truth, HALL, "uncertain")] * 6)
    notes = what_is_not_measured(p, NAMES)
    assert notes[0].startswith("0 of 6 queries show a landmark of this gallery")
    assert words in notes[1]


def test_a_typo_is_named_beside_right_names_too_and_only_then() -> None:
    p = queries(RIGHT, (TOWER, HALL, "uncertain"), ("Old Town Hall", HALL, "uncertain"))
    assert any("'Old Town Hall' (1)" in note for note in what_is_not_measured(p, NAMES))
    p = queries(RIGHT, (TOWER, HALL, "uncertain"), ("Elsewhere", HALL, "uncertain"))
    assert what_is_not_measured(p, NAMES) == []


def test_one_landmark_says_what_it_cannot_tell() -> None:
    one = what_is_not_measured(queries(RIGHT, RIGHT), [HALL])
    assert "the gallery has one landmark: GAP and top-1 cannot tell" in one[0]
    assert "every query shows a landmark of the gallery" in one[1]
    asked = what_is_not_measured(queries(RIGHT, ("", HALL, "uncertain")), NAMES)
    assert asked == ["all known queries show one landmark (old_town_hall): the numbers say nothing "
                     "of the other 3"]  # fmt: skip


def answer(decision: str, guess: str | None, confidence: float) -> Prediction:
    return Prediction(
        landmark=guess if decision == "landmark" else None, decision=decision,  # type: ignore[arg-type]
        guess=guess, confidence=confidence, score=0.0, second=None, matches=(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("landmark", "old_town_hall", 0.97), "Rathaus, almost certainly (confidence 0.97)"),
        (("uncertain", "old_town_hall", 0.4), "not sure: perhaps Rathaus (confidence 0.40)"),
        (("no_landmark", "old_town_hall", 0.03),
         "no landmark that I know (the likeliest is Rathaus, with confidence 0.03)"),
        (("no_landmark", "old_town_hall", 0.0),
         "no landmark that I know (the likeliest is Rathaus, with confidence below 0.01)"),
        (("no_landmark", None, 0.0), "no landmark that I know"),
    ],
)  # fmt: skip
def test_a_confidence_says_what_it_is_of(given: tuple[str, str | None, float], words: str) -> None:
    assert answer_and_confidence(answer(*given), {"old_town_hall": "Rathaus"}) == words


def test_json_is_strict(tmp_path: Path) -> None:
    odd = {"a": math.nan, "b": [math.inf, (1.5, -math.inf)], "c": {"d": np.float64("nan")}, "e": 1}
    assert json.loads(strict_json(odd)) == {"a": None, "b": [None, [1.5, None]], "c": {"d": None},
                                            "e": 1}  # fmt: skip
    write_json(tmp_path / "x.json", odd)
    assert "NaN" not in (tmp_path / "x.json").read_text()
    assert read_json(tmp_path / "x.json")["a"] is None


def test_scores_print_as_a_line() -> None:
    p = world(None, count=60)
    scores = Scores(**prediction_scores(p), unreadable=0, leaked=0, seconds=1.0)
    assert str(scores).startswith(answers_in_words(p) + "; GAP 0.")
    assert "\n" not in str(scores)


def test_wrong_names_are_told_by_title() -> None:
    p = queries((TOWER, HALL, "landmark"), ("", HALL, "landmark"), RIGHT)
    p.confidence[:] = (0.6, 0.9, 0.99)
    p.path[0] = "/a/b.jpg"
    assert wrong_names(p, {HALL: "Rathaus", TOWER: "Tokyo Tower"}) == [
        "q001 shows no landmark, named Rathaus (0.90)",
        "/a/b.jpg shows Tokyo Tower, named Rathaus (0.60)",
    ]


def test_the_file_of_scores_has_date_version_titles_and_counts(tmp_path: Path) -> None:
    p = queries(RIGHT, REFUSED)
    scores = Scores(**prediction_scores(p), unreadable=0, leaked=0, seconds=1.0)
    record = scores_file(
        scores, p, titles={HALL: "Rathaus", "other": "Other"}, gallery_photos={HALL: 3, "other": 9},
        made={"questions": "q.csv"},
    )  # fmt: skip
    write_json(tmp_path / "p.scores.json", record)
    assert stored_titles(tmp_path / "p.csv") == {HALL: "Rathaus"}
    assert record["gallery_photos"] == {HALL: 3}
    assert set(record["made"]) == {"questions", "date", "whichlandmark"}
    assert record["summary"].startswith("1 of 2 named rightly")


def tuning_says_what_it_did_not_measure(sift: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capfd, "tune", sift, "--json")
    assert code == 0
    found = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert {row["answered_at_1_percent"] for row in found["table"]} == {None}
    code, out, _ = run(capfd, "tune", sift)
    assert "nan" not in out
    assert "(–: not measured: it takes 99 distractors)" in out


def questions_that_cannot_be_read_are_counted(
    sift: Path, colour_world: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (colour_world / "queries" / "0-0.jpg").write_bytes(b"no photo")
    arguments = ("evaluate", colour_world / "queries.csv", "-r", sift, "-o", colour_world / "p.csv")
    code, out, err = run(capfd, *arguments)
    assert code == 3
    assert "0-0.jpg" in err
    assert ", 1 not readable; of 6 others" in out.splitlines()[0]
    for path in (colour_world / "queries").glob("*.jpg"):
        path.write_bytes(b"no photo")
    code, _, err = run(capfd, *arguments)
    assert code == 4
    assert "none of the 18 photos could be read" in err


@pytest.fixture
def sift(colour_world: Path, capfd: pytest.CaptureFixture[str]) -> Path:
    out = colour_world / "r.wl"
    code, _, err = run(
        capfd, "index", colour_world / "gallery", "-o", out, "--embedder", "sift",
        "--distractors", colour_world / "bank", "--no-features",
    )  # fmt: skip
    assert code == 0, err
    return out


def test_the_verbs_begin_with_the_sentence_and_print_no_raw_values(
    sift: Path, colour_world: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    at = colour_world
    (at / "lm.csv").write_text("landmark,title\nplace 0,The Zeroth Place\n")
    assert run(capfd, "gallery", "add", sift, "--landmarks", at / "lm.csv")[0] == 0
    table = at / "queries.csv"
    code, out, _ = run(capfd, "evaluate", table, "-r", sift, "-o", at / "p.csv")
    first, *lines = out.splitlines()
    assert code == 0
    assert " of 12 named rightly, " in first
    assert "; of 6 others " in first
    assert not [line for line in lines if line.endswith(("None", ")")) and "gap" in line]
    interval = next(line for line in lines if line.startswith("  gap_interval"))
    assert len(interval.split()) == 4, interval
    assert interval.split()[2] == "to"
    (at / "typo.csv").write_text(table.read_text().replace(",place", ",Plaice"))
    code, out, _ = run(capfd, "evaluate", at / "typo.csv", "-r", sift, "-o", at / "t.csv")
    assert code == 0
    assert "none of 18 shows a landmark of the gallery" in out
    assert "'Plaice 0' (3): the gallery has 'place 0' (The Zeroth Place)" in out
    assert "  gap                              not measured" in out
    code, out, _ = run(capfd, "evaluate", at / "typo.csv", "-r", sift, "-o", at / "t.csv", "--json")
    scores = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert (scores["gap"], scores["top1"], scores["known"]) == (None, None, 0)
    assert len(scores["notes"]) == 2
    code, _, err = run(capfd, "report", at / "p.csv", "-o", at / "p.html")
    assert (code, err) == (0, "")
    assert "The Zeroth Place" in (at / "p.html").read_text()
    code, out, _ = run(capfd, "compare", at / "p.csv", at / "p.csv")
    assert code == 0
    assert out.count("   equal") >= 4
    tuning_says_what_it_did_not_measure(sift, capfd)
    questions_that_cannot_be_read_are_counted(sift, at, capfd)


def test_install_commands_name_what_works_from_a_clone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from importlib import metadata

    class Noted:
        def __init__(self, text: str | None) -> None:
            self.text = text

        def read_text(self, name: str) -> str | None:
            return self.text

    def command(text: str | None) -> str:
        monkeypatch.setattr(metadata, "distribution", lambda name: Noted(text))
        return install_command("train")

    (tmp_path / "pyproject.toml").touch()
    assert command(json.dumps({"url": tmp_path.as_uri()})) == f"pip install '{tmp_path}[train]'"
    in_a_clone = "pip install '.[train]' (in a clone of whichlandmark)"
    assert command(json.dumps({"url": "file:///gone/away"})) == in_a_clone
    assert command(None) == command("not json") == in_a_clone
    noted = {"url": "https://example.org/w.git", "vcs_info": {"vcs": "git"}}
    assert command(json.dumps(noted)) == (
        "pip install 'whichlandmark[train] @ git+https://example.org/w.git'"
    )


def test_no_message_names_an_index_that_lacks_the_package() -> None:
    import whichlandmark

    root = Path(whichlandmark.__file__).parent
    for path in root.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "pip install 'whichlandmark[" not in text or path.name == "errors.py", path


def test_written_predictions_keep_what_could_not_be_read(tmp_path: Path) -> None:
    from whichlandmark.evaluation.predictions import read_predictions

    p = queries(RIGHT, (HALL, "?", "no_landmark"))
    write_predictions(tmp_path / "p.csv", p)
    read = read_predictions(tmp_path / "p.csv")
    assert read.unreadable.tolist() == [False, True]
    assert answers_in_words(read) == answers_in_words(p)
    assert dataclasses.is_dataclass(read)
