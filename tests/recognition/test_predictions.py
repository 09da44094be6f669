"""Boxes of verified matches, other landmarks in the photo, and confidences of candidates."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.support.photos import photos_of
from tests.support.random_galleries import index_of, unit
from whichlandmark.features.embedders.histogram import HistogramEmbedder
from whichlandmark.features.local.matching import VerifiedMatch
from whichlandmark.recognition.calibration import Calibration
from whichlandmark.recognition.candidates import FEATURES, Candidates
from whichlandmark.recognition.decision import Answers, Decider, Fitted
from whichlandmark.recognition.folder.load import assemble, build
from whichlandmark.recognition.predictions import (
    MIN_INLIERS_SECOND_LANDMARK,
    detect_landmarks,
    prediction,
)
from whichlandmark.recognition.recognizer import Recognizer
from whichlandmark.recognition.rules import Rules
from whichlandmark.recognition.stacker import fit_stacker

NAMES = ["a", "b", "c", "d"]
FRAME = (200, 400)  # height, width
LEFT, MIDDLE, RIGHT = (20, 30, 120, 130), (140, 20, 260, 180), (280, 50, 390, 150)
CURVE = Calibration(slope=2.0, offset=-1.0)


def match_in(box: tuple[int, int, int, int], count: int) -> VerifiedMatch:
    """A match with a number of inliers, spread evenly within a box of the query."""
    rng = np.random.default_rng(count)
    points = rng.uniform(box[:2], box[2:], (count, 2)).astype(np.float32)
    return VerifiedMatch(points, points, None)


@pytest.fixture(scope="module")
def decider() -> Decider:
    index = index_of(NAMES, unit(np.eye(4)))
    plain = fit_stacker(FEATURES, np.empty((0, len(FEATURES))), np.empty(0, bool), np.empty(0))
    return Decider(index, Rules(whitening="none"), Fitted(None, plain, None, CURVE))


def answers(decider: Decider, verified: dict[int, VerifiedMatch], code: int = 0) -> Answers:
    """Neighbours a, b, c, d, then a, b again; log-odds 2, 1, 0, −1."""
    found = decider.retriever.search(unit(np.array([[4.0, 3.0, 2.0, 1.0]])))
    codes = np.array([[0, 1, 2, 3, 0, 1]])
    candidates = Candidates(np.array([[0, 1, 2, 3]]), np.array([[0, 1, 2, 3]]), np.zeros((1, 4, 9)))
    return Answers(
        decider, np.array([code]), np.array([1]), np.array([2.0]), np.array([0.9]),
        replace(found, codes=codes), candidates, [verified],
        inliers=np.full((1, 6), -1), logits=np.array([[2.0, 1.0, 0.0, -1.0]]),
    )  # fmt: skip


def confidence_of(logit: float) -> float:
    return float(1 / (1 + np.exp(-(2 * logit - 1))))


def test_an_answer_without_geometry_has_no_box(decider: Decider) -> None:
    for verified, shape in (({}, FRAME), ({0: match_in(LEFT, 40)}, None)):
        (seen,) = detect_landmarks(decider, answers(decider, verified), 0, shape)
        assert (seen.landmark, seen.confidence, seen.box) == ("a", 0.9, None)
    never = replace(answers(decider, {}), verified=[])
    assert len(detect_landmarks(decider, never, 0, FRAME)) == 1


def test_boxes_are_shares_of_the_photo(decider: Decider) -> None:
    verified = match_in(LEFT, 60)
    (seen,) = detect_landmarks(decider, answers(decider, {0: verified}), 0, FRAME)
    expected = []
    for axis, size in ((0, 400), (1, 200)):
        values = verified.query_points[:, axis].astype(np.float64)
        low, high = np.quantile(values, 0.02), np.quantile(values, 0.98)
        edge = 0.1 * (high - low)
        expected += [max(0, low - edge) / size, min(size, high + edge) / size]
    left, right, top, bottom = expected
    assert seen.box == pytest.approx((left, top, right, bottom), abs=1e-6)
    assert all(0 <= side <= 1 for side in seen.box)  # type: ignore[union-attr]


def test_other_landmarks_are_sorted_by_inliers_with_their_own_confidence(decider: Decider) -> None:
    verified = {0: match_in(LEFT, 20), 1: match_in(MIDDLE, 30), 2: match_in(RIGHT, 50)}
    seen = detect_landmarks(decider, answers(decider, verified), 0, FRAME)
    assert [detection.landmark for detection in seen] == ["a", "c", "b"]
    # Without distractors a confidence above 0.5 is squeezed below 0.74.
    expected = [0.9, confidence_of(0.0), 0.5 + (confidence_of(1.0) - 0.5) * 0.48]
    assert [detection.confidence for detection in seen] == pytest.approx(expected)
    assert all(detection.box is not None for detection in seen)


def test_another_landmark_needs_a_minimum_of_inliers(decider: Decider) -> None:
    for count, names in (
        (MIN_INLIERS_SECOND_LANDMARK - 1, ["a"]),
        (MIN_INLIERS_SECOND_LANDMARK, ["a", "b"]),
    ):
        verified = {0: match_in(LEFT, 40), 1: match_in(RIGHT, count)}
        seen = detect_landmarks(decider, answers(decider, verified), 0, FRAME)
        assert [detection.landmark for detection in seen] == names


def test_inliers_of_a_landmark_are_the_maximum_over_its_photos(decider: Decider) -> None:
    few = MIN_INLIERS_SECOND_LANDMARK - 2
    verified = {0: match_in(LEFT, 40), 1: match_in(RIGHT, few), 5: match_in(RIGHT, few)}
    seen = detect_landmarks(decider, answers(decider, verified), 0, FRAME)
    assert [detection.landmark for detection in seen] == ["a"]


def test_the_box_uses_all_photos_of_the_landmark(decider: Decider) -> None:
    detection = detect_landmarks(decider, answers(decider, {0: match_in(LEFT, 40)}), 0, FRAME)
    two = {0: match_in(LEFT, 40), 4: match_in(MIDDLE, 40)}
    both = detect_landmarks(decider, answers(decider, two), 0, FRAME)
    assert both[0].box[2] > detection[0].box[2] + 0.2  # type: ignore[index]


def test_overlapping_landmarks_give_one_detection(decider: Decider) -> None:
    verified = {0: match_in(LEFT, 20), 1: match_in(LEFT, 80), 2: match_in(RIGHT, 20)}
    seen = detect_landmarks(decider, answers(decider, verified), 0, FRAME)
    assert [detection.landmark for detection in seen] == ["a", "c"]


def test_the_answer_comes_first_even_with_no_inlier(decider: Decider) -> None:
    """Without a box of the answer, whether another landmark overlaps it is unknown."""
    nothing = match_in(LEFT, 0)
    verified = {0: nothing, 1: match_in(RIGHT, 90)}
    (seen,) = detect_landmarks(decider, answers(decider, verified), 0, FRAME)
    assert (seen.landmark, seen.box) == ("a", None)


def test_without_a_stacker_other_landmarks_have_no_confidence(decider: Decider) -> None:
    verified = {0: match_in(LEFT, 40), 1: match_in(RIGHT, 40)}
    bare = replace(answers(decider, verified), candidates=None, logits=None)
    seen = detect_landmarks(decider, bare, 0, FRAME)
    assert [(found.landmark, found.confidence) for found in seen] == [("a", 0.9), ("b", 0.0)]


def bare_recognizer(folder, rules: Rules) -> Recognizer:  # type: ignore[no-untyped-def]
    """A gallery without landmarks."""
    distractors = photos_of(folder / "bank", landmarks=False)
    fitted = Fitted(None, None, None, CURVE)
    built = build(HistogramEmbedder(3), photos_of(folder / "gallery"), distractors=distractors,
                 rules=Rules(score="cosine", whitening="none", verify=0))  # fmt: skip
    built.gallery.remove(built.index.ids.tolist())
    return assemble(built.embedder, built.gallery, rules, fitted)


def test_a_gallery_without_landmarks_gives_no_detection(colour_world) -> None:  # type: ignore[no-untyped-def]
    rules = Rules(score="cosine", whitening="none", verify=0)
    recognizer = bare_recognizer(colour_world, rules)
    (answer,) = recognizer.predict(unit(np.ones((1, 27))))
    assert (answer.landmark, answer.guess, answer.decision, answer.landmarks) == (
        None, None, "no_landmark", (),
    )  # fmt: skip
    assert answer.confidence == 0
    json.dumps(answer.landmarks)


def test_always_answering_with_an_empty_gallery_gives_no_detection(colour_world) -> None:  # type: ignore[no-untyped-def]
    rules = Rules(score="cosine", whitening="none", verify=0, answer_above=0.0, doubt_above=0.0)
    (answer,) = bare_recognizer(colour_world, rules).predict(unit(np.ones((1, 27))))
    assert answer.landmarks == ()


def test_each_candidate_has_a_confidence_and_all_together_at_most_one(decider: Decider) -> None:
    said = prediction(answers(decider, {}), 0)
    first = float(decider.confidence(np.array([2.0]))[0])
    own = [float(decider.confidence(np.array([logit]))[0]) for logit in (1.0, 0.0, -1.0)]
    share = (1 - first) / sum(own)
    assert share < 1  # they would be more than what the first leaves
    names, confidences = zip(*said.candidates, strict=True)
    assert names == ("a", "b", "c", "d")
    assert confidences == pytest.approx([first, *(share * one for one in own)])
    assert sum(confidences) == pytest.approx(1)


def test_unlikely_candidates_keep_their_own_confidence(decider: Decider) -> None:
    logits = np.array([[1.2, -4.0, -np.inf, -5.0]])
    given = answers(decider, {})
    assert given.candidates is not None
    codes = np.array([[0, 1, -1, 3]])
    given = replace(given, logits=logits, candidates=replace(given.candidates, codes=codes))
    said = prediction(given, 0)
    assert [name for name, _ in said.candidates] == ["a", "b", "d"]
    assert said.candidates[1][1] == pytest.approx(confidence_of(-4.0))
    assert said.candidates[2][1] == pytest.approx(confidence_of(-5.0))


def test_a_formula_gives_no_confidence_of_candidates(decider: Decider) -> None:
    assert prediction(replace(answers(decider, {}), logits=None), 0).candidates == ()
