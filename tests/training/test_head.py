"""The head's start: its axes whiten within landmarks and part them, and a run begins there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.photos import photos_of, picture, write_photo
from whichlandmark.features.embedders.torch_network import Architecture, new_network
from whichlandmark.training.config import TrainConfig
from whichlandmark.training.head import centre_arcface, discriminant_axes, whiten_head
from whichlandmark.training.losses import ArcFace
from whichlandmark.training.train import train
from whichlandmark.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("one_thread", "not_exported")

SMALL = TrainConfig(
    backbone="test_resnet", head="whitened", dim=6, gem_p=1.0, size=64, crop=64, epochs=1,
    landmarks_per_batch=4, photos_per_landmark=4, batches="mixed", workers=0, device="cpu",
    frozen_norms=True, ema=0.9,
)  # fmt: skip


@pytest.fixture
def vectors() -> tuple[np.ndarray, np.ndarray]:
    """30 photos of 6 landmarks in 9 dimensions: apart on axes 0 and 1, noisy on axis 8."""
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(6), 5)
    apart = rng.normal(size=(6, 9)) * [3, 2, 0, 0, 0, 0, 0, 0, 0]
    noise = rng.normal(size=(30, 9)) * np.array([0.5] * 8 + [5.0])
    rows = apart[codes] + noise + 1
    return rows.astype(np.float32), codes


def test_axes_whiten_within_landmarks_and_part_them(
    vectors: tuple[np.ndarray, np.ndarray],
) -> None:
    rows, codes = vectors
    axes, mean = discriminant_axes(rows, codes, 9)
    made = (rows - mean) @ axes.T
    means = np.stack([made[codes == code].mean(axis=0) for code in range(6)])
    within = made - means[codes]
    # Close to the identity: a tenth of the mean variance is added to each axis'.
    assert np.linalg.eigvalsh(within.T @ within / 30).max() < 1
    spread = means.std(axis=0)
    assert spread[0] > spread[1] > 3 * spread[2:].max()  # two axes part these landmarks
    two, _ = discriminant_axes(rows, codes, 2)
    assert np.allclose(two, axes[:2])


def test_photos_that_do_not_differ_within_landmarks_give_no_axes() -> None:
    rows = np.repeat(np.eye(3, 5, dtype=np.float32), 4, axis=0)
    axes, mean = discriminant_axes(rows, np.repeat(np.arange(3), 4), 2)
    assert axes.shape == (0, 5)
    assert np.allclose(mean, rows.mean(axis=0))


@pytest.mark.parametrize("dim", [3, 80])
def test_the_head_computes_the_axes(dim: int) -> None:
    """Also when it has more outputs than the features have dimensions: the rest stay 0."""
    net = new_network(Architecture(backbone="test_resnet", dim=dim, gem_p=1.0)).eval()
    rng = np.random.default_rng(1)
    width = int(net.backbone.num_features)  # type: ignore[arg-type]
    codes = np.repeat(np.arange(5), 6)
    pooled = (rng.normal(size=(5, width))[codes] + rng.normal(size=(30, width))).astype(np.float32)
    found = whiten_head(net, pooled, codes)
    axes, mean = discriminant_axes(pooled, codes, dim)
    expected = np.zeros((30, dim))
    expected[:, : len(axes)] = (pooled - mean) @ axes.T
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.abs(found - expected).max() < 1e-4


def test_arcface_starts_at_the_centres() -> None:
    codes = np.array([0, 0, 1, 1])
    rows = np.eye(4, 3, dtype=np.float32)
    rows[3] = rows[2]
    torch.manual_seed(0)
    for centres in (1, 3):
        arcface = ArcFace(3, 2, scale=16.0, margin=0.1, centres=centres)
        centre_arcface(arcface, rows, codes)
        cosines = arcface.cosines(torch.from_numpy(rows)).detach().numpy()
        assert (cosines.argmax(axis=1) == codes).all()
        assert len({tuple(row) for row in arcface.directions.tolist()}) == 2 * centres


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """5 landmarks × 6 photos."""
    for code in range(5):
        for i in range(6):
            write_photo(tmp_path / "world" / f"place {code}" / f"{i}.jpg", picture(code, i))
    return tmp_path / "world"


def test_a_run_starts_whitened_and_keeps_that_start(world: Path, tmp_path: Path) -> None:
    """Before the first step the saved network parts the landmarks; a resumed run does not refit."""
    photos = photos_of(world)
    run = Trainer(SMALL, tmp_path / "start", photos, None)
    run.resume()
    vectors = run.embed(run.data.train)[0]
    cosines = vectors @ vectors.T
    same = run.data.codes[:, None] == run.data.codes[None]
    assert cosines[same].mean() > cosines[~same].mean() + 0.5

    class StopHereError(Exception):
        pass

    def stop(done: int, total: int, text: str) -> None:
        if done == 1:
            raise StopHereError

    config = replace(SMALL, checkpoint_every=1)
    with pytest.raises(StopHereError):
        train(photos, config, out=tmp_path / "cut", report=stop)
    whole = train(photos, config, out=tmp_path / "once")
    assert train(photos, config, out=tmp_path / "cut").id == whole.id
    stored = json.loads((tmp_path / "once" / "training" / "config.json").read_text())
    assert stored["head"] == "whitened"
