"""The plan of a synthetic world: numbers of photos, unique landmark names, refused options."""

from __future__ import annotations

import numpy as np
import pytest

from whichlandmark.core.errors import OptionError
from whichlandmark.data.synthetic.families import landmark_name
from whichlandmark.data.synthetic.plan import (
    DrawnWorld,
    distractor_shots,
    photos_per_landmark,
    query_shots,
    training_shots,
)


def test_default_world_has_a_long_tail() -> None:
    counts = photos_per_landmark(DrawnWorld())
    assert sum(counts) == 1800
    assert len(counts) == 48
    assert 10 <= min(counts) <= 20
    assert 100 <= max(counts) <= 150
    assert np.median(counts) < np.mean(counts)


def test_names_are_readable_and_unique() -> None:
    names = [landmark_name(0, n) for n in range(200)]
    assert len(set(names)) == 200
    assert all(n.isascii() and len(n) <= 40 and n.replace(" ", "").isalpha() for n in names)
    assert names[:5] == [landmark_name(0, n) for n in range(5)]
    assert names != [landmark_name(1, n) for n in range(200)]


def test_training_distractor_and_query_photos_are_different_drawings() -> None:
    world = DrawnWorld()
    training = {s.key for s in training_shots(world)}
    distractors = {s.key for s in distractor_shots(world)}
    queries = {s.key for s in query_shots(world)}
    assert len(distractors) == world.distractors
    assert len(queries) == world.queries + world.unknown_queries + world.nonlandmark_queries
    assert distractors.isdisjoint(queries)
    assert training.isdisjoint(distractors | queries)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"landmarks": 1}, "landmarks"),
        ({"photos": 50}, "photos"),
        ({"size": 20}, "size"),
        ({"unknown_landmarks": 0}, "unknown"),
        ({"indoor": 1.5}, "indoor"),
        ({"queries": -1}, "queries"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, float], word: str) -> None:
    with pytest.raises(OptionError, match=word):
        DrawnWorld(**options)  # type: ignore[arg-type]
