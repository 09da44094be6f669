"""Groups of photos: look-alikes, chains, bursts, copies, positions, libraries of one picture."""

from __future__ import annotations

import numpy as np
import pytest

from whichlandmark.library import grouping
from whichlandmark.library.grouping import (
    Group,
    Pairs,
    Seen,
    Similarity,
    candidate_pairs,
    group,
    scenes_of,
)

PARIS, NEAR_PARIS, LYON = (48.8583, 2.2945), (48.8590, 2.2950), (45.7640, 4.8357)


def photos_around(sizes: list[int], spread: float, seed: int = 0) -> np.ndarray:
    """(N, 64) unit rows: so many around each of some random centers."""
    rng = np.random.default_rng(seed)
    rows = []
    for size in sizes:
        center = rng.normal(size=64)
        center /= np.linalg.norm(center)
        rows += [center + spread * rng.normal(size=64) / 8 for _ in range(size)]
    found = np.array(rows, dtype=np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def similarity(
    vectors: np.ndarray, background: float = 0.25, gallery: float = 0.3, *, taught: bool = True
) -> Similarity:
    n = len(vectors)
    return Similarity(vectors, np.full(n, background), np.full(n, gallery), taught)


def grouped(
    vectors: np.ndarray, inliers: dict[tuple[int, int], int] | None = None,
    seen: Seen | None = None, background: float = 0.25, min_photos: int = 3, taught: bool = True,
) -> list[Group]:  # fmt: skip
    photos = similarity(vectors, background, taught=taught)
    pairs = candidate_pairs(photos)
    counts = np.array([(inliers or {}).get((int(a), int(b)), 0) for a, b in pairs.rows], np.int64)
    return group(photos, pairs, counts, seen or Seen(), min_photos)


def test_photos_of_one_landmark_are_a_group_and_others_are_not() -> None:
    vectors = photos_around([6, 4, 2, *[1] * 30], 0.6)
    found = grouped(vectors)
    assert [sorted(one.rows) for one in found] == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9]]
    assert [one.size for one in found] == [6, 4]
    assert [sorted(one.rows) for one in grouped(vectors, min_photos=2)][2] == [10, 11]
    assert grouped(photos_around([1] * 40, 0.6)) == []


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_library_of_hardly_any_photos_has_no_groups(count: int) -> None:
    assert grouped(photos_around([count], 0.1) if count else np.empty((0, 64), np.float32)) == []


def test_similar_photos_that_are_similar_to_distractors_too_are_no_group() -> None:
    vectors = photos_around([5], 0.6)
    assert len(grouped(vectors, background=0.2)) == 1
    assert grouped(vectors, background=0.8) == []  # as photos of food or of a sky are


def test_matching_points_join_photos_whose_vectors_do_not() -> None:
    vectors = photos_around([6], 1.1)
    assert grouped(vectors) == []
    pairs = {(a, b): 40 for a in range(6) for b in range(a + 1, 6)}
    (found,) = grouped(vectors, pairs)
    assert (sorted(found.rows), found.verified) == ([0, 1, 2, 3, 4, 5], 13)


def test_without_distractors_only_photos_whose_points_match_are_a_group() -> None:
    vectors = photos_around([6], 0.4)
    assert len(grouped(vectors)) == 1
    assert grouped(vectors, taught=False) == []
    pairs = {(a, b): 30 for a in range(6) for b in range(a + 1, 6)}
    assert len(grouped(vectors, pairs, taught=False)) == 1


def test_one_wrong_pair_does_not_chain_two_groups_together() -> None:
    vectors = photos_around([5, 5], 0.6)
    vectors[5:] += 0.75 * vectors[:5].mean(axis=0)  # look-alikes
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    lead = float(vectors[4] @ vectors[5]) - 0.25
    assert lead > grouping.MIN_LEAD  # the pair is compared
    found = grouped(vectors, {(4, 5): 20})
    assert sorted(sorted(one.rows) for one in found) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


def test_positions_tell_look_alikes_apart_and_join_what_is_near() -> None:
    vectors = photos_around([6], 0.75)
    assert len(grouped(vectors)) == 1
    found = grouped(vectors, seen=Seen([PARIS] * 3 + [LYON] * 3))
    assert sorted(sorted(one.rows) for one in found) == [[0, 1, 2], [3, 4, 5]]
    # A tower that is seen from far away is the same tower, by its many points.
    pairs = {(a, b): 60 for a in range(6) for b in range(a + 1, 6)}
    assert len(grouped(vectors, pairs, Seen([PARIS] * 3 + [LYON] * 3))) == 1
    unlike = photos_around([6], 0.95)
    assert grouped(unlike) == []
    assert len(grouped(unlike, seen=Seen([PARIS, NEAR_PARIS] * 3))) == 1
    # Photos without a position are neither near nor far.
    assert len(grouped(vectors, seen=Seen([PARIS, None, None, None, PARIS, None]))) == 1


def test_a_burst_and_copies_count_once_and_come_last() -> None:
    vectors = photos_around([5], 0.4)
    times = [0.0, 20.0, 40.0, 7200.0, None]
    pairs = candidate_pairs(similarity(vectors))
    scenes = scenes_of(5, [(3, 4)], times, pairs.rows, np.ones(len(pairs.rows), dtype=bool))
    assert len(set(scenes[:3].tolist())) == 1  # one after the other, within a minute each
    assert scenes[3] == scenes[4] != scenes[0]
    assert grouped(vectors, seen=Seen(scenes=scenes)) == []
    (found,) = grouped(vectors, seen=Seen(scenes=scenes), min_photos=2)
    assert (found.size, len(found.rows)) == (2, 5)
    assert len({int(scenes[row]) for row in found.rows[:2]}) == 2  # one of each scene first


def test_photos_of_a_party_in_the_same_minute_are_a_burst_only_where_they_match() -> None:
    rows = np.array([[0, 1], [1, 2]])
    scenes = scenes_of(3, [], [0.0, 5.0, 10.0], rows, np.array([True, False]))
    assert scenes[0] == scenes[1] != scenes[2]


def test_photos_that_are_all_the_same_are_one_scene() -> None:
    vectors = np.repeat(photos_around([1], 0.1), 200, axis=0)
    copies = [(0, row) for row in range(1, 200)]
    scenes = scenes_of(200, copies, [None] * 200, np.empty((0, 2), np.int64), np.empty(0, bool))
    assert grouped(vectors, seen=Seen(scenes=scenes)) == []
    (found,) = grouped(vectors, seen=Seen(scenes=scenes), min_photos=1)
    assert (found.size, len(found.rows)) == (1, 200)


def test_a_party_is_one_group_and_hides_no_other() -> None:
    found = grouped(photos_around([300, 6, *[1] * 20], 0.5))
    assert [sorted(one.rows) for one in found] == [[*range(300)], [*range(300, 306)]]


def test_many_linked_photos_are_split_by_likelier_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = photos_around([5, 5], 0.5)
    vectors[5:] += 0.7 * vectors[:5].mean(axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    whole = [sorted(one.rows) for one in grouped(vectors)]
    monkeypatch.setattr(grouping, "MAX_LINKED", 6)
    assert [sorted(one.rows) for one in grouped(vectors)] == whole


def test_look_alikes_of_a_landmark_are_more_like_each_other() -> None:
    vectors = photos_around([6], 0.6)  # their cosines are about 0.7
    assert not similarity(vectors, gallery=0.6).like_gallery([0, 1, 2, 3])
    assert similarity(vectors, gallery=0.8).like_gallery([0, 1, 2, 3])
    assert not similarity(vectors, gallery=0.9).like_gallery([0])


def test_pairs_are_compared_once_each_and_in_order() -> None:
    asked: list[tuple[int, list[int]]] = []

    def matched(row: int, others: list[int]) -> list[int]:
        asked.append((row, others))
        return [10 * row + other for other in others]

    pairs = Pairs(np.array([[0, 1], [0, 3], [2, 3]]), np.ones(3))
    done: list[int] = []
    assert grouping.compare(pairs, matched, done.append).tolist() == [1, 3, 23]
    assert asked == [(0, [1, 3]), (2, [3])]
    assert done == [2, 3]
    none = Pairs(np.empty((0, 2), np.int64), np.empty(0))
    assert grouping.compare(none, matched, done.append).tolist() == []
