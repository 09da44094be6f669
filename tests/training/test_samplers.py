"""Subspaces and P×K batches, with a test for each known defect of other samplers."""

from __future__ import annotations

import numpy as np
import pytest

from whichlandmark.training.samplers import class_centres, epoch_batches, subspaces


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


def test_kmeans_centers_move_away_from_a_bad_start() -> None:
    """Defect: one assignment to the first K class centres. Here the first ones share a blob."""
    rows, truth = blobs(4, 12)
    order = np.argsort(truth, kind="stable")  # the first 12 centres all belong to blob 0
    groups = subspaces(rows[order], 4, seed=0, smallest=4)
    for blob in range(4):
        assert len(set(groups[truth[order] == blob])) == 1
    assert len(set(groups)) == 4


@pytest.mark.parametrize("seed", range(3))
def test_subspaces_are_a_fixed_point_of_kmeans(seed: int) -> None:
    """One more assignment, computed by loops, changes nothing after k-means has converged."""
    rows, _ = blobs(5, 10, seed=seed)
    groups = subspaces(rows, 5, seed=seed, smallest=2)
    again = slow_kmeans_step(rows, groups)
    assert (again == np.unique(groups, return_inverse=True)[1]).all()


def test_subspaces_are_the_same_every_time() -> None:
    rows, _ = blobs(6, 9)
    assert (subspaces(rows, 6, seed=3, smallest=3) == subspaces(rows, 6, seed=3, smallest=3)).all()


def test_small_subspaces_are_merged_into_the_nearest() -> None:
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


def long_tail(landmarks: int, largest: int, seed: int = 0) -> list[int]:
    """Zipf-like sizes in random order, the smallest 1."""
    sizes = (largest / np.arange(1, landmarks + 1) ** 0.7).astype(int).clip(min=1)
    return [int(n) for n in np.random.default_rng(seed).permutation(sizes)]


def times_seen(codes: np.ndarray, epochs: list[list[np.ndarray]]) -> np.ndarray:
    """How often each photo occurs, counted independently of the sampler."""
    rows = np.concatenate([rows for batches in epochs for rows in batches])
    return np.bincount(rows, minlength=len(codes))


@pytest.mark.parametrize("subspaces", [1, 20])
def test_every_photo_is_seen_about_equally_often(subspaces: int) -> None:
    """1,500 landmarks of 1 to 300 photos, P = 12, K = 8: 20 times in 20 epochs, within 4."""
    sizes = long_tail(1500, 300)
    codes = table(sizes)
    groups = np.random.default_rng(1).integers(0, subspaces, len(sizes))
    epochs = [
        epoch_batches(codes, groups, landmarks=12, photos=8, seed=(0, epoch)) for epoch in range(20)
    ]
    seen = times_seen(codes, epochs)
    few = np.array(sizes)[codes] < 8  # repeated within a chunk, in steps of 8 / n
    assert few.mean() > 0.2
    assert seen[~few].min() >= 18
    assert seen[~few].max() <= 24
    assert seen.min() >= 15
    assert seen.max() <= 26
    assert seen.mean() == pytest.approx(20, abs=0.5)
    assert np.bincount(epochs[3][0]).max() <= 8
    for batches in epochs:  # also within each epoch
        once = times_seen(codes, [batches])[~few]
        assert once.max() <= 3
        assert (once == 1).mean() > 0.6


def test_the_count_detects_an_uneven_sampler() -> None:
    """A sampler that draws small and large landmarks equally often fails the count."""
    sizes, rng = long_tail(300, 100), np.random.default_rng(0)
    codes = table(sizes)
    rows = [np.flatnonzero(codes == c) for c in range(300)]
    epochs = [
        [
            np.concatenate([rng.choice(rows[c], 8) for c in rng.choice(300, 12, replace=False)])
            for _ in range(len(codes) // 96)
        ]
        for _ in range(20)
    ]
    seen = times_seen(codes, epochs)
    assert seen.max() > 4 * max(1, seen.min())


def test_a_large_landmark_also_appears_in_batches_of_other_subspaces() -> None:
    """20 times as many photos as others: its own subspace has too few batches for them."""
    sizes = [80] + [4] * 239
    codes, groups = table(sizes), np.arange(240) // 12
    batches = epoch_batches(codes, groups, landmarks=12, photos=4, seed=(0, 0))
    seen = times_seen(codes, [batches])
    assert seen.min() == 1
    assert seen.sum() - len(codes) == 5 * 4  # 259 chunks in 22 batches of 12
    own = [max(np.bincount(groups[codes[rows]])) / len(rows) for rows in batches]
    assert len(batches) == 22
    assert np.mean(own) > 0.8  # most photos of a batch are of one subspace


def test_a_landmark_with_most_of_all_photos_is_sampled() -> None:
    """It cannot be in a batch twice; at most half of all slots are filler chunks."""
    sizes = [2] * 20 + [100] * 4
    codes = table(sizes)
    draws = [
        epoch_batches(codes, np.zeros(24, int), landmarks=12, photos=4, seed=(0, epoch))
        for epoch in range(20)
    ]
    rate = np.bincount(codes, times_seen(codes, draws)) / np.array(sizes) / 20
    assert 3 <= np.mean([len(batches) for batches in draws]) <= 6
    assert 0.1 < rate[20:].min() < rate[:20].max() < 6


def test_small_landmarks_fill_a_chunk_in_proportion_to_their_photos() -> None:
    """Two photos and K = 8: a chunk repeats each four times, in two of eight epochs."""
    codes = table([2] * 30 + [40] * 30)
    chunks = np.zeros(60)
    for epoch in range(16):
        for rows in epoch_batches(
            codes, np.zeros(60, int), landmarks=10, photos=8, seed=(4, epoch)
        ):
            chunks += np.bincount(codes[rows[::8]], minlength=60)
            small = rows.reshape(10, 8)[codes[rows[::8]] < 30]
            assert all((np.unique(row, return_counts=True)[1] == 4).all() for row in small)
    assert chunks[:30].tolist() == [4] * 30
    assert ((chunks[30:] >= 80) & (chunks[30:] <= 90)).all()


def test_small_landmarks_do_not_come_all_at_once() -> None:
    """One photo and K = 8: an eighth of the landmarks in each epoch, not all in every eighth."""
    codes = table([1] * 400)
    counts = [
        len(epoch_batches(codes, np.zeros(400, int), landmarks=5, photos=8, seed=(0, epoch)))
        for epoch in range(16)
    ]
    assert min(counts) >= 6
    assert max(counts) <= 14  # 50 chunks on average, in batches of 5


@pytest.mark.parametrize("seed", range(40))
def test_every_chunk_is_placed_in_a_batch(seed: int) -> None:
    """For random sizes and subspaces, no photo occurs less often than unavoidable."""
    rng = np.random.default_rng(seed)
    count, size, each = (int(rng.integers(low, high)) for low, high in ((4, 120), (2, 14), (1, 7)))
    sizes = rng.permutation(
        (80 / np.arange(1, count + 1) ** rng.uniform(0, 1.2)).astype(int) + each
    )
    sizes -= sizes % each  # whole chunks, so each photo occurs once in every epoch
    codes, groups = table(sizes.tolist()), rng.integers(0, 6, count)
    batches = epoch_batches(codes, groups, landmarks=size, photos=each, seed=(seed, 1))
    per_landmark = np.bincount(codes, times_seen(codes, [batches])) / each
    assert (per_landmark >= np.minimum(sizes // each, len(batches))).all()


def test_the_next_epoch_starts_where_the_last_stopped() -> None:
    """9 photos, K = 8: the photo that was left out is in the next epoch."""
    codes = table([9] * 12)
    draws = [
        epoch_batches(codes, np.zeros(12, int), landmarks=12, photos=8, seed=(0, epoch))
        for epoch in range(9)
    ]
    first = times_seen(codes, draws[:1])
    both = times_seen(codes, draws[:2])
    assert (both[first == 0] > 0).all()


def test_the_smallest_tables_give_batches() -> None:
    for sizes in ([1, 1], [1] * 5, [3, 2]):
        for epoch in range(10):
            batches = epoch_batches(
                table(sizes), np.zeros(len(sizes), int), landmarks=4, photos=8, seed=(1, epoch)
            )
            assert len(batches) >= 1
            assert all(len(rows) == 8 * min(4, len(sizes)) for rows in batches)


def test_no_photo_repeats_within_a_batch_when_there_are_enough() -> None:
    codes = table([9] * 24)  # 9 = 4 + 4 + 1: 2 or 3 chunks
    for rows in epoch_batches(codes, np.zeros(24, int), landmarks=8, photos=4, seed=(0, 0)):
        assert len(set(rows.tolist())) == len(rows)


def test_epochs_differ_and_are_reproducible() -> None:
    codes, groups = table([10] * 24), np.arange(24) // 12

    def draw(epoch: int) -> list[list[int]]:
        made = epoch_batches(codes, groups, landmarks=12, photos=4, seed=(5, epoch))
        return [rows.tolist() for rows in made]

    assert draw(0) == draw(0)
    assert draw(0) != draw(1)
