"""Every option of the training loop, and failures of a run."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.photos import photos_of, picture, write_photo
from whichlandmark.core.errors import DataError, OptionError, TrainingError
from whichlandmark.core.images import photo_size
from whichlandmark.core.json_options import from_json
from whichlandmark.core.types import Photos
from whichlandmark.features.embedders.load import load_embedder
from whichlandmark.features.embedders.record import licence_of
from whichlandmark.training.build import new_embedder
from whichlandmark.training.checkpoint import RunState, save_checkpoint
from whichlandmark.training.config import RECIPES, TrainConfig, recipe
from whichlandmark.training.loader import crop_side
from whichlandmark.training.photo_cache import PHOTOS_PER_SHARD, build_photo_cache
from whichlandmark.training.train import train
from whichlandmark.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("one_thread", "not_exported")

SMALL = TrainConfig(
    backbone="test_resnet", dim=16, size=64, crop=64, epochs=2, landmarks_per_batch=4,
    photos_per_landmark=4, subspaces=2, workers=0, device="cpu", lr=0.01, optimizer="sgd",
)  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """6 landmarks × 8 photos of two shapes."""
    for code in range(6):
        for i in range(8):
            size = (48, 64) if i % 2 else (64, 48)
            write_photo(tmp_path / "world" / f"place {code}" / f"{i}.jpg", picture(code, i, size))
    return tmp_path / "world"


def rows_of(out: Path) -> list[dict[str, float]]:
    with open(out / "training" / "log.csv", newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"loss": "triplet", "mining": "semi_hard", "margin": 0.2},
        {"loss": "arcface", "batches": "shuffled", "arcface_centres": 3, "dynamic_margin": True},
        {"batches": "mixed", "class_weights": True, "accumulate": 3},
        {"chunk": 5, "ema": 0.9, "shapes": True, "first_crop": 32},
        {"frozen_stages": 2, "frozen_norms": True, "backbone_lr": 0.1, "optimizer": "adamw"},
        {"precision": "bf16", "dim": None, "regroup_every": 0},
    ],
    ids=lambda options: "-".join(options),
)
def test_every_option_trains_and_resumes(
    world: Path, tmp_path: Path, options: dict[str, object]
) -> None:
    """Two epochs without a break equal one epoch, an interruption, and a resumed second epoch."""
    config = replace(SMALL, **options)  # type: ignore[arg-type]
    whole = train(photos_of(world), config, out=tmp_path / "whole")
    rows = rows_of(tmp_path / "whole")
    assert [row["epoch"] for row in rows] == [1, 2]
    assert all(np.isfinite(list(row.values())).all() for row in rows)

    class StopHereError(Exception):
        pass

    def stop(done: int, total: int, text: str) -> None:
        if "epoch 2" in text:
            raise StopHereError

    with pytest.raises(StopHereError):
        train(photos_of(world), config, out=tmp_path / "cut", report=stop)
    assert train(photos_of(world), config, out=tmp_path / "cut").id == whole.id


def test_frozen_stages_stay_and_the_moving_average_is_saved(world: Path, tmp_path: Path) -> None:
    config = replace(SMALL, frozen_stages=-1, epochs=1)
    before = new_embedder(config).net.state_dict()
    after = train(photos_of(world), config, out=tmp_path / "a").net.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed
    assert not [key for key in changed if key.startswith("backbone.")]
    plain = train(photos_of(world), replace(SMALL, epochs=1), out=tmp_path / "b")
    averaged = train(photos_of(world), replace(SMALL, epochs=1, ema=0.999), out=tmp_path / "c")
    rows = [rows_of(tmp_path / name)[0]["loss"] for name in "bc"]
    assert rows[0] == rows[1]  # the same steps
    assert plain.id != averaged.id  # but other weights are saved


def test_the_run_folder_documents_the_run(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    made = train(photos_of(world), SMALL, out=out)
    run_json = json.loads((out / "training" / "run.json").read_text())
    best = max(row["gap_nearest_photo"] for row in rows_of(out))
    assert run_json["best"]["gap_nearest_photo"] == best
    assert "torch" in run_json["versions"]
    assert "6 landmarks" in run_json["photos"]
    own = "own (trained from random weights)"
    assert run_json["licence of the initial weights"] == made.licence == own
    assert licence_of(out) == own
    card = (out / "README.md").read_text()
    assert f"{best:.4f}" in card
    assert "| `lr` | 0.01 |" in card
    assert f"(`weights`: random): {own}.\n" in card
    assert "Protocol: " in card
    assert (out / "training" / "curves.svg").read_text().count("<svg") == 1
    assert load_embedder(out).id == made.id


def test_validation_uses_separate_landmarks(world: Path, tmp_path: Path) -> None:
    photos = photos_of(world)
    held = np.isin(photos.landmarks, ["place 0", "place 1"])
    database, queries = photos.take(held).split(test=0.25, seed=0)
    out = tmp_path / "run"
    train(photos.take(~held), SMALL, out=out, validation=(database, queries))
    run_json = json.loads((out / "training" / "run.json").read_text())
    assert run_json["validation"].startswith("4 queries against 12 database photos of 2 landmarks")
    assert "not trained on" in run_json["validation"]
    with pytest.raises(DataError, match="other settings"):  # another validation set is another run
        train(photos.take(~held), SMALL, out=out, validation=(queries, database))


def test_validation_counts_queries_unknown_to_the_database(world: Path, tmp_path: Path) -> None:
    """Queries of unknown landmarks, or of none, lower GAP as wrong answers but are not in M."""
    photos = photos_of(world)
    held = np.isin(photos.landmarks, ["place 0", "place 1"])
    database, known = photos.take(held).split(test=0.25, seed=0)
    unknown = photos.take(photos.landmarks == "place 2")
    marks = [*known.landmarks, *["elsewhere"] * 4, *[""] * 4]
    queries = Photos.of_columns([*known.ids, *unknown.ids], [*known.paths, *unknown.paths], marks)
    train(photos.take(~held), SMALL, out=tmp_path / "run", validation=(database, queries))
    row = rows_of(tmp_path / "run")[-1]
    assert row["top1_nearest_photo"] == 1  # of the four known queries
    assert 4 / 12 < row["gap_nearest_photo"] <= 1
    with pytest.raises(DataError, match="nothing could be measured"):
        train(photos.take(~held), SMALL, validation=(database, unknown))


def test_early_stopping_keeps_the_best_weights(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([0.5, 0.6, 0.4, 0.3, 0.9])

    def validated(self: Trainer, trained: object) -> dict[str, float]:
        value = next(values)
        return {
            f"{m}_{n}": value for m in ("gap", "top1") for n in ("nearest_photo", "class_centre")
        }

    monkeypatch.setattr(Trainer, "validate", validated)
    out = tmp_path / "run"
    train(photos_of(world), replace(SMALL, epochs=5, patience=2), out=out)
    assert [row["gap_nearest_photo"] for row in rows_of(out)] == [0.5, 0.6, 0.4, 0.3]
    assert json.loads((out / "training" / "run.json").read_text())["best"]["epoch"] == 2


def test_a_nan_loss_ends_the_run(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(TrainingError, match=r"loss is nan at batch .* lower lr"):
        train(photos_of(world), replace(SMALL, lr=1e30, warmup=0.0, epochs=3), out=out)
    torch.load(out / "training" / "last.pt", weights_only=True)  # the last checkpoint is readable


def test_crops_reach_full_size_at_half_of_the_run() -> None:
    config = replace(SMALL, crop=224, first_crop=128, epochs=9)
    sides = [crop_side(config, epoch) for epoch in range(9)]
    assert sides == [128, 160, 192, 192, 224, 224, 224, 224, 224]
    assert crop_side(replace(SMALL, epochs=1), 0) == 64


def test_cached_photos_equal_the_photos(world: Path, tmp_path: Path) -> None:
    photos = photos_of(world)
    (world / "place 0" / "0.jpg").write_bytes(b"not a photo")
    prepared = build_photo_cache(photos, tmp_path / "cache", 32)
    seen: list[tuple[int, int]] = []
    again = build_photo_cache(photos, tmp_path / "cache", 32, progress=lambda *n: seen.append(n))
    assert seen == [(len(photos), len(photos))]
    assert len(photos) < PHOTOS_PER_SHARD
    for row in range(1, len(photos)):
        height, width = photo_size(photos.paths[row])
        image = again.read(row)
        assert min(image.shape[:2]) == 32
        assert abs(image.shape[1] / image.shape[0] - width / height) < 0.05
        assert np.array_equal(image, prepared.read(row))
    with pytest.raises(DataError, match="could not be decoded"):
        prepared.read(0)
    with pytest.raises(DataError, match="holds other prepared photos"):
        build_photo_cache(photos, tmp_path / "cache", 48)


def test_training_from_the_photo_cache_learns_as_well(world: Path, tmp_path: Path) -> None:
    config = replace(SMALL, cache=str(tmp_path / "cache"))
    train(photos_of(world), config, out=tmp_path / "run")
    assert rows_of(tmp_path / "run")[-1]["gap_nearest_photo"] > 0.6
    assert (tmp_path / "cache" / "00000.npy").exists()


FULL = """
import sys, torch
from pathlib import Path
from whichlandmark.core.errors import DataError
from whichlandmark.training.checkpoint import RunState, load_checkpoint, save_checkpoint
net = torch.nn.Linear(500, 500)
path = Path(sys.argv[1]) / "last.pt"
save_checkpoint(path, RunState(epoch=1), {"net": net}, {})
try:
    save_checkpoint(path, RunState(epoch=2), {"net": torch.nn.Linear(5000, 500)}, {})
except DataError as error:
    print(error)
assert load_checkpoint(path, {"net": net}, {}).epoch == 1
print(sorted(p.name for p in path.parent.iterdir()))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    disk = tmp_path / "small"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], check=False)
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        ran = subprocess.run(
            [sys.executable, "-c", FULL, str(disk)], capture_output=True, text=True, check=True
        )
    finally:
        subprocess.run(["umount", disk], check=True)
    message, files = ran.stdout.splitlines()
    assert "last.pt: cannot be written" in message
    assert files == "['last.pt']"


def test_a_disk_that_fails_while_writing_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same without a mount: torch's writer fails half-way."""
    net = torch.nn.Linear(3, 3)
    save_checkpoint(tmp_path / "last.pt", RunState(), {"net": net}, {})
    before = (tmp_path / "last.pt").read_bytes()

    def fail(record: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc] . PytorchStreamWriter failed")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(DataError, match="is the disk full"):
        save_checkpoint(tmp_path / "last.pt", RunState(), {"net": net}, {})
    assert (tmp_path / "last.pt").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_valid_settings(name: str) -> None:
    assert from_json(TrainConfig, recipe(name)).epochs >= 1


def test_unknown_recipe_suggests_a_known_one() -> None:
    with pytest.raises(OptionError, match="did you mean 'strong'"):
        recipe("stron")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batches": "shuffled", "loss": "triplet"}, "few pairs"),
        ({"ema": 1.0}, "ema 1 given"),
        ({"epochs": 0}, "epochs 0"),
        ({"validation": 0.0}, "validation 0 given"),
        ({"frozen_stages": -2}, "frozen_stages -2"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        TrainConfig(**wrong)  # type: ignore[arg-type]


def test_a_checkpoint_of_another_backbone_is_refused(world: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from whichlandmark.core.errors import ModelError
    from whichlandmark.features.embedders.torch_network import Architecture, new_network

    other = new_network(Architecture(backbone="test_vit", dim=None)).backbone.state_dict()
    save_file({k: v.contiguous() for k, v in other.items()}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="not the weights of 'test_resnet'"):
        train(photos_of(world), replace(SMALL, weights=str(tmp_path / "other.safetensors")))


def test_photos_without_landmarks_are_not_trained_on(world: Path, tmp_path: Path) -> None:
    photos = photos_of(world)
    some = Photos.of_columns(
        list(photos.ids), list(photos.paths),
        ["" if i % 8 == 0 else mark for i, mark in enumerate(photos.landmarks)],
    )  # fmt: skip
    train(some, replace(SMALL, epochs=1), out=tmp_path / "run")
    run_json = json.loads((tmp_path / "run" / "training" / "run.json").read_text())
    assert run_json["photos"].startswith("38 of 6 landmarks")
