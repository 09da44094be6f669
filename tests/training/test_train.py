"""The training loop: it improves retrieval, resumes exactly after SIGKILL, keeps row order."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.photos import photos_of, picture, write_photo
from whichlandmark.core.errors import DataError, OptionError
from whichlandmark.core.images import read_image
from whichlandmark.core.json_options import from_json
from whichlandmark.features import pipeline
from whichlandmark.features.embedders.histogram import HistogramEmbedder
from whichlandmark.features.embedders.load import load_embedder, load_onnx
from whichlandmark.training import train as train_module
from whichlandmark.training.config import TrainConfig
from whichlandmark.training.train import train

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = TrainConfig(
    backbone="test_resnet", dim=16, size=64, crop=64, epochs=3, landmarks_per_batch=4,
    photos_per_landmark=4, subspaces=2, checkpoint_every=3, workers=0, device="cpu", lr=0.01,
)  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """8 landmarks × 12 photos of two shapes."""
    for code in range(8):
        for i in range(12):
            size = (48, 64) if i % 2 else (64, 48)
            write_photo(tmp_path / "world" / f"place {code}" / f"{i}.jpg", picture(code, i, size))
    return tmp_path / "world"


def train_until(world: Path, out: Path, kill_at: int | None) -> None:
    """Train in this process, with SIGKILL at the given batch of the whole run."""
    torch.set_num_threads(1)

    def report(done: int, total: int, text: str) -> None:
        if done == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    train(photos_of(world), SMALL, out=out, report=report)


def run(world: Path, out: Path, kill_at: int | None) -> int:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["whichlandmark.training.train"])
    process = context.Process(target=train_until, args=(world, out, kill_at))
    process.start()
    process.join()
    return process.exitcode or 0


def log_rows(out: Path) -> list[dict[str, str]]:
    with open(out / "training" / "log.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


@pytest.mark.slow
def test_a_run_killed_three_times_ends_the_same(world: Path, tmp_path: Path) -> None:
    points = sorted(np.random.default_rng(7).choice(np.arange(2, 18), 3, replace=False))
    assert run(world, tmp_path / "whole", None) == 0
    for point in points:
        assert run(world, tmp_path / "killed", int(point)) == -signal.SIGKILL
    assert run(world, tmp_path / "killed", None) == 0
    assert log_rows(tmp_path / "killed") == log_rows(tmp_path / "whole")
    assert len(log_rows(tmp_path / "whole")) == SMALL.epochs
    ids = [load_embedder(tmp_path / name).id for name in ("whole", "killed")]
    assert ids[0] == ids[1]


@pytest.mark.slow
def test_training_improves_retrieval(world: Path, tmp_path: Path) -> None:
    """The landmarks differ in colour, so validation scores become high."""
    messages: list[str] = []
    embedder = train(
        photos_of(world),
        SMALL,
        out=tmp_path / "run",
        report=lambda *given: messages.append(given[2]),
    )
    rows = log_rows(tmp_path / "run")
    assert float(rows[-1]["gap_nearest_photo"]) > 0.8
    assert float(rows[-1]["gap_class_centre"]) > 0.8
    assert any("loss" in message for message in messages)
    assert messages[0] == "embedding photos before the first batch"
    assert any(message.startswith("embedding ") for message in messages[1:])
    assert embedder.dim == 16
    without_torch = load_onnx(tmp_path / "run")
    assert without_torch.id == embedder.id
    images = [picture(code, 77) for code in range(3)]
    assert np.abs(without_torch(images) - embedder(images)).max() < 1e-4
    assert list((tmp_path / "run" / "training" / "tensorboard").iterdir())
    config = json.loads((tmp_path / "run" / "training" / "config.json").read_text())
    assert from_json(TrainConfig, config) == replace(
        SMALL, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )


@pytest.mark.usefixtures("not_exported")
def test_a_finished_run_is_not_trained_again(world: Path, tmp_path: Path) -> None:
    first = train(photos_of(world), SMALL, out=tmp_path / "run")
    reported: list[int] = []
    again = train(
        photos_of(world), SMALL, out=tmp_path / "run", report=lambda *s: reported.append(s[0])
    )
    assert (again.id, reported) == (first.id, [])


@pytest.mark.usefixtures("not_exported")
def test_another_config_in_the_same_folder_is_refused(world: Path, tmp_path: Path) -> None:
    train(photos_of(world), replace(SMALL, epochs=1), out=tmp_path / "run")
    with pytest.raises(DataError, match=r"lr: 0.01 → 0.02"):
        train(photos_of(world), replace(SMALL, epochs=1, lr=0.02), out=tmp_path / "run")


@pytest.mark.usefixtures("not_exported")
def test_unreadable_photos_are_left_out_and_listed(world: Path, tmp_path: Path) -> None:
    (world / "place 0" / "0.jpg").write_bytes(b"not a photo")
    train(photos_of(world), replace(SMALL, epochs=1), out=tmp_path / "run")
    listed = json.loads((tmp_path / "run" / "training" / "unreadable.json").read_text())
    assert list(listed) == ["world/place 0/0.jpg"]


def test_too_few_landmarks_is_a_clear_error(world: Path) -> None:
    photos = photos_of(world)
    with pytest.raises(DataError, match="at least two"):
        train(photos.take(photos.landmarks == "place 0"), SMALL)


def test_unknown_setting_suggests_the_known_one() -> None:
    with pytest.raises(OptionError, match="did you mean 'epochs'"):
        from_json(TrainConfig, {"epoch": 3})
    with pytest.raises(OptionError, match="'sgd', 'adamw'"):
        from_json(TrainConfig, {"optimizer": "adam"})


def test_rows_are_stored_in_order_with_any_last_batch_size(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A known defect: a smaller last batch was written to wrong rows. 96 photos in sevens."""

    photos, embedder = photos_of(world), HistogramEmbedder()
    monkeypatch.setattr(pipeline, "BATCH_ROWS", 7)
    rows = np.zeros((len(photos), embedder.dim), dtype=np.float32)
    for part in pipeline.embed(embedder, photos):
        rows[part.rows] = part.vectors
    for i, path in enumerate(photos.paths):
        assert np.array_equal(rows[i], embedder([read_image(path)])[0])


def test_no_device_is_hard_coded() -> None:
    """No calls of .cuda(): only the chosen device may be used."""
    for path in Path(train_module.__file__).parent.rglob("*.py"):
        assert ".cuda()" not in path.read_text(), path
