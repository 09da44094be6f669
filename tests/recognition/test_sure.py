"""The least confidence of labels: what its bound holds for, and what small galleries get."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.photos import photos_of, write_colour_world
from whichlandmark.features.embedders.histogram import HistogramEmbedder
from whichlandmark.recognition.calibration import Sure
from whichlandmark.recognition.decision import Decider
from whichlandmark.recognition.fitting.leave_one_out import (
    KNOWN,
    NON_LANDMARK,
    UNKNOWN,
    HeldOutScores,
)
from whichlandmark.recognition.folder.load import build, load
from whichlandmark.recognition.folder.settings import read_settings
from whichlandmark.recognition.recognizer import Recognizer
from whichlandmark.recognition.sure import mix_of, sure_confidence, sure_of


def queries(kind: int, scores: list[float], right: bool, landmarks: int = 1000) -> HeldOutScores:
    """Queries of one kind, dealt to landmarks in turn."""
    count = len(scores)
    return HeldOutScores(
        np.array(scores), np.full(count, right), np.ones(count), np.full(count, kind),
        np.arange(count) % landmarks,
    )  # fmt: skip


def mixed(*parts: HeldOutScores, shares: tuple[float, ...] = (0.5, 0.125, 0.375)) -> HeldOutScores:
    """All of them; each kind has its share of the weights."""
    joined = parts[0]
    for part in parts[1:]:
        joined = joined.joined(part)
    counts = np.bincount(joined.kind, minlength=3)
    return replace(joined, weight=(np.array(shares) / np.maximum(counts, 1))[joined.kind])


def spread(low: float, high: float, count: int) -> list[float]:
    return np.linspace(low, high, count).tolist()


def test_a_large_gallery_measures_its_threshold() -> None:
    held_out = mixed(
        queries(KNOWN, spread(0, 10, 1000), True),
        queries(UNKNOWN, spread(-10, 2, 1000), False),
        queries(NON_LANDMARK, spread(-10, 1, 1000), False),
    )
    sure = sure_of(held_out)
    assert sure.queries == 3000
    assert sure.measured is not None
    assert sure.counted is not None
    labelled = held_out.scores >= sure.measured
    weight = held_out.weight * labelled
    assert (weight * ~held_out.right).sum() <= 0.01 * weight.sum()  # the plain share
    assert sure.counted < sure.measured < 2.0  # the correction costs little here
    # One less strict label more would break the bound.
    strict = sure_of(held_out, wrong=0.001)
    assert strict.measured is None or strict.measured > sure.measured


@pytest.mark.parametrize(("known", "unknown", "others"), [(200, 200, 100), (60, 60, 1000)])
def test_few_queries_bound_nothing_even_without_a_mistake(
    known: int, unknown: int, others: int
) -> None:
    sure = sure_of(mixed(
        queries(KNOWN, spread(5, 6, known), True),
        queries(UNKNOWN, spread(-6, -5, unknown), False, landmarks=20),
        queries(NON_LANDMARK, spread(-6, -5, others), False),
    ))  # fmt: skip
    assert sure.measured is None
    assert sure.counted is not None
    assert sure.counted <= 5
    assert (sure.supported is None) == (known < 99)


def test_photos_of_one_look_alike_count_as_one_draw() -> None:
    parts = [
        queries(KNOWN, spread(5, 6, 1000), True),
        queries(NON_LANDMARK, spread(-6, -5, 1000), False),
    ]
    many = mixed(*parts, queries(UNKNOWN, spread(-6, -5, 1000), False, landmarks=1000))
    few = mixed(*parts, queries(UNKNOWN, spread(-6, -5, 1000), False, landmarks=10))
    assert sure_of(many).measured is not None
    assert sure_of(few).measured is None


def test_without_distractors_nothing_is_measured() -> None:
    sure = sure_of(mixed(
        queries(KNOWN, spread(5, 6, 1000), True), queries(UNKNOWN, spread(-6, -5, 1000), False),
        shares=(0.5, 0.5, 0),
    ))  # fmt: skip
    assert sure.measured is None


def test_wrong_answers_above_all_right_ones_leave_no_score() -> None:
    sure = sure_of(mixed(
        queries(KNOWN, spread(0, 1, 100), True), queries(UNKNOWN, spread(2, 3, 100), False),
        queries(NON_LANDMARK, spread(2, 3, 100), False),
    ))  # fmt: skip
    assert sure == Sure(queries=300)
    assert sure_of(HeldOutScores.empty()) == Sure()


def test_answers_of_one_score_are_labelled_together() -> None:
    held_out = mixed(
        queries(KNOWN, [1.0] * 1000, True), queries(UNKNOWN, [1.0] * 1000, False),
        queries(NON_LANDMARK, spread(-2, -1, 1000), False),
    )  # fmt: skip
    assert sure_of(held_out).counted is None


def test_scores_of_minus_infinity_get_no_label() -> None:
    held_out = mixed(
        queries(KNOWN, spread(5, 6, 1000), True), queries(UNKNOWN, [-np.inf] * 1000, False),
        queries(NON_LANDMARK, [-np.inf] * 1000, False),
    )  # fmt: skip
    assert sure_of(held_out).measured == 5.0


def test_the_bound_holds_on_new_photos() -> None:
    """Galleries and libraries drawn from one population: the share of wrong labels over all."""
    wrong = labels = found = 0.0
    for seed in range(60):
        rng = np.random.default_rng(seed)

        def draw(count: int, rng: np.random.Generator = rng) -> HeldOutScores:
            known = rng.normal(4, 2, count)
            right = rng.random(count) < 1 / (1 + np.exp(-known - 3))
            kinds = [
                replace(queries(KNOWN, known.tolist(), True), right=right),
                queries(UNKNOWN, rng.normal(-1, 2, count).tolist(), False),
                queries(NON_LANDMARK, rng.normal(-3, 2, count).tolist(), False),
            ]
            return mixed(*kinds)

        threshold = sure_of(draw(800)).measured
        if threshold is None:
            continue
        found += 1
        library = draw(5000)
        weight = library.weight * (library.scores >= threshold)
        wrong += float((weight * ~library.right).sum())
        labels += float(weight.sum())
    assert found > 50
    assert labels / found > 0.2
    assert 0.002 < wrong / labels <= 0.01


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colour_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def recognizer(world: Path) -> Recognizer:
    distractors = photos_of(world / "bank", landmarks=False)
    return build(HistogramEmbedder(), photos_of(world / "gallery"), distractors=distractors)


@pytest.fixture
def proven(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if other galleries had proven that this one may be sure."""
    monkeypatch.setattr(Decider, "ceiling", 1.0)


@pytest.mark.usefixtures("proven")
def test_a_small_gallery_gets_the_fixed_confidence_and_a_note(recognizer: Recognizer) -> None:
    fitted = replace(recognizer.fitted, own_queries=24, sure=Sure(None, 1.0, None, 58))
    sure = sure_confidence(replace(recognizer, fitted=fitted))  # as with lite0
    assert (sure.confidence, sure.measured) == (0.99, False)
    assert "labels begin at confidence 0.99" in sure.note
    assert "4 landmarks, 24 photos, 10 distractors" in sure.note


def test_a_calibration_of_a_small_gallery_alone_labels_nothing(
    recognizer: Recognizer, tmp_path: Path
) -> None:
    sure = sure_confidence(recognizer)
    assert (sure.confidence, sure.measured) == (1.0, False)
    assert "no photo gets a label" in sure.note
    assert "4 landmarks, 24 photos, 10 distractors" in sure.note
    recognizer.save(tmp_path / "r.wl")
    stored = read_settings(tmp_path / "r.wl")[1]
    assert stored is not None
    assert stored.sure == recognizer.fitted.sure
    assert sure_confidence(load(tmp_path / "r.wl", embedder=HistogramEmbedder())) == sure


def test_a_recognizer_of_an_older_version_is_fitted_for_it(
    recognizer: Recognizer, tmp_path: Path
) -> None:
    recognizer.save(tmp_path / "r.wl")
    settings = tmp_path / "r.wl" / "recognizer.json"
    record = json.loads(settings.read_text())
    del record["sure"]
    settings.write_text(json.dumps(record))
    older = load(tmp_path / "r.wl", embedder=HistogramEmbedder())
    assert older.fitted.sure is None
    assert sure_confidence(older) == sure_confidence(recognizer)
    assert json.loads(settings.read_text()) == record  # nothing is written


@pytest.mark.usefixtures("proven")
def test_what_is_measured_is_told_as_a_confidence(recognizer: Recognizer) -> None:
    def told(own: int | None, *scores: float | None) -> tuple[float, bool]:
        measured, counted, supported = scores
        fitted = replace(
            recognizer.fitted, own_queries=own, sure=Sure(measured, counted, supported, 900)
        )
        sure = sure_confidence(replace(recognizer, fitted=fitted))
        assert bool(sure.note) != sure.measured
        return sure.confidence, sure.measured

    low, high = (float(recognizer.decider.confidence(np.array([at]))[0]) for at in (0.5, 3.0))
    assert low < 0.99 < high
    assert told(None, 0.5, 0.4, 0.4) == (low, True)
    assert told(None, 3.0, 0.4, 0.5) == (0.99, False)  # measured only above 0.99
    assert told(None, None, 0.5, 3.0) == (high, False)
    assert told(None, None, 0.5, None) == (1.0, False)
    assert told(40, None, 0.5, None) == (0.99, False)
    assert told(40, None, 3.0, None) == (high, False)
    assert told(40, None, None, None) == (1.0, False)


def test_a_gallery_that_is_often_wrong_labels_nothing(recognizer: Recognizer) -> None:
    changed = replace(recognizer, fitted=replace(recognizer.fitted, sure=Sure(queries=900)))
    assert sure_confidence(changed).confidence == 1.0


def test_without_distractors_the_note_says_that_nothing_is_labelled(world: Path) -> None:
    alone = build(HistogramEmbedder(), photos_of(world / "gallery"))
    sure = sure_confidence(alone)
    assert sure.confidence == 1.0
    assert sure.note.startswith("no photo gets a label")
    assert "--distractors" in sure.note


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.8])
def test_the_mix_of_a_collection_is_the_likeliest_share(share: float) -> None:
    """Against a search over all shares of the likelihood, written down from the paper's model."""
    rng, usual = np.random.default_rng(5), 0.5
    right = rng.random(4000) < share
    score = rng.normal(np.where(right, 2.0, -2.0), 1.5)
    confidence = 1 / (1 + np.exp(-4 * score / 1.5**2))  # by Bayes' rule, for shares of one half
    mix = mix_of(confidence, confidence >= 0.9, usual)
    shares = np.linspace(0.001, 0.999, 999)
    likelihood = [
        np.log(confidence * p / usual + (1 - confidence) * (1 - p) / (1 - usual)).sum()
        for p in shares
    ]
    assert mix.share == pytest.approx(shares[int(np.argmax(likelihood))], abs=0.002)
    assert mix.share == pytest.approx(right.mean(), abs=0.015)
    labels = confidence >= 0.9
    assert mix.wrong == pytest.approx((~right[labels]).sum(), abs=3 + 0.25 * (~right[labels]).sum())


def test_a_collection_without_landmarks_has_none_by_its_mix() -> None:
    confidence = np.full(500, 0.01)
    mix = mix_of(confidence, np.zeros(500, dtype=bool), 0.5)
    assert (mix.share < 0.001, mix.wrong) == (True, 0.0)
