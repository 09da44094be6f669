"""ONNX embedders: same vectors and id as in torch, damage detected, choice of runtime."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from tests.support.photos import picture
from whichlandmark.core.errors import DataError, ModelError, OptionError
from whichlandmark.core.files import write_json
from whichlandmark.core.types import Embedder
from whichlandmark.features.embedders import by_count, load, runtimes, torch_export
from whichlandmark.features.embedders.by_count import SoonestEmbedder, embedder_for
from whichlandmark.features.embedders.load import load_embedder, load_onnx
from whichlandmark.features.embedders.onnx_embedder import OnnxEmbedder, SessionOpener
from whichlandmark.features.embedders.record import FLOAT_FILE, read_record, write_record
from whichlandmark.features.embedders.runtimes import (
    FROM_PHOTOS_UNMEASURED,
    RuntimeChoice,
    open_onnx,
    open_openvino,
)
from whichlandmark.features.embedders.torch_embedder import TorchEmbedder
from whichlandmark.features.embedders.torch_network import Architecture, EmbeddingNet, new_network
from whichlandmark.features.preprocessing import Preprocessing, Views

SIZES = [(60, 80), (80, 60), (60, 80), (33, 200), (200, 97)]
IMAGES = [picture(i, 0, size) for i, size in enumerate(SIZES)]
# Sides that are multiples of 32, and sides that are odd after any number of halvings.
SHAPES = [(1, 64, 64), (2, 97, 131), (3, 33, 250), (5, 224, 160), (1, 71, 70)]


def with_statistics(architecture: Architecture) -> EmbeddingNet:
    """A network with random weights and with BatchNorms that, as if trained, are no identity."""
    net = new_network(architecture)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        for module in net.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                for values, low, high in (
                    (module.running_mean, -0.3, 0.3), (module.running_var, 0.5, 2.0),
                    (module.weight.data, 0.5, 1.5), (module.bias.data, -0.3, 0.3),
                ):  # fmt: skip
                    assert values is not None
                    values.uniform_(low, high)
    return net.eval()


@pytest.fixture(scope="module")
def made() -> TorchEmbedder:
    net = with_statistics(Architecture(backbone="test_resnet", dim=8))
    views = Views(scales=(1.0, 1.5), flip=True)
    return TorchEmbedder(net, Preprocessing(size=64), device="cpu", views=views)


@pytest.fixture(scope="module")
def saved(made: TorchEmbedder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    made.save(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(saved, tmp_path / "e"))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def rows_of(net: EmbeddingNet, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    count, height, width = shape
    pixels = np.random.default_rng(height).standard_normal((count, 3, height, width))
    pixels = pixels.astype(np.float32)
    with torch.inference_mode():
        return pixels, net(torch.from_numpy(pixels)).numpy()


@pytest.mark.slow
def test_the_onnx_file_matches_torch_at_any_shape(tmp_path: Path) -> None:
    options = {"pad_type": "same"}  # padding computed from the size of each layer's input
    architecture = Architecture(backbone="test_efficientnet", options=options, gem_p=2.5, dim=8)
    net = with_statistics(architecture)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    torch_export.export_onnx(net, tmp_path / "m.onnx")
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    for open_network in (open_onnx, open_openvino):
        network = open_network(tmp_path / "m.onnx")
        for shape in SHAPES:
            pixels, expected = rows_of(net, shape)
            found = network(pixels)
            assert found.dtype == np.float32
            assert np.abs(found - expected).max() < 1e-5, (open_network, shape)
    graph = onnx.load(tmp_path / "m.onnx").graph
    kinds = [node.op_type for node in graph.node]
    assert "BatchNormalization" not in kinds  # folded
    assert "Pad" not in kinds  # an attribute of the convolution instead
    assert [str(d.dim_param) != "" for d in graph.input[0].type.tensor_type.shape.dim] == [
        True, False, True, True,
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("open_network", [open_onnx, open_openvino])
def test_concurrent_callers_get_the_same_rows(open_network: SessionOpener, tmp_path: Path) -> None:
    net = with_statistics(Architecture(backbone="test_efficientnet", dim=8))
    torch_export.export_onnx(net, tmp_path / "m.onnx")
    alone, shared = (open_network(tmp_path / "m.onnx", callers=n) for n in (1, 2))
    drawn = np.random.default_rng(3).standard_normal((12, 5, 3, 64, 96)).astype(np.float32)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(shared, drawn))
    for pixels, rows in zip(drawn, found, strict=True):
        assert np.abs(rows - alone(pixels)).max() < 1e-5


def test_an_export_that_differs_from_torch_is_not_written(
    made: TorchEmbedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_export, "MAX_DIFFERENCE", 0.0)
    monkeypatch.setattr(torch_export, "TEST_SHAPES", ((1, 64, 64),))
    original = torch_export.ExportableNet.forward

    def wrong(self: torch_export.ExportableNet, pixels: torch.Tensor) -> torch.Tensor:
        self.p = 1.5
        return original(self, pixels)

    monkeypatch.setattr(torch_export.ExportableNet, "forward", wrong)
    with pytest.raises(ModelError, match=r"differs from torch by .* nothing was written"):
        torch_export.export_onnx(made.net, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_backbone_that_cannot_be_exported_still_loads_with_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*given: object, **named: object) -> None:
        raise NotImplementedError("no such operator\nand more lines")

    monkeypatch.setattr(torch.onnx, "export", fail)
    net = new_network(Architecture(backbone="test_resnet", dim=8))
    made = TorchEmbedder(net, Preprocessing(size=64), device="cpu")
    made.save(tmp_path)
    assert "cannot be written as ONNX (no such operator); this embedder needs torch" in caplog.text
    assert not (tmp_path / FLOAT_FILE).exists()
    assert isinstance(load_embedder(tmp_path, device="cpu"), TorchEmbedder)


@pytest.mark.slow
def test_a_fixed_size_network_is_exported_at_that_size(tmp_path: Path) -> None:
    """A transformer has a fixed number of positions, so it takes squares of one size only."""
    net = new_network(Architecture(backbone="test_vit", dim=8))
    made = TorchEmbedder(net, Preprocessing(size=160, fit="squash"), device="cpu")
    made.save(tmp_path)
    opened = load_embedder(tmp_path, device="cpu")
    assert isinstance(opened, OnnxEmbedder)
    assert np.abs(opened(IMAGES) - made(IMAGES)).max() < 1e-4


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_loading_without_torch_gives_the_same_id_and_rows(
    made: TorchEmbedder, saved: Path, runtime: str
) -> None:
    opened = load_embedder(saved, device="cpu", runtime=runtime, callers=2)
    assert isinstance(opened, OnnxEmbedder)
    assert isinstance(opened, Embedder)
    assert opened.callers == 2
    assert (opened.id, opened.dim, opened.name) == (made.id, made.dim, made.name)
    assert opened.short_side == made.short_side == 144
    assert opened.views == made.views
    expected = made(IMAGES)
    assert np.abs(opened(IMAGES) - expected).max() < 1e-4
    alone = np.vstack([opened([image]) for image in IMAGES])
    assert np.abs(alone - expected).max() < 1e-4
    assert opened([]).shape == (0, 8)


def test_an_onnx_embedder_can_save_a_copy(saved: Path, tmp_path: Path) -> None:
    opened = load_onnx(saved)
    opened.save(saved)  # onto itself: does nothing
    opened.save(tmp_path / "copy")
    names = ["embedder.json", "model.onnx", "model.safetensors"]
    assert sorted(p.name for p in (tmp_path / "copy").iterdir()) == names
    for name in names:
        assert (tmp_path / "copy" / name).read_bytes() == (saved / name).read_bytes()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def test_a_flipped_bit_is_detected(folder: Path) -> None:
    flip(folder / FLOAT_FILE)
    with pytest.raises(ModelError, match=r"model\.onnx: damaged, or of another embedder"):
        load_embedder(folder, device="cpu")
    (folder / FLOAT_FILE).unlink()
    with pytest.raises(ModelError, match=r"no such file, but embedder\.json names it"):
        load_embedder(folder, device="cpu")


def test_a_copy_of_damaged_weights_is_refused(folder: Path, tmp_path: Path) -> None:
    opened = load_onnx(folder)
    flip(folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"model\.safetensors: damaged"):
        opened.save(tmp_path / "copy")
    assert not (tmp_path / "copy" / "embedder.json").exists()


@pytest.mark.parametrize(
    ("key", "value"), [("preprocessing", {"size": 96}), ("id", "test_resnet-0"), ("sum", None)]
)
def test_an_edited_record_is_refused(folder: Path, key: str, value: object) -> None:
    record = json.loads((folder / "embedder.json").read_text())
    write_json(folder / "embedder.json", record | {key: value})
    with pytest.raises(ModelError, match="was changed since it was written"):
        load_embedder(folder, device="cpu")


def test_a_file_that_is_no_onnx_model_is_refused(folder: Path) -> None:
    """The hash is correct, but the file holds no network."""
    (folder / FLOAT_FILE).write_bytes(b"no network")
    write_record(folder, read_record(folder), [FLOAT_FILE])
    for runtime in ("onnxruntime", "openvino"):
        with pytest.raises(ModelError, match="is no ONNX network, or is cut off"):
            load_embedder(folder, device="cpu", runtime=runtime)(IMAGES)


def test_an_older_folder_loads_through_torch(folder: Path) -> None:
    record = read_record(folder)
    for key in ("files", "sum", "precision"):
        del record[key]
    write_json(folder / "embedder.json", record)
    opened = load_embedder(folder, device="cpu")
    assert isinstance(opened, TorchEmbedder)
    with pytest.raises(ModelError, match="holds no ONNX file"):
        load_onnx(folder)


def test_saving_again_removes_the_old_onnx_file(made: TorchEmbedder, folder: Path) -> None:
    made.save(folder, export=False)
    assert not (folder / FLOAT_FILE).exists()
    assert isinstance(load_embedder(folder, device="cpu"), TorchEmbedder)


def test_the_device_and_runtime_are_chosen_as_documented(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(**options: Any) -> object:
        embedder = embedder_for(load_embedder(saved, **options), 10)
        return embedder.open_network if isinstance(embedder, OnnxEmbedder) else type(embedder)

    assert opened() is open_onnx
    assert opened(runtime="openvino") is open_openvino
    assert opened(runtime="torch") is TorchEmbedder
    made_by = load_onnx(saved).id
    openvino = RuntimeChoice("openvino", 10)
    runtimes.remember_runtime("another", openvino)
    assert opened() is open_onnx
    runtimes.remember_runtime(made_by, openvino)
    assert opened() is open_openvino
    assert opened(device="cpu", runtime="onnxruntime") is open_onnx
    monkeypatch.setattr(runtimes, "processor_name", lambda: "another processor")
    assert opened() is open_onnx  # the measurement was made on another machine
    monkeypatch.setattr(load, "gpu_names", lambda: ["a GPU"])
    assert opened() is TorchEmbedder
    assert opened(device="cpu") is open_onnx
    with pytest.raises(OptionError, match="expected auto, cpu or cuda"):
        opened(device="gpu")
    with pytest.raises(OptionError, match="expected one of: onnxruntime, openvino, torch"):
        opened(runtime="onnx")


def test_few_photos_open_the_sooner_runtime_and_many_the_faster(saved: Path) -> None:
    made_by = load_onnx(saved).id
    runtimes.remember_runtime(made_by, RuntimeChoice("openvino", 10))
    embedder = load_embedder(saved, device="cpu")
    assert isinstance(embedder, SoonestEmbedder)
    assert (embedder.id, embedder.dim) == (made_by, load_onnx(saved).dim)
    first, rows = embedder_for(embedder, 4), embedder(IMAGES[:3])  # 7 photos so far
    assert first is embedder.first
    assert first.open_network is open_onnx  # type: ignore[attr-defined]
    many = embedder_for(embedder, 3)
    assert isinstance(many, OnnxEmbedder)
    assert many.open_network is open_openvino
    np.testing.assert_allclose(embedder(IMAGES[:3]), rows, atol=1e-4)  # now of the faster one
    assert embedder_for(embedder, 0) is many  # the choice is final
    # Named by the user, or for a server, one is opened at once; torch as the fastest one too.
    assert isinstance(load_embedder(saved, device="cpu", callers=2), OnnxEmbedder)
    assert load_embedder(saved, callers=2).open_network is open_openvino  # type: ignore[attr-defined]
    named = load_embedder(saved, runtime="onnxruntime")
    assert embedder_for(named, 1000).open_network is open_onnx  # type: ignore[attr-defined]
    runtimes.remember_runtime(made_by, RuntimeChoice("torch", 2))
    embedder = load_embedder(saved, device="cpu")
    assert isinstance(embedder_for(embedder, 1), OnnxEmbedder)
    np.testing.assert_allclose(embedder(IMAGES[:3]), rows, atol=1e-4)
    assert isinstance(embedder_for(embedder, 1), TorchEmbedder)
    runtimes.remember_runtime(made_by, RuntimeChoice("openvino", 0))  # rows differ: one for all
    assert load_embedder(saved, device="cpu").open_network is open_openvino  # type: ignore[attr-defined]


def test_a_gpu_is_used_for_many_photos(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_count, "gpu_device_exists", lambda: True)
    monkeypatch.setattr(load, "gpu_names", lambda: ["a GPU"])
    embedder = load_embedder(saved)
    assert isinstance(embedder_for(embedder, 1), OnnxEmbedder)
    assert isinstance(embedder_for(embedder, by_count.GPU_FROM_PHOTOS), TorchEmbedder)
    assert isinstance(load_embedder(saved, device="cpu"), OnnxEmbedder)
    assert isinstance(load_embedder(saved, callers=2), TorchEmbedder)
    monkeypatch.setattr(load, "gpu_names", lambda: [])  # torch cannot use it
    embedder = load_embedder(saved)
    assert isinstance(embedder_for(embedder, 1000), OnnxEmbedder)


def test_a_broken_runtime_cache_is_ignored(saved: Path) -> None:
    made_by = load_onnx(saved).id
    openvino, default = RuntimeChoice("openvino", 7), RuntimeChoice("onnxruntime", 0)
    runtimes.remember_runtime(made_by, openvino)
    runtimes.runtime_cache_file().write_text("{ broken")
    assert runtimes.runtime_choice(made_by) == default
    runtimes.remember_runtime(made_by, openvino)
    assert runtimes.runtime_choice(made_by) == openvino
    unmeasured = RuntimeChoice("openvino", FROM_PHOTOS_UNMEASURED, unmeasured=True)
    for stored, expected in (
        ("something else", default), (3, default), ({"runtime": "no"}, default), ([], default),
        ("openvino", unmeasured),  # as earlier versions stored it
        ({"runtime": "openvino"}, unmeasured),
        ({"runtime": "openvino", "from_photos": -1}, unmeasured),
        ({"runtime": "openvino", "from_photos": "7"}, unmeasured),
        ({"runtime": "openvino", "from_photos": True}, unmeasured),
    ):  # fmt: skip
        text = json.dumps({runtimes._cache_key(made_by): stored})
        runtimes.runtime_cache_file().write_text(text)
        assert runtimes.runtime_choice(made_by) == expected


def test_a_cached_runtime_that_is_not_installed_is_ignored(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_by = load_onnx(saved).id
    runtimes.remember_runtime(made_by, RuntimeChoice("openvino", 7))
    find_spec = runtimes.util.find_spec
    monkeypatch.setattr(
        runtimes.util, "find_spec", lambda name: None if name == "openvino" else find_spec(name)
    )
    assert runtimes.runtime_choice(made_by) == RuntimeChoice()


def test_missing_openvino_is_named_in_the_error(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(OptionError, match=r"pip install '[^']*\[fast\]'"):
        load_embedder(saved, device="cpu", runtime="openvino")(IMAGES)


def test_without_torch_no_gpus_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "gpu_device_exists", lambda: True)
    monkeypatch.setattr(load, "has_torch", lambda: False)
    assert load.gpu_names() == []


WITHOUT_TORCH = """
import sys
class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "timm", "torchvision", "accelerate", "onnx", "openvino"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, NotInstalled())
from whichlandmark.cli import main
sys.argv = ["whichlandmark", *sys.argv[1:]]
main()
"""


def without_torch(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments)], capture_output=True, text=True
    )


@pytest.mark.slow
def test_the_core_needs_no_torch(saved: Path, colour_world: Path) -> None:
    """Index and recognize, in processes where torch cannot be imported."""
    recognizer = colour_world / "r.wl"
    ran = without_torch(
        "index", colour_world / "gallery", "-o", recognizer, "--embedder", saved, "--distractors",
        colour_world / "bank", "--json",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["photos"] == 24
    ran = without_torch(
        "recognize", colour_world / "queries" / "0-0.jpg", "-r", recognizer, "--json"
    )
    assert ran.returncode == 0, ran.stderr
    ran = without_torch("train", colour_world / "gallery", "-o", colour_world / "t")
    assert (ran.returncode, "[train]'" in ran.stderr) == (2, True)


def test_a_folder_without_an_embedder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"embedder\.json is missing"):
        load_embedder(tmp_path)


@pytest.mark.slow
def test_batchnorm_is_folded_into_the_exported_convolution(tmp_path: Path) -> None:
    """The first convolution of the file has the weights w·γ/√(σ² + ε)."""
    net = with_statistics(Architecture(backbone="test_resnet", dim=None, gem_p=1.0))
    torch_export.export_onnx(net, tmp_path / "m.onnx")
    graph = onnx.load(tmp_path / "m.onnx").graph
    first = next(node for node in graph.node if node.op_type == "Conv")
    stored = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    convs = [m for m in net.backbone.modules() if isinstance(m, torch.nn.Conv2d)]
    norms = [m for m in net.backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    conv, norm = convs[0], norms[0]
    assert norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    expected = (conv.weight * scale[:, None, None, None]).detach().numpy()
    assert np.abs(stored[first.input[1]] - expected).max() < 1e-5


@pytest.mark.parametrize("gem_p", [1.0, 3.0])
def test_the_file_pools_signed_features_as_torch_does(tmp_path: Path, gem_p: float) -> None:
    net = with_statistics(Architecture(backbone="test_efficientnet", dim=None, gem_p=gem_p))
    pixels = torch.randn(2, 3, 97, 131, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        features = net.backbone.forward_features(pixels)  # type: ignore[operator]
        expected = net(pixels).numpy()
    assert (features.mean(dim=(2, 3)) < 0).any()
    torch_export.export_onnx(net, tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(
        str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"]
    )
    found = session.run(None, {"pixels": pixels.numpy()})[0]
    assert found == pytest.approx(expected, abs=1e-4)
    assert (found < 0).any() == (gem_p == 1)
