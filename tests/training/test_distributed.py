"""Training in two processes equals one: the same losses and the same embedder."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import nn

from tests.support.photos import write_photo
from whichlandmark.core.errors import OptionError
from whichlandmark.data.folders import read_folder
from whichlandmark.features.embedders.torch_embedder import TorchEmbedder
from whichlandmark.features.preprocessing import Preprocessing
from whichlandmark.training import distributed, trainer
from whichlandmark.training import train as train_module
from whichlandmark.training.checkpoint import RunLog
from whichlandmark.training.config import TrainConfig
from whichlandmark.training.distributed import SharedBatchNorm
from whichlandmark.training.train import train

CONFIG = TrainConfig(
    backbone="test_resnet", dim=16, size=64, crop=64, epochs=5, landmarks_per_batch=4,
    photos_per_landmark=4, subspaces=2, workers=0, device="cpu",
    optimizer="sgd", lr=1e-3,
)  # fmt: skip


ALONE: dict[str, list[float]] = {}  # settings → the losses of one process


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 landmarks × 10 photos of random noise."""
    tmp_path = tmp_path_factory.mktemp("noise")
    rng = np.random.default_rng(0)
    for code in range(8):
        for i in range(10):
            coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
            image = np.kron(coarse, np.ones((12, 12, 1), dtype=np.uint8))
            write_photo(tmp_path / "world" / f"place {code}" / f"{i}.png", image)
    return tmp_path / "world"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def in_float64() -> None:
    """Train in float64, because hard mining amplifies rounding errors of float32 in a few steps."""
    torch.Tensor.float = lambda self: self  # type: ignore[method-assign, assignment]
    normalise, embedder, criterion = (
        Preprocessing.normalise, trainer.new_embedder, trainer.new_criterion,
    )  # fmt: skip

    def new_embedder(config: TrainConfig) -> TorchEmbedder:
        made = embedder(config)
        made.net.double()
        return made

    Preprocessing.normalise = lambda *given: normalise(*given).astype(np.float64)
    trainer.new_embedder = new_embedder
    trainer.new_criterion = lambda *given: criterion(*given).double()
    TorchEmbedder.load = lambda *given, **named: Mock()  # it would load float32 weights


def one_process(
    process: tuple[int, int, int], world: Path, out: Path, config: TrainConfig, fault: str
) -> None:
    """Train as if started by `torchrun`, and save every loss. process: (rank, count, port)."""
    rank, count, port = process
    torch.set_num_threads(1)
    in_float64()
    if fault == "own statistics":
        trainer.share_batch_norms = lambda net: net
    if fault == "gradients averaged":
        distributed._Gather.backward = staticmethod(
            lambda ctx, gradient: gradient[rank * ctx.count :][: ctx.count]
        )
    if count > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count),
                       "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1",
                       "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}  # fmt: skip
    losses: list[float] = []
    log_step = RunLog.step

    def step(self: RunLog, loss: float, active: float, pixels: torch.Tensor) -> None:
        losses.append(loss)
        log_step(self, loss, active, pixels)

    RunLog.step = step  # type: ignore[method-assign]
    train_module.write_model_card = lambda *given: None  # nothing here reads its curves
    train(read_folder(world), config, out=out)
    out.with_name(f"{out.name}.{rank}.json").write_text(json.dumps(losses))
    if count > 1:
        torch.distributed.destroy_process_group()


def losses_of(
    world: Path, out: Path, config: TrainConfig, count: int, fault: str = ""
) -> list[list[float]]:
    """The losses in each of `count` processes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["whichlandmark.training.train"])
    port = free_port()
    started = [
        context.Process(target=one_process, args=((rank, count, port), world, out, config, fault))
        for rank in range(count)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert [process.exitcode for process in started] == [0] * count
    return [
        json.loads(out.with_name(f"{out.name}.{rank}.json").read_text()) for rank in range(count)
    ]


def losses_alone(world: Path, tmp_path: Path, config: TrainConfig) -> list[float]:
    """The losses in one process, which several tests compare with."""
    if (key := repr(config)) not in ALONE:
        (ALONE[key],) = losses_of(world, tmp_path / "alone", config, 1)
    return ALONE[key]


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "chunk"), [("triplet", 0), ("both", 0), ("both", 4)])
def test_two_processes_equal_one(world: Path, tmp_path: Path, loss: str, chunk: int) -> None:
    """The losses of at least 20 steps, with BatchNorm. chunk: with cached gradients."""
    config = replace(CONFIG, loss=loss, chunk=chunk, frozen_norms=bool(chunk))
    alone = losses_alone(world, tmp_path, config)
    first, second = losses_of(world, tmp_path / "both", config, 2)
    assert len(alone) >= 20
    assert first == second
    np.testing.assert_allclose(first, alone, rtol=0, atol=1e-9)


@pytest.mark.slow
def test_cached_gradients_equal_the_large_batch(world: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, frozen_norms=True)
    (whole,) = losses_of(world, tmp_path / "whole", config, 1)
    (chunked,) = losses_of(world, tmp_path / "chunked", replace(config, chunk=3), 1)
    np.testing.assert_allclose(chunked, whole, rtol=0, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["own statistics", "gradients averaged"])
def test_the_comparison_detects_a_planted_fault(world: Path, tmp_path: Path, fault: str) -> None:
    config = replace(CONFIG, loss="triplet")
    alone = losses_alone(world, tmp_path, config)
    (first, _) = losses_of(world, tmp_path / "both", config, 2, fault)
    assert np.abs(np.array(first) - alone).max() > 1e-4


def test_a_batch_that_does_not_divide_among_processes_is_refused(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "world_size", lambda: 3)
    with pytest.raises(OptionError, match="batch of 16 photos given to 3 processes"):
        train(read_folder(world), CONFIG)


@pytest.mark.parametrize("training", [True, False])
def test_the_shared_batchnorm_equals_torch_in_one_process(training: bool) -> None:
    torch.manual_seed(0)
    plain = nn.BatchNorm2d(5)
    nn.init.uniform_(plain.weight)
    shared = SharedBatchNorm(plain)
    plain.train(training), shared.train(training)
    pixels = torch.randn(3, 5, 4, 4)
    other = nn.BatchNorm2d(5)
    other.load_state_dict(plain.state_dict())
    other.train(training)
    torch.testing.assert_close(shared(pixels), other(pixels))
    assert shared.state_dict().keys() == other.state_dict().keys()
    for key, value in shared.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[key])
