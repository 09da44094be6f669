"""What training costs with thousands of landmarks: groupings, batches, embedded photos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.photos import photos_of, picture, write_photo
from whichlandmark.core.types import Photos, Rows
from whichlandmark.training import trainer
from whichlandmark.training.config import TrainConfig
from whichlandmark.training.samplers import epoch_batches, photos_of_each, subspaces
from whichlandmark.training.train import train
from whichlandmark.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("one_thread", "not_exported")

SMALL = TrainConfig(
    backbone="test_resnet", dim=16, size=64, crop=64, epochs=2, landmarks_per_batch=2,
    photos_per_landmark=2, subspaces=2, workers=0, device="cpu", lr=0.01, optimizer="sgd",
)  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    """6 landmarks × 4 photos."""
    for code in range(6):
        for i in range(4):
            write_photo(
                tmp_path / "world" / f"place {code}" / f"{i}.jpg", picture(code, i, (48, 64))
            )
    return photos_of(tmp_path / "world")


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of photos of each embedding pass."""
    counts: list[int] = []
    embed = trainer.embed

    def counted(embedder: object, table: Photos, **options: object) -> object:
        counts.append(len(table))
        return embed(embedder, table, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(trainer, "embed", counted)
    return counts


def held_out(photos: Photos) -> tuple[Photos, tuple[Photos, Photos]]:
    """4 landmarks to train on; the photos of two others as database and queries."""
    held = np.isin(photos.landmarks, ["place 0", "place 1"])
    return photos.take(~held), photos.take(held).split(test=0.25, seed=0)


def test_centres_take_at_most_so_many_photos_of_each_landmark() -> None:
    codes = np.array([2, 0, 1, 2, 2, 0, 2, 2])
    rows = photos_of_each(codes, 2, seed=(0, 1))
    assert (np.bincount(codes[rows]) == [2, 1, 2]).all()
    assert (np.diff(rows) > 0).all()
    assert (photos_of_each(codes, 2, seed=(0, 1)) == rows).all()
    assert (photos_of_each(codes, 0, seed=(0, 1)) == np.arange(8)).all()
    drawn = {tuple(photos_of_each(codes, 2, seed=(0, step))) for step in range(20)}
    assert len(drawn) > 1  # others in the next epoch


def test_a_grouping_embeds_few_photos_where_the_validation_has_its_own(
    photos: Photos, embedded: list[int]
) -> None:
    """All 16 photos at the start, which finds unreadable ones; then 1 of each landmark."""
    trained, validation = held_out(photos)
    train(trained, replace(SMALL, epochs=3, centre_photos=1), validation=validation)
    per_epoch = [6, 2]  # database and queries of the validation
    assert embedded == [16, *per_epoch, 4, *per_epoch, 4, *per_epoch]


def test_the_last_epoch_is_not_followed_by_a_grouping_that_nothing_uses(
    photos: Photos, embedded: list[int]
) -> None:
    trained, validation = held_out(photos)
    train(trained, SMALL, validation=validation)
    assert embedded == [16, 6, 2, 16, 6, 2]


def test_a_longer_run_groups_before_its_first_epoch(
    photos: Photos, tmp_path: Path, embedded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One epoch, then a second and a third: each has subspaces of the network before it."""
    trained, validation = held_out(photos)
    seen: list[Rows] = []

    def noted(codes: Rows, groups: Rows, **options: object) -> list[Rows]:
        seen.append(groups)
        return epoch_batches(codes, groups, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("whichlandmark.training.loader.epoch_batches", noted)
    for epochs in (1, 2, 3):
        config = replace(SMALL, epochs=epochs)
        train(trained, config, out=tmp_path / "run", validation=validation)
    assert embedded == [16, 6, 2, 16, 6, 2, 16, 6, 2]
    assert [len(groups) for groups in seen] == [4, 4, 4]


def test_training_photos_that_are_the_database_are_embedded_once(
    photos: Photos, embedded: list[int]
) -> None:
    """Given as --database too, they serve the validation and the next grouping."""
    queries = photos.take(np.arange(0, 24, 4))
    train(photos, SMALL, validation=(photos, queries))
    assert embedded == [24, 24, 6, 24, 6]
    embedded.clear()
    labels = ["place 9" if i == 0 else mark for i, mark in enumerate(photos.landmarks)]
    other = Photos.of_columns(list(photos.ids), list(photos.paths), labels)
    train(photos, SMALL, validation=(other, queries))  # another label: another database
    assert embedded == [24, 24, 6, 24, 24, 6]


def test_regrouping_is_a_collective_step_that_ends(photos: Photos, tmp_path: Path) -> None:
    """After the last epoch the groups are empty, until an epoch begins."""
    trained, validation = held_out(photos)
    run = Trainer(SMALL, tmp_path / "run", trained, validation)
    state = run.resume()
    assert len(state.groups) == 4
    state.epoch, state.step = 1, 4
    run.regroup(state, None)
    assert len(state.groups) == 0
    state.next_epoch()
    run.regroup(state, None)
    assert len(state.groups) == 4


def test_five_thousand_landmarks_fill_batches_of_one_subspace() -> None:
    rng = np.random.default_rng(0)
    count = 5_000
    codes = np.sort(np.concatenate([np.arange(count), rng.integers(0, count, 4 * count)]))
    centres = rng.standard_normal((count, 32), dtype=np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    groups = subspaces(centres, 20, seed=0, smallest=12)
    batches = epoch_batches(codes, groups, landmarks=12, photos=4, seed=(0, 1))
    assert len(batches) == pytest.approx(len(codes) / 48, rel=0.01)
    mixed = [len(np.unique(groups[codes[rows]])) for rows in batches]
    assert np.mean(mixed) < 1.1  # a batch is of one subspace, but for few fillers


def test_the_first_embedding_is_reported_by_its_photos(photos: Photos) -> None:
    """The time left is that of the photos then, not of a first batch that takes an hour."""
    reports: list[tuple[int, int, str]] = []
    many = Photos.of_columns(
        [f"{i}" for i in range(240)], list(photos.paths) * 10, list(photos.landmarks) * 10
    )
    train(many, replace(SMALL, epochs=1), report=lambda *given: reports.append(given))
    words = "embedding photos before the first batch"
    first = [report for report in reports if report[2] == words]
    assert {total for _, total, _ in first} == {240}
    assert reports[: len(first)] == first
    assert all(total != 240 for _, total, _ in reports[len(first) :])
