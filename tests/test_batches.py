"""Subspaces and P×K batches: each known defect of earlier samplers has a test that meets it."""

from __future__ import annotations

import numpy as np
import pytest

from whichlandmark.net.batches import class_centres, epoch_batches, subspaces


def blobs(count: int, each: int, dim: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """`count` well separated directions, `each` landmark centres around each of them."""
    rng = np.random.default_rng(seed)
    directions = np.eye(dim)[:count]
    rows = np.repeat(directions, each, axis=0) + rng.normal(0, 0.05, (count * each, dim))
    truth = np.repeat(np.arange(count), each)
    order = rng.permutation(len(rows))
    rows, truth = rows[order], truth[order]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), truth


def slow_kmeans_step(rows: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Assignment to the nearest mean direction, by loops."""
    means = []
    for group in sorted(set(groups)):
        mean = sum(rows[i] for i in range(len(rows)) if groups[i] == group)
        means.append(mean / np.linalg.norm(mean))
    return np.array([int(np.argmax([row @ mean for mean in means])) for row in rows])


def test_centres_move() -> None:
    """Defect: one assignment to the first K class centres. Here the first ones share a blob."""
    rows, truth = blobs(4, 12)
    order = np.argsort(truth, kind="stable")  # the first 12 centres all belong to blob 0
    groups = subspaces(rows[order], 4, seed=0, smallest=4)
    for blob in range(4):
        assert len(set(groups[truth[order] == blob])) == 1
    assert len(set(groups)) == 4


@pytest.mark.parametrize("seed", range(3))
def test_subspaces_are_a_fixed_point_of_kmeans(seed: int) -> None:
    """Slow re-derivation: one more assignment changes nothing once k-means has converged."""
    rows, _ = blobs(5, 10, seed=seed)
    groups = subspaces(rows, 5, seed=seed, smallest=2)
    again = slow_kmeans_step(rows, groups)
    assert (again == np.unique(groups, return_inverse=True)[1]).all()


def test_subspaces_are_the_same_every_time() -> None:
    rows, _ = blobs(6, 9)
    assert (subspaces(rows, 6, seed=3, smallest=3) == subspaces(rows, 6, seed=3, smallest=3)).all()


def test_small_subspaces_join_their_nearest() -> None:
    """Defect: a crash on a subspace with fewer landmarks than a batch needs."""
    rows, _ = blobs(3, 10)
    lonely = np.array([[1, 0, 0, 0.5, 0, 0, 0, 0]], dtype=np.float32)  # nearest to blob 0
    lonely /= np.linalg.norm(lonely)
    groups = subspaces(np.concatenate([rows, lonely]), 4, seed=0, smallest=5)
    sizes = np.bincount(groups)
    assert sizes.min() >= 5
    assert sizes.sum() == 31


def test_class_centres_are_normalised_means() -> None:
    vectors = np.array([[1, 0], [0, 1], [0, 1]], dtype=np.float32)
    centres = class_centres(vectors, np.array([0, 0, 1]), 2)
    assert centres == pytest.approx(np.array([[2**-0.5, 2**-0.5], [0, 1]]))


def table(sizes: list[int], seed: int = 0) -> np.ndarray:
    codes = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(seed).permutation(codes).astype(np.int64)


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        ([5] * 24, [0] * 12 + [1] * 12),
        ([40] * 6 + [3] * 18, [0] * 12 + [1] * 12),  # long tail
        ([2] * 20 + [100] * 4, [0] * 20 + [1] * 4),  # a subspace smaller than P
        ([1] * 30, [0] * 30),  # fewer photos than K in every landmark
        ([7, 9, 4], [0, 0, 0]),  # fewer landmarks than P in all
    ],
)
def test_batches_are_always_full(sizes: list[int], groups: list[int]) -> None:
    """Defects: crashes below P landmarks, short batches below K photos."""
    codes = table(sizes)
    size = min(12, len(sizes))
    batches = epoch_batches(codes, np.array(groups), landmarks=12, photos=4, seed=(0, 0))
    assert batches
    for rows in batches:
        landmarks = codes[rows].reshape(size, 4)
        assert (landmarks == landmarks[:, :1]).all(), "K photos of each landmark, side by side"
        assert len(set(landmarks[:, 0])) == size, "P distinct landmarks"


def test_batches_stay_inside_their_subspace() -> None:
    codes, groups = table([8] * 40), np.arange(40) // 20
    batches = epoch_batches(codes, groups, landmarks=10, photos=4, seed=(0, 0))
    pure = [len(set(groups[codes[rows]])) == 1 for rows in batches]
    assert all(pure)
    assert len(batches) == 8  # 320 photos in 40 a batch


def test_subspaces_come_in_proportion_to_their_photos() -> None:
    """Defect: small and large subspaces drawn equally often."""
    codes = table([40] * 12 + [8] * 12)
    groups = np.repeat([0, 1], 12)
    batches = epoch_batches(codes, groups, landmarks=12, photos=4, seed=(1, 0))
    of_large = sum(groups[codes[rows[0]]] == 0 for rows in batches)
    assert (of_large, len(batches) - of_large) == (10, 2)  # 480 and 96 photos, 48 a batch


def test_every_photo_is_seen_about_equally_often() -> None:
    sizes = [int(n) for n in np.random.default_rng(2).integers(3, 40, 60)]
    codes, groups = table(sizes), np.arange(60) // 20
    seen = np.zeros(len(codes))
    epochs = 30
    for epoch in range(epochs):
        for rows in epoch_batches(codes, groups, landmarks=10, photos=4, seed=(0, epoch)):
            np.add.at(seen, rows, 1)
    rate = seen / epochs
    assert 0.9 < np.median(rate) < 1.3
    assert rate.min() > 0.5
    assert np.percentile(rate, 95) < 2.2


def test_no_photo_is_met_twice_in_a_batch_when_there_are_enough() -> None:
    codes = table([9] * 24)  # 9 = 4 + 4 + 1: the last chunk is filled from the same landmark
    for rows in epoch_batches(codes, np.zeros(24, int), landmarks=8, photos=4, seed=(0, 0)):
        assert len(set(rows.tolist())) == len(rows)


def test_epochs_differ_and_repeat() -> None:
    codes, groups = table([10] * 24), np.arange(24) // 12

    def draw(epoch: int) -> list[list[int]]:
        made = epoch_batches(codes, groups, landmarks=12, photos=4, seed=(5, epoch))
        return [rows.tolist() for rows in made]

    assert draw(0) == draw(0)
    assert draw(0) != draw(1)
